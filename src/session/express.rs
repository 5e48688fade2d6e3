//! The short way: a whole statement has arrived, its plan is known, it concerns one server, and that server has a connection to spare.
//!
//! All up to the reply is done without waiting. Whatever is not as simple takes the long way from the start: nothing has been done to it by then.

use bytes::BytesMut;

use crate::backend::Reply;
use crate::backend::connection::ServerConnection;
use crate::cache::PreparedRegistry;
use crate::execute::relay::{Outcome, Progress, RelayError, relay};
use crate::routing::point::PointRead;
use crate::routing::{Access, ParameterValues, Plan, Values};
use crate::session::Session;
use crate::session::failure::{End, Failure};
use crate::session::hold::Patience;
use crate::session::links::Link;
use crate::session::prepared::prepare_quietly;
use crate::sql::command::Command;
use crate::topology::ShardId;
use crate::wire::frame::{HEADER_BYTES, peek_client};
use crate::wire::{TransactionStatus, from_client, to_server};

/// ParseComplete.
const PARSED: &[u8] = b"1\0\0\0\x04";
/// Describe of the unnamed portal, and Sync.
const DESCRIBE: &[u8] = b"D\0\0\0\x06P\0";
const SYNC: &[u8] = b"S\0\0\0\x04";
/// Execute of the unnamed portal for all rows.
const EXECUTE: &[u8] = b"E\0\0\0\x09\0\0\0\0\0";

/// The messages of one statement of the extended protocol, `[Parse] Bind [Describe] Execute Sync`, on the unnamed portal.
struct Extended<'a> {
    parse: Option<from_client::Parse<'a>>,
    bind: from_client::Bind<'a>,
    describe: bool,
}

impl Session {
    /// Serves what has arrived if it can go the short way; `false`: it is all still there.
    pub(super) async fn express(&mut self) -> Result<bool, End> {
        let free = self.links.is_empty() && !self.transaction.is_open() && !self.batch.is_open() && !self.pinned && !self.client.closed;
        if !free || self.listening.is_some() || self.client.input.is_empty() {
            return Ok(false);
        }
        let mut input = std::mem::take(&mut self.client.input);
        if self.start_express(&input).is_none() {
            self.client.input = input;
            return Ok(false);
        }
        self.client.replied = false;
        self.statements.asks_again = true;
        self.statements.repeats_closed = true;
        let finished = self.finish_express().await;
        self.statements.asks_again = false;
        self.statements.repeats_closed = false;
        self.statements.reads_replica = false;
        self.statements.is_reworded = false;
        let finished = finished?;
        if !finished {
            input.unsplit(std::mem::take(&mut self.client.input));
            self.client.input = input;
        } else if self.client.input.is_empty() {
            // Its memory serves the next statement.
            input.clear();
            self.client.input = input;
        }
        Ok(finished)
    }

    /// Queues the statement on a link of its own.
    fn start_express(&mut self, input: &BytesMut) -> Option<()> {
        let frame = peek_client(input).ok()??;
        self.follow_map();
        match frame.tag {
            b'Q' if frame.bytes == input.len() => self.express_query(input),
            b'P' | b'B' => self.express_extended(input),
            _ => None,
        }
    }

    fn express_query(&mut self, message: &[u8]) -> Option<()> {
        let text = from_client::query(message.get(HEADER_BYTES..)?).ok()?;
        self.scan.scan(text, self.settings.standard_strings).ok()?;
        if self.scan.statements().len() != 1 {
            return None;
        }
        let plan = self.plans.get(self.scan.template(), self.context())?;
        let values = Values { text, literals: self.scan.literals(), other_encoding: self.settings.other_encoding, ..Values::default() };
        let (shard, access) = self.express_target(&plan, &values)?;
        let mut link = self.spare_link(shard, access)?;
        let point = plan.point.as_ref().filter(|point| point.has_come(self.shared.options.prepare_after));
        let reworded = point.is_some_and(|point| queue_point(&mut link.server, point, &values, &self.shared.prepared));
        if !reworded {
            link.server.output.extend_from_slice(message);
            link.server.expect(Reply::Query, true);
        }
        self.statements.is_reworded = reworded;
        self.statements.drop_unnamed();
        self.hold(link);
        Some(())
    }

