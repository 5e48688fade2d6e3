//! The simple query protocol.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::backend::Reply;
use crate::execute::ask::drain;
use crate::routing::{Access, Plan, Planner, Route, Values};
use crate::session::Session;
use crate::session::extended::ends_failed_transaction;
use crate::session::failure::{End, Failure};
use crate::session::hold::{Patience, is_closed};
use crate::sql::command::Command;
use crate::topology::ShardId;
use crate::wire::frame::HEADER_BYTES;
use crate::wire::{SqlState, TransactionStatus, from_client, to_client, to_server};

/// A statement with its plan; the session's `scan` holds its literals.
pub(super) type Planned = Arc<Plan>;

/// Who closes the reply with ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// The server's own is relayed: the statement is all of the client's message.
    Relayed,
    /// The session sends it.
    Ours,
}

/// A server is lost, and not the client.
fn is_lost(failure: &Failure) -> bool {
    matches!(failure, Failure::Report(_))
}

/// What a server connection remembers may be another client's.
fn forgotten() -> Failure {
    let error =
        crate::wire::PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, "currval() and lastval() are not supported on shared connections");
    Failure::report(error.hint("Use INSERT … RETURNING, or pool_mode = \"session\" for this user."))
}

impl Session {
    /// Query: one or several statements.
    pub(super) async fn query(&mut self, message: Bytes) -> Result<(), End> {
        if self.batch.is_open() {
            // Query in the middle of a batch: as PostgreSQL, it also ends the batch.
            if !self.end_batch().await? {
                // Its error is told; this Query is among what is skipped up to Sync.
                return Ok(());
            }
        }
        let text = from_client::query(message.get(HEADER_BYTES..).unwrap_or_default()).map_err(|error| End::Fatal(Box::new(error)))?;
        self.statements.drop_unnamed();
        let range = HEADER_BYTES..HEADER_BYTES + text.len();
        let text = message.slice(range);
        match self.statements(&text).await {
            Ok(Ready::Relayed) => Ok(()),
            Ok(Ready::Ours) => {
                self.ready();
                Ok(())
            }
            Err(failure) => {
                self.tell(failure)?;
                if !self.transaction.is_explicit() {
                    self.roll_back_links().await;
                }
                self.ready();
                Ok(())
            }
        }
    }

    async fn statements(&mut self, text: &Bytes) -> Result<Ready, Failure> {
        let scanned = self.scan.scan(text, self.settings.standard_strings);
        let ranges = self.scan.statements();
        if scanned.is_ok() && ranges.len() > 1 {
            let ranges: Vec<Range<usize>> = ranges.to_vec();
            return Box::pin(self.several(text, ranges)).await;
        }
        if scanned.is_ok() && ranges.is_empty() {
            to_client::empty_query(&mut self.client.output);
            return Ok(Ready::Ours);
        }
        if scanned.is_err() {
            // The home shard says what is wrong with it.
            Box::pin(self.on_home(text)).await?;
            return Ok(Ready::Ours);
        }
        let plan = self.plan_scanned(text, 0, &[]).await?;
        if self.transaction.has_failed()
            && !ends_failed_transaction(&plan.command)
            && let Some(ready) = Box::pin(self.refused_by_server(text)).await?
        {
            return Ok(ready);
        }
        if let Command::Query | Command::CopyFrom | Command::CopyTo = plan.command {
            return self.single(text, &plan, Ready::Relayed).await;
        }
        Box::pin(self.command(text, &plan)).await?;
        Ok(Ready::Ours)
    }

    /// In a failed transaction: the server where it failed says that it has, or what is wrong with the text.
    async fn refused_by_server(&mut self, text: &[u8]) -> Result<Option<Ready>, Failure> {
        let Some(at) = self.links.iter().position(|link| link.server.status == TransactionStatus::Failed) else { return Ok(None) };
        self.queue_query(at, text, true, true);
        self.relay_link(at).await?;
        self.settle(at).await?;
        Ok(Some(Ready::Relayed))
    }

