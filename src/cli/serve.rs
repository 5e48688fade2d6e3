//! `shardyard serve`: the proxy.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use tracing::warn;
use tracing_subscriber::EnvFilter;

use crate::{config, proxy};

/// Reads the configuration and runs the proxy until it is told to stop.
pub(crate) fn run(folder: &Path, new_session: bool) -> Result<u8> {
    start_logging();
    // Each of the allocator's pages would take 2 MiB at its first byte. Where the kernel refuses, it is memory that is lost and no more.
    let _ = nix::sys::prctl::set_thp_disable(true);
    if new_session {
        nix::unistd::setsid().context("leaving the session")?;
    }
    let mut options = config::read(folder, None).map_err(|mistakes| anyhow!("the configuration is wrong:\n{mistakes}"))?;
    if let Err(error) = config::check_file_limit(&options) {
        // Refused with 53300 is better than refused by the system.
        warn!(mend = error.mend(), "{error}");
        options.session.clients_max = error.fitting();
    }
    proxy::run(options)?;
    Ok(0)
}

/// To standard error; `SHARDYARD_LOG` sets the levels (`info`, or `shardyard::backend=debug,info`), `SHARDYARD_LOG_FORMAT=json` the form.
pub(crate) fn start_logging() {
    let filter = EnvFilter::try_from_env("SHARDYARD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var("SHARDYARD_LOG_FORMAT").is_ok_and(|format| format == "json") {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
}