    fn express_extended(&mut self, input: &[u8]) -> Option<()> {
        let messages = Extended::decode(input)?;
        let (prepared, statement) = match &messages.parse {
            Some(parse) => {
                let unnamed = self.statements.last_unnamed().filter(|unnamed| unnamed.is_parsed_by(parse))?;
                (unnamed, self.statements.repeated()?)
            }
            None => {
                let named = self.statements.get(messages.bind.statement).filter(|named| named.is_bound_by_name())?;
                (named, &named.statement)
            }
        };
        if prepared.context != self.context() {
            return None;
        }
        let parameters = ParameterValues {
            values: &messages.bind.values,
            formats: &messages.bind.formats,
            types: &statement.types,
            types_unknown: false,
        };
        let values =
            Values { text: &statement.text, literals: &statement.literals, parameters, other_encoding: self.settings.other_encoding };
        if parameters.values.is_empty() && prepared.plan.needs_parameters() {
            return None;
        }
        let (shard, access) = self.express_target(&prepared.plan, &values)?;
        let mut link = self.spare_link(shard, access)?;
        if messages.parse.is_some() {
            link.server.expect(Reply::Own(bytes::Bytes::from_static(PARSED)), true);
        }
        if !link.server.prepared.has(statement.id) {
            prepare_quietly(&mut link.server, statement);
        }
        queue(&mut link.server, &statement.name, &messages);
        if messages.parse.is_some() {
            self.statements.revive_unnamed();
        }
        self.hold(link);
        Some(())
    }

    fn express_target(&self, plan: &Plan, values: &Values<'_>) -> Option<(ShardId, Access)> {
        if !matches!(plan.command, Command::Query) || plan.remembers() {
            return None;
        }
        let hint = &self.settings.own.hint;
        let route = plan.route(values, hint, &self.pools.map).ok()?;
        if self.pools.map.moving.is_some() {
            if self.held(plan, values, &route).is_some() {
                return None;
            }
            let _ = self.note_reads(plan);
        }
        Some((self.shard_of(&route)?, plan.access(hint)))
    }

    /// An idle connection that has the client's settings and the present schema.
    fn spare_link(&self, shard: ShardId, access: Access) -> Option<Link> {
        let servers = self.pools.shard(shard)?;
        let pool = if access == Access::Read && servers.has_replicas() { self.reader_of(servers) } else { &servers.primary };
        let server = pool.try_acquire()?;
        let ready = server.schema_version == self.shared.view.schema_version()
            && std::sync::Arc::ptr_eq(&self.settings.current, &server.settings)
            && server.incarnation == self.incarnation;
        if !ready {
            server.release();
            return None;
        }
        let primary = std::sync::Arc::ptr_eq(pool, &servers.primary);
        let since = self.pools.map.version;
        Some(Link { shard, primary, wrote: access == Access::Write, unsynced: false, broken: false, anchors: false, since, server })
    }

    fn hold(&mut self, link: Link) {
        self.cancel.slot.enter(&link.server.identity);
        self.shared.counters.single.add(1);
        self.links.push(link);
    }

    /// Relays the reply and gives the connection back; `false`: it has to be asked again, the long way. Its replica is gone, or the
    /// server's plan of it is of no use any more; nothing has been answered.
    async fn finish_express(&mut self) -> Result<bool, End> {
        let Some(link) = self.links.first_mut() else { return Ok(true) };
        self.statements.reads_replica = !link.primary;
        match relay(&mut self.client, &mut link.server, &self.statements).await {
            Ok(outcome) if is_plain(&outcome, &link.server) && !self.cancel.slot.leave(&link.server.identity) => {
                if let Some(link) = self.links.pop() {
                    link.server.release();
                    if link.wrote && link.primary {
                        self.note_write(link.shard);
                    }
                }
                Ok(true)
            }
            Err(error @ RelayError::Server { .. }) if !link.primary && !self.client.replied => {
                drop(self.lose(0, error));
                Ok(false)
            }
            Ok(outcome) if outcome.closed => {
                Box::pin(self.give_back_all()).await;
                // The long way waits, as often as it has to. Told of a map that comes too late it says so.
                let _ = Box::pin(self.wait_while_closed(&mut Patience::default())).await;
                Ok(false)
            }
            Ok(outcome) if outcome.stale => {
                let shard = link.shard;
                link.server.schema_version = 0;
                if outcome.conflict {
                    self.pass_over_replicas(shard);
                }
                Box::pin(self.give_back_all()).await;
                Ok(false)
            }
            outcome => Box::pin(self.finish_slowly(outcome)).await,
        }
    }

