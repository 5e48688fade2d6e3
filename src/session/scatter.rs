//! Reads that are merged in the proxy: the same text on every shard at once.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::backend::Reply;
use crate::execute::RelayError;
use crate::execute::scatter::{Part, ScatterError, Scattered, Sink, scatter};
use crate::merge::Merger;
use crate::merge::emit::{Execution, MergeError};
use crate::merge::row;
use crate::routing::owned::cannot_leave_out;
use crate::routing::scatter::{ScatterPlan, unmergeable};
use crate::routing::{Access, ParameterValues, Route, Values};
use crate::session::Session;
use crate::session::failure::{End, Failure};
use crate::session::gather::Kept;
use crate::session::links::Link;
use crate::session::pick::Pick;
use crate::session::spread::SpreadPortal;
use crate::topology::ShardId;
use crate::wire::frame::{self, HEADER_BYTES};
use crate::wire::{PlainError, SqlState, TransactionStatus, from_client, to_client, to_server};

/// What is sent to each shard.
pub(super) enum Request<'a> {
    Query(&'a [u8]),
    /// Parse, Bind, Describe, Execute. `tail` is Bind's.
    Portal {
        text: &'a [u8],
        types: &'a [u32],
        tail: &'a [u8],
    },
}

/// One scatter: the plan, its shards, the way to them.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) plan: &'a ScatterPlan,
    pub(super) shards: &'a [ShardId],
    pub(super) access: Access,
    /// Texts of shards that are asked for other rows than the others: while rows of theirs are another's, or for the number of them.
    pub(super) owned: &'a [(ShardId, Vec<u8>)],
}

impl Session {
    /// Simple protocol: the client gets everything but ReadyForQuery.
    pub(super) async fn scatter(&mut self, text: &[u8], plan: &ScatterPlan, (shards, access): (&[ShardId], Access)) -> Result<(), Failure> {
        let values = Values { text, literals: self.scan.literals(), other_encoding: self.settings.other_encoding, ..Values::default() };
        let (edited, execution) = plan.execution(&values, self.settings.standard_strings).map_err(Failure::report)?;
        if let Some(picking) = plan.picking(&execution) {
            let literals = self.scan.literals().to_vec();
            let values = Values { text, literals: &literals, other_encoding: self.settings.other_encoding, ..Values::default() };
            return Box::pin(self.pick_rows(&Pick { plan, shards, values, execution, request: Request::Query(text) }, picking)).await;
        }
        let Some(owned) = self.owned_texts(plan, (&values, &execution), shards) else {
            let gather = gather_meanwhile(plan)?;
            return Box::pin(self.spread_route(text, (&gather, access))).await;
        };
        let request = Request::Query(edited.as_deref().unwrap_or(text));
        let reading = Reading { plan, shards, access, owned: &owned };
        if plan.explained {
            return self.explain_scatter(reading, &request, true).await;
        }
        match self.read_all(reading, &request, (execution, Sink::Described)).await? {
            Some(done) => {
                to_client::command_complete(&mut self.client.output, &format!("SELECT {}", done.rows));
                Ok(())
            }
            None => {
                let gather = self.gather_instead(plan)?;
                Box::pin(self.spread_route(text, (&gather, access))).await
            }
        }
    }

