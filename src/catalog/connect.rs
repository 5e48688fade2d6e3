//! Control connections to the catalog and to servers: rare, never on a statement's way.

use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};
use tracing::debug;

use crate::telemetry::task;

/// Why a control connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("not a PostgreSQL connection string")]
    Dsn(#[source] tokio_postgres::Error),
    #[error("no connection to {server}")]
    Server { server: String, source: tokio_postgres::Error },
}

/// Opens a connection by a libpq URL or key-value string. Gives up after 5 s unless the string says `connect_timeout`.
///
/// # Errors
/// When the string cannot be read, or the server cannot be reached or refuses the login.
pub async fn connect(dsn: &str) -> Result<Client, ConnectError> {
    let mut config: Config = dsn.parse().map_err(ConnectError::Dsn)?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(5));
    }
    connect_with(&config).await
}

/// As [`connect`], with a configuration already read.
///
/// # Errors
/// When the server cannot be reached or refuses the login.
pub async fn connect_with(config: &Config) -> Result<Client, ConnectError> {
    let mut config = config.clone();
    if config.get_application_name().is_none() {
        config.application_name("shardyard");
    }
    let (client, connection) = config.connect(NoTls).await.map_err(|source| ConnectError::Server { server: describe(&config), source })?;
    let server = describe(&config);
    // Ends when the client is dropped, so nobody needs to wait for it.
    task::spawn("control connection", async move {
        if let Err(error) = connection.await {
            debug!(%server, %error, "control connection ended");
        }
    });
    Ok(client)
}

/// Host, port and database of a connection string, without its password: for messages.
#[must_use]
pub fn describe(config: &Config) -> String {
    use tokio_postgres::config::Host;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}/{}", config.get_dbname().or_else(|| config.get_user()).unwrap_or_default())
}
