//! COPY FROM STDIN over several shards: the client's data is taken apart by key as it comes, and each shard gets its rows.
//!
//! No more is held than a bound per shard, and the row that has not arrived whole.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use crate::backend::ServerConnection;
use crate::execute::client::ClientIo;
use crate::execute::copy::CopyError;
use crate::execute::relay::RelayError;
use crate::net::buffer::consume;
use crate::routing::Refusal;
use crate::routing::copy::{CopyKey, RowTarget};
use crate::sql::copy::{DataError, LineLog, RowKind, Rows};
use crate::topology::{ShardId, ShardMap};
use crate::wire::frame;

/// Rows that may wait for one shard; then the client waits.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// Rows taken from the client at once.
const TAKEN_BYTES_MAX: usize = 128 * 1024;

/// One shard's side.
pub struct Receiver<'a> {
    pub shard: ShardId,
    pub server: &'a mut ServerConnection,
    pub lines: LineLog,
    /// Rows it was given.
    pub rows: u64,
    /// The place of the length of the message that is being filled.
    open: Option<usize>,
}

impl<'a> Receiver<'a> {
    #[must_use]
    pub fn new(shard: ShardId, server: &'a mut ServerConnection) -> Self {
        Self { shard, server, lines: LineLog::default(), rows: 0, open: None }
    }

    fn give(&mut self, row: &[u8]) {
        let output = &mut self.server.output;
        if self.open.is_none() {
            output.extend_from_slice(b"d\0\0\0\0");
            self.open = Some(output.len() - 4);
        }
        output.extend_from_slice(row);
    }

    /// Closes the message that is being filled: from here on it may be sent.
    fn seal(&mut self) {
        let Some(start) = self.open.take() else { return };
        let length = u32::try_from(self.server.output.len() - start).unwrap_or(u32::MAX);
        if let Some(place) = self.server.output.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// How rows find their shards.
pub enum Sharing<'a> {
    /// Each goes to the shard of its key.
    ByKey { key: &'a CopyKey, rows: Box<Rows>, map: &'a ShardMap, other_encoding: bool },
    /// Every shard gets all data.
    Same,
}

/// How the data ended.
#[derive(Debug)]
pub enum DataEnd {
    /// CopyDone.
    Done,
    /// CopyFail with the client's reason.
    Failed(Vec<u8>),
    /// A server has said something: an error.
    ServerSpoke,
    /// A row cannot be given to a shard.
    Refused(RowError),
}

/// Why a row cannot be given to a shard.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("{0}")]
    Key(Refusal),
    #[error("{0}")]
    Data(DataError),
}

