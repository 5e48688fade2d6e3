//! Rows that are locked, as many as LIMIT says, over several shards: those that are answered, and no others.

use crate::execute::scatter::{Scattered, Sink};
use crate::merge::emit::{Execution, Taken};
use crate::routing::owned::cannot_leave_out;
use crate::routing::scatter::{Picking, ScatterPlan, unmergeable};
use crate::routing::{Access, Values};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::scatter::{Reading, Request};
use crate::topology::ShardId;
use crate::wire::to_client;

/// Behind it locks are taken that may be given back.
const SAVEPOINT: &str = "shardyard_pick";

/// One execution.
pub(super) struct Pick<'a> {
    pub(super) plan: &'a ScatterPlan,
    pub(super) shards: &'a [ShardId],
    pub(super) values: Values<'a>,
    pub(super) execution: Execution,
    pub(super) request: Request<'a>,
}

impl Session {
    /// Simple protocol: the client gets everything but ReadyForQuery.
    pub(super) async fn pick_rows(&mut self, pick: &Pick<'_>, picking: Picking) -> Result<(), Failure> {
        let alone = !self.transaction.is_open();
        if alone {
            self.transaction.open_internal(self.settings.snapshot());
        }
        let done = self.pick(pick, picking, Sink::Described).await?;
        if alone && !self.commit_links().await? {
            return Err(Failure::Relayed);
        }
        to_client::command_complete(&mut self.client.output, &format!("SELECT {}", done.rows));
        Ok(())
    }

    /// Locks and answers the rows. The transaction is open.
    pub(super) async fn pick(&mut self, pick: &Pick<'_>, picking: Picking, sink: Sink) -> Result<Scattered, Failure> {
        let done = match picking {
            Picking::InTurn { skips } => self.pick_in_turn(pick, skips, sink).await,
            Picking::First => self.pick_first(pick, sink).await,
        };
        done?.ok_or_else(|| Failure::report(unmergeable("none that the proxy compares as PostgreSQL does")))
    }

    async fn pick_in_turn(&mut self, pick: &Pick<'_>, skips: bool, sink: Sink) -> Result<Option<Scattered>, Failure> {
        let mut shards = pick.shards.to_vec();
        if skips && !shards.is_empty() {
            // Not all clients begin with the same shard; those who wait for locks do, so that they do not wait crosswise.
            let turn = usize::try_from(self.shared.counters.scatter.get()).unwrap_or(0) % shards.len();
            shards.rotate_left(turn);
        }
        let mut all = Scattered::default();
        let mut execution = pick.execution.clone();
        for (order, shard) in shards.into_iter().enumerate() {
            let sink = match sink {
                Sink::Described if order > 0 => Sink::Rows,
                Sink::Kept(bytes_max) => Sink::Kept(bytes_max.saturating_sub(all.kept.len())),
                sink => sink,
            };
            let Some(done) = self.pick_from(pick, &[(shard, execution.clone())], sink).await? else { return Ok(None) };
            let counted: u64 = done.taken.iter().map(|taken| taken.counted).sum();
            execution.offset = execution.offset.saturating_sub(counted - done.rows);
            execution.limit = execution.limit.map(|limit| limit.saturating_sub(done.rows));
            all.rows += done.rows;
            all.kept.unsplit(done.kept);
            if execution.limit == Some(0) {
                break;
            }
        }
        Ok(Some(all))
    }

    /// Every shard gives as many rows as may be needed of it. Where those that come for nothing are not all a shard has given, it is
    /// asked once more, for as many as are needed.
    async fn pick_first(&mut self, pick: &Pick<'_>, sink: Sink) -> Result<Option<Scattered>, Failure> {
        for shard in pick.shards {
            self.tell_shard(*shard, &format!("SAVEPOINT {SAVEPOINT}")).await?;
        }
        let each: Vec<(ShardId, Execution)> = pick.shards.iter().map(|shard| (*shard, pick.execution.clone())).collect();
        let kept = Sink::Kept(self.shared.options.kept_bytes_max);
        let Some(mut done) = self.pick_from(pick, &each, kept).await? else { return Ok(None) };
        let partly = |taken: &Taken| taken.counted > 0 && taken.counted < taken.rows;
        let again = done.taken.iter().any(partly);
        for (shard, taken) in pick.shards.iter().zip(&done.taken) {
            if again && taken.rows > 0 || taken.counted < taken.rows {
                self.tell_shard(*shard, &format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}")).await?;
            }
        }
        if again {
            let needed = |(shard, taken): (&ShardId, &Taken)| {
                (*shard, Execution { limit: Some(taken.counted), offset: 0, ..pick.execution.clone() })
            };
            let needed: Vec<(ShardId, Execution)> =
                pick.shards.iter().zip(&done.taken).filter(|(_, taken)| taken.counted > 0).map(needed).collect();
            let Some(rest) = self.pick_from(pick, &needed, sink).await? else { return Ok(None) };
            done = rest;
        } else {
            if sink == Sink::Described {
                self.client.output.unsplit(std::mem::take(&mut done.described));
            }
            if !matches!(sink, Sink::Kept(_)) {
                self.client.output.unsplit(std::mem::take(&mut done.kept));
            }
        }
        for shard in pick.shards {
            self.tell_shard(*shard, &format!("RELEASE SAVEPOINT {SAVEPOINT}")).await?;
        }
        Ok(Some(done))
    }

    /// Asks shards, each for the rows of its execution; the merged answer is the pick's.
    async fn pick_from(&mut self, pick: &Pick<'_>, each: &[(ShardId, Execution)], sink: Sink) -> Result<Option<Scattered>, Failure> {
        let mut texts = Vec::with_capacity(each.len());
        for (shard, execution) in each {
            let left_out = self.left_out(*shard);
            let text = pick.plan.text_of(&pick.values, execution, left_out.as_deref(), self.settings.standard_strings);
            texts.push((*shard, text.ok_or_else(|| Failure::report(cannot_leave_out()))?));
        }
        let shards: Vec<ShardId> = each.iter().map(|(shard, _)| *shard).collect();
        let reading = Reading { plan: pick.plan, shards: &shards, access: Access::Write, owned: &texts };
        let execution = if let [(_, execution)] = each { execution.clone() } else { pick.execution.clone() };
        self.read_all(reading, &pick.request, (execution, sink)).await
    }

    async fn tell_shard(&mut self, shard: ShardId, sql: &str) -> Result<(), Failure> {
        let at = self.link(shard, Access::Write).await?;
        self.ask_link(at, sql).await
    }
}
