//! One read on several servers at once: their rows are merged as they come.
//!
//! A server is read only while its buffer is small and the client takes what it is sent, so that memory does not depend on the answer.

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;

use crate::backend::connection::{Reply, ServerConnection};
use crate::execute::client::ClientIo;
use crate::execute::relay::{RelayError, check_kept, poll_watch_client};
use crate::merge::Merger;
use crate::merge::emit::{MergeError, Taken};
use crate::net::buffer::{consume, hand_over};
use crate::wire::frame::{self, HEADER_BYTES};
use crate::wire::{ServerError, TransactionStatus, from_server};

/// A server whose rows wait for other servers' is read up to this.
const AHEAD_BYTES_MAX: usize = 32 * 1024;
/// A client that does not read stops the reading from the servers at this much.
const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// A scatter ended early. The other servers may still be running.
#[derive(Debug, thiserror::Error)]
pub enum ScatterError {
    /// The client is gone.
    #[error("client connection lost")]
    Client(#[source] io::Error),
    /// The connection of this server, counted in the order they were given, is lost or of unknown state.
    #[error("{1}")]
    Lost(usize, RelayError),
    /// This server's own error.
    #[error("{1}")]
    Server(usize, Box<ServerError>),
    #[error("{0}")]
    Merge(#[from] MergeError),
    #[error("rows that the client takes piece by piece need more than {0} bytes of memory")]
    TooLarge(usize),
}

/// Where the rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// To the client at once, RowDescription before them.
    Described,
    /// To the client at once, without RowDescription: Describe has told it.
    Rows,
    /// They are kept, up to this many bytes.
    Kept(usize),
}

/// One of the servers.
pub struct Part<'a> {
    pub server: &'a mut ServerConnection,
    /// Of the replies that the server still owes, how many are this read's; those before are thrown away.
    pub replies: usize,
}

/// What has come of it.
#[derive(Debug, Default)]
pub struct Scattered {
    pub rows: u64,
    /// With [`Sink::Kept`].
    pub kept: BytesMut,
    /// RowDescription.
    pub described: BytesMut,
    /// What each server has given, in their order.
    pub taken: Vec<Taken>,
}

