//! Processes that a killed `dev up` left at work in the cluster's folder: `initdb`, `pg_basebackup`, a server just being started.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::dev::DevError;

/// Ends every process but running servers whose command line names `servers`, and waits until it is gone. Needs `/proc`; elsewhere it does nothing.
///
/// # Errors
/// When one is still there after 20 s.
pub async fn end(servers: &Path) -> Result<(), DevError> {
    for _ in 0..200 {
        let found = find(servers);
        if found.is_empty() {
            return Ok(());
        }
        for pid in found {
            // All of them take it as "stop and clean up".
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(DevError::Refused(format!("processes in {} do not end: {:?}", servers.display(), find(servers))))
}

fn find(servers: &Path) -> Vec<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let named = |entry: std::fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let arguments = String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).ok()?).into_owned();
        let program = arguments.split('\0').next()?.rsplit('/').next()?;
        // A server with its pid file is stopped by pg_ctl, in order.
        let helper = ["initdb", "pg_basebackup", "pg_ctl", "sh"].contains(&program);
        (helper && names(&arguments, servers)).then_some(pid)
    };
    processes.flatten().filter_map(named).collect()
}

/// Whether a command line names something inside the folder: `/a/b` is not inside `/a/bc`.
fn names(arguments: &str, servers: &Path) -> bool {
    arguments.contains(&format!("{}/", servers.display()))
}
