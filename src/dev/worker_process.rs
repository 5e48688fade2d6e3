//! The worker as a child process: `shardyard worker`, which drives moves.

use std::fs::OpenOptions;

use tokio::process::Command;

use crate::dev::DevError;
use crate::dev::folder::Folder;
use crate::dev::proxy_process::{running_by, stop_by};

/// Starts the worker; does not wait for anything: nobody needs it until something moves.
///
/// # Errors
/// When it cannot be started.
pub fn start(folder: &Folder) -> Result<(), DevError> {
    let log_path = folder.worker_log();
    let log = OpenOptions::new().create(true).append(true).open(&log_path).map_err(DevError::file("cannot open", &log_path))?;
    let again = log.try_clone().map_err(DevError::file("cannot open", &log_path))?;
    let spawning = |source| DevError::Spawn { program: "shardyard worker".to_owned(), source };
    let mut command = Command::new(std::env::current_exe().map_err(spawning)?);
    command.args(["worker", "--new-session", "--config"]).arg(folder.config()).current_dir(folder.path());
    command.stdin(std::process::Stdio::null()).stdout(log).stderr(again);
    let child = command.spawn().map_err(spawning)?;
    if let Some(pid) = child.id() {
        let path = folder.worker_pid();
        std::fs::write(&path, pid.to_string()).map_err(DevError::file("cannot write", &path))?;
    }
    Ok(())
}

/// The running worker's process id, if it is there.
#[must_use]
pub fn running(folder: &Folder) -> Option<i32> {
    running_by(&folder.worker_pid(), folder)
}

/// Stops the worker: SIGTERM, and SIGKILL after 15 s. Does nothing if it is not running.
///
/// # Errors
/// When the process cannot be signalled.
pub async fn stop(folder: &Folder) -> Result<(), DevError> {
    stop_by(&folder.worker_pid(), folder).await
}
