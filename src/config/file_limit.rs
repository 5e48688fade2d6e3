//! Whether the process may open as many files as its options promise.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::proxy::Options;

/// Files beside the clients' sockets: servers' connections, listeners, the runtime's own, the catalog's.
const OTHER_FILES: u64 = 500;

/// The limit of open files is too low for `session.clients_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session.clients_max = {clients_max} needs {needed} open files, this process may have {allowed}: {fitting} clients fit")]
pub struct FileLimitError {
    clients_max: usize,
    needed: u64,
    allowed: u64,
    fitting: usize,
}

impl FileLimitError {
    /// How many clients fit: at least 1.
    #[must_use]
    pub fn fitting(&self) -> usize {
        self.fitting
    }

    /// What raises the limit.
    #[must_use]
    pub fn mend(&self) -> String {
        format!("ulimit -n {0}, or LimitNOFILE={0} in systemd; or lower session.clients_max", self.needed)
    }
}

/// Raises the soft limit as far as it is allowed, when it is needed.
///
/// # Errors
/// When that is not enough: the last clients would be refused by the system instead of with `53300`.
pub fn check_file_limit(options: &Options) -> Result<(), FileLimitError> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    let clients_max = options.session.clients_max;
    let mut allowed = soft;
    if missing(clients_max, soft).is_some() && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        allowed = hard;
    }
    missing(clients_max, allowed).map_or(Ok(()), Err)
}

fn missing(clients_max: usize, allowed: u64) -> Option<FileLimitError> {
    let needed = u64::try_from(clients_max).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let fitting = usize::try_from(allowed.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX).max(1);
    (allowed < needed).then_some(FileLimitError { clients_max, needed, allowed, fitting })
}

#[cfg(test)]
mod tests {
    //! The arithmetic of the limit.

    use crate::config::file_limit::missing;

    #[test]
    fn limits() {
        assert_eq!(missing(500, 1000), None);
        assert_eq!(missing(501, 1000).map(|error| (error.needed, error.fitting())), Some((1001, 500)));
        assert_eq!(missing(20_000, 20_000).map(|error| error.fitting()), Some(19_500));
        assert_eq!(missing(10, 64).map(|error| error.fitting()), Some(1));
    }
}
