//! Rows of many servers into temporary tables of one: COPY TO STDOUT of each into COPY FROM STDIN, table after table.
//!
//! ```text
//! source 1 ── rows of t1 ── rows of t2 ─┐
//! source 2 ── rows of t1 ── rows of t2 ─┼─▶ home: COPY t1 FROM STDIN, then COPY t2 FROM STDIN
//! source 3 ── rows of t1 ── rows of t2 ─┘
//! ```
//! Each source is asked once, so that all its rows are of one snapshot; a source that is ahead waits in its socket.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};

use crate::backend::CancelSlot;
use crate::backend::connection::{Reply, ServerConnection};
use crate::execute::client::ClientIo;
use crate::execute::relay::{RelayError, poll_watch_client};
use crate::net::buffer::consume;
use crate::wire::{ClientError, ServerError, SqlState, TransactionStatus, frame, from_server, to_server};

/// Rows that may wait for the home server; then the sources wait.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// What opens COPY data in binary format: signature, flags, length of the extension.
const BINARY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What closes it: a row of -1 columns.
const BINARY_TRAILER: &[u8; 2] = b"\xff\xff";

/// Gathering did not succeed. All servers that are not lost have ended what they did for it.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    #[error("{0}")]
    Server(Box<ServerError>),
    #[error("{0}")]
    Lost(#[from] RelayError),
    #[error("gathered rows exceed {0} bytes")]
    TooMuch(usize),
}

impl ClientError for GatherError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Server(error) => error.sqlstate(),
            Self::Lost(error) => error.sqlstate(),
            Self::TooMuch(_) => SqlState::CONFIGURATION_LIMIT_EXCEEDED,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::Lost(error) => error.detail(),
            Self::TooMuch(_) => Some("The statement's tables are brought to the home shard as a whole, and this is the bound.".to_owned()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Lost(_) => None,
            Self::TooMuch(_) => Some(
                "Add conditions on the shard key, write the query so that it can be merged (EXPLAIN (ROUTE) tells why it cannot), \
                 or raise session.gather_bytes_max in proxy.toml."
                    .to_owned(),
            ),
        }
    }

    fn body(&self) -> Option<&[u8]> {
        match self {
            Self::Server(error) => error.body(),
            _ => None,
        }
    }
}

/// What is to be brought.
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    /// COPY FROM STDIN of each table, and the number of its columns.
    pub tables: &'a [(String, usize)],
    /// Rows are in text format, else binary.
    pub as_text: bool,
    /// Most bytes of rows.
    pub bytes_max: usize,
}

/// One server that rows come from.
struct Source<'a> {
    server: &'a mut ServerConnection,
    /// What it is asked: COPY TO STDOUT, alone or among other statements.
    ask: String,
    /// The binary header has come.
    begun: bool,
    /// The table of the row that comes next.
    table: usize,
    /// Nothing of this statement's is to come any more.
    done: bool,
}

/// Brings the rows of all sources, each with what it is asked, into the home server's tables. Returns how many bytes of rows there were.
///
/// # Errors
/// See [`GatherError`]. Not cancel safe.
pub async fn pull(
    client: &mut ClientIo,
    home: &mut ServerConnection,
    sources: Vec<(&mut ServerConnection, String)>,
    pull: &Pull<'_>,
    slot: &Arc<CancelSlot>,
) -> Result<usize, GatherError> {
    let mut pulling = Pulling {
        client,
        home,
        sources: sources.into_iter().map(|(server, ask)| Source { server, ask, begun: false, table: 0, done: false }).collect(),
        pull,
        bytes: 0,
        copying: false,
        failed: None,
    };
    let result = pulling.run().await;
    if result.is_err() && pulling.copying {
        to_server::copy_fail(&mut pulling.home.output, b"the gather has failed");
    }
    if let Err(GatherError::Lost(RelayError::Client(_)) | GatherError::Lost(RelayError::Protocol(_))) = &result {
        // Their connections are in the middle of something and will be closed.
        slot.cancel().await;
        return result;
    }
    if result.is_err() && !pulling.is_quiet() {
        // What the other servers still do is for nothing.
        slot.cancel().await;
        pulling.quiet().await;
    }
    result
}

struct Pulling<'a, 'b> {
    client: &'a mut ClientIo,
    home: &'a mut ServerConnection,
    sources: Vec<Source<'a>>,
    pull: &'a Pull<'b>,
    bytes: usize,
    /// The home server takes rows.
    copying: bool,
    /// The first error of a server's.
    failed: Option<Box<ServerError>>,
}

impl Pulling<'_, '_> {
    async fn run(&mut self) -> Result<usize, GatherError> {
        for source in &mut self.sources {
            to_server::query(&mut source.server.output, source.ask.as_bytes());
            source.server.expect(Reply::Query, false);
        }
        for at in 0..self.pull.tables.len() {
            self.table(at).await?;
        }
        while !self.is_quiet() {
            self.step(usize::MAX).await?;
        }
        Ok(self.bytes)
    }

