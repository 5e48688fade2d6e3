//! One shard's part in a statement on several: its rows go to the client or are kept, the rest is told to the caller.

use std::future::poll_fn;

use bytes::{Buf, Bytes, BytesMut};

use crate::backend::ServerConnection;
use crate::execute::client::ClientIo;
use crate::execute::relay::{Outcome, Progress, RelayError, Unnamed, poll_wait, scan};
use crate::net::buffer::consume;
use crate::wire::ServerError;
use crate::wire::frame::{self, HEADER_BYTES};

/// What the client gets of the part.
#[derive(Debug, Default)]
pub struct Keep {
    /// RowDescription or CopyOutResponse: one shard's is enough.
    pub description: bool,
    /// Not empty: the RowDescription that it gets instead.
    pub described: Bytes,
    /// Rows stay with the part.
    pub collect: bool,
    /// COPY data is cut: bytes to leave out of its first message, whether to leave out all of it, and whether a binary trailer is one.
    pub copy: CopyCut,
}

/// What is left out of a shard's COPY data, so that the shards' data one after another is one COPY's.
#[derive(Debug, Default)]
pub struct CopyCut {
    /// A header line, which is a message of its own.
    pub first_message: bool,
    /// The binary format's header, which the first row shares a message with.
    pub first_bytes: usize,
    /// The binary format's trailer, a message of its own unless there is no row.
    pub trailer: bool,
}

/// What a shard answered besides what went to the client.
#[derive(Debug, Default)]
pub struct Part {
    /// CommandComplete's tag.
    pub tag: Option<String>,
    /// DataRow messages, if they are kept.
    pub rows: BytesMut,
    /// CopyInResponse as it came: the shard waits for data.
    pub copy_in: Option<BytesMut>,
    /// ParameterDescription's or RowDescription's message.
    pub described: BytesMut,
    pub error: Option<Box<ServerError>>,
}

/// The binary format's end of data.
pub const BINARY_TRAILER: &[u8] = b"\xff\xff";

/// Takes all that the server still has to answer, or up to where it waits for COPY data.
///
/// # Errors
/// See [`RelayError`]; an error of the statement is in the part. Not cancel safe.
pub async fn take_part(client: &mut ClientIo, server: &mut ServerConnection, keep: &mut Keep) -> Result<Part, RelayError> {
    let mut part = Part::default();
    let mut outcome = Outcome::default();
    let mut sink = BytesMut::new();
    loop {
        let ended = scan(&mut sink, server, &mut outcome, &Unnamed)?;
        sort(&mut sink, client, keep, &mut part);
        if ended {
            break;
        }
        poll_fn(|context| poll_wait(context, client, server)).await?;
    }
    if outcome.progress == Progress::CopyIn && part.copy_in.is_none() {
        return Err(RelayError::Protocol('G'));
    }
    part.error = outcome.error;
    Ok(part)
}

/// Sorts the messages that have arrived whole.
fn sort(sink: &mut BytesMut, client: &mut ClientIo, keep: &mut Keep, part: &mut Part) {
    while let Ok(Some(frame)) = frame::peek(sink) {
        if sink.len() < frame.bytes {
            return;
        }
        let message = sink.get(..frame.bytes).unwrap_or_default();
        match frame.tag {
            b'D' if keep.collect => part.rows.extend_from_slice(message),
            b'T' | b't' if keep.collect => part.described.extend_from_slice(message),
            b'T' | b'H' if !keep.description => {}
            b'T' if !keep.described.is_empty() => client.output.extend_from_slice(&keep.described),
            b'C' => part.tag = message.get(HEADER_BYTES..frame.bytes - 1).map(|tag| String::from_utf8_lossy(tag).into_owned()),
            b'G' => part.copy_in = Some(BytesMut::from(message)),
            b'd' => copy_data(message, &mut keep.copy, client),
            // The caller tells them, once.
            b'E' | b'c' | b'n' | b't' => {}
            _ => client.output.extend_from_slice(message),
        }
        consume(sink, frame.bytes);
    }
}

fn copy_data(message: &[u8], cut: &mut CopyCut, client: &mut ClientIo) {
    if std::mem::take(&mut cut.first_message) {
        return;
    }
    let mut data = message.get(HEADER_BYTES..).unwrap_or_default();
    data.advance(std::mem::take(&mut cut.first_bytes).min(data.len()));
    if cut.trailer {
        data = data.strip_suffix(BINARY_TRAILER).filter(|rest| rest.is_empty() || rest.len() == BINARY_HEADER_BYTES).unwrap_or(data);
    }
    if !data.is_empty() {
        crate::wire::to_server::message(&mut client.output, b'd', |out| out.extend_from_slice(data));
    }
}

/// Signature, flags and an empty extension, as PostgreSQL writes them.
pub const BINARY_HEADER_BYTES: usize = 19;
