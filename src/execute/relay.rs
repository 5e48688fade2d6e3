//! Relays a server's replies to the client: only headers are looked at, bytes are forwarded from the buffer they were read into.

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;

use crate::backend::connection::{Expected, Reply, ServerConnection};
use crate::execute::client::ClientIo;
use crate::execute::translate::translated;
use crate::execute::{closed, deadlock};
use crate::net::buffer;
use crate::wire::{ClientError, ServerError, SqlState, TransactionStatus, frame, from_server, to_server};

/// Part of a row is sent on before the whole has arrived once this much of it has.
const PARTIAL_BYTES: usize = 64 * 1024;
/// A client that does not read stops the reading from the server at this much.
const UNSENT_BYTES_MAX: usize = 256 * 1024;
/// What a client may send ahead while its statement runs; beyond, it waits in its socket.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// Relaying ended in the middle.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The client is gone.
    #[error("client connection lost")]
    Client(#[source] io::Error),
    /// The server is gone; with its last words, if it had any. `cut`: the client has part of a message and cannot be served on.
    #[error("{}", lost_message(.last_words.as_deref()))]
    Server { last_words: Option<Box<ServerError>>, cut: bool },
    /// The server said what nobody asked for.
    #[error("server sent an unexpected message of type {0:?}")]
    Protocol(char),
    /// The reply is not for the client, and more than may be kept.
    #[error("the rows of a write's query are more than {0} bytes")]
    TooLarge(usize),
}

fn lost_message(last_words: Option<&ServerError>) -> String {
    last_words.map_or_else(|| "server closed the connection unexpectedly".to_owned(), ToString::to_string)
}

impl ClientError for RelayError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Server { last_words: Some(error), .. } => error.code,
            Self::Protocol(_) => SqlState::PROTOCOL_VIOLATION,
            Self::TooLarge(_) => SqlState::CONFIGURATION_LIMIT_EXCEEDED,
            _ => SqlState::CONNECTION_FAILURE,
        }
    }

    fn detail(&self) -> Option<String> {
        matches!(self, Self::Server { .. }).then(|| "The statement may or may not have been executed.".to_owned())
    }

    fn hint(&self) -> Option<String> {
        matches!(self, Self::TooLarge(_))
            .then(|| "Write the rows in several statements, or raise session.kept_bytes_max in proxy.toml.".to_owned())
    }
}

/// Why relaying stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Every expected reply has come.
    #[default]
    Done,
    /// The server wants COPY data.
    CopyIn,
}

/// What was seen while relaying.
#[derive(Debug, Default)]
pub struct Outcome {
    pub progress: Progress,
    /// The first error, whether the client got it or not.
    pub error: Option<Box<ServerError>>,
    /// The error of a swallowed Query, which the client did not get.
    pub swallowed_error: bool,
    /// Statements whose Parse failed or was skipped.
    pub forgotten: Vec<Box<[u8]>>,
    /// Their ids, until the connection has forgotten them.
    unprepared: Vec<u64>,
    /// A Close was skipped: the connection has a statement that it should not have.
    unclosed: bool,
    /// The client has been sent something of the reply.
    told: bool,
    /// The statement has to be prepared anew. Nothing of its reply is the client's.
    pub stale: bool,
    /// A write was refused because its bucket is closed there. Nothing of its reply is the client's.
    pub closed: bool,
    /// As `stale`, because the replica's recovery was in the statement's way: another server is to be asked.
    pub conflict: bool,
    /// The last CommandComplete's tag was ROLLBACK: a COMMIT of a failed transaction.
    pub rolled_back: bool,
    /// The client was sent ParameterStatus.
    pub parameters_told: bool,
    /// A Sync was sent behind the statement that now takes COPY data: the server has ignored it, and the client sends another.
    pub sync_ignored: bool,
}

impl Outcome {
    /// The connection follows what was skipped behind an error.
    fn forget_statements(&mut self, server: &mut ServerConnection) {
        for id in self.unprepared.drain(..) {
            server.prepared.forget(id);
        }
        if std::mem::take(&mut self.unclosed) {
            // All its statements are prepared anew when it is taken next.
            server.schema_version = 0;
        }
    }
}

/// What the client calls a statement that servers know as `shardyard_N`.
pub trait StatementNames {
    fn client_name(&self, id: u64) -> Option<&[u8]>;

    /// Whether a statement whose prepared plan has another result type by now will be asked again: then its error is nobody's.
    fn asks_again(&self) -> bool {
        false
    }

    /// Whether a write of a bucket that is closed on its shard will be run again: then its error is nobody's.
    fn repeats_closed(&self) -> bool {
        false
    }

