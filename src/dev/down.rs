//! Stops a cluster: no process of it is left.

use std::path::PathBuf;

use tokio::task::JoinSet;

use crate::dev::DevError;
use crate::dev::account::Account;
use crate::dev::binaries::Binaries;
use crate::dev::folder::Folder;
use crate::dev::proxy_process;
use crate::dev::record::ServerRecord;
use crate::dev::server::Site;
use crate::dev::{strays, worker_process};

/// What `dev down` was asked.
#[derive(Clone, Debug)]
pub struct DownOptions {
    pub dir: PathBuf,
    /// Remove the data too.
    pub remove: bool,
}

/// Stops the proxy, then all servers; the data stays unless `remove` is set.
///
/// # Errors
/// When there is no cluster, another command is at work, or a process does not end.
pub async fn down(options: &DownOptions) -> Result<(), DevError> {
    let folder = Folder::open(&options.dir)?;
    let lock = folder.lock()?;
    let site = Site { record: folder.record()?, account: Account::for_servers()?, binaries: Binaries::find()?, folder };
    stop_all(&site).await?;
    if options.remove {
        site.folder.clear()?;
        drop(lock);
        let _ = std::fs::remove_file(site.folder.path().join("lock"));
        // Fails when somebody has put something of their own there: then it stays.
        let _ = std::fs::remove_dir(site.folder.path());
    }
    Ok(())
}

/// Stops the worker, the proxy, then all servers at once.
///
/// # Errors
/// The first that occurred; everything has been tried.
pub async fn stop_all(site: &Site) -> Result<(), DevError> {
    let worker = worker_process::stop(&site.folder).await;
    let proxy = worker.and(proxy_process::stop(&site.folder).await);
    let strays = strays::end(&site.folder.servers()).await;
    let mut stopping = JoinSet::new();
    for server in site.record.servers().cloned().collect::<Vec<ServerRecord>>() {
        let site = site.clone();
        stopping.spawn(async move { site.server(&server).stop().await });
    }
    let mut result = proxy.and(strays);
    while let Some(stopped) = stopping.join_next().await {
        result = result.and(stopped.unwrap_or(Err(DevError::Panicked)));
    }
    result
}
