//! TLS for control connections: tokio-postgres over the same connector as the data path.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode as ControlSslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Connection, Socket};

use crate::net::tls::TlsError;
use crate::net::{Connector, ServerTls, SslMode};

/// A control connection's driver: to be awaited for as long as the client is used.
pub type ControlConnection = Connection<Socket, ControlStream>;

/// Why a control connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("TLS towards servers cannot be used")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Server(#[from] tokio_postgres::Error),
}

/// Opens a control connection with the encryption that `tls` and the configuration's own `sslmode` ask for, whichever is more.
/// Reads the root certificates each time: control connections are rare, and the files may have been renewed. Cancel safe.
///
/// # Errors
/// When the certificates cannot be read, or the server cannot be reached, trusted or entered.
pub async fn open(config: &Config, tls: &ServerTls) -> Result<(Client, ControlConnection), OpenError> {
    let (config, connect) = encrypted(config, tls)?;
    Ok(config.connect(connect).await?)
}

/// A pool of at most `size` control connections, opened when they are first wanted and replaced when they are lost.
///
/// # Errors
/// When the certificates cannot be read.
pub fn pool(config: &Config, tls: &ServerTls, size: usize) -> Result<Pool, OpenError> {
    let (config, connect) = encrypted(config, tls)?;
    let manager = Manager::from_config(config, connect, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Ok(Pool::builder(manager).max_size(size).build().expect("a pool without timeouts needs no timer"))
}

fn encrypted(config: &Config, tls: &ServerTls) -> Result<(Config, MakeControl), OpenError> {
    let mut config = config.clone();
    config.ssl_mode(match (tls.mode, config.get_ssl_mode()) {
        (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, _) | (_, ControlSslMode::Require) => ControlSslMode::Require,
        (SslMode::Disable, _) | (_, ControlSslMode::Disable) => ControlSslMode::Disable,
        _ => ControlSslMode::Prefer,
    });
    let wanted = if tls.mode == SslMode::Disable && config.get_ssl_mode() == ControlSslMode::Require { SslMode::Require } else { tls.mode };
    let connector = Connector::load(&ServerTls { mode: wanted, root_certificate_file: tls.root_certificate_file.clone() })?;
    Ok((config, MakeControl { connector }))
}

#[derive(Clone)]
struct MakeControl {
    connector: Option<Connector>,
}

impl MakeTlsConnect<Socket> for MakeControl {
    type Stream = ControlStream;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, io::Error> {
        Ok(Handshake { connector: self.connector.clone(), name: domain.to_owned() })
    }
}

/// The handshake with one server, to be performed.
struct Handshake {
    /// Asked for by tokio-postgres for every connection; not used where TLS is disabled.
    connector: Option<Connector>,
    /// Empty for a unix socket.
    name: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = ControlStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<ControlStream>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let connector = self.connector.ok_or_else(|| io::Error::other("TLS is disabled"))?;
            let name = ServerName::try_from(self.name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            Ok(ControlStream(connector.handshake(name, stream).await?))
        })
    }
}

/// An encrypted control connection.
pub struct ControlStream(tokio_rustls::client::TlsStream<Socket>);

impl TlsStream for ControlStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for ControlStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for ControlStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
