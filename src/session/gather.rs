//! Reads that the home shard computes: the statement's tables are brought there as temporary tables, its own text runs over them, and
//! they are gone again before anything else could see them.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::backend::Reply;
use crate::execute::ask::{AskError, ask_replies, ask_value, ask_within};
use crate::execute::gather::{GatherError, Pull, pull};
use crate::routing::Access;
use crate::routing::gather::{GatherKind, GatherPlan};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::gather_execute::Call;
use crate::session::spread::SpreadPortal;
use crate::topology::ShardId;
use crate::wire::frame::peek;
use crate::wire::{PlainError, SqlState, from_client, to_client, to_server};

/// From so many gathered bytes on, PostgreSQL's planner is told what is in the tables.
const ANALYZED_BYTES_MIN: usize = 256 * 1024;

/// Text of rows that every server reads alike.
const TEXT_SETTINGS: &str = "SET LOCAL extra_float_digits = 3;SET LOCAL datestyle = 'ISO';SET LOCAL intervalstyle = 'postgres';";

/// The savepoint before everything that is done for a gather.
const SAVEPOINT: &str = "shardyard_gather";

/// What Bind says of a statement without parameters, all of it in text.
const PLAIN_BIND: &[u8] = &[0; 6];

/// A gather that has begun.
struct Gathering<'p> {
    plan: &'p GatherPlan,
    /// The place of the home link where the temporary tables are.
    at: usize,
    place: Place,
}

/// In whose transaction the temporary tables are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// One of its own: the client has none open.
    Own,
    /// The client's.
    Clients,
    /// One of its own beside the client's, which is READ ONLY and may make no tables.
    Beside,
}

/// Computed rows of a portal that the client has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Whole messages.
    rows: Bytes,
    /// The command tag without its count; empty for SELECT.
    command: String,
}

impl Kept {
    /// DataRow messages.
    pub(super) fn of(rows: Bytes) -> Self {
        Self { rows, command: String::new() }
    }

    /// Those that a write returns; `tag` as the write's own.
    pub(super) fn returned(rows: Bytes, tag: &str) -> Self {
        let command = tag.rsplit_once(' ').map_or(tag, |(command, _)| command);
        Self { rows, command: command.to_owned() }
    }
}

/// What runs over the gathered rows.
pub(super) struct Final<'a> {
    text: &'a [u8],
    types: &'a [u32],
    /// Bind's formats, values and result formats.
    tail: &'a [u8],
    /// RowDescription, where the client gets one.
    pub(super) description: Option<Bytes>,
    /// The client gets its rows in parts.
    keeps: bool,
    /// It is run by EXECUTE.
    pub(super) call: Option<Call>,
}

impl<'a> Final<'a> {
    /// A text without parameters.
    pub(super) fn plain(text: &'a [u8]) -> Self {
        Self { text, types: &[], tail: PLAIN_BIND, description: None, keeps: false, call: None }
    }
}

impl Session {
    /// Simple protocol: the client gets everything but ReadyForQuery.
    pub(super) async fn gather(&mut self, text: &[u8], plan: &GatherPlan, access: Access) -> Result<(), Failure> {
        let at = if access == Access::Read { self.link_home().await? } else { self.link(self.pools.map.home, access).await? };
        let mut run = Final::plain(text);
        if matches!(plan.kind, GatherKind::Query | GatherKind::Explain) {
            run.description = self.describe_text(at, text).await?;
        }
        self.gather_on(at, plan, run).await
    }

    /// As [`Session::gather`], from the home link on.
    pub(super) async fn gather_on(&mut self, at: usize, plan: &GatherPlan, run: Final<'_>) -> Result<(), Failure> {
        let place = if self.transaction.is_open() { Place::Clients } else { Place::Own };
        self.gathered(Gathering { plan, at, place }, run).await?;
        self.give_back_idle().await
    }

