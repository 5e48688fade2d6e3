//! Writes that wait while their buckets change their owner, and writes that a shard has refused because they have.
//!
//! Waiting spares clients errors; that nothing is lost is the shards' own doing: a bucket that is closed there refuses writes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::execute::client::left;
use crate::execute::closed;
use crate::routing::concern::Concern;
use crate::routing::copy::CopyPlan;
use crate::routing::each::EachTarget;
use crate::routing::feed::FeedTarget;
use crate::routing::{Access, Plan, Route, Values};
use crate::session::Session;
use crate::session::failure::{End, Failure};
use crate::session::links::Link;
use crate::topology::moving::Wave;
use crate::topology::{Gate, MapVersion, Moving, ShardId};
use crate::wire::{PlainError, SqlState};

/// How long a write of a reference table waits for the making of a shard, and a refused write for the map that says where it belongs.
const MAP_PATIENCE: Duration = Duration::from_secs(30);

/// Why a statement waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Its buckets are being switched over. After a while a write is sent all the same: the shard judges.
    Wave,
    /// Reference tables are being copied, where no shard judges.
    Gate,
}

/// How long one statement has waited.
#[derive(Debug, Default)]
pub(super) struct Patience {
    held_since: Option<Instant>,
    exhausted: bool,
    refused_since: Option<Instant>,
}

impl Session {
    /// Whether a statement with this route has to wait for another map.
    pub(super) fn held(&self, plan: &Plan, values: &Values<'_>, route: &Route) -> Option<Held> {
        let moving = self.pools.map.moving.as_ref().filter(|_| !self.map_kept)?;
        let gated = moving.gate == Some(Gate::Everywhere);
        if !gated && moving.held().next().is_none() {
            return None;
        }
        match plan.concern(values, &self.settings.own.hint, (route, &self.pools.map)) {
            Concern::Nothing => None,
            Concern::Reference => (gated && !self.has_written_reference(moving.gate_since)).then_some(Held::Gate),
            Concern::Buckets(buckets) => {
                self.is_held_by(moving, |wave| buckets.iter().any(|bucket| wave.buckets.contains(*bucket))).then_some(Held::Wave)
            }
            Concern::Shards(shards) => {
                self.is_held_by(moving, |wave| shards.contains(&wave.source) || shards.contains(&wave.target)).then_some(Held::Wave)
            }
        }
    }

    /// Begins a statement of the extended protocol, or of SQL's EXECUTE: its route by a map that does not hold it back.
    pub(super) async fn route_when_free(&mut self, plan: &Plan, values: &Values<'_>) -> Result<(Route, Access), Failure> {
        let mut patience = Patience::default();
        loop {
            self.follow_map();
            let (route, access) = self.route_or_home(plan, values)?;
            if !self.note_reads(plan) {
                // What the batch has read so far ends before a write goes by another map.
                Box::pin(self.settle_current()).await?;
                self.rest();
                continue;
            }
            match self.held(plan, values, &route).filter(|_| !patience.is_exhausted()) {
                Some(held) => Box::pin(self.wait_while_held(plan, held, &mut patience)).await?,
                None => {
                    if self.outlives_map(plan, values, &route) {
                        Box::pin(self.refuse_of_one_snapshot()).await?;
                    }
                    self.note_everywhere(&route);
                    return Ok((route, access));
                }
            }
        }
    }

    /// Tells those who wait whether what runs now only reads and stands alone: no switch need wait for it. `false`: it did so far, the statement
    /// does not, and there is a newer map by now, which it has to go by.
    pub(super) fn note_reads(&self, plan: &Plan) -> bool {
        if self.pools.map.moving.is_none() || self.map_kept {
            return true;
        }
        let before = self.activity.is_read_only();
        let reads = plan.access == Access::Read && !self.transaction.is_open() && !self.pinned;
        let alone = reads && (before || !self.links.iter().any(Link::is_busy));
        self.activity.read_only(alone);
        alone || !before || self.shared.view.newest() == self.pools.map.version
    }

    /// A transaction that has been on one of a wave's shards since before goes on: the worker waits for it.
    fn is_held_by(&self, moving: &Moving, concerns: impl Fn(&Wave) -> bool) -> bool {
        moving.held().any(|(wave, since)| {
            let goes_on = |link: &Link| link.is_busy() && link.since < since && (link.shard == wave.source || link.shard == wave.target);
            concerns(wave) && !self.links.iter().any(goes_on)
        })
    }

    /// Whether no row may be on two shards: the usual case.
    pub(super) fn moves_nothing(&self) -> bool {
        self.pools.map.moving.is_none()
    }

    /// The buckets whose rows do not count on a shard: see [`Moving::left_out`].
    pub(super) fn left_out(&self, shard: ShardId) -> Option<Arc<str>> {
        self.pools.map.moving.as_ref()?.left_out(shard).map(Arc::clone)
    }

