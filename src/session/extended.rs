//! The extended query protocol: one method per message. What must be in order, and all or nothing, is `pipeline`'s.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::backend::Reply;
use crate::routing::{Access, ParameterValues, Plan, Route, Values};
use crate::session::Session;
use crate::session::again::Kept;
use crate::session::failure::Failure;
use crate::session::hold::Patience;
use crate::session::prepared::{Prepared, unknown_statement};
use crate::session::spread::SpreadPortal;
use crate::sql::command::Command;
use crate::topology::ShardId;
use crate::wire::from_client::{self, Target};
use crate::wire::{DecodeError, SqlState, to_client, to_server};

/// What a portal stands for.
#[derive(Clone, Debug)]
pub(super) enum Portal {
    /// A portal of the server that has it.
    Server { shard: ShardId, access: Access },
    /// A command that the session runs itself.
    Own(Prepared),
    /// Bound on the home shard, executed on several.
    Spread(Arc<SpreadPortal>),
}

/// A message whose server is not known yet.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Parse { name: Box<[u8]>, prepared: Prepared },
    Describe(Prepared),
    Own(Bytes),
}

/// The messages since the last Sync.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) open: bool,
    /// An error has been told: everything up to Sync is skipped.
    pub(super) skip: bool,
    /// The Sync that was to close it was read as part of a COPY.
    pub(super) reopened: bool,
    /// The link that has replies outstanding; at most one has.
    pub(super) current: Option<usize>,
    pub(super) pending: Vec<Pending>,
    /// What is needed to run it again.
    pub(super) kept: Option<Box<Kept>>,
    pub(super) has_bound: bool,
    /// How long it has waited to be run again.
    pub(super) patience: Option<Box<Patience>>,
    unnamed: Option<Portal>,
    named: HashMap<Box<[u8]>, Portal>,
}

impl Batch {
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn skips(&self) -> bool {
        self.skip
    }

    fn portal(&self, name: &[u8]) -> Option<&Portal> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    fn insert_portal(&mut self, name: &[u8], portal: Portal) {
        if name.is_empty() {
            self.unnamed = Some(portal);
        } else {
            self.named.insert(name.into(), portal);
        }
    }

    pub(super) fn forget_portals(&mut self) {
        self.unnamed = None;
        self.named.clear();
    }
}

/// A body that cannot be decoded ends the conversation: what the client meant is unknown.
fn malformed(error: DecodeError) -> Failure {
    Failure::fatal(error)
}

/// Whether the session runs the command itself; all of these return no rows, or rows of our own.
fn is_own(command: &Command) -> bool {
    !matches!(
        command,
        Command::Query
            | Command::CopyFrom
            | Command::CopyTo
            | Command::Empty
            | Command::SetConfig { .. }
            | Command::DeclareCursor { .. }
            | Command::Cursor { .. }
            | Command::Pinning { .. }
            | Command::Notify
    )
}

pub(super) fn ends_failed_transaction(command: &Command) -> bool {
    matches!(command, Command::Commit { .. } | Command::Rollback { .. } | Command::RollbackTo(_))
}

impl Session {
    pub(super) async fn parse(&mut self, body: &Bytes) -> Result<(), Failure> {
        self.batch.open = true;
        let message = from_client::parse(body).map_err(malformed)?;
        if self.is_same_unnamed(&message)
            && let Some(prepared) = self.statements.repeat_unnamed(&self.shared.prepared)
        {
            self.note_parsed(b"");
            self.batch.pending.push(Pending::Parse { name: Box::default(), prepared });
            return Ok(());
        }
        let text = body.slice_ref(message.text);
        let scanned = self.scan.scan(&text, self.settings.standard_strings).is_ok();
        if scanned && self.scan.statements().len() > 1 {
            return Err(Failure::plain(SqlState::SYNTAX_ERROR, "cannot insert multiple commands into a prepared statement"));
        }
        let plan =
            if scanned { self.plan_scanned(&text, types_context(&message.types), &message.types).await? } else { self.home_plan().await? };
        if !ends_failed_transaction(&plan.command) {
            self.refuse_in_failed()?;
        }
        self.check_new_name(message.name)?;
        let literals = if scanned { self.scan.literals() } else { &[] };
        let registry = &self.shared.prepared;
        let statement = if message.name.is_empty() || !self.settings.standard_strings {
            registry.fresh(text, message.types, literals)
        } else {
            registry.shared(text, message.types, literals)
        };
        let prepared = Prepared { statement, plan, context: self.context(), sql_types: None, kept: !message.name.is_empty() };
        self.statements.insert(message.name, prepared.clone());
        self.note_parsed(message.name);
        if is_own(&prepared.plan.command) {
            self.answer(to_client::parse_complete);
        } else {
            self.batch.pending.push(Pending::Parse { name: message.name.into(), prepared });
        }
        Ok(())
    }