    /// Brings one table's rows.
    async fn table(&mut self, at: usize) -> Result<(), GatherError> {
        let Some((copy, _)) = self.pull.tables.get(at) else { return Ok(()) };
        to_server::query(&mut self.home.output, copy.as_bytes());
        self.home.expect(Reply::Query, false);
        self.copying = true;
        if !self.pull.as_text {
            to_server::message(&mut self.home.output, b'd', |out| out.put_slice(BINARY_HEADER));
        }
        loop {
            let ended = self.move_rows(at)?;
            if let Some(error) = self.failed.take() {
                return Err(GatherError::Server(error));
            }
            if self.bytes > self.pull.bytes_max {
                return Err(GatherError::TooMuch(self.pull.bytes_max));
            }
            if ended {
                break;
            }
            self.step(at).await?;
        }
        if !self.pull.as_text {
            to_server::message(&mut self.home.output, b'd', |out| out.put_slice(BINARY_TRAILER));
        }
        to_server::message(&mut self.home.output, b'c', |_| {});
        self.copying = false;
        Ok(())
    }

    /// Hands over all rows of table `at` that have arrived. True when no source has more of them.
    fn move_rows(&mut self, at: usize) -> Result<bool, GatherError> {
        let mut ended = true;
        for source in &mut self.sources {
            ended &= source.move_rows(at, &mut *self.home, self.pull, (&mut self.bytes, &mut self.failed))?;
        }
        Ok(ended)
    }

    /// Waits until something can go on: a server has said something or has taken something.
    async fn step(&mut self, table: usize) -> Result<(), GatherError> {
        std::future::poll_fn(|context| self.poll_step(context, table)).await?;
        if let Some(error) = read_replies(self.home)? {
            // A source's error comes first: the home server only hears of it.
            self.failed.get_or_insert(error);
        }
        if table == usize::MAX {
            for source in &mut self.sources {
                if let Some(error) = read_replies(source.server)? {
                    self.failed.get_or_insert(error);
                }
            }
            if let Some(error) = self.failed.take() {
                return Err(GatherError::Server(error));
            }
        }
        Ok(())
    }

    fn poll_step(&mut self, context: &mut Context<'_>, table: usize) -> Poll<Result<(), RelayError>> {
        let mut ready = poll_server(context, self.home, true)?;
        let full = self.home.output.len() >= UNSENT_BYTES_MAX;
        for source in &mut self.sources {
            // A source whose next row is of a later table waits.
            let wanted = !source.done && source.table <= table && !full || table == usize::MAX;
            ready |= poll_server(context, source.server, wanted)?;
        }
        if ready {
            return Poll::Ready(Ok(()));
        }
        poll_watch_client(context, self.client)
    }

    fn is_quiet(&self) -> bool {
        self.home.expected.is_empty() && self.sources.iter().all(|source| source.server.expected.is_empty())
    }

    /// After an error: reads on until every server is done. One that is lost is left as it is.
    async fn quiet(&mut self) {
        for server in std::iter::once(&mut *self.home).chain(self.sources.iter_mut().map(|source| &mut *source.server)) {
            while !server.expected.is_empty() {
                let _ = server.send().await;
                match read_replies(server) {
                    Ok(_) if server.expected.is_empty() => break,
                    Ok(_) => {}
                    Err(_) => break,
                }
                if !matches!(server.stream.read_some(&mut server.input).await, Ok(read) if read > 0) {
                    break;
                }
            }
        }
    }
}

type Progress<'a> = (&'a mut usize, &'a mut Option<Box<ServerError>>);

impl Source<'_> {
    /// As [`Pulling::move_rows`], for one source.
    fn move_rows(
        &mut self,
        at: usize,
        home: &mut ServerConnection,
        pull: &Pull<'_>,
        (bytes, failed): Progress<'_>,
    ) -> Result<bool, GatherError> {
        while !self.done && home.output.len() < UNSENT_BYTES_MAX {
            let Some(frame) = frame::peek(&self.server.input).map_err(|_| RelayError::Protocol('?'))? else { return Ok(false) };
            let Some(body) = self.server.input.get(frame::HEADER_BYTES..frame.bytes) else { return Ok(false) };
            if frame.tag != b'd' {
                if let Some(error) = reply(self.server, frame)? {
                    failed.get_or_insert(error);
                }
                self.done = self.server.expected.is_empty();
                continue;
            }
            let skipped = if self.begun || pull.as_text { 0 } else { BINARY_HEADER.len() };
            let row = body.get(skipped..).ok_or(RelayError::Protocol('d'))?;
            if !row.is_empty() && (row != BINARY_TRAILER || pull.as_text) {
                let (table, row) = split_row(row, pull).ok_or(RelayError::Protocol('d'))?;
                if table != at {
                    self.table = table;
                    return if table < at { Err(RelayError::Protocol('d').into()) } else { Ok(true) };
                }
                *bytes += row.bytes();
                row.write(&mut home.output);
            }
            self.begun = true;
            consume(&mut self.server.input, frame.bytes);
        }
        Ok(self.done)
    }
}

