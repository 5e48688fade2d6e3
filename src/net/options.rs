//! Options of sockets and TLS, filled by `config`.

use std::path::PathBuf;

/// Where the proxy accepts clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp {
        host: String,
        port: u16,
    },
    /// The socket `.s.PGSQL.port` in this folder, as PostgreSQL names it.
    Unix {
        directory: PathBuf,
        port: u16,
    },
}

/// Whether clients may or must encrypt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientTlsMode {
    /// SSLRequest is answered with `N`.
    #[default]
    Disable,
    /// SSLRequest is answered with `S`; clients without TLS are served too.
    Allow,
    /// Clients without TLS are refused with `28000`.
    Require,
}

/// TLS towards clients. The files are read again at every reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    pub mode: ClientTlsMode,
    /// PEM, the chain, leaf first.
    pub certificate_file: Option<PathBuf>,
    /// PEM.
    pub key_file: Option<PathBuf>,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// TLS towards servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTls {
    pub mode: SslMode,
    /// PEM with the authorities to trust; needed by `verify-ca` and `verify-full`.
    pub root_certificate_file: Option<PathBuf>,
}