    /// Execute of a portal. With a row limit all its rows are computed at once and kept for the Executes that follow.
    pub(super) async fn execute_gather(&mut self, body: &Bytes, portal: &SpreadPortal, plan: &GatherPlan) -> Result<(), Failure> {
        self.settle_order().await?;
        let message = from_client::execute(body).map_err(Failure::fatal)?;
        let rows_max = usize::try_from(message.rows_max).unwrap_or(0);
        let kept = portal.kept.lock().take();
        if let Some(kept) = kept {
            self.hand_out(portal, kept, rows_max);
            return Ok(());
        }
        let home = self.pools.map.home;
        let at = if portal.access == Access::Read { self.link_home().await? } else { self.link(home, Access::Write).await? };
        let statement = Arc::clone(&portal.prepared.statement);
        let run = Final { types: &statement.types, tail: &portal.tail, keeps: rows_max > 0, ..Final::plain(&statement.text) };
        match self.gathered(Gathering { plan, at, place: Place::Clients }, run).await? {
            Some(kept) => self.hand_out(portal, kept, rows_max),
            None => *portal.kept.lock() = Some(Kept::default()),
        }
        Ok(())
    }

    /// Sends up to `rows_max` of the kept rows, and what an Execute ends with.
    pub(super) fn hand_out(&mut self, portal: &SpreadPortal, mut kept: Kept, rows_max: usize) {
        let mut count = 0;
        while let Ok(Some(frame)) = peek(&kept.rows) {
            if rows_max > 0 && count == rows_max {
                break;
            }
            let row = kept.rows.split_to(frame.bytes.min(kept.rows.len()));
            self.client.output.extend_from_slice(&row);
            count += 1;
        }
        if rows_max > 0 && count == rows_max {
            to_client::portal_suspended(&mut self.client.output);
        } else {
            // The count is this Execute's, as PortalRun has it.
            let command = if kept.command.is_empty() { "SELECT" } else { kept.command.as_str() };
            to_client::command_complete(&mut self.client.output, &format!("{command} {count}"));
        }
        *portal.kept.lock() = Some(kept);
    }

    /// The whole of it, from the temporary tables to their end.
    async fn gathered(&mut self, mut gathering: Gathering<'_>, run: Final<'_>) -> Result<Option<Kept>, Failure> {
        self.shared.counters.gathered.add(1);
        if gathering.place == Place::Clients && gathering.plan.kind != GatherKind::Store {
            self.step_aside(&mut gathering).await?;
        }
        let result = self.gathered_at(&gathering, &run).await;
        if result.is_err() {
            self.drop_unclear_links();
        }
        if gathering.place == Place::Beside {
            self.leave_side(result.is_ok()).await;
        }
        result
    }

    async fn gathered_at(&mut self, gathering: &Gathering<'_>, run: &Final<'_>) -> Result<Option<Kept>, Failure> {
        self.make_tables(gathering).await?;
        self.fill_tables(gathering).await?;
        let text = gathering.plan.respelt(run.text, self.settings.standard_strings);
        self.parse_gathered(gathering, (&text, run)).await?;
        let kept = self.run_gathered(gathering, run).await?;
        if let Some(call) = &run.call {
            self.deallocate_gathered(gathering.at, call).await?;
        }
        self.remove_tables(gathering).await?;
        Ok(kept)
    }