/// One table's part of a row.
struct Row<'a> {
    /// In binary format, the number of its columns where that has changed.
    columns: Option<u16>,
    fields: &'a [u8],
    newline: bool,
}

impl Row<'_> {
    fn bytes(&self) -> usize {
        self.fields.len()
    }

    fn write(&self, out: &mut BytesMut) {
        to_server::message(out, b'd', |out| {
            if let Some(columns) = self.columns {
                out.put_u16(columns);
            }
            out.put_slice(self.fields);
            if self.newline {
                out.put_u8(b'\n');
            }
        });
    }
}

/// The table that a row belongs to, and its part. With several tables a row is: the table's place, the columns of all of them, all null
/// but the table's own.
fn split_row<'a>(row: &'a [u8], pull: &Pull<'_>) -> Option<(usize, Row<'a>)> {
    if pull.tables.len() == 1 {
        return Some((0, Row { columns: None, fields: row, newline: false }));
    }
    // Bytes of a null with what parts it from its neighbour: `\N` and a tab; a length of -1.
    let (table, rest, null) = if pull.as_text {
        let tab = memchr::memchr(b'\t', row)?;
        let table = std::str::from_utf8(row.get(..tab)?).ok()?.parse().ok()?;
        (table, row.strip_suffix(b"\n")?.get(tab + 1..)?, 3)
    } else {
        let number: [u8; 4] = row.get(6..10)?.try_into().ok()?;
        (usize::try_from(u32::from_be_bytes(number)).ok()?, row.get(10..)?, 4)
    };
    let columns = pull.tables.get(table)?.1;
    let before: usize = pull.tables.get(..table)?.iter().map(|(_, columns)| columns).sum();
    let after: usize = pull.tables.get(table + 1..)?.iter().map(|(_, columns)| columns).sum();
    let fields = rest.get(before * null..rest.len().checked_sub(after * null)?)?;
    let row = if pull.as_text {
        Row { columns: None, fields, newline: true }
    } else {
        Row { columns: Some(u16::try_from(columns).ok()?), fields, newline: false }
    };
    Some((table, row))
}

/// Sends what can be sent and reads what has come. True when something has come, or all that waited is sent.
fn poll_server(context: &mut Context<'_>, server: &mut ServerConnection, reads: bool) -> Result<bool, RelayError> {
    let lost = || RelayError::Server { last_words: None, cut: false };
    // Where it fails, the reading below says why.
    let mut moved = server.poll_send(context).unwrap_or(false);
    if reads && !server.expected.is_empty() {
        match server.stream.poll_read_some(context, &mut server.input) {
            Poll::Ready(Ok(0) | Err(_)) => return Err(lost()),
            Poll::Ready(Ok(_)) => moved = true,
            Poll::Pending => {}
        }
    }
    Ok(moved)
}

/// Takes in all replies that have come, rows too. The first error of them.
fn read_replies(server: &mut ServerConnection) -> Result<Option<Box<ServerError>>, RelayError> {
    let mut first = None;
    while let Some(frame) = frame::peek(&server.input).map_err(|_| RelayError::Protocol('?'))? {
        if server.input.len() < frame.bytes {
            break;
        }
        if let Some(error) = reply(server, frame)? {
            first.get_or_insert(error);
        }
    }
    Ok(first)
}

/// Takes in one message that has come whole.
fn reply(server: &mut ServerConnection, frame: frame::Frame) -> Result<Option<Box<ServerError>>, RelayError> {
    let body = server.input.get(frame::HEADER_BYTES..frame.bytes).unwrap_or_default();
    let unexpected = || RelayError::Protocol(char::from(frame.tag));
    let told = match frame.tag {
        b'Z' => {
            server.status = body.first().copied().and_then(TransactionStatus::from_byte).ok_or_else(unexpected)?;
            server.expected.pop_front().ok_or_else(unexpected)?;
            None
        }
        b'E' => {
            let error = Box::new(from_server::error(body).map_err(|_| unexpected())?);
            if matches!(error.severity.as_str(), "FATAL" | "PANIC") {
                return Err(RelayError::Server { last_words: Some(error), cut: false });
            }
            Some(error)
        }
        b'S' => {
            if let Ok((name, value)) = from_server::parameter_status(body) {
                server.parameters.insert(name, value);
            }
            None
        }
        b'C' | b'N' | b'A' | b'G' | b'H' | b'W' | b'c' | b'd' | b'T' | b'D' | b'I' => None,
        _ => return Err(unexpected()),
    };
    consume(&mut server.input, frame.bytes);
    Ok(told)
}
