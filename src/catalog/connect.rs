//! Control connections to the catalog and to servers: rare, never on a statement's way.

use std::fmt;
use std::time::Duration;

use tokio_postgres::{Client, Config};
use tracing::debug;

use crate::net::control::{self, ControlConnection, OpenError};
use crate::net::{ServerTls, SslMode};
use crate::telemetry::task;

/// An attempt gives up after this, unless the connection string says `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a control connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("not a PostgreSQL connection string")]
    Dsn(#[source] tokio_postgres::Error),
    #[error("no connection to {server}")]
    Server { server: String, source: OpenError },
}

/// One database of one server, with credentials and encryption. Shows neither.
#[derive(Clone)]
pub struct Target {
    config: Config,
    tls: ServerTls,
}

impl Target {
    #[must_use]
    pub fn new(mut config: Config, tls: ServerTls) -> Self {
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("shardyard");
        }
        Self { config, tls }
    }

    /// Reads a libpq URL or key-value string. Encrypted if the server offers it, or as its `sslmode` says.
    ///
    /// # Errors
    /// When the string has no sense.
    pub fn parse(dsn: &str) -> Result<Self, ConnectError> {
        let tls = ServerTls { mode: SslMode::Prefer, root_certificate_file: None };
        Ok(Self::new(dsn.parse().map_err(ConnectError::Dsn)?, tls))
    }

    /// The same under another name in `pg_stat_activity`.
    #[must_use]
    pub fn named(mut self, application_name: &str) -> Self {
        self.config.application_name(application_name);
        self
    }

    /// A pool of at most `size` connections to it.
    ///
    /// # Errors
    /// When the root certificates cannot be read.
    pub fn pool(&self, size: usize) -> Result<deadpool_postgres::Pool, control::OpenError> {
        control::pool(&self.config, &self.tls, size)
    }

    /// Opens a connection whose driver a task of its own awaits.
    ///
    /// # Errors
    /// When the server cannot be reached, trusted or entered.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        let (client, connection) = self.open().await?;
        let server = self.to_string();
        // Ends when the client is dropped, so nobody needs to wait for it.
        task::spawn("control connection", async move {
            if let Err(error) = connection.await {
                debug!(%server, %error, "control connection ended");
            }
        });
        Ok(client)
    }

    /// Opens a connection and leaves its driver to the caller.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn open(&self) -> Result<(Client, ControlConnection), ConnectError> {
        control::open(&self.config, &self.tls).await.map_err(|source| ConnectError::Server { server: self.to_string(), source })
    }
}

impl fmt::Display for Target {
    /// `host:port/database`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use tokio_postgres::config::Host;
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        write!(f, "{host}:{port}/{}", self.config.get_dbname().or_else(|| self.config.get_user()).unwrap_or_default())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// Opens a connection by a connection string; see [`Target::parse`].
///
/// # Errors
/// When the string cannot be read, or the server cannot be reached or refuses the login.
pub async fn connect(dsn: &str) -> Result<Client, ConnectError> {
    Target::parse(dsn)?.connect().await
}
