//! Listening sockets for clients.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::net::ListenAddress;
use crate::net::stream::Stream;

/// Connections that the kernel may hold for us before `accept`.
const BACKLOG: i32 = 4096;

/// A client that stops answering is noticed after about two minutes.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    pub address: String,
    #[source]
    pub source: io::Error,
}

/// One listening socket, bound but not yet tied to a runtime; every worker takes a clone of it.
#[derive(Debug)]
pub enum BoundListener {
    Tcp(std::net::TcpListener),
    Unix { listener: std::os::unix::net::UnixListener, path: PathBuf },
}

/// One worker's end of a listening socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds one address; a name may stand for several.
///
/// # Errors
/// When the name is unknown, or the address taken or not ours.
pub fn bind(address: &ListenAddress) -> Result<Vec<BoundListener>, ListenError> {
    match address {
        ListenAddress::Tcp { host, port } => {
            let name = format!("{host}:{port}");
            let fail = |source| ListenError { address: name.clone(), source };
            let wanted = if host == "*" { "0.0.0.0" } else { host.as_str() };
            let addresses: Vec<SocketAddr> = (wanted, *port).to_socket_addrs().map_err(fail)?.collect();
            addresses.into_iter().map(|address| bind_tcp(address).map_err(fail)).collect()
        }
        ListenAddress::Unix { directory, port } => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            let listener = bind_unix(&path).map_err(|source| ListenError { address: path.display().to_string(), source })?;
            Ok(vec![BoundListener::Unix { listener, path }])
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<BoundListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(BoundListener::Tcp(socket.into()))
}

fn bind_unix(path: &PathBuf) -> io::Result<std::os::unix::net::UnixListener> {
    // A socket that nobody listens on was left by a killed process.
    if std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    // As PostgreSQL's unix_socket_permissions: who may connect is decided by the login.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl BoundListener {
    /// This worker's listener on the same socket.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn attach(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp(listener) => TcpListener::from_std(listener.try_clone()?).map(Listener::Tcp),
            Self::Unix { listener, .. } => UnixListener::from_std(listener.try_clone()?).map(Listener::Unix),
        }
    }
}

impl Drop for BoundListener {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// The next client. Cancel safe.
    ///
    /// # Errors
    /// As `accept` says; the listener stays usable.
    pub async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
                Ok((Stream::Tcp(stream), Some(address)))
            }
            Self::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}