    /// Parses the statement over the real tables, so that what is wrong with it is told as PostgreSQL tells it. The answer's
    /// RowDescription, whose tables are the real ones.
    pub(super) async fn describe_text(&mut self, at: usize, text: &[u8]) -> Result<Option<Bytes>, Failure> {
        let Some(link) = self.links.get_mut(at) else { return Ok(None) };
        let server = &mut *link.server;
        to_server::parse(&mut server.output, b"", text, &[]);
        server.expect(Reply::Parse(None, 0), false);
        // Of the portal, as exec_simple_query does: planning may tell more of a column's type than parsing.
        to_server::bind(&mut server.output, b"", b"", PLAIN_BIND);
        server.expect(Reply::Bind, false);
        to_server::describe_portal(&mut server.output, b"");
        server.expect(Reply::Describe, true);
        to_server::sync(&mut server.output);
        server.expect(Reply::Sync, false);
        server.unnamed = 0;
        let replies = match ask_replies(server).await {
            Ok(replies) => replies.freeze(),
            Err(AskError::Lost(error)) => return Err(self.lose(at, error)),
            Err(error) => {
                self.settle(at).await?;
                if matches!(&error, AskError::Server(error) if error.code == SqlState::PROTOCOL_VIOLATION) {
                    // Bind gives no parameters, and the statement has some.
                    return Err(Failure::plain(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
                }
                return Err(error.into());
            }
        };
        let mut rest = replies;
        let mut description = None;
        while let Ok(Some(frame)) = peek(&rest) {
            let message = rest.split_to(frame.bytes.min(rest.len()));
            if frame.tag == b'T' {
                description = Some(message);
            }
        }
        Ok(description)
    }

    /// In a READ ONLY transaction no tables can be made: then beside it.
    async fn step_aside(&mut self, gathering: &mut Gathering<'_>) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(gathering.at) else { return Ok(()) };
        let asked = "SELECT pg_catalog.current_setting('transaction_read_only') || pg_catalog.current_setting('transaction_isolation')";
        let state = ask_value(&mut link.server, asked).await?.unwrap_or_default();
        let Some(isolation) = state.strip_prefix("on") else { return Ok(()) };
        if gathering.plan.kind == GatherKind::Cursor {
            return Err(Failure::report(
                PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, "cursor over several shards in a READ ONLY transaction is not supported")
                    .detail("Its rows are gathered in temporary tables, which such a transaction cannot make.")
                    .hint("Begin the transaction READ WRITE."),
            ));
        }
        let mut snapshot = None;
        if !isolation.starts_with("read") {
            snapshot = ask_value(&mut link.server, "SELECT pg_catalog.pg_export_snapshot()").await?;
        }
        gathering.at = self.take_side(snapshot.as_deref()).await?;
        gathering.place = Place::Beside;
        Ok(())
    }

    async fn make_tables(&mut self, gathering: &Gathering<'_>) -> Result<(), Failure> {
        let begin = match gathering.place {
            // One snapshot for the home shard's rows and for the statement.
            Place::Own if gathering.plan.reads => "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE",
            Place::Own => "BEGIN READ WRITE",
            Place::Clients | Place::Beside => "SAVEPOINT shardyard_gather",
        };
        let sql = format!("{begin};{}", gathering.plan.make_sql(self.left_out(self.pools.map.home).as_deref()));
        if let Some(link) = self.links.get_mut(gathering.at) {
            link.anchors |= gathering.place == Place::Clients;
        }
        self.ask_link(gathering.at, &sql).await.map_err(|failure| match failure {
            Failure::Report(error) if error.sqlstate() == SqlState(*b"42501") && error.body().is_some_and(of_temporary) => Failure::report(
                PlainError::new(error.sqlstate(), "permission denied to create temporary tables")
                    .detail("A query that needs the rows of several shards is computed over temporary tables on the home shard.")
                    .hint("GRANT TEMPORARY ON DATABASE … TO the role, on every shard."),
            ),
            failure => failure,
        })
    }

    /// Brings the rows of the other shards.
    async fn fill_tables(&mut self, gathering: &Gathering<'_>) -> Result<(), Failure> {
        let home = self.pools.map.home;
        let concerned = |shard: &ShardId| gathering.plan.shards.as_ref().is_none_or(|shards| shards.contains(shard));
        let all = self.pools.map.shards.iter().map(|shard| shard.id);
        let others: Vec<ShardId> = all.filter(|shard| *shard != home).filter(concerned).collect();
        let mut places = Vec::with_capacity(others.len());
        for shard in others {
            places.push(self.link(shard, Access::Read).await?);
        }
        if places.is_empty() {
            return Ok(());
        }
        let plan = gathering.plan;
        let as_text = plan.as_text() || self.settings.other_encoding;
        let open = self.transaction.is_open();
        let ask = |left_out: Option<&str>| {
            let copy = plan.copy_out_sql(as_text, left_out);
            match (as_text, open) {
                (false, _) => copy,
                (true, false) => format!("{TEXT_SETTINGS}{copy}"),
                (true, true) => {
                    format!("SAVEPOINT {SAVEPOINT};{TEXT_SETTINGS}{copy};ROLLBACK TO SAVEPOINT {SAVEPOINT};RELEASE SAVEPOINT {SAVEPOINT}")
                }
            }
        };
        let plain = ask(None);
        let asks: Vec<String> = self
            .links
            .iter()
            .map(|link| self.left_out(link.shard).map_or_else(|| plain.clone(), |left_out| ask(Some(&left_out))))
            .collect();
        let tables: Vec<_> = plan.tables.iter().map(|table| (plan.copy_in_sql(table, as_text), table.needed().count())).collect();
        let bytes_max = self.shared.options.gather_bytes_max;
        let Self { client, links, cancel, .. } = self;
        let (mut target, mut sources) = (None, Vec::new());
        for ((at, link), ask) in links.iter_mut().enumerate().zip(asks) {
            if at == gathering.at {
                target = Some(&mut *link.server);
            } else if places.contains(&at) {
                sources.push((&mut *link.server, ask));
            }
        }
        let Some(target) = target else { return Ok(()) };
        let pulled = pull(client, target, sources, &Pull { tables: &tables, as_text, bytes_max }, &cancel.slot).await;
        let bytes = pulled.map_err(|error| match error {
            GatherError::Lost(error) => Failure::from(error),
            error => Failure::report(error),
        })?;
        if bytes >= ANALYZED_BYTES_MIN {
            let names: Vec<String> = plan.tables.iter().map(crate::routing::gather::GatherTable::temporary).collect();
            self.ask_link(gathering.at, &format!("ANALYZE {}", names.join(", "))).await?;
        }
        Ok(())
    }

    /// Parses the statement over the temporary tables.
    async fn parse_gathered(&mut self, gathering: &Gathering<'_>, (text, run): (&[u8], &Final<'_>)) -> Result<(), Failure> {
        let at = gathering.at;
        if gathering.plan.groups {
            self.ask_link(at, "SAVEPOINT shardyard_parse").await?;
        }
        let mut parsed = self.parse_final(at, (text, run)).await;
        if gathering.plan.groups && matches!(&parsed, Err(Failure::Report(error)) if error.sqlstate() == SqlState(*b"42803")) {
            // What is selected beside GROUP BY depends on a primary key.
            self.ask_link(at, "ROLLBACK TO SAVEPOINT shardyard_parse").await?;
            self.add_primary_keys(gathering).await?;
            parsed = self.parse_final(at, (text, run)).await;
        }
        parsed.map_err(|failure| match failure {
            // The statement was right over the real tables.
            Failure::Report(error) if error.sqlstate().0.starts_with(b"42") => Failure::report(
                PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, "statement over several shards is not supported")
                    .detail(format!("Over the gathered rows of its tables PostgreSQL says: {error}."))
                    .hint("Bind every table to one key; functions on a table's row type cannot be used on gathered rows."),
            ),
            failure => failure,
        })
    }

    async fn parse_final(&mut self, at: usize, (text, run): (&[u8], &Final<'_>)) -> Result<(), Failure> {
        match &run.call {
            Some(call) => self.prepare_gathered(at, call, text).await,
            None => self.parse_on(at, (text, run.types)).await,
        }
    }

    pub(super) async fn parse_on(&mut self, at: usize, (text, types): (&[u8], &[u32])) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        to_server::parse(&mut link.server.output, b"", text, types);
        link.server.expect(Reply::Parse(None, 0), false);
        to_server::sync(&mut link.server.output);
        link.server.expect(Reply::Sync, false);
        link.server.unnamed = 0;
        self.drain_link(at).await
    }

    async fn add_primary_keys(&mut self, gathering: &Gathering<'_>) -> Result<(), Failure> {
        for table in &gathering.plan.tables {
            let Some(link) = self.links.get_mut(gathering.at) else { return Ok(()) };
            if let Some(columns) = ask_value(&mut link.server, &table.primary_key_sql()).await? {
                self.ask_link(gathering.at, &format!("ALTER TABLE {} ADD PRIMARY KEY ({columns})", table.temporary())).await?;
            }
        }
        Ok(())
    }

    /// Runs what has been parsed; the client gets its rows, unless they are kept.
    async fn run_gathered(&mut self, gathering: &Gathering<'_>, run: &Final<'_>) -> Result<Option<Kept>, Failure> {
        let at = gathering.at;
        let Some(link) = self.links.get_mut(at) else { return Ok(None) };
        let server = &mut *link.server;
        to_server::bind(&mut server.output, b"", b"", run.tail);
        server.expect(Reply::Bind, false);
        if let Some(description) = &run.description {
            server.expect(Reply::Own(description.clone()), true);
        }
        if let Some(line) = explanation(gathering.plan, run.text) {
            server.expect(Reply::Own(line), true);
        }
        to_server::execute(&mut server.output, b"", 0);
        server.expect(Reply::Execute, true);
        to_server::sync(&mut server.output);
        server.expect(Reply::Sync, false);
        if !run.keeps {
            self.relay_or_fail(at).await?;
            return Ok(None);
        }
        let bytes_max = self.shared.options.gather_bytes_max;
        match ask_within(server, bytes_max).await {
            Ok(Some(replies)) => Ok(Some(Kept::of(rows_of(replies.freeze())))),
            Ok(None) => Err(Failure::report(
                PlainError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, format!("rows of a portal exceed {bytes_max} bytes"))
                    .detail("The rows of a query that is computed over several shards are kept while it is read in parts.")
                    .hint("Execute it without a row limit, or raise session.gather_bytes_max in proxy.toml."),
            )),
            Err(AskError::Lost(error)) => Err(self.lose(at, error)),
            Err(error) => Err(error.into()),
        }
    }

    async fn remove_tables(&mut self, gathering: &Gathering<'_>) -> Result<(), Failure> {
        let sql = match (gathering.place, gathering.plan.reads) {
            (Place::Own, true) => "ROLLBACK".to_owned(),
            (Place::Own, false) => "COMMIT".to_owned(),
            // Its end is its side transaction's.
            (Place::Beside, _) => return Ok(()),
            (Place::Clients, _) if gathering.plan.kind == GatherKind::Cursor => {
                // The open cursor goes on reading them, whatever they are called.
                let id: u64 = rand::random();
                format!("{}RELEASE SAVEPOINT {SAVEPOINT}", gathering.plan.rename_sql(&format!("shardyard_gathered_{id:016x}")))
            }
            (Place::Clients, true) => format!("ROLLBACK TO SAVEPOINT {SAVEPOINT};RELEASE SAVEPOINT {SAVEPOINT}"),
            (Place::Clients, false) => format!("{}RELEASE SAVEPOINT {SAVEPOINT}", gathering.plan.drop_sql()),
        };
        self.ask_link(gathering.at, &sql).await
    }
}

/// The rows among an Execute's replies.
fn rows_of(mut replies: Bytes) -> Bytes {
    let all = replies.clone();
    let mut end = 0;
    while let Ok(Some(frame)) = peek(&replies) {
        if frame.tag == b'D' {
            end += frame.bytes;
        }
        drop(replies.split_to(frame.bytes.min(replies.len())));
    }
    all.slice(..end.min(all.len()))
}

/// The first line of an EXPLAIN in text format.
fn explanation(plan: &GatherPlan, text: &[u8]) -> Option<Bytes> {
    let format = text.windows(6).any(|word| word.eq_ignore_ascii_case(b"format"));
    if plan.kind != GatherKind::Explain || format {
        return None;
    }
    let tables: Vec<&str> = plan.tables.iter().map(|table| table.name.as_str()).collect();
    let mut line = BytesMut::new();
    to_client::data_row(&mut line, &[&format!("Gather of {} on the home shard", tables.join(", "))]);
    Some(line.freeze())
}

/// Whether an error's body is about temporary tables, or about the schema of those that its connection has made before.
fn of_temporary(body: &[u8]) -> bool {
    [b"temporary tables".as_slice(), b"schema pg_temp_"].iter().any(|words| memchr::memmem::find(body, words).is_some())
}