    /// Extended protocol: Execute of a portal; `body` is Execute's.
    pub(super) async fn execute_scatter(
        &mut self,
        body: &Bytes,
        portal: &SpreadPortal,
        (plan, shards): (&ScatterPlan, &[ShardId]),
    ) -> Result<(), Failure> {
        let message = from_client::execute(body).map_err(Failure::fatal)?;
        self.settle_order().await?;
        let wanted = usize::try_from(message.rows_max).unwrap_or(0);
        let kept = portal.kept.lock().take();
        if let Some(kept) = kept {
            self.hand_out(portal, kept, wanted);
            return Ok(());
        }
        let statement = &portal.prepared.statement;
        let bind = from_client::bind_tail(&portal.tail).map_err(Failure::fatal)?;
        let parameters = ParameterValues { values: &bind.values, formats: &bind.formats, types: &statement.types, types_unknown: false };
        let values =
            Values { text: &statement.text, literals: &statement.literals, parameters, other_encoding: self.settings.other_encoding };
        let (edited, execution) = plan.execution(&values, self.settings.standard_strings).map_err(Failure::report)?;
        let Some(owned) = self.owned_texts(plan, (&values, &execution), shards) else {
            return self.execute_gather_instead(body, portal, gather_meanwhile(plan)?).await;
        };
        let mut types = statement.types.to_vec();
        for number in plan.dropped_parameters() {
            types.resize(types.len().max(number), 0);
            if let Some(open) = types.get_mut(number.saturating_sub(1)).filter(|oid| **oid == 0) {
                *open = INT8;
            }
        }
        let text = edited.as_deref().unwrap_or(&statement.text);
        let request = Request::Portal { text, types: &types, tail: &portal.tail };
        let reading = Reading { plan, shards, access: portal.access, owned: &owned };
        if plan.explained {
            return self.explain_scatter(reading, &request, false).await;
        }
        let sink = if wanted > 0 { Sink::Kept(self.shared.options.kept_bytes_max) } else { Sink::Rows };
        let done = match plan.picking(&execution) {
            Some(picking) => Some(Box::pin(self.pick(&Pick { plan, shards, values, execution, request }, picking, sink)).await?),
            None => self.read_all(reading, &request, (execution, sink)).await?,
        };
        match done {
            Some(done) if wanted > 0 => {
                self.hand_out(portal, Kept::of(done.kept.freeze()), wanted);
                Ok(())
            }
            Some(done) => {
                to_client::command_complete(&mut self.client.output, &format!("SELECT {}", done.rows));
                *portal.kept.lock() = Some(Kept::default());
                Ok(())
            }
            None => {
                let route = self.gather_instead(plan)?;
                self.execute_gather_instead(body, portal, route).await
            }
        }
    }

    async fn execute_gather_instead(&mut self, body: &Bytes, portal: &SpreadPortal, route: Route) -> Result<(), Failure> {
        if !self.transaction.is_open() {
            self.make_transaction_internal();
        }
        let portal = SpreadPortal { route, ..portal.clone() };
        Box::pin(self.execute_spread(body, &portal)).await
    }

