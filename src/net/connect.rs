//! Opens connections to servers.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use crate::net::stream::Stream;
use crate::topology::Endpoint;

/// Opens a plain connection to a server. Cancel safe: a dropped attempt leaves nothing.
///
/// # Errors
/// As the name service or the socket says.
pub async fn connect(endpoint: &Endpoint) -> io::Result<Stream> {
    if endpoint.is_unix() {
        let path = format!("{}/.s.PGSQL.{}", endpoint.host, endpoint.port);
        return UnixStream::connect(path).await.map(Stream::Unix);
    }
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(std::time::Duration::from_secs(30)))?;
    Ok(Stream::Tcp(stream))
}
