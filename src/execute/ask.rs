//! Runs the proxy's own statements on a server connection; the client sees nothing of it.

use std::io;

use bytes::BytesMut;

use crate::backend::connection::{Reply, ServerConnection};
use crate::execute::relay::{Outcome, RelayError, Unnamed, scan};
use crate::wire::reader::Reader;
use crate::wire::{ClientError, ServerError, SqlState, frame, to_server};

/// A statement of our own failed.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{0}")]
    Server(Box<ServerError>),
    #[error("{0}")]
    Lost(#[from] RelayError),
}

impl ClientError for AskError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Server(error) => error.sqlstate(),
            Self::Lost(error) => error.sqlstate(),
        }
    }
    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::Lost(error) => error.detail(),
        }
    }
    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Lost(_) => None,
        }
    }
    fn body(&self) -> Option<&[u8]> {
        match self {
            Self::Server(error) => error.body(),
            Self::Lost(_) => None,
        }
    }
}

/// Sends `sql` as a simple query and waits for ReadyForQuery; rows are thrown away.
///
/// # Errors
/// The server's error, or the loss of the connection. Not cancel safe.
pub async fn ask(server: &mut ServerConnection, sql: &str) -> Result<(), AskError> {
    to_server::query(&mut server.output, sql.as_bytes());
    server.expect(Reply::Query, false);
    drain(server).await
}

/// As [`ask`], for the first column of the first row; `None` without rows or for NULL.
///
/// # Errors
/// As [`ask`].
pub async fn ask_value(server: &mut ServerConnection, sql: &str) -> Result<Option<String>, AskError> {
    to_server::query(&mut server.output, sql.as_bytes());
    server.expect(Reply::Query, true);
    Ok(first_value(&collect(server).await?))
}

/// As [`ask_value`], in the middle of a batch of the extended protocol: its transaction stays open, and the client's unnamed statement and
/// portal are left alone.
///
/// # Errors
/// As [`ask`].
pub async fn ask_value_in_batch(server: &mut ServerConnection, sql: &str) -> Result<Option<String>, AskError> {
    const NAME: &[u8] = b"shardyard_asks";
    let out = &mut server.output;
    to_server::parse(out, NAME, sql.as_bytes(), &[]);
    to_server::bind(out, NAME, NAME, &[0; 6]);
    to_server::execute(out, NAME, 0);
    to_server::close_portal(out, NAME);
    to_server::close_statement(out, NAME);
    to_server::flush(out);
    for reply in [Reply::Parse(None, 0), Reply::Bind, Reply::Execute, Reply::Close, Reply::Close] {
        let kept = reply == Reply::Execute;
        server.expect(reply, kept);
    }
    Ok(first_value(&collect(server).await?))
}

fn first_value(rows: &[u8]) -> Option<String> {
    let mut rest = rows;
    while let Ok(Some(frame)) = frame::peek(rest) {
        let Some((message, others)) = rest.split_at_checked(frame.bytes) else { break };
        if frame.tag == b'D' {
            let mut reader = Reader::new(message.get(frame::HEADER_BYTES + 2..).unwrap_or_default());
            let length = reader.i32().ok().and_then(|length| usize::try_from(length).ok());
            let value = length.and_then(|length| reader.bytes(length).ok());
            return value.map(|value| String::from_utf8_lossy(value).into_owned());
        }
        rest = others;
    }
    None
}

/// Waits until nothing is expected any more; replies are thrown away.
///
/// # Errors
/// The first error of the server's, or the loss of the connection. Not cancel safe.
pub async fn drain(server: &mut ServerConnection) -> Result<(), AskError> {
    collect(server).await.map(drop)
}

/// As [`drain`]; what would have been forwarded is returned.
///
/// # Errors
/// As [`drain`].
pub async fn ask_replies(server: &mut ServerConnection) -> Result<BytesMut, AskError> {
    collect(server).await
}

async fn collect(server: &mut ServerConnection) -> Result<BytesMut, AskError> {
    collect_within(server, usize::MAX).await.map(|(sink, _)| sink)
}

/// As [`ask_replies`] up to `bytes_max`; `None` when there is more, which is thrown away.
///
/// # Errors
/// As [`drain`].
pub async fn ask_within(server: &mut ServerConnection, bytes_max: usize) -> Result<Option<BytesMut>, AskError> {
    collect_within(server, bytes_max).await.map(|(sink, whole)| whole.then_some(sink))
}

async fn collect_within(server: &mut ServerConnection, bytes_max: usize) -> Result<(BytesMut, bool), AskError> {
    let lost = |_: io::Error| RelayError::Server { last_words: None, cut: false };
    let mut outcome = Outcome::default();
    let mut sink = BytesMut::new();
    let mut whole = true;
    // A server that is going down has said so before it closed: read that even where sending fails.
    let sent = server.send().await;
    loop {
        if scan(&mut sink, server, &mut outcome, &Unnamed)? {
            return outcome.error.map_or(Ok((sink, whole)), |error| Err(AskError::Server(error)));
        }
        if sink.len() > bytes_max {
            whole = false;
            sink.clear();
        }
        if server.stream.read_some(&mut server.input).await.map_err(lost)? == 0 || sent.is_err() && server.input.is_empty() {
            return Err(RelayError::Server { last_words: None, cut: false }.into());
        }
    }
}