    /// A statement that is about to run: from now on the transaction concerns every shard, if it does.
    pub(super) fn note_everywhere(&mut self, route: &Route) {
        let everywhere = match route {
            Route::Everywhere | Route::Sequence(_) => true,
            Route::Each { plan, .. } => plan.target == EachTarget::Reference,
            Route::Feed(plan) => plan.target == FeedTarget::Every,
            Route::Copy(plan) => **plan == CopyPlan::Same,
            Route::Home
            | Route::Any
            | Route::One(_)
            | Route::Scatter { .. }
            | Route::Gather(_)
            | Route::Split(_)
            | Route::Locked(_)
            | Route::Timed => false,
        };
        if everywhere {
            self.touch_everywhere();
        }
    }

    /// The transaction runs a definition or writes a reference table.
    pub(super) fn touch_everywhere(&mut self) {
        let version = self.pools.map.version;
        self.transaction.everywhere_since.get_or_insert(version);
        self.activity.touch_everywhere(version);
    }

    /// While a shard is being made no definition runs.
    pub(super) fn refuse_beside_gate(&self) -> Result<(), Failure> {
        let gated = self.pools.map.moving.as_ref().is_some_and(|moving| moving.gate.is_some());
        if !gated {
            return Ok(());
        }
        let error = PlainError::new(SqlState(*b"55006"), "definitions cannot change while rows are being moved between shards");
        Err(Failure::report(error.hint(
            "Repeat it when the move is done: \"shardyard move list\" tells how far it is, and \"shardyard move finalize\" ends one that is reversible.",
        )))
    }

    fn has_written_reference(&self, before: MapVersion) -> bool {
        self.transaction.everywhere_since.is_some_and(|since| since < before)
    }

    /// Waits until there is another map, or no longer than is sensible.
    pub(super) async fn wait_while_held(&mut self, plan: &Plan, held: Held, patience: &mut Patience) -> Result<(), Failure> {
        let since = *patience.held_since.get_or_insert_with(Instant::now);
        let longest = if held == Held::Wave { self.shared.options.hold_patience } else { MAP_PATIENCE };
        self.shared.counters.held.add(1);
        if self.wait_for_map(since + longest).await? {
            return Ok(());
        }
        patience.exhausted = true;
        match held {
            Held::Wave if plan.judged => Ok(()),
            // A lock, or what a function does, would be on the one shard while others have it on the other.
            Held::Wave => Err(moved_meanwhile()),
            Held::Gate => Err(Failure::report(
                PlainError::new(SqlState(*b"55006"), "reference tables are being copied to a new shard")
                    .hint("Repeat the transaction a little later; \"shardyard move list\" tells how far it is."),
            )),
        }
    }

    /// A shard has refused the statement: waits for a map that is newer than the one it was routed by.
    pub(super) async fn wait_while_closed(&mut self, patience: &mut Patience) -> Result<(), Failure> {
        let since = *patience.refused_since.get_or_insert_with(Instant::now);
        // What was held before is judged anew by another map.
        patience.held_since = None;
        patience.exhausted = false;
        if self.wait_for_map(since + MAP_PATIENCE).await? { Ok(()) } else { Err(moved_meanwhile()) }
    }

    /// Whether there is another map than the present one before the deadline. Meanwhile the present one is not in use here.
    async fn wait_for_map(&mut self, deadline: Instant) -> Result<bool, Failure> {
        // What the batch has done so far is an open transaction, no running statement.
        Box::pin(self.settle_current()).await?;
        for at in 0..self.links.len() {
            // The BEGIN that a batch owes a server it was on before: with it outstanding no other map would ever be followed.
            if self.links.get(at).is_some_and(|link| !link.server.expected.is_empty()) {
                Box::pin(self.relay_or_fail(at)).await?;
            }
        }
        if !self.client.output.is_empty() && !self.client.corked && !self.client.keeps() {
            self.client.send().await.map_err(|_| Failure::End(End::Left))?;
        }
        self.rest();
        let present = self.pools.map.version;
        let mut published = self.shared.view.published();
        let cancelled = self.cancel.slot.cancelled();
        tokio::select! {
            changed = timeout_at(deadline, published.wait_for(|version| *version != present)) => Ok(changed.is_ok()),
            () = cancelled => Err(Failure::plain(SqlState::QUERY_CANCELED, "canceling statement due to user request")),
            () = left(&mut self.client) => Err(Failure::End(End::Left)),
        }
    }

    /// Whether a statement that a shard refuses can be run again: nothing was done before it that it belongs to.
    pub(super) fn repeats(&self, plan: &Plan) -> bool {
        plan.access == Access::Write && !self.transaction.is_open() && !self.batch.is_open() && !self.map_kept
    }
}

impl Patience {
    /// It has waited long enough.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }
}

/// A statement or transaction that cannot be finished by the newest map.
pub(super) fn moved_meanwhile() -> Failure {
    Failure::report(
        PlainError::new(SqlState(*b"40001"), "could not serialize access: rows have been moved to another shard meanwhile")
            .hint("Repeat the transaction: it will find them there."),
    )
}

/// Whether a failure is a shard's refusal of a closed bucket.
pub(super) fn is_closed(failure: &Failure) -> bool {
    matches!(failure, Failure::Report(error) if error.body().is_some_and(closed::is_told_body))
}
