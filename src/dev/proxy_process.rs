//! The proxy as a child process: `shardyard serve` in a session of its own, so that Ctrl-C reaches `dev up` first.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::catalog::connect;
use crate::dev::DevError;
use crate::dev::folder::Folder;
use crate::dev::record::Record;
use crate::dev::server::tail;

/// Starts the proxy and waits until a client can log in and read.
///
/// # Errors
/// When it ends, or has not answered within 20 s; the end of its log is in the error.
pub async fn start(folder: &Folder, record: &Record) -> Result<Child, DevError> {
    let log_path = folder.proxy_log();
    let log = OpenOptions::new().create(true).append(true).open(&log_path).map_err(DevError::file("cannot open", &log_path))?;
    let again = log.try_clone().map_err(DevError::file("cannot open", &log_path))?;
    let program = std::env::current_exe().map_err(|source| DevError::Spawn { program: "shardyard serve".to_owned(), source })?;
    let mut command = Command::new(program);
    // A session of its own, as PostgreSQL's processes have: Ctrl-C is for us, and the kernel's scheduler gives each session its share.
    command.args(["serve", "--new-session", "--config"]).arg(folder.config()).current_dir(folder.path());
    command.stdin(std::process::Stdio::null()).stdout(log).stderr(again);
    let mut child = command.spawn().map_err(|source| DevError::Spawn { program: "shardyard serve".to_owned(), source })?;
    if let Some(pid) = child.id() {
        let path = folder.proxy_pid();
        std::fs::write(&path, pid.to_string()).map_err(DevError::file("cannot write", &path))?;
    }
    match wait_ready(&mut child, folder, record).await {
        Ok(()) => Ok(child),
        Err(error) => {
            let _ = child.kill().await;
            let _ = std::fs::remove_file(folder.proxy_pid());
            Err(error)
        }
    }
}

/// The running proxy's process id, if it is there.
#[must_use]
pub fn running(folder: &Folder) -> Option<i32> {
    running_by(&folder.proxy_pid(), folder)
}

/// The same of the process whose id is in a file.
pub(super) fn running_by(pid_file: &Path, folder: &Folder) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    (pid > 1 && kill(Pid::from_raw(pid), None).is_ok() && is_ours(pid, folder)).then_some(pid)
}

/// Stops the proxy: SIGTERM, and SIGKILL after 15 s. Does nothing if it is not running.
///
/// # Errors
/// When the process cannot be signalled.
pub async fn stop(folder: &Folder) -> Result<(), DevError> {
    stop_by(&folder.proxy_pid(), folder).await
}

/// The same of the process whose id is in a file.
pub(super) async fn stop_by(pid_file: &Path, folder: &Folder) -> Result<(), DevError> {
    let deadline = Instant::now() + Duration::from_secs(15);
    if let Some(pid) = running_by(pid_file, folder) {
        signal(pid, Signal::SIGTERM)?;
    }
    while let Some(pid) = running_by(pid_file, folder) {
        if Instant::now() > deadline {
            signal(pid, Signal::SIGKILL)?;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _ = std::fs::remove_file(pid_file);
    Ok(())
}

fn signal(pid: i32, signal: Signal) -> Result<(), DevError> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(DevError::Proxy(format!("cannot signal process {pid}: {errno}"))),
    }
}

/// A process id is reused after a restart of the machine: the command line tells whose it is. A zombie's is empty: it has ended.
fn is_ours(pid: i32, folder: &Folder) -> bool {
    let Ok(arguments) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
        // No /proc (macOS): the file is all there is.
        return !Path::new("/proc/self").exists();
    };
    let config = folder.config();
    arguments.split(|byte| *byte == 0).any(|argument| argument == config.as_os_str().as_encoded_bytes())
}

async fn wait_ready(child: &mut Child, folder: &Folder, record: &Record) -> Result<(), DevError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut last = String::new();
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(DevError::Proxy(format!("the proxy ended with {status}:\n{}", tail(&folder.proxy_log(), 15))));
        }
        match connect(&record.app_dsn()).await {
            Ok(client) => match client.simple_query("select 1").await {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            },
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(DevError::Proxy(format!("the proxy does not answer: {last}\n{}", tail(&folder.proxy_log(), 15))))
}
