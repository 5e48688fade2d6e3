//! `shardyard worker`: drives moves.

use std::path::Path;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::cluster::Cluster;
use crate::cli::serve::start_logging;
use crate::proxy::MapSource;
use crate::rebalance::{self, WorkerOptions};

/// Works until SIGTERM or SIGINT. A step that is cut off is done again by the next worker.
pub(crate) async fn run(folder: &Path, new_session: bool) -> Result<u8> {
    start_logging();
    if new_session {
        nix::unistd::setsid().context("leaving the session")?;
    }
    let options = Cluster::open(folder)?.options;
    let MapSource::Catalog(catalog) = options.source else {
        bail!("the configuration has no catalog: shards.toml never changes, and nothing can move")
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let work = rebalance::run(WorkerOptions { catalog: *catalog, control: options.control, tables: options.tables });
    tokio::select! {
        () = work => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(0)
}