    /// Whether a replica is asked that may be passed over for another server: then a conflict of its recovery is nobody's error.
    fn reads_replica(&self) -> bool {
        false
    }

    /// Whether the server was sent other words than the client's: then what is wrong with them is nobody's error.
    fn is_reworded(&self) -> bool {
        false
    }

    /// How many characters our text of the statement is longer than the client's, before where an error may point.
    fn position_shift(&self) -> isize {
        0
    }
}

/// For conversations that no client sees.
pub(super) struct Unnamed;

impl StatementNames for Unnamed {
    fn client_name(&self, _id: u64) -> Option<&[u8]> {
        None
    }
}

/// Relays until nothing is expected any more, or the server wants COPY data. Sends what is in the server's `output` first.
///
/// # Errors
/// See [`RelayError`]. Not cancel safe: the connection is then of unknown state and must be closed.
pub async fn relay(
    client: &mut ClientIo,
    server: &mut ServerConnection,
    names: &(dyn StatementNames + Sync),
) -> Result<Outcome, RelayError> {
    let mut outcome = Outcome::default();
    loop {
        outcome.told = client.replied;
        let ended = !is_waiting(server) && scan(&mut client.output, server, &mut outcome, names)?;
        if outcome.stale || outcome.closed {
            // Our own ParseComplete.
            client.output.clear();
        }
        client.replied |= !client.output.is_empty() && !client.corked;
        check_kept(client)?;
        if ended {
            if !server.output.is_empty() {
                server.send().await.map_err(|_| RelayError::Server { last_words: None, cut: false })?;
            }
            if !client.corked {
                client.send().await.map_err(RelayError::Client)?;
            }
            return Ok(outcome);
        }
        std::future::poll_fn(|context| poll_wait(context, client, server)).await?;
    }
}

/// A reply that is kept for the session's own use has a bound.
pub(super) fn check_kept(client: &ClientIo) -> Result<(), RelayError> {
    let bytes_max = client.kept_bytes_max;
    if client.keeps() && client.output.len() > bytes_max { Err(RelayError::TooLarge(bytes_max)) } else { Ok(()) }
}

/// Moves bytes in all directions until something has arrived from the server.
pub(super) fn poll_wait(context: &mut Context<'_>, client: &mut ClientIo, server: &mut ServerConnection) -> Poll<Result<(), RelayError>> {
    if server.poll_send(context).is_err() {
        // The server's last words may still be in its socket.
        return Poll::Ready(last_words(context, server));
    }
    if client.corked && !client.keeps() && client.output.len() >= UNSENT_BYTES_MAX {
        (client.corked, client.replied) = (false, true);
    }
    if (client.keeps() || client.output.len() < UNSENT_BYTES_MAX)
        && let Poll::Ready(read) = poll_read_server(context, server)
    {
        return Poll::Ready(read);
    }
    while !client.corked && !client.keeps() && !client.output.is_empty() {
        match client.stream.poll_send(context, &client.output) {
            Poll::Ready(Ok(sent)) => buffer::consume(&mut client.output, sent),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayError::Client(error))),
            Poll::Pending => return Poll::Pending,
        }
        if client.output.is_empty()
            && let Poll::Ready(read) = poll_read_server(context, server)
        {
            return Poll::Ready(read);
        }
    }
    poll_watch_client(context, client)
}

fn poll_read_server(context: &mut Context<'_>, server: &mut ServerConnection) -> Poll<Result<(), RelayError>> {
    match server.stream.poll_read_some(context, &mut server.input) {
        Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(RelayError::Server { last_words: None, cut: server.relaying_bytes > 0 })),
        Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    }
}

fn last_words(context: &mut Context<'_>, server: &mut ServerConnection) -> Result<(), RelayError> {
    match poll_read_server(context, server) {
        Poll::Ready(read) => read,
        Poll::Pending => Err(RelayError::Server { last_words: None, cut: false }),
    }
}

/// Notices when the client leaves while its statement runs; takes in what it sends ahead.
pub(super) fn poll_watch_client(context: &mut Context<'_>, client: &mut ClientIo) -> Poll<Result<(), RelayError>> {
    while !client.closed && client.input.len() < AHEAD_BYTES_MAX {
        match client.stream.poll_read_some(context, &mut client.input) {
            // As PostgreSQL: what was sent before the end is carried out.
            Poll::Ready(Ok(0)) if !client.input.is_empty() => client.closed = true,
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(RelayError::Client(io::ErrorKind::UnexpectedEof.into()))),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayError::Client(error))),
            Poll::Pending => break,
        }
    }
    Poll::Pending
}