/// Shares out the client's data; `line` counts its lines. Every server has asked for data. The servers get no CopyDone or CopyFail here.
///
/// # Errors
/// See [`CopyError`]. Not cancel safe.
pub async fn share_out(
    client: &mut ClientIo,
    receivers: &mut [Receiver<'_>],
    sharing: &mut Sharing<'_>,
    line: &mut u64,
) -> Result<DataEnd, CopyError> {
    // Bytes of a CopyData message whose head has been taken.
    let mut partial = 0;
    let mut ended = None;
    loop {
        if ended.is_none() {
            ended = take_messages(client, receivers, sharing, (&mut partial, line))?;
            receivers.iter_mut().for_each(Receiver::seal);
            if ended.is_none() && receivers.iter().any(|receiver| !receiver.server.input.is_empty()) {
                ended = Some(DataEnd::ServerSpoke);
            }
        } else {
            // What is left of a message is the COPY's still.
            let taken = partial.min(client.input.len());
            consume(&mut client.input, taken);
            partial -= taken;
        }
        if partial == 0
            && let Some(end) = ended
        {
            return Ok(end);
        }
        if client.closed {
            return Err(RelayError::Client(io::ErrorKind::UnexpectedEof.into()).into());
        }
        let waits = ended.is_none();
        poll_fn(|context| poll_move(context, client, receivers, waits)).await?;
    }
}

/// Moves bytes until something has arrived. `waits`: as long as a server has too much to take, the client waits.
fn poll_move(
    context: &mut Context<'_>,
    client: &mut ClientIo,
    receivers: &mut [Receiver<'_>],
    waits: bool,
) -> Poll<Result<(), RelayError>> {
    let mut full = false;
    for receiver in receivers.iter_mut().filter(|_| waits) {
        let server = &mut *receiver.server;
        // Where it fails, the reading below says why.
        let _ = server.poll_send(context);
        match server.stream.poll_read_some(context, &mut server.input) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(RelayError::Server { last_words: None, cut: false })),
            Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
            Poll::Pending => {}
        }
        full |= server.output.len() >= UNSENT_BYTES_MAX;
    }
    if full {
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
}

/// Takes what has arrived, up to a bound.
fn take_messages(
    client: &mut ClientIo,
    receivers: &mut [Receiver<'_>],
    sharing: &mut Sharing<'_>,
    (partial, line): (&mut usize, &mut u64),
) -> Result<Option<DataEnd>, CopyError> {
    let mut taken = 0;
    loop {
        if *partial > 0 {
            let count = (*partial).min(client.input.len()).min(TAKEN_BYTES_MAX);
            let shared = share(client.input.get(..count).unwrap_or_default(), receivers, sharing, line);
            consume(&mut client.input, count);
            *partial -= count;
            taken += count;
            if let Err(error) = shared {
                return Ok(Some(DataEnd::Refused(error)));
            }
            let full = receivers.iter().any(|receiver| receiver.server.output.len() >= UNSENT_BYTES_MAX);
            if *partial > 0 || full && taken >= TAKEN_BYTES_MAX {
                return Ok(None);
            }
        }
        let Some(frame) = frame::peek_client(&client.input)? else { return Ok(None) };
        match frame.tag {
            b'd' => {
                consume(&mut client.input, frame::HEADER_BYTES);
                *partial = frame.bytes - frame::HEADER_BYTES;
            }
            _ if client.input.len() < frame.bytes => return Ok(None),
            b'c' => {
                consume(&mut client.input, frame.bytes);
                if let Sharing::ByKey { rows, .. } = sharing {
                    rows.finish();
                    if let Err(error) = share(&[], receivers, sharing, line) {
                        return Ok(Some(DataEnd::Refused(error)));
                    }
                }
                return Ok(Some(DataEnd::Done));
            }
            b'f' => {
                let reason = client.input.get(frame::HEADER_BYTES..frame.bytes - 1).unwrap_or_default().to_vec();
                consume(&mut client.input, frame.bytes);
                return Ok(Some(DataEnd::Failed(reason)));
            }
            // As CopyGetData: Flush and Sync are ignored within COPY.
            b'H' | b'S' => consume(&mut client.input, frame.bytes),
            tag => return Err(CopyError::Message(tag)),
        }
    }
}

fn share(data: &[u8], receivers: &mut [Receiver<'_>], sharing: &mut Sharing<'_>, line: &mut u64) -> Result<(), RowError> {
    let Sharing::ByKey { key, rows, map, other_encoding } = sharing else {
        if !data.is_empty() {
            receivers.iter_mut().for_each(|receiver| receiver.give(data));
        }
        return Ok(());
    };
    rows.feed(data);
    loop {
        let row = match rows.take_row() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(()),
            Err(error) => {
                *line += 1;
                return Err(RowError::Data(error));
            }
        };
        *line += u64::from(row.lines);
        if row.kind == RowKind::Shared {
            for receiver in receivers.iter_mut() {
                receiver.lines.push(*line, row.lines);
                receiver.give(row.bytes);
            }
            continue;
        }
        let wanted = match key.target(&row.key, *other_encoding, map) {
            RowTarget::Shard(shard) => Some(shard),
            RowTarget::AnyShard => None,
            RowTarget::Refused(refusal) => return Err(RowError::Key(refusal)),
        };
        let at = wanted.and_then(|wanted| receivers.iter().position(|receiver| receiver.shard == wanted)).unwrap_or(0);
        if let Some(receiver) = receivers.get_mut(at) {
            receiver.lines.push(*line, if receiver.lines.is_empty() { row.lines_first } else { row.lines });
            receiver.rows += 1;
            receiver.give(row.bytes);
        }
    }
}
