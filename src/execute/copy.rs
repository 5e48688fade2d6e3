//! COPY FROM STDIN on one server: the client's data goes straight through.

use std::io;
use std::task::Poll;

use crate::backend::connection::ServerConnection;
use crate::execute::client::ClientIo;
use crate::execute::relay::RelayError;
use crate::net::buffer::{consume, hand_over};
use crate::wire::frame::{self, FrameError};
use crate::wire::{ClientError, SqlState};

/// Data that may wait for the server; then the client waits.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// COPY data could not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{0}")]
    Relay(#[from] RelayError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("unexpected message type 0x{0:02X} during COPY from stdin")]
    Message(u8),
}

impl ClientError for CopyError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Relay(error) => error.sqlstate(),
            Self::Frame(_) | Self::Message(_) => SqlState::PROTOCOL_VIOLATION,
        }
    }
}

/// Passes on the client's COPY data up to CopyDone or CopyFail, or until the server says something (an error).
///
/// # Errors
/// See [`CopyError`]. Not cancel safe.
pub async fn copy_in(client: &mut ClientIo, server: &mut ServerConnection) -> Result<(), CopyError> {
    // Bytes of a CopyData message whose head has been passed on.
    let mut partial = 0;
    loop {
        // A message passed on in part is passed on whole, or both ends would lose count.
        if take_messages(client, server, &mut partial)? || (!server.input.is_empty() && partial == 0) {
            return Ok(());
        }
        if client.closed {
            return Err(RelayError::Client(io::ErrorKind::UnexpectedEof.into()).into());
        }
        std::future::poll_fn(|context| {
            // Where it fails, the reading below says why.
            let _ = server.poll_send(context);
            match server.stream.poll_read_some(context, &mut server.input) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(RelayError::Server { last_words: None, cut: false })),
                Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            if server.output.len() >= UNSENT_BYTES_MAX {
                return Poll::Pending;
            }
            match client.stream.poll_read_some(context, &mut client.input) {
                Poll::Ready(Ok(read)) => {
                    client.closed = read == 0;
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(RelayError::Client(error))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
    }
}

/// Moves what has arrived to the server's buffer. True at the end of the data.
fn take_messages(client: &mut ClientIo, server: &mut ServerConnection, partial: &mut usize) -> Result<bool, CopyError> {
    loop {
        if *partial > 0 {
            let taken = (*partial).min(client.input.len());
            hand_over(&mut client.input, &mut server.output, taken);
            *partial -= taken;
            if *partial > 0 {
                return Ok(false);
            }
        }
        let Some(frame) = frame::peek_client(&client.input)? else { return Ok(false) };
        let whole = client.input.len() >= frame.bytes;
        match frame.tag {
            b'd' if !whole => {
                *partial = frame.bytes - client.input.len();
                let held = client.input.len();
                hand_over(&mut client.input, &mut server.output, held);
                return Ok(false);
            }
            _ if !whole => return Ok(false),
            b'd' => hand_over(&mut client.input, &mut server.output, frame.bytes),
            b'c' | b'f' => {
                hand_over(&mut client.input, &mut server.output, frame.bytes);
                return Ok(true);
            }
            // As CopyGetData: Flush and Sync are ignored within COPY.
            b'H' | b'S' => consume(&mut client.input, frame.bytes),
            tag => return Err(CopyError::Message(tag)),
        }
    }
}