/// What becomes of one message.
enum Verdict {
    Forward,
    Swallow,
    /// Sent on with another body.
    Rewrite(Vec<u8>),
    /// Forwarded, and now the client has to send COPY data.
    CopyIn,
}

/// Goes through what has arrived; what is the client's is appended to `sink`. True when relaying ends.
pub(super) fn scan(
    sink: &mut BytesMut,
    server: &mut ServerConnection,
    outcome: &mut Outcome,
    names: &dyn StatementNames,
) -> Result<bool, RelayError> {
    let mut position = 0;
    let mut ended = false;
    while !ended {
        if let Some(Expected { reply: Reply::Own(_), .. }) = server.expected.front() {
            let due = server.expected.iter().any(|expected| !matches!(expected.reply, Reply::Own(_)));
            if due && position == server.input.len() {
                // Sent together with what the server says next.
                break;
            }
            hand_over(sink, &mut server.input, &mut position);
            if let Some(Expected { reply: Reply::Own(bytes), .. }) = server.expected.pop_front() {
                sink.extend_from_slice(&bytes);
            }
            continue;
        }
        if server.expected.is_empty() {
            outcome.progress = Progress::Done;
            ended = true;
            break;
        }
        if server.relaying_bytes == 0 {
            position = skim(server, position, outcome);
        }
        let available = server.input.len() - position;
        if server.relaying_bytes > 0 {
            let taken = server.relaying_bytes.min(available);
            position += taken;
            server.relaying_bytes -= taken;
            if server.relaying_bytes > 0 {
                break;
            }
            continue;
        }
        let rest = server.input.get(position..).unwrap_or_default();
        let Some(frame) = frame::peek(rest).map_err(|_| RelayError::Protocol('?'))? else { break };
        let Some(body) = rest.get(frame::HEADER_BYTES..frame.bytes) else {
            let forwarded = server.expected.front().is_some_and(|expected| expected.forward);
            if forwarded && matches!(frame.tag, b'D' | b'd') && available >= PARTIAL_BYTES {
                server.relaying_bytes = frame.bytes - available;
                position += available;
            }
            break;
        };
        let verdict = match frame.tag {
            b'E' => fail(body, server.lock_bound, &mut server.expected, outcome, names)?,
            tag => judge((tag, body), &mut server.expected, &mut server.status, &mut server.parameters, outcome)?,
        };
        match verdict {
            Verdict::Forward => position += frame.bytes,
            Verdict::Swallow => {
                hand_over(sink, &mut server.input, &mut position);
                buffer::consume(&mut server.input, frame.bytes);
            }
            Verdict::Rewrite(body) => {
                hand_over(sink, &mut server.input, &mut position);
                buffer::consume(&mut server.input, frame.bytes);
                to_server::message(sink, frame.tag, |out| out.extend_from_slice(&body));
            }
            Verdict::CopyIn => {
                position += frame.bytes;
                let before = server.expected.len();
                server.expected.retain(|expected| expected.reply != Reply::Sync);
                outcome.sync_ignored = server.expected.len() < before;
                outcome.progress = Progress::CopyIn;
                ended = true;
            }
        }
    }
    outcome.forget_statements(server);
    hand_over(sink, &mut server.input, &mut position);
    Ok(ended)
}

/// Whether nothing can be done before something arrives.
fn is_waiting(server: &ServerConnection) -> bool {
    server.input.is_empty() && server.expected.front().is_some_and(|front| !matches!(front.reply, Reply::Own(_)))
}

/// The common case, rows for the client: the place of the first message that is something else, or not there as a whole.
fn skim(server: &ServerConnection, mut position: usize, outcome: &mut Outcome) -> usize {
    let front = server.expected.front().filter(|front| front.forward);
    let Some(Expected { reply: reply @ (Reply::Query | Reply::Execute), .. }) = front else { return position };
    let is_query = *reply == Reply::Query;
    while let Some(rest) = server.input.get(position..)
        && let Ok(Some(frame)) = frame::peek(rest)
        && let Some(body) = rest.get(frame::HEADER_BYTES..frame.bytes)
    {
        match frame.tag {
            b'D' => {}
            b'T' if is_query => {}
            b'C' if is_query => outcome.rolled_back = body == b"ROLLBACK\0",
            _ => break,
        }
        position += frame.bytes;
    }
    position
}

/// Moves the first `position` bytes to the client's buffer.
fn hand_over(sink: &mut BytesMut, input: &mut BytesMut, position: &mut usize) {
    let count = std::mem::take(position);
    if count > 0 {
        buffer::hand_over(input, sink, count);
    }
}

type Parameters = std::collections::BTreeMap<String, String>;

