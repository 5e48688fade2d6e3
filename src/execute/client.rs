//! The client's end: its stream and what has arrived and is to be sent.

use std::io;

use bytes::BytesMut;

use crate::execute::relay::poll_watch_client;
use crate::net::Stream;

/// A buffer larger than this is given back once it is empty.
const KEPT_BYTES: usize = 16 * 1024;

/// Kept of an empty buffer while the client is idle: a short reply fits.
const IDLE_BYTES: usize = 512;

/// Returns when the client has left; takes in what it sends ahead. Cancel safe.
pub async fn left(client: &mut ClientIo) {
    // It only ever returns with an error: nothing was asked for.
    let _ = std::future::poll_fn(|context| poll_watch_client(context, client)).await;
}

/// A client's stream with its buffers.
#[derive(Debug)]
pub struct ClientIo {
    pub stream: Stream,
    /// Arrived and not yet handled.
    pub input: BytesMut,
    /// To be sent.
    pub output: BytesMut,
    /// The client has closed its sending side.
    pub closed: bool,
    /// Something of a reply was sent, or will be.
    pub replied: bool,
    /// Replies stay in `output` until it is known that all shards agree, or that the batch need not be run again. A long one is sent all the
    /// same, and then this is no longer set.
    pub corked: bool,
    /// What is written to `output` is for the session itself, up to this much: nothing of it is sent. 0: it is sent.
    pub kept_bytes_max: usize,
}

impl ClientIo {
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), closed: false, replied: false, corked: false, kept_bytes_max: 0 }
    }

    /// Whether what is written to `output` stays there.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.kept_bytes_max > 0
    }

    /// Waits for more input; `false` at the end of the stream. While it waits, empty buffers hold no memory. Cancel safe.
    ///
    /// # Errors
    /// As the socket says.
    pub async fn receive(&mut self) -> io::Result<bool> {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() && self.output.capacity() > IDLE_BYTES {
            self.output = BytesMut::new();
        }
        let read = self.stream.read_some(&mut self.input).await?;
        self.closed = read == 0;
        Ok(read != 0)
    }

    /// Sends what is in `output`. Cancel safe.
    ///
    /// # Errors
    /// As the socket says.
    pub async fn send(&mut self) -> io::Result<()> {
        if !self.keeps() && (!self.output.is_empty() || self.stream.is_tls()) {
            if self.corked {
                (self.corked, self.replied) = (false, true);
            }
            self.stream.send_buffer(&mut self.output).await?;
            if self.output.capacity() > KEPT_BYTES {
                self.output = BytesMut::new();
            }
        }
        Ok(())
    }
}