/// Reads all servers' answers to the end. What is in their `output` is sent first.
///
/// # Errors
/// See [`ScatterError`]. Not cancel safe.
pub async fn scatter(
    client: &mut ClientIo,
    parts: &mut [Part<'_>],
    merger: &mut Merger<'_>,
    sink: Sink,
) -> Result<Scattered, ScatterError> {
    let mut done = Scattered::default();
    loop {
        // A row of one server may be what another's rows have waited for.
        let mut progress = true;
        while std::mem::take(&mut progress) {
            for (at, part) in parts.iter_mut().enumerate() {
                let bound = if client.keeps() { usize::MAX } else { UNSENT_BYTES_MAX };
                let (out, bound) = if let Sink::Kept(_) = sink { (&mut done.kept, usize::MAX) } else { (&mut client.output, bound) };
                progress |= take((at, part), merger, (out, bound), sink)? && !merger.passes_on();
            }
        }
        check_kept(client).map_err(|error| ScatterError::Lost(0, error))?;
        if let Sink::Kept(bytes_max) = sink
            && done.kept.len() > bytes_max
        {
            return Err(ScatterError::TooLarge(bytes_max));
        }
        if parts.iter().all(|part| part.server.expected.is_empty()) {
            let out = if let Sink::Kept(_) = sink { &mut done.kept } else { &mut client.output };
            done.rows = merger.finish(out)?;
            done.taken = merger.taken().to_vec();
            return Ok(done);
        }
        std::future::poll_fn(|context| poll_wait(context, client, parts, merger)).await?;
    }
}

/// Moves bytes in all directions until something has arrived from a server, or the client has taken so much that more may be handled.
fn poll_wait(
    context: &mut Context<'_>,
    client: &mut ClientIo,
    parts: &mut [Part<'_>],
    merger: &Merger<'_>,
) -> Poll<Result<(), ScatterError>> {
    let mut arrived = false;
    let takes_more = client.keeps() || client.output.len() < UNSENT_BYTES_MAX;
    for (at, part) in parts.iter_mut().enumerate() {
        let server = &mut *part.server;
        if server.expected.is_empty() {
            continue;
        }
        if server.poll_send(context).is_err() {
            // Its last words may still be in its socket: reading tells.
            server.output.clear();
        }
        let wanted = server.input.len() < AHEAD_BYTES_MAX || merger.wants(at) && !holds_message(&server.input);
        if !takes_more || !wanted {
            continue;
        }
        match server.stream.poll_read_some(context, &mut server.input) {
            Poll::Ready(Ok(0) | Err(_)) => {
                return Poll::Ready(Err(ScatterError::Lost(at, RelayError::Server { last_words: None, cut: false })));
            }
            Poll::Ready(Ok(_)) => arrived = true,
            Poll::Pending => {}
        }
    }
    let mut sent = false;
    client.corked &= client.output.len() < UNSENT_BYTES_MAX;
    while !client.output.is_empty() && !client.keeps() && !client.corked {
        match client.stream.poll_send(context, &client.output) {
            Poll::Ready(Ok(count)) => {
                consume(&mut client.output, count);
                client.replied = true;
                sent = true;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(ScatterError::Client(error))),
            Poll::Pending => break,
        }
    }
    if arrived || sent && !takes_more && client.output.len() < UNSENT_BYTES_MAX {
        return Poll::Ready(Ok(()));
    }
    match poll_watch_client(context, client) {
        Poll::Ready(Err(RelayError::Client(error))) => Poll::Ready(Err(ScatterError::Client(error))),
        _ => Poll::Pending,
    }
}

fn holds_message(input: &BytesMut) -> bool {
    matches!(frame::peek(input), Ok(Some(frame)) if frame.bytes <= input.len())
}

/// Goes through what has arrived from one server, as far as the merge wants it. False: nothing was.
fn take(
    (at, part): (usize, &mut Part<'_>),
    merger: &mut Merger<'_>,
    (out, bound): (&mut BytesMut, usize),
    sink: Sink,
) -> Result<bool, ScatterError> {
    let before = part.server.input.len();
    while !part.server.expected.is_empty() && out.len() < bound {
        let own = part.server.expected.len() <= part.replies;
        if own && merger.passes_on() && merger.is_described() && pass_on(part.server, merger, out) {
            continue;
        }
        let Some(frame) = frame::peek(&part.server.input).map_err(|_| ScatterError::Lost(at, RelayError::Protocol('?')))? else { break };
        if frame.bytes > part.server.input.len() || (frame.tag == b'D' && !merger.wants(at)) {
            break;
        }
        if own && frame.tag == b'D' {
            merger.row(at, part.server.input.get(..frame.bytes).unwrap_or_default(), out)?;
            consume(&mut part.server.input, frame.bytes);
            continue;
        }
        let message = part.server.input.get(..frame.bytes).unwrap_or_default().to_vec();
        consume(&mut part.server.input, frame.bytes);
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        match frame.tag {
            b'T' if own => {
                // Before the merge has a say: if it gives up, the server's other replies are still to be told apart.
                if part.server.expected.front().is_some_and(|front| front.reply == Reply::Describe) {
                    part.server.expected.pop_front();
                }
                let first = !merger.is_described();
                merger.describe(body)?;
                if first && sink == Sink::Described {
                    merger.description(out);
                }
            }
            b'E' => return Err(fail(at, part.server, body)),
            b'N' => out.extend_from_slice(&message),
            tag => {
                judge(part.server, tag, body).ok_or(ScatterError::Lost(at, RelayError::Protocol(char::from(tag))))?;
                if own && matches!(tag, b'C' | b'I') {
                    merger.end(at, out)?;
                }
            }
        }
    }
    Ok(part.server.input.len() < before)
}

/// Moves whole rows to the client's buffer unread. False when none has arrived.
fn pass_on(server: &mut ServerConnection, merger: &mut Merger<'_>, out: &mut BytesMut) -> bool {
    let mut position = 0;
    let mut rows = 0;
    while let Ok(Some(frame)) = frame::peek(server.input.get(position..).unwrap_or_default()) {
        if frame.tag != b'D' || position + frame.bytes > server.input.len() {
            break;
        }
        position += frame.bytes;
        rows += 1;
    }
    if position == 0 {
        return false;
    }
    merger.passed(rows);
    hand_over(&mut server.input, out, position);
    true
}

/// Follows one message of the protocol; `None`: it does not fit what is expected.
fn judge(server: &mut ServerConnection, tag: u8, body: &[u8]) -> Option<()> {
    let front = server.expected.front()?;
    let ends = match (tag, &front.reply) {
        (b'S', _) => {
            if let Ok((name, value)) = from_server::parameter_status(body) {
                server.parameters.insert(name, value);
            }
            false
        }
        (b'A', _) => false,
        (b'Z', Reply::Query | Reply::Sync) => {
            server.status = body.first().copied().and_then(TransactionStatus::from_byte)?;
            true
        }
        (b'C' | b'I', Reply::Execute) => true,
        (b'1', Reply::Parse(..)) | (b'2', Reply::Bind) | (b'3', Reply::Close) => true,
        (b'T' | b'n', Reply::Describe) => true,
        (b't', Reply::Describe) => false,
        (b'C' | b'I' | b'T' | b'D', Reply::Query) => false,
        _ => return None,
    };
    if ends {
        server.expected.pop_front();
    }
    Some(())
}

/// A server's error; in the extended protocol it skips all up to Sync.
fn fail(at: usize, server: &mut ServerConnection, body: &[u8]) -> ScatterError {
    let Ok(error) = from_server::error(body) else { return ScatterError::Lost(at, RelayError::Protocol('E')) };
    let error = Box::new(error);
    if matches!(error.severity.as_str(), "FATAL" | "PANIC") {
        return ScatterError::Lost(at, RelayError::Server { last_words: Some(error), cut: false });
    }
    while server.expected.front().is_some_and(|front| !matches!(front.reply, Reply::Query | Reply::Sync)) {
        server.expected.pop_front();
    }
    ScatterError::Server(at, error)
}