/// Matches one message to the oldest expected reply.
fn judge(
    (tag, body): (u8, &[u8]),
    expected: &mut std::collections::VecDeque<Expected>,
    status: &mut TransactionStatus,
    parameters: &mut Parameters,
    outcome: &mut Outcome,
) -> Result<Verdict, RelayError> {
    let unexpected = || RelayError::Protocol(char::from(tag));
    let front = expected.front().ok_or_else(unexpected)?;
    let verdict = if front.forward { Verdict::Forward } else { Verdict::Swallow };
    let ends = match (tag, &front.reply) {
        (b'N', _) => false,
        (b'A', _) => return Ok(Verdict::Swallow),
        (b'S', _) => {
            if let Ok((name, value)) = from_server::parameter_status(body) {
                parameters.insert(name, value);
            }
            outcome.parameters_told |= front.forward;
            false
        }
        (b'Z', Reply::Query | Reply::Sync) => {
            *status = body.first().copied().and_then(TransactionStatus::from_byte).ok_or_else(unexpected)?;
            let forward = front.forward_ready;
            expected.pop_front();
            return Ok(if forward { Verdict::Forward } else { Verdict::Swallow });
        }
        (b'C', Reply::Query | Reply::Execute) => {
            outcome.rolled_back = body == b"ROLLBACK\0";
            matches!(front.reply, Reply::Execute)
        }
        (b'1', Reply::Parse(..)) | (b'2', Reply::Bind) | (b'3', Reply::Close) | (b'I' | b's', Reply::Execute) => true,
        (b'T' | b'n', Reply::Describe) => true,
        (b't', Reply::Describe) => false,
        (b'G', Reply::Query | Reply::Execute) if front.forward => return Ok(Verdict::CopyIn),
        (b'D' | b'd' | b'c' | b'H', Reply::Query | Reply::Execute) => false,
        (b'T' | b'I' | b'V', Reply::Query) => false,
        _ => return Err(unexpected()),
    };
    if ends {
        expected.pop_front();
    }
    Ok(verdict)
}

/// An error: in the extended protocol it skips everything up to Sync.
fn fail(
    body: &[u8],
    lock_bound: bool,
    expected: &mut std::collections::VecDeque<Expected>,
    outcome: &mut Outcome,
    names: &dyn StatementNames,
) -> Result<Verdict, RelayError> {
    let is_closed = from_server::error(body).is_ok_and(|error| error.code == closed::CLOSED);
    let other = match lock_bound {
        _ if is_closed => Some(closed::told(body)),
        true => deadlock::of_timeout(body),
        false => None,
    };
    let body = other.as_deref().unwrap_or(body);
    let error = Box::new(from_server::error(body).map_err(|_| RelayError::Protocol('E'))?);
    if matches!(error.severity.as_str(), "FATAL" | "PANIC") {
        return Err(RelayError::Server { last_words: Some(error), cut: false });
    }
    // "cached plan must not change result type"
    let stale = error.code == SqlState::FEATURE_NOT_SUPPORTED && error.routine.as_deref() == Some("RevalidateCachedQuery");
    let stale = stale || names.is_reworded() && error.code.is_of_text();
    let swallowed = expected.front().is_some_and(|front| !front.forward && front.reply == Reply::Query);
    outcome.swallowed_error |= swallowed;
    outcome.error.get_or_insert(error);
    while expected.front().is_some_and(|front| !matches!(front.reply, Reply::Query | Reply::Sync)) {
        match expected.pop_front().map(|expected| expected.reply) {
            Some(Reply::Parse(name, id)) => {
                outcome.forgotten.extend(name);
                outcome.unprepared.push(id);
            }
            Some(Reply::Close) => outcome.unclosed = true,
            _ => {}
        }
    }
    let repeats = is_closed && names.repeats_closed() && !outcome.told;
    // A replica has no serialization failures of its own: only replay makes them, as ProcessRecoveryConflictInterrupt does.
    let serialization = outcome.error.as_ref().is_some_and(|error| error.code == SqlState::SERIALIZATION_FAILURE);
    let conflict = serialization && names.reads_replica() && !outcome.told;
    if names.asks_again() && !outcome.told && stale || repeats || conflict {
        (outcome.stale, outcome.closed, outcome.conflict) = (stale || conflict, repeats, conflict);
        for rest in expected.iter_mut() {
            (rest.forward, rest.forward_ready) = (false, false);
        }
        return Ok(Verdict::Swallow);
    }
    if swallowed {
        return Ok(Verdict::Swallow);
    }
    let translated = translated(body, names);
    Ok(translated.or(other).map_or(Verdict::Forward, Verdict::Rewrite))
}