    /// Whether the client's unnamed statement is parsed again with nothing changed: its plan is known.
    fn is_same_unnamed(&self, message: &from_client::Parse<'_>) -> bool {
        let unnamed = self.statements.last_unnamed().filter(|_| message.name.is_empty() && !self.transaction.has_failed());
        unnamed.is_some_and(|unnamed| {
            unnamed.is_parsed_by(message)
                && unnamed.context == self.context()
                && !is_own(&unnamed.plan.command)
                && !unnamed.plan.unknown_relations()
        })
    }

    /// The plan of a text that has no tokens: the home shard says what is wrong with it.
    pub(super) async fn home_plan(&mut self) -> Result<Arc<Plan>, Failure> {
        const TEXT: &[u8] = b"SELECT 1";
        let _ = self.scan.scan(TEXT, true);
        self.plan_scanned(TEXT, 0, &[]).await
    }

    /// The statement's plan, made anew if what it depends on has changed.
    pub(super) async fn fresh_plan(&mut self, prepared: &Prepared) -> Result<Arc<Plan>, Failure> {
        if prepared.context == self.context() {
            return Ok(Arc::clone(&prepared.plan));
        }
        let statement = Arc::clone(&prepared.statement);
        if self.scan.scan(&statement.text, self.settings.standard_strings).is_err() {
            return self.home_plan().await;
        }
        self.plan_scanned(&statement.text, types_context(&statement.types), &statement.types).await
    }

