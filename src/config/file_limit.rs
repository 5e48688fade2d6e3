//! Whether the process may open as many files as its options promise.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::proxy::Options;

/// Files beside the clients' and servers' sockets: standard streams, listeners, the runtime's own, the catalog's.
const OWN_FILES: u64 = 100;

/// The limit of open files is too low for `session.clients_max`.
#[derive(Debug, thiserror::Error)]
#[error(
    "session.clients_max = {clients_max} needs {needed} open files, this process may have {allowed}: raise the limit (ulimit -n {needed}, LimitNOFILE={needed} in systemd) or lower clients_max"
)]
pub struct FileLimitError {
    clients_max: usize,
    needed: u64,
    allowed: u64,
}

/// Raises the soft limit as far as it is needed and allowed.
///
/// # Errors
/// When the hard limit is too low: the last clients would be refused by the system instead of with `53300`.
pub fn check_file_limit(options: &Options) -> Result<(), FileLimitError> {
    let clients_max = options.session.clients_max;
    let needed = u64::try_from(clients_max).unwrap_or(u64::MAX).saturating_add(OWN_FILES);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if soft >= needed {
        return Ok(());
    }
    // All that is allowed, since servers' connections come on top of the clients'.
    if hard >= needed && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return Ok(());
    }
    Err(FileLimitError { clients_max, needed, allowed: soft.max(hard) })
}