    /// As the long way ends, when something has happened besides the statement's success.
    async fn finish_slowly(&mut self, outcome: Result<Outcome, RelayError>) -> Result<bool, End> {
        let result = match outcome {
            Ok(outcome) if outcome.progress == Progress::Done => self.follow_outcome(0, outcome).await,
            // No statement that takes this way asks for COPY data.
            Ok(_) => Err(self.lose(0, RelayError::Protocol('G'))),
            Err(error) => Err(self.lose(0, error)),
        };
        if let Err(failure) = result {
            self.tell(failure)?;
            self.roll_back_links().await;
            self.ready();
        }
        Ok(true)
    }

    async fn follow_outcome(&mut self, at: usize, outcome: Outcome) -> Result<(), Failure> {
        if let Some(link) = self.links.get(at).filter(|_| outcome.parameters_told) {
            self.reported.follow(&link.server.parameters);
        }
        self.settle(at).await
    }
}

fn is_plain(outcome: &Outcome, server: &ServerConnection) -> bool {
    outcome.progress == Progress::Done && outcome.error.is_none() && !outcome.parameters_told && server.status == TransactionStatus::Idle
}

impl<'a> Extended<'a> {
    /// The messages, if all of `input` is just one statement of them.
    fn decode(input: &'a [u8]) -> Option<Self> {
        let (mut tag, mut body, mut rest) = first_message(input)?;
        let mut parse = None;
        if tag == b'P' {
            parse = Some(from_client::parse(body).ok()?);
            (tag, body, rest) = first_message(rest)?;
        }
        let bind = if tag == b'B' { from_client::bind(body).ok()? } else { return None };
        let described = rest.strip_prefix(DESCRIBE);
        let rest = described.unwrap_or(rest).strip_prefix(EXECUTE)?;
        let whole = rest == SYNC && bind.portal.is_empty() && parse.as_ref().is_none_or(|parse| parse.name == bind.statement);
        whole.then_some(Self { parse, bind, describe: described.is_some() })
    }
}

/// The tag and body of the first message, and what comes behind it.
fn first_message(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let frame = peek_client(input).ok()??;
    let (message, rest) = input.split_at_checked(frame.bytes)?;
    Some((frame.tag, message.get(HEADER_BYTES..)?, rest))
}

/// Queues a text as a prepared statement; the client sees what it would see of the text. False: it has to be sent as it is.
fn queue_point(server: &mut ServerConnection, point: &PointRead, values: &Values<'_>, registry: &PreparedRegistry) -> bool {
    let Some(key) = point.key(values) else { return false };
    let (id, name) = point.prepared(|| registry.next_id());
    if !server.prepared.has(id) {
        if !server.prepared.has_room() {
            return false;
        }
        let (text, types) = point.parse(values);
        to_server::parse(&mut server.output, name.as_bytes(), &text, types);
        server.expect(Reply::Parse(None, id), false);
        server.prepared.insert(id);
    }
    to_server::bind_text(&mut server.output, name.as_bytes(), key);
    server.expect(Reply::Bind, false);
    queue_execution(server, true);
    true
}

/// Queues the messages for a server that knows the statement as ours.
fn queue(server: &mut ServerConnection, name: &str, messages: &Extended<'_>) {
    to_server::bind(&mut server.output, b"", name.as_bytes(), messages.bind.tail);
    server.expect(Reply::Bind, true);
    queue_execution(server, messages.describe);
}

/// Queues what comes behind Bind.
fn queue_execution(server: &mut ServerConnection, describe: bool) {
    if describe {
        server.output.extend_from_slice(DESCRIBE);
        server.expect(Reply::Describe, true);
    }
    server.output.extend_from_slice(EXECUTE);
    server.expect(Reply::Execute, true);
    server.output.extend_from_slice(SYNC);
    server.expect(Reply::Sync, true);
}