    /// The plan of the text that `scan` has just gone through.
    pub(super) async fn plan_scanned(&mut self, text: &[u8], extra_context: u64, types: &[u32]) -> Result<Planned, Failure> {
        let context = self.context() ^ extra_context;
        if let Some(plan) = self.plans.get(self.scan.template(), context) {
            return Ok(plan);
        }
        Box::pin(self.plan_anew(text, context, types)).await
    }

    /// What plans depend on besides the template.
    pub(super) fn context(&self) -> u64 {
        self.settings.plan_context().wrapping_add(self.shared.view.schema_version().rotate_left(32)) ^ self.transaction.schema_context
    }

    async fn plan_anew(&mut self, text: &[u8], context: u64, types: &[u32]) -> Result<Planned, Failure> {
        let Ok(readable) = std::str::from_utf8(text) else {
            let error = crate::wire::PlainError::new(SqlState(*b"22021"), "invalid byte sequence for encoding \"UTF8\"");
            return Err(Failure::report(error.hint("Statements must be UTF-8 text, whatever client_encoding says.")));
        };
        self.shared.counters.planned.add(1);
        let mut plan = self.plan_with_schema(readable, types);
        if plan.unknown_relations() && self.transaction.opaque {
            return Err(Failure::report(
                crate::wire::PlainError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "a relation made or renamed in this transaction cannot be used yet",
                )
                .hint("Commit first."),
            ));
        }
        if plan.unknown_relations() && self.transaction.schema.is_none() {
            let known = self.shared.view.schema().version;
            self.shared.view.learn().await;
            if self.shared.view.schema().version != known {
                plan = self.plan_with_schema(readable, types);
            }
        }
        let plan = Arc::new(plan);
        // A command that carries parts of its text belongs to that text, not to the template.
        let lasting = matches!(
            plan.command,
            Command::Query | Command::CopyFrom | Command::CopyTo | Command::Commit { .. } | Command::Rollback { .. }
        );
        if lasting && !plan.unknown_relations() {
            self.plans.insert(self.scan.template(), context, Arc::clone(&plan));
        }
        Ok(plan)
    }

    fn plan_with_schema(&self, text: &str, types: &[u32]) -> Plan {
        let shared = self.shared.view.schema();
        let schema = self.transaction.schema.as_ref().unwrap_or(&shared);
        let planner = Planner { schema, search_path: &self.settings.search_path, temporary: &self.temporary };
        planner.plan(text, &self.scan, types)
    }

    /// Where this execution of a planned statement goes.
    pub(super) fn route(&self, plan: &Plan, values: &Values<'_>) -> Result<(Route, Access), Failure> {
        if plan.remembers() && !self.pinned {
            return Err(forgotten());
        }
        let hint = &self.settings.own.hint;
        let route = plan.route(values, hint, &self.pools.map).map_err(|refusal| {
            self.shared.counters.refused.add(1);
            Failure::report(refusal)
        })?;
        Ok((route, plan.access(hint)))
    }

    /// As [`Session::route`]. A statement with parameters that was given none goes home: PostgreSQL says what is missing.
    pub(super) fn route_or_home(&self, plan: &Plan, values: &Values<'_>) -> Result<(Route, Access), Failure> {
        if values.parameters.values.is_empty() && plan.needs_parameters() {
            return Ok((Route::Home, Access::Write));
        }
        self.route(plan, values)
    }

    /// The shard of a route that has one.
    pub(super) fn shard_of(&self, route: &Route) -> Option<ShardId> {
        match route {
            Route::Home => Some(self.pools.map.home),
            // Any will do: one that the transaction holds already, else the home shard.
            Route::Any => Some(self.links.first().map_or(self.pools.map.home, |link| link.shard)),
            Route::One(shard) => Some(*shard),
            Route::Everywhere
            | Route::Scatter { .. }
            | Route::Gather(_)
            | Route::Each { .. }
            | Route::Split(_)
            | Route::Feed(_)
            | Route::Locked(_)
            | Route::Timed
            | Route::Sequence(_)
            | Route::Copy(_) => None,
        }
    }

    pub(super) fn refuse_in_failed(&self) -> Result<(), Failure> {
        if self.transaction.has_failed() {
            return Err(Failure::plain(
                SqlState::IN_FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }

    /// Runs one statement on its shard; `ready` says whether the server's ReadyForQuery may be relayed.
    pub(super) async fn single(&mut self, text: &[u8], plan: &Plan, ready: Ready) -> Result<Ready, Failure> {
        self.refuse_in_failed()?;
        let mut patience = Patience::default();
        loop {
            self.follow_map();
            let values = Values { text, literals: self.scan.literals(), other_encoding: self.settings.other_encoding, ..Values::default() };
            let hint = &self.settings.own.hint;
            let routed = self.route(plan, &values);
            let unclear = routed.is_err() && plan.route(&values, hint, &self.pools.map).is_err_and(|refusal| refusal.maybe_syntax_error);
            let held = routed.as_ref().ok().and_then(|(route, _)| self.held(plan, &values, route));
            let outlives = routed.as_ref().is_ok_and(|(route, _)| self.outlives_map(plan, &values, route));
            if unclear {
                Box::pin(self.check_syntax(text)).await?;
            }
            let (route, access) = routed?;
            let _ = self.note_reads(plan);
            if let Some(held) = held.filter(|_| !patience.is_exhausted()) {
                Box::pin(self.wait_while_held(plan, held, &mut patience)).await?;
                continue;
            }
            if outlives {
                Box::pin(self.refuse_of_one_snapshot()).await?;
            }
            self.note_everywhere(&route);
            let repeats = self.repeats(plan);
            let done = match self.shard_of(&route) {
                Some(shard) => self.on_one(text, plan, (shard, access, ready, repeats)).await?,
                None => Box::pin(self.on_several(text, plan, (&route, access, repeats))).await?,
            };
            match done {
                Some(ready) => return Ok(ready),
                None => Box::pin(self.wait_while_closed(&mut patience)).await?,
            }
            // What ran before it was refused may have scanned texts of its own.
            let _ = self.scan.scan(text, self.settings.standard_strings);
        }
    }

    /// `None`: the shard has refused a write of a bucket that is closed there, and it is to be run again.
    async fn on_one(
        &mut self,
        text: &[u8],
        plan: &Plan,
        (shard, access, ready, repeats): (ShardId, Access, Ready, bool),
    ) -> Result<Option<Ready>, Failure> {
        let at = self.link(shard, access).await?;
        self.note_anchor(at, plan);
        self.shared.counters.single.add(1);
        // An internal transaction is not the client's business: neither is its state.
        let relayed = ready == Ready::Relayed && !self.transaction.is_internal() && self.listening.is_none();
        self.queue_query(at, text, true, relayed);
        let replica = !self.transaction.is_open() && self.client.output.is_empty();
        let replica = replica && self.links.get(at).is_some_and(|link| !link.primary && !link.unsynced);
        if repeats || replica {
            self.client.replied = false;
        }
        self.statements.repeats_closed = repeats;
        self.statements.reads_replica = replica;
        let outcome = self.relay_link(at).await;
        self.statements.repeats_closed = false;
        self.statements.reads_replica = false;
        if replica && !self.client.replied && outcome.as_ref().map_or_else(is_lost, |outcome| outcome.conflict) {
            self.pass_over_replicas(shard);
            self.give_back_idle().await?;
            return Box::pin(self.on_one(text, plan, (shard, access, ready, repeats))).await;
        }
        let outcome = outcome?;
        self.settle(at).await?;
        match outcome.error {
            _ if outcome.closed => Ok(None),
            Some(error) if outcome.swallowed_error => Err(Failure::Report(error)),
            Some(_) if !relayed => Err(Failure::Relayed),
            _ if relayed => Ok(Some(Ready::Relayed)),
            _ => Ok(Some(Ready::Ours)),
        }
    }

    /// As [`Session::on_one`], for a route over several shards.
    async fn on_several(
        &mut self,
        text: &[u8],
        plan: &Plan,
        (route, access, repeats): (&Route, Access, bool),
    ) -> Result<Option<Ready>, Failure> {
        let repeats = repeats && !matches!(route, Route::Copy(_)) && self.pools.map.moving.is_some();
        if !repeats {
            return self.spread(text, plan, (route, access)).await.map(|()| Some(Ready::Ours));
        }
        let before = self.client.output.len();
        self.client.corked = true;
        let result = self.spread(text, plan, (route, access)).await;
        let unsent = std::mem::take(&mut self.client.corked);
        match result {
            Err(failure) if unsent && is_closed(&failure) => {
                self.client.output.truncate(before);
                self.roll_back_links().await;
                Ok(None)
            }
            result => result.map(|()| Some(Ready::Ours)),
        }
    }

    /// A text that the planner does not understand may be none of PostgreSQL's: the home shard parses it and says so. It is not run.
    pub(super) async fn check_syntax(&mut self, text: &[u8]) -> Result<(), Failure> {
        let at = self.link_home().await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        to_server::parse(&mut link.server.output, b"", text, &[]);
        to_server::sync(&mut link.server.output);
        link.server.expect(Reply::Parse(None, 0), false);
        link.server.expect(Reply::Sync, false);
        link.server.unnamed = 0;
        let parsed = self.drain_link(at).await;
        if at < self.links.len() {
            self.settle(at).await?;
        }
        match parsed {
            Err(Failure::Report(error)) if error.sqlstate() != SqlState::SYNTAX_ERROR => Ok(()),
            parsed => parsed,
        }
    }

    /// Runs one statement on every shard, in one transaction. The client gets the home shard's reply.
    pub(super) async fn everywhere(&mut self, text: &[u8]) -> Result<(), Failure> {
        let shards = self.home_first();
        let alone = !self.transaction.is_open();
        if alone {
            self.transaction.open_internal(self.settings.snapshot());
        }
        let reply = self.withheld(text, &shards).await?;
        if alone {
            self.commit_links().await?;
        }
        self.client.output.unsplit(reply);
        Ok(())
    }

    /// As [`Session::on_shards`], and takes back the reply: the client is told that it went well only when all of it has.
    pub(super) async fn withheld(&mut self, text: &[u8], shards: &[ShardId]) -> Result<BytesMut, Failure> {
        let before = self.client.output.len();
        self.client.corked = true;
        let outcome = self.on_shards(text, shards).await;
        let whole = std::mem::take(&mut self.client.corked);
        match outcome {
            Ok(()) if whole => Ok(self.client.output.split_off(before)),
            // A long reply, which has been sent in part.
            Ok(()) => Ok(BytesMut::new()),
            Err(Failure::Report(told)) if whole => {
                self.client.output.truncate(before);
                Err(Failure::Report(told))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Runs one statement on the first shard, whose reply is the client's, then on the others at the same time: two clients that
    /// do so wait for each other on the first one and not crosswise.
    pub(super) async fn on_shards(&mut self, text: &[u8], shards: &[ShardId]) -> Result<(), Failure> {
        let Some((first, others)) = shards.split_first() else { return Ok(()) };
        let at = self.link(*first, Access::Write).await?;
        self.queue_query(at, text, true, false);
        self.relay_or_fail(at).await?;
        self.on_others(text, others).await
    }

    pub(super) async fn drain_link(&mut self, at: usize) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        match drain(&mut link.server).await {
            Ok(()) => Ok(()),
            Err(crate::execute::ask::AskError::Lost(error)) => Err(self.lose(at, error)),
            Err(error) => Err(error.into()),
        }
    }
}