    /// The texts for shards on which not all rows count; `None`: the statement cannot say which do.
    fn owned_texts(
        &self,
        plan: &ScatterPlan,
        (values, execution): (&Values<'_>, &Execution),
        shards: &[ShardId],
    ) -> Option<Vec<(ShardId, Vec<u8>)>> {
        if self.moves_nothing() {
            return Some(Vec::new());
        }
        let parted = shards.iter().filter_map(|shard| Some((*shard, self.left_out(*shard)?)));
        let strings = self.settings.standard_strings;
        parted.map(|(shard, left_out)| Some((shard, plan.text_of(values, execution, Some(&left_out), strings)?))).collect()
    }

    /// The way that is left when the answers turned out not to be mergeable.
    fn gather_instead(&mut self, plan: &ScatterPlan) -> Result<Route, Failure> {
        plan.note_unmergeable();
        match &plan.fallback {
            Some(gather) => Ok(Route::Gather(std::sync::Arc::clone(gather))),
            None => Err(Failure::report(unmergeable("none that the proxy compares or adds as PostgreSQL does"))),
        }
    }

    /// Each shard's plan, under a line that names the shard.
    async fn explain_scatter(&mut self, reading: Reading<'_>, request: &Request<'_>, described: bool) -> Result<(), Failure> {
        for (order, shard) in reading.shards.iter().enumerate() {
            let one = Reading { shards: std::slice::from_ref(shard), ..reading };
            let Some(done) = self.read_all(one, request, (Execution::default(), Sink::Kept(self.shared.options.kept_bytes_max))).await?
            else {
                continue;
            };
            let out = &mut self.client.output;
            if described && order == 0 {
                to_client::row_description(out, &["QUERY PLAN"]);
            }
            let name = self.pools.map.shard(*shard).map_or_else(|| shard.to_string(), |shard| shard.name.clone());
            put_plan(out, &format!("Shard {shard} ({name})"), &done.kept);
        }
        to_client::command_complete(&mut self.client.output, "EXPLAIN");
        Ok(())
    }

    /// Sends the request to all shards and merges what they answer. `None`: their types are none that can be merged; nothing has been sent.
    /// Where replicas fail before anything is sent, the primaries are asked.
    pub(super) async fn read_all(
        &mut self,
        reading: Reading<'_>,
        request: &Request<'_>,
        (execution, sink): (Execution, Sink),
    ) -> Result<Option<Scattered>, Failure> {
        let before = self.client.output.len();
        self.client.replied = false;
        self.replica_failed = false;
        match self.read_once(reading, request, (execution.clone(), sink)).await {
            Err(Failure::Report(_)) if self.replica_failed && !self.client.replied && !self.transaction.is_open() => {
                self.client.output.truncate(before);
                let primaries = Reading { access: Access::Write, ..reading };
                self.read_once(primaries, request, (execution, sink)).await
            }
            outcome => outcome,
        }
    }

    async fn read_once(
        &mut self,
        reading: Reading<'_>,
        request: &Request<'_>,
        (mut execution, sink): (Execution, Sink),
    ) -> Result<Option<Scattered>, Failure> {
        let links = self.queue_on_all(reading, request).await?;
        self.shared.counters.scatter.add(1);
        execution.iso_dates = links.iter().all(|(at, _)| {
            let style = self.links.get(*at).and_then(|link| link.server.parameters.get("DateStyle"));
            style.is_some_and(|style| style.starts_with("ISO"))
        });
        execution.exact_floats = self.has_exact_floats();
        let mut merger = Merger::new(&reading.plan.merge, execution, links.len());
        let mut places = Vec::with_capacity(links.len());
        let mut parts = Vec::with_capacity(links.len());
        let mut asked = Vec::with_capacity(links.len());
        for (at, link) in self.links.iter_mut().enumerate() {
            if let Some((_, replies)) = links.iter().find(|(place, _)| *place == at) {
                parts.push(Part { server: &mut link.server, replies: *replies });
                places.push(at);
                asked.push(link.shard);
            }
        }
        let outcome = scatter(&mut self.client, &mut parts, &mut merger, sink).await;
        drop(parts);
        let outcome = match outcome {
            Ok(done) => Ok(Some(kept_aside(done, &merger, (&asked, reading.shards)))),
            Err(ScatterError::Merge(MergeError::Unmergeable(_))) => {
                self.end_others(self.transaction.is_open() || self.batch.open).await.map(|()| None)
            }
            Err(error) => Err(self.fail_scatter(error, &places).await),
        };
        self.settle_read(reading.shards).await?;
        outcome
    }

    /// Gives back what the read has taken, but for what the batch still needs.
    async fn settle_read(&mut self, shards: &[ShardId]) -> Result<(), Failure> {
        let current = self.batch.current.and_then(|at| self.links.get(at)).map(|link| Arc::clone(&link.server.identity));
        let done = |link: &Link| shards.contains(&link.shard) && link.server.expected.is_empty();
        for at in (0..self.links.len()).rev() {
            let due = self.links.get(at).is_some_and(|link| done(link) && (!self.batch.open || !link.primary && !link.unsynced));
            if due && !(self.batch.open && self.transaction.is_open()) {
                self.settle(at).await?;
            }
        }
        // Links have changed their places.
        self.batch.current = current.and_then(|server| self.links.iter().position(|link| Arc::ptr_eq(&link.server.identity, &server)));
        Ok(())
    }

    /// Connections to all shards, in their order, then the request on each: places of the links and how many replies are due.
    async fn queue_on_all(&mut self, reading: Reading<'_>, request: &Request<'_>) -> Result<Vec<(usize, usize)>, Failure> {
        let mut links = Vec::with_capacity(reading.shards.len());
        for shard in reading.shards {
            links.push((self.link(*shard, reading.access).await?, 0));
        }
        for (at, replies) in &mut links {
            let Some(link) = self.links.get_mut(*at) else { continue };
            let server = &mut *link.server;
            let owned = reading.owned.iter().find(|(shard, _)| *shard == link.shard).map(|(_, text)| text.as_slice());
            match request {
                Request::Query(text) => {
                    to_server::query(&mut server.output, owned.unwrap_or(text));
                    server.expect(Reply::Query, false);
                    *replies = 1;
                }
                Request::Portal { text, types, tail } => {
                    // A replica that has answered must not wait for the others in a transaction: replay would end it.
                    let alone = !link.primary && !link.unsynced && server.status == TransactionStatus::Idle;
                    link.unsynced = !alone;
                    to_server::parse(&mut server.output, b"", owned.unwrap_or(text), types);
                    server.expect(Reply::Parse(None, 0), false);
                    server.unnamed = 0;
                    to_server::bind(&mut server.output, b"", b"", tail);
                    server.expect(Reply::Bind, false);
                    to_server::message(&mut server.output, b'D', |out| out.extend_from_slice(b"P\0"));
                    server.expect(Reply::Describe, false);
                    to_server::execute(&mut server.output, b"", 0);
                    server.expect(Reply::Execute, false);
                    *replies = 4;
                    if alone {
                        to_server::sync(&mut server.output);
                        server.expect(Reply::Sync, false);
                        *replies = 5;
                    } else {
                        to_server::flush(&mut server.output);
                    }
                }
            }
        }
        Ok(links)
    }

    /// One shard's error is the statement's: the others are ended, the lost ones dropped.
    async fn fail_scatter(&mut self, error: ScatterError, places: &[usize]) -> Failure {
        let failure = match error {
            ScatterError::Client(error) => {
                for at in (0..self.links.len()).rev() {
                    if self.links.get(at).is_some_and(|link| !link.server.expected.is_empty()) {
                        let _ = self.lose(at, RelayError::Client(error.kind().into()));
                    }
                }
                return Failure::End(End::Left);
            }
            ScatterError::Lost(part, error) => match places.get(part) {
                Some(at) => {
                    self.replica_failed = self.links.get(*at).is_some_and(|link| !link.primary);
                    self.lose(*at, error)
                }
                None => error.into(),
            },
            ScatterError::Server(part, error) => {
                let at = places.get(part).copied().unwrap_or(usize::MAX);
                let conflict = error.code == SqlState::SERIALIZATION_FAILURE;
                self.replica_failed = conflict && self.links.get(at).is_some_and(|link| !link.primary);
                if let Some(link) = self.links.get_mut(at).filter(|link| link.unsynced) {
                    link.broken = true;
                }
                Failure::Report(error)
            }
            ScatterError::Merge(error) => Failure::report(error),
            error @ ScatterError::TooLarge(_) => Failure::report(
                PlainError::new(SqlState(*b"53400"), error.to_string())
                    .hint("Execute the portal without a row limit, or raise session.kept_bytes_max in proxy.toml."),
            ),
        };
        // What they say of being cancelled is nobody's.
        let _ = self.end_others(false).await;
        failure
    }

    /// Ends what servers still do for a statement that is over. `gently`: they finish it, so that their transactions go on; an error of
    /// theirs is then the statement's.
    async fn end_others(&mut self, gently: bool) -> Result<(), Failure> {
        let mut ended = Ok(());
        if self.links.iter().all(|link| link.server.expected.is_empty()) {
            return ended;
        }
        if !gently {
            self.cancel.slot.cancel().await;
        }
        for at in (0..self.links.len()).rev() {
            if self.links.get(at).is_some_and(|link| !link.server.expected.is_empty()) {
                let drained = self.drain_link(at).await;
                if let Some(link) = self.links.get_mut(at).filter(|link| drained.is_err() && link.unsynced) {
                    link.broken = true;
                }
                if gently && ended.is_ok() {
                    ended = drained;
                }
            }
        }
        ended
    }
}

const INT8: u32 = 20;

/// What is known of an answer besides its rows; what each shard has given in the order of `shards`, not of those that were `asked`.
fn kept_aside(mut done: Scattered, merger: &Merger<'_>, (asked, shards): (&[ShardId], &[ShardId])) -> Scattered {
    merger.description(&mut done.described);
    let of = |shard: &ShardId| asked.iter().position(|asked| asked == shard).and_then(|at| done.taken.get(at).copied());
    done.taken = shards.iter().map(|shard| of(shard).unwrap_or_default()).collect();
    done
}

/// The way of a statement that cannot say which rows count, while some are on two shards.
fn gather_meanwhile(plan: &ScatterPlan) -> Result<Route, Failure> {
    let gather = plan.fallback.as_ref().map(std::sync::Arc::clone);
    gather.map(Route::Gather).ok_or_else(|| Failure::report(cannot_leave_out()))
}

/// The lines of one shard's plan behind a line of ours, indented; formats other than TEXT are left alone.
fn put_plan(out: &mut BytesMut, title: &str, rows: &[u8]) {
    let mut rest = rows;
    let mut titled = false;
    while let Ok(Some(frame)) = frame::peek(rest) {
        let Some((message, others)) = rest.split_at_checked(frame.bytes) else { break };
        rest = others;
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        let line = row::places(body).ok().and_then(|places| places.first().cloned().flatten()).and_then(|place| body.get(place));
        match line.filter(|line| frame.tag == b'D' && !line.contains(&b'\n')) {
            Some(line) => {
                if !std::mem::replace(&mut titled, true) {
                    row::put_values(out, std::iter::once(Some(title.as_bytes())));
                }
                let indented = [b"  ", line].concat();
                row::put_values(out, std::iter::once(Some(indented.as_slice())));
            }
            None => out.extend_from_slice(message),
        }
    }
}
