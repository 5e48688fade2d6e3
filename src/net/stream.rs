//! One connection's byte stream: TCP, unix socket, or TLS over TCP.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use crate::net::buffer::consume;

/// Bytes that one read may add to a buffer: more than most statements and replies, small enough for thousands of clients.
const READ_BYTES: usize = 8 * 1024;
/// Memory that is taken when a read has brought so much that more is to be expected, and the most that one read adds to it.
const LONG_READ_BYTES: usize = 4 * READ_BYTES;

/// A connection to a client or a server.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Nothing: what stands where a stream was taken from.
    Closed,
}

impl Stream {
    /// A stream at its end.
    #[must_use]
    pub fn closed() -> Self {
        Self::Closed
    }

    /// Reads what has arrived and appends it to `buffer`; 0 at the end of the stream. Memory is taken only once something has arrived,
    /// so that an idle connection holds none. Cancel safe.
    ///
    /// # Errors
    /// As the socket says.
    pub async fn read_some(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        std::future::poll_fn(|context| self.poll_read_some(context, buffer)).await
    }

    /// The poll form of [`Stream::read_some`].
    pub fn poll_read_some(&mut self, context: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        if buffer.capacity() - buffer.len() >= READ_BYTES {
            return pin!(self.read_buf(&mut buffer.limit(LONG_READ_BYTES))).poll(context);
        }
        // What most reads bring is short: memory that all connections share takes it first.
        let mut scratch = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut *self).poll_read(context, &mut read))?;
        if read.remaining() == 0 {
            buffer.reserve(LONG_READ_BYTES);
        }
        buffer.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Whether nothing has arrived: an idle server connection that is not quiet was closed, or says something nobody asked for.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        let outcome = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte),
            Self::Unix(stream) => stream.try_read(&mut byte),
            Self::Tls(stream) => {
                let mut context = Context::from_waker(Waker::noop());
                let mut buffer = ReadBuf::new(&mut byte);
                return Pin::new(stream).poll_read(&mut context, &mut buffer).is_pending();
            }
            Self::Closed => return false,
        };
        matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends all of `bytes`. Not cancel safe: part of them may have been sent.
    ///
    /// # Errors
    /// As the socket says.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Unix(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends all of `buffer` and empties it. Cancel safe: what has been sent has left the buffer.
    ///
    /// # Errors
    /// As the socket says.
    pub async fn send_buffer(&mut self, buffer: &mut BytesMut) -> io::Result<()> {
        std::future::poll_fn(|context| {
            while !buffer.is_empty() {
                // Not `write_all_buf`, which takes the dearer writev for the one slice that there is.
                let sent = ready!(self.poll_send(context, buffer))?;
                if sent == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                consume(buffer, sent);
            }
            Poll::Ready(io::Result::Ok(()))
        })
        .await?;
        match self {
            Self::Tls(stream) => stream.flush().await,
            _ => Ok(()),
        }
    }

    /// Says goodbye (TLS close_notify) and closes the sending side.
    pub async fn close(&mut self) {
        // The peer may be gone already; there is nobody to tell.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown().await,
            Self::Unix(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
            Self::Closed => Ok(()),
        };
    }

    /// The poll form of a send: how many bytes were taken.
    pub fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => {
                let sent = ready!(Pin::new(&mut *stream).poll_write(context, bytes));
                // rustls holds what the socket did not take; the next flush or write sends it.
                let _ = Pin::new(stream).poll_flush(context);
                Poll::Ready(sent)
            }
            Self::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Pushes on what TLS holds back; nothing to do for plain sockets. Whether all is out the next write or flush will tell.
    ///
    /// # Errors
    /// As the socket says.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self {
            Self::Tls(stream) => match Pin::new(stream).poll_flush(context) {
                Poll::Ready(Err(error)) => Err(error),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
}