    pub(super) async fn bind(&mut self, body: &Bytes) -> Result<(), Failure> {
        self.batch.open = true;
        let message = from_client::bind(body).map_err(malformed)?;
        let Some(prepared) = self.statements.get(message.statement) else {
            return Err(unknown_statement(message.statement));
        };
        let prepared = prepared.clone();
        let plan = self.fresh_plan(&prepared).await?;
        if !ends_failed_transaction(&plan.command) {
            self.refuse_in_failed()?;
        }
        if !message.portal.is_empty() && self.batch.portal(message.portal).is_some() {
            let name = String::from_utf8_lossy(message.portal);
            return Err(Failure::plain(SqlState::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists")));
        }
        if is_own(&plan.command) {
            self.forget_messages();
            self.batch.insert_portal(message.portal, Portal::Own(prepared));
            self.answer(to_client::bind_complete);
            return Ok(());
        }
        let statement = Arc::clone(&prepared.statement);
        let parameters =
            ParameterValues { values: &message.values, formats: &message.formats, types: &statement.types, types_unknown: false };
        let values =
            Values { text: &statement.text, literals: &statement.literals, parameters, other_encoding: self.settings.other_encoding };
        let (route, access) = self.route_when_free(&plan, &values).await?;
        self.note_bound(message.statement, &plan, &route);
        let (shard, access) = self.target(&plan, &route, access)?;
        let at = self.pipeline_link(shard, access).await?;
        self.note_anchor(at, &plan);
        self.send_pending(at).await?;
        self.prepare_in_pipeline(at, &prepared).await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        if prepared.kept {
            to_server::bind(&mut link.server.output, message.portal, statement.name.as_bytes(), message.tail);
        } else {
            to_server::message(&mut link.server.output, b'B', |out| out.extend_from_slice(body));
        }
        link.server.expect(Reply::Bind, true);
        let portal = if self.shard_of(&route).is_none() && !matches!(plan.command, Command::Cursor { .. }) {
            let tail = body.slice_ref(message.tail);
            let version = self.pools.map.version;
            Portal::Spread(Arc::new(SpreadPortal {
                prepared: prepared.clone(),
                route,
                access,
                version,
                tail,
                kept: Arc::default(),
                done: Arc::default(),
            }))
        } else {
            Portal::Server { shard, access }
        };
        self.batch.insert_portal(message.portal, portal);
        self.shared.counters.single.add(1);
        self.note_state(&plan.command, shard);
        Ok(())
    }

    /// The shard on which a portal is made.
    fn target(&mut self, plan: &Plan, route: &Route, access: Access) -> Result<(ShardId, Access), Failure> {
        if let Command::Cursor { name, .. } = &plan.command {
            let shard = name.as_deref().and_then(|name| self.statements.cursor(name));
            return Ok((shard.unwrap_or(self.pools.map.home), Access::Read));
        }
        match self.shard_of(route) {
            Some(shard) => Ok((shard, access)),
            None => {
                if !self.transaction.is_open() && Self::needs_transaction(route) {
                    self.make_transaction_internal();
                }
                Ok((self.pools.map.home, access))
            }
        }
    }

    /// Follows what a statement will do to its server's session.
    fn note_state(&mut self, command: &Command, shard: ShardId) {
        match command {
            Command::Pinning { temporary_tables, .. } => {
                self.pinned = true;
                self.reenters = true;
                if !temporary_tables.is_empty() {
                    self.temporary.extend_from_slice(temporary_tables);
                    self.settings.context = rand::random();
                }
            }
            Command::DeclareCursor { name, hold } => {
                self.pinned |= *hold;
                self.statements.note_cursor(name, shard);
            }
            // Not followed here: what it sets stays with the connection, and the connection with the client.
            Command::SetConfig { .. } => self.pinned = true,
            _ => {}
        }
    }

    pub(super) async fn describe(&mut self, body: &Bytes) -> Result<(), Failure> {
        self.batch.open = true;
        match from_client::target(body).map_err(malformed)? {
            Target::Statement(name) => {
                let Some(prepared) = self.statements.get(name).cloned() else { return Err(unknown_statement(name)) };
                if is_own(&prepared.plan.command) {
                    let columns = self.own_columns(&prepared.plan.command);
                    self.answer(|out| {
                        to_client::no_parameters(out);
                        describe_own(out, columns);
                    });
                } else {
                    self.refuse_in_failed()?;
                    self.batch.pending.push(Pending::Describe(prepared));
                }
                Ok(())
            }
            Target::Portal(name) => match self.portal(name)? {
                Portal::Own(prepared) => {
                    let columns = self.own_columns(&prepared.plan.command);
                    self.answer(|out| describe_own(out, columns));
                    Ok(())
                }
                Portal::Server { shard, access } => self.pass_on(b'D', body, (shard, access), Reply::Describe).await,
                Portal::Spread(portal) => self.pass_on(b'D', body, (self.pools.map.home, portal.access), Reply::Describe).await,
            },
        }
    }

    fn portal(&self, name: &[u8]) -> Result<Portal, Failure> {
        let cursor = || {
            // DECLARE CURSOR makes a portal too; drivers describe, execute and close it by its name.
            let shard = self.statements.cursor(std::str::from_utf8(name).ok()?).filter(|_| self.transaction.is_open() || self.pinned)?;
            Some(Portal::Server { shard, access: Access::Read })
        };
        self.batch.portal(name).cloned().or_else(cursor).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            Failure::plain(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
        })
    }

    /// Sends a message about a portal to the server that has it.
    pub(super) async fn pass_on(&mut self, tag: u8, body: &Bytes, (shard, access): (ShardId, Access), reply: Reply) -> Result<(), Failure> {
        let at = self.pipeline_link(shard, access).await?;
        self.send_pending(at).await?;
        if let Some(link) = self.links.get_mut(at) {
            to_server::message(&mut link.server.output, tag, |out| out.extend_from_slice(body));
            link.server.expect(reply, true);
        }
        Ok(())
    }

    pub(super) async fn execute(&mut self, body: &Bytes) -> Result<(), Failure> {
        self.batch.open = true;
        let message = from_client::execute(body).map_err(malformed)?;
        self.follow_map();
        match self.portal(message.portal)? {
            Portal::Own(prepared) => Box::pin(self.execute_own(&prepared)).await,
            Portal::Server { shard, access } => self.pass_on(b'E', body, (shard, access), Reply::Execute).await,
            Portal::Spread(portal) => {
                self.refuse_in_failed()?;
                Box::pin(self.execute_spread(body, &portal)).await
            }
        }
    }

    /// Runs a command of the session's own in its turn.
    async fn execute_own(&mut self, prepared: &Prepared) -> Result<(), Failure> {
        self.settle_order().await?;
        if !self.transaction.is_open() && self.links.iter().any(|link| link.unsynced) {
            self.make_transaction_internal();
        }
        let statement = Arc::clone(&prepared.statement);
        let _ = self.scan.scan(&statement.text, self.settings.standard_strings);
        let plan = self.fresh_plan(prepared).await?;
        let _ = self.scan.scan(&statement.text, self.settings.standard_strings);
        let start = self.client.output.len();
        self.command(&statement.text, &plan).await?;
        if self.own_columns(&plan.command).is_some() {
            strip_row_description(&mut self.client.output, start);
        }
        Ok(())
    }

    pub(super) async fn close(&mut self, body: &Bytes) -> Result<(), Failure> {
        self.batch.open = true;
        match from_client::target(body).map_err(malformed)? {
            Target::Statement(name) => {
                self.statements.forget(name);
                self.answer(to_client::close_complete);
                Ok(())
            }
            Target::Portal(name) => {
                let portal = self.portal(name).ok();
                if name.is_empty() {
                    self.batch.unnamed = None;
                } else {
                    self.batch.named.remove(name);
                }
                match portal {
                    Some(Portal::Server { shard, access }) => self.pass_on(b'C', body, (shard, access), Reply::Close).await,
                    Some(Portal::Spread(portal)) => {
                        let home = self.pools.map.home;
                        self.pass_on(b'C', body, (home, portal.access), Reply::Close).await
                    }
                    _ => {
                        self.answer(to_client::close_complete);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Our own answer, in its turn.
    fn answer(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let busy = self.batch.current.and_then(|at| self.links.get_mut(at)).filter(|link| !link.server.expected.is_empty());
        if self.batch.pending.is_empty() && busy.is_none() {
            write(&mut self.client.output);
            return;
        }
        let mut bytes = BytesMut::new();
        write(&mut bytes);
        if self.batch.pending.is_empty()
            && let Some(link) = busy
        {
            link.server.expect(Reply::Own(bytes.freeze()), true);
        } else {
            self.batch.pending.push(Pending::Own(bytes.freeze()));
        }
    }
}

pub(super) fn types_context(types: &[u32]) -> u64 {
    // FNV-1a: two lists of types are two contexts.
    types.iter().fold(0xcbf2_9ce4_8422_2325, |hash, oid| (hash ^ u64::from(*oid)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn describe_own(out: &mut BytesMut, columns: Option<Vec<String>>) {
    match columns {
        Some(columns) => to_client::row_description(out, &columns.iter().map(String::as_str).collect::<Vec<_>>()),
        None => to_client::no_data(out),
    }
}

/// Execute sends no RowDescription: Describe has.
fn strip_row_description(output: &mut BytesMut, start: usize) {
    let written = output.split_off(start);
    let mut rest = written.as_ref();
    while let Ok(Some(frame)) = crate::wire::frame::peek(rest) {
        let Some((message, others)) = rest.split_at_checked(frame.bytes) else { break };
        if frame.tag != b'T' {
            output.extend_from_slice(message);
        }
        rest = others;
    }
}
