//! The steps of one wave: each state's work, then the next state.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::catalog::store;
use crate::rebalance::bucket_set::BucketSet;
use crate::rebalance::capture::{self, Phase};
use crate::rebalance::conduct::Conductor;
use crate::rebalance::cutover::{Cutover, Fenced, Times};
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::fault;
use crate::rebalance::journal::{Move, Wave};
use crate::rebalance::options::MoveOptions;
use crate::rebalance::pass::{Passed, Sides};
use crate::rebalance::proxies::{self, Until};
use crate::rebalance::state::WaveState;
use crate::rebalance::table::{Pair, Table};
use crate::rebalance::transfer::Amount;
use crate::rebalance::{cleanup, copy};
use crate::topology::ShardId;

/// A pass of fewer keys is small enough for the fence.
const FEW_KEYS: u64 = 500;
/// A replica that is behind is looked at again after so long.
const REPLICA_POLL: Duration = Duration::from_millis(250);
const REPLICA_POLLS_MAX: u32 = 20;
/// Passes in a row that do not get smaller: the writers are faster than we are, and the fence must be tried all the same.
const PASSES_MAX: u32 = 50;

impl Conductor {
    /// One step; a server's refusal is told with the wave's shards.
    pub(super) async fn wave_step(&mut self, the_move: &Move, waves: &mut [Wave], at: usize) -> Result<(), StepError> {
        let Some(wave) = waves.get(at) else { return Ok(()) };
        let name = |id: ShardId| self.shards.shard(id).map_or_else(|_| id.to_string(), |shard| shard.name.clone());
        let place = format!("wave {} from shard {} to shard {}", wave.id, name(wave.from()), name(wave.to()));
        self.work_on(the_move, waves, at).await.map_err(|error| error.within(&place))
    }

    async fn work_on(&mut self, the_move: &Move, waves: &mut [Wave], at: usize) -> Result<(), StepError> {
        let all = waves.to_vec();
        let Some(wave) = waves.get_mut(at) else { return Ok(()) };
        match wave.state {
            WaveState::Planned => {
                fault::point("wave.planned").await;
                (self.verified, self.given_up) = (None, 0);
                self.forget_tables();
                self.journal.advance(wave, WaveState::Arming).await.map(drop)
            }
            WaveState::Arming => self.arm(wave, &all).await,
            WaveState::Copying => self.copy(the_move, wave).await,
            WaveState::CatchingUp => self.catch_up(the_move, wave).await,
            WaveState::Verifying => self.verify(the_move, wave).await,
            WaveState::Fencing | WaveState::Flipped => {
                let pairs = self.pairs(wave.from(), wave.to()).await?;
                let (journal, shards) = (&mut self.journal, &mut self.shards);
                let mut cutover = Cutover { journal, shards, pairs: &pairs, the_move, seals: None, times: Times::default() };
                if wave.state == WaveState::Fencing { cutover.reopen(wave).await } else { cutover.release(wave).await }
            }
            WaveState::Released => {
                let version = store::version(self.journal.client()).await?;
                proxies::wait(self.journal.client(), &mut self.shards, version, Until::Seen).await?;
                let keeps = the_move.keep_source && !wave.reversed;
                self.journal.settle_owner(wave, if keeps { WaveState::Reversible } else { WaveState::Cleaning }).await
            }
            WaveState::Reversible => self.journal.advance(wave, WaveState::Cleaning).await.map(drop),
            WaveState::Cleaning => self.clean_wave(the_move, wave, &all).await,
            WaveState::Finished | WaveState::Aborted => Ok(()),
        }
    }

    async fn arm(&mut self, wave: &mut Wave, all: &[Wave]) -> Result<(), StepError> {
        let version = store::version(self.journal.client()).await?;
        proxies::wait(self.journal.client(), &mut self.shards, version, Until::Both).await?;
        fault::point("arming.proxies").await;
        let pairs = self.pairs(wave.from(), wave.to()).await?;
        let owned = self.shards.owned(wave.from());
        for (id, phase) in [(wave.to(), Phase::Closed), (wave.from(), Phase::Logging)] {
            let is_target = id == wave.to();
            let tables: Vec<Table> = pairs.iter().map(|pair| if is_target { &pair.to } else { &pair.from }).cloned().collect();
            let armed = armed(all, id);
            let link = self.shards.link(id).await?;
            for (pair, table) in pairs.iter().zip(&tables) {
                let later = is_target && copy::indexes_later(pair, &wave.buckets, owned);
                if !later {
                    capture::index_bucket(link, table).await?;
                }
                if is_target && cleanup::has_rows(link, table, wave).await? {
                    let (name, shard) = (table.quoted(), &link.name);
                    return Err(StepError::Operator(format!(
                        "shard {shard} has rows of {name} in buckets that it does not own: delete them, or move them where they belong"
                    )));
                }
                if later {
                    capture::drop_index(link, table).await?;
                }
            }
            capture::make_phase(link, wave.id, phase).await?;
            fault::point("arming.objects").await;
            capture::guard_tables(link, &tables).await?;
            fault::point("arming.guards").await;
            capture::arm(link, &armed, self.buckets, &tables).await?;
        }
        fault::point("arming.after").await;
        self.journal.advance(wave, WaveState::Copying).await?;
        info!(wave = wave.id, source = %wave.source, target = %wave.target, buckets = wave.buckets.len(), "armed");
        Ok(())
    }

    /// Some chunks, or on to the passes.
    async fn copy(&mut self, the_move: &Move, wave: &mut Wave) -> Result<(), StepError> {
        let pairs = self.pairs(wave.from(), wave.to()).await?;
        let (owned, jobs) = (self.shards.owned(wave.from()), the_move.options.copies_at_once());
        let to = self.shards.link(wave.to()).await?;
        let all = copy::unmarked(to, &pairs, wave, (owned, jobs)).await?;
        let chunks = pairs.iter().map(|pair| copy::chunks(pair, &wave.buckets, (owned, jobs)).len()).sum();
        let mut left = all.as_slice();
        while !left.is_empty() {
            if self.is_ahead_of_replicas(the_move, wave).await? {
                return Ok(());
            }
            let lanes = self.shards.lanes(wave.from(), wave.to(), jobs.min(left.len())).await?;
            let began = Instant::now();
            let (amount, copied) = copy::round(lanes, left, wave.id).await?;
            left = left.get(copied..).unwrap_or_default();
            self.throttle.pace(&the_move.options, amount).await;
            self.journal.tell(wave.id, &copying((amount, copied), (left.len(), chunks), began.elapsed())).await?;
            // The operator's wish is looked at in between.
            if !left.is_empty() && self.throttle.has_worked_long() {
                return Ok(());
            }
        }
        let to = self.shards.link(wave.to()).await?;
        for pair in &pairs {
            capture::index_bucket(to, &pair.to).await?;
            let analyze = format!("analyze {}", pair.to.quoted());
            to.client().batch_execute(&analyze).await.map_err(doing("analyzing the target"))?;
        }
        fault::point("copy.after").await;
        self.journal.advance(wave, WaveState::CatchingUp).await?;
        info!(wave = wave.id, "copied");
        Ok(())
    }

    /// Whether a replica of either shard is further behind than it may be: then the copy waits, and says so.
    async fn is_ahead_of_replicas(&mut self, the_move: &Move, wave: &Wave) -> Result<bool, StepError> {
        let lag_bytes_max = the_move.options.lag_bytes_max;
        if lag_bytes_max == 0 {
            return Ok(false);
        }
        for id in [wave.source, wave.target] {
            if let Some((replica, lag_bytes)) = self.shards.furthest_behind(id).await?
                && lag_bytes > lag_bytes_max
            {
                let text = format!("replica {replica} is {lag_bytes} bytes behind, at most {lag_bytes_max} are allowed");
                info!(wave = wave.id, %replica, lag_bytes, lag_bytes_max, "the copy waits for a replica");
                self.journal.tell(wave.id, &json!({ "waits": text })).await?;
                self.waits = true;
                sleep(REPLICA_POLL).await;
                return Ok(true);
            }
        }
        if std::mem::take(&mut self.waits) {
            self.journal.tell(wave.id, &json!({ "waits": null })).await?;
        }
        Ok(false)
    }

    async fn catch_up(&mut self, the_move: &Move, wave: &mut Wave) -> Result<(), StepError> {
        let pairs = self.pairs(wave.from(), wave.to()).await?;
        for _ in 0..PASSES_MAX {
            if self.pass(wave, &pairs).await?.keys <= FEW_KEYS {
                break;
            }
        }
        fault::point("catching-up.after").await;
        let (from, to) = self.shards.two(wave.from(), wave.to()).await?;
        let sealed = (wave.id, capture::seals(from, to, &pairs).await?);
        if self.verified.as_ref() != Some(&sealed) {
            if self.verified.take().is_some_and(|(verified, _)| verified == wave.id) {
                warn!(wave = wave.id, "somebody has passed by the guards since the verification: once more");
            }
            return self.journal.advance(wave, WaveState::Verifying).await.map(drop);
        }
        self.tables_are_the_same(wave).await?;
        // A proxy that does not answer is found out, and fenced, before anybody's writes are held.
        let version = store::version(self.journal.client()).await?;
        proxies::wait(self.journal.client(), &mut self.shards, version, Until::Seen).await?;
        let (from, to) = self.shards.two(wave.from(), wave.to()).await?;
        Sides { from, to, pairs: &pairs, wave: wave.id }.get_ready().await?;
        let mut cutover = Cutover {
            journal: &mut self.journal,
            shards: &mut self.shards,
            pairs: &pairs,
            the_move,
            seals: Some(sealed.1),
            times: Times::default(),
        };
        match cutover.fence(wave).await? {
            Fenced::Flipped => {
                cutover.release(wave).await?;
                let fence_ms = cutover.times.json();
                self.journal.tell(wave.id, &json!({ "held_ms": fence_ms["released"], "fence_ms": fence_ms })).await
            }
            Fenced::GivenUp(reason) => {
                self.given_up += 1;
                info!(wave = wave.id, reason, tries = self.given_up, "switch given up, tried again later");
                self.journal.tell(wave.id, &json!({ "given_up": self.given_up, "reason": reason })).await?;
                sleep(Duration::from_millis(u64::from(self.given_up.min(20)) * 100)).await;
                Ok(())
            }
        }
    }

    async fn pass(&mut self, wave: &Wave, pairs: &[Pair]) -> Result<Passed, StepError> {
        let (from, to) = self.shards.two(wave.from(), wave.to()).await?;
        let passed = Sides { from, to, pairs, wave: wave.id }.pass().await?;
        if passed.keys > 0 {
            self.journal.tell(wave.id, &json!({ "pass_keys": passed.keys, "pass_rows": passed.rows })).await?;
        }
        Ok(passed)
    }

    async fn verify(&mut self, the_move: &Move, wave: &mut Wave) -> Result<(), StepError> {
        let pairs = self.pairs(wave.from(), wave.to()).await?;
        let owned = self.shards.owned(wave.from());
        let (from, to) = self.shards.two(wave.from(), wave.to()).await?;
        let seals = capture::seals(from, to, &pairs).await?;
        let mut sides = Sides { from, to, pairs: &pairs, wave: wave.id };
        let mut repaired = false;
        for pair in &pairs {
            for chunk in copy::chunks(pair, &wave.buckets, (owned, 1)) {
                let (_, difference) = sides.pass_and_verify(Some(&chunk), the_move.options.repair).await?;
                let Some(difference) = difference else { continue };
                let (table, count, shown) = (&difference.table, difference.count, &difference.shown);
                warn!(wave = wave.id, table, count, "rows differ");
                self.journal.tell(wave.id, &json!({ "differences": { table: { "count": count, "keys": shown } } })).await?;
                if !the_move.options.repair {
                    return Err(StepError::Operator(format!(
                        "{count} rows of {table} differ on the two shards, first of key {}: \"shardyard move repair\" copies them again",
                        shown.first().map_or("", String::as_str)
                    )));
                }
                repaired = true;
            }
        }
        fault::point("verify.after").await;
        if repaired {
            return self.journal.advance(wave, WaveState::CatchingUp).await.map(drop);
        }
        self.verified = Some((wave.id, seals));
        self.journal.tell(wave.id, &json!({ "verified": true, "differences": null })).await?;
        self.journal.advance(wave, WaveState::CatchingUp).await?;
        info!(wave = wave.id, "verified");
        Ok(())
    }

    async fn clean_wave(&mut self, the_move: &Move, wave: &mut Wave, all: &[Wave]) -> Result<(), StepError> {
        // Reads by an older map look for the rows where they are about to go.
        let version = store::version(self.journal.client()).await?;
        proxies::wait(self.journal.client(), &mut self.shards, version, Until::Acknowledged).await?;
        fault::point("clean.before").await;
        // The side that is no longer the owner.
        self.delete_rows(&the_move.options, wave, wave.from()).await?;
        fault::point("clean.deleted").await;
        self.disarm(wave, all).await?;
        fault::point("clean.after").await;
        self.journal.advance(wave, WaveState::Finished).await?;
        info!(wave = wave.id, "cleaned");
        Ok(())
    }

    pub(super) async fn abort_wave(&mut self, waves: &mut [Wave], at: usize) -> Result<(), StepError> {
        let all = waves.to_vec();
        let Some(wave) = waves.get_mut(at) else { return Ok(()) };
        if wave.state.is_armed() {
            self.delete_rows(&MoveOptions::default(), wave, wave.to()).await?;
            self.disarm(wave, &all).await?;
        }
        self.journal.advance(wave, WaveState::Aborted).await?;
        info!(wave = wave.id, "aborted");
        Ok(())
    }

    async fn delete_rows(&mut self, options: &MoveOptions, wave: &Wave, shard: ShardId) -> Result<(), StepError> {
        let tables = self.tables(shard).await?;
        for table in tables {
            // A copy that was interrupted has not come to it.
            capture::index_bucket(self.shards.link(shard).await?, &table).await?;
            loop {
                let link = self.shards.link(shard).await?;
                let rows = cleanup::delete_batch(link, &table, wave).await?;
                if rows == 0 {
                    break;
                }
                self.let_replicas_follow(options, shard).await?;
                self.throttle.pace(options, Amount { rows, bytes: 0 }).await;
            }
        }
        Ok(())
    }

    /// Waits for replicas that are behind; not for ever, for nobody looks at the operator's wish here.
    async fn let_replicas_follow(&mut self, options: &MoveOptions, shard: ShardId) -> Result<(), StepError> {
        for _ in 0..REPLICA_POLLS_MAX {
            match self.shards.furthest_behind(shard).await? {
                Some((_, lag_bytes)) if options.lag_bytes_max > 0 && lag_bytes > options.lag_bytes_max => sleep(REPLICA_POLL).await,
                _ => break,
            }
        }
        Ok(())
    }

    /// The guards know the wave no longer; its log and marks go.
    async fn disarm(&mut self, wave: &Wave, all: &[Wave]) -> Result<(), StepError> {
        for id in [wave.source, wave.target] {
            let others: Vec<Wave> = all.iter().filter(|other| other.id != wave.id).cloned().collect();
            let armed = armed(&others, id);
            let tables = self.tables(id).await?;
            let link = self.shards.link(id).await?;
            capture::arm(link, &armed, self.buckets, &tables).await?;
            cleanup::forget(link, &tables, wave.id).await?;
        }
        Ok(())
    }
}

/// How the copy goes: of the last chunks, and how long the others will take like them.
fn copying((last, copied): (Amount, usize), (chunks_left, chunks): (usize, usize), took: Duration) -> serde_json::Value {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    json!({
        "copying": {
            "chunks_left": chunks_left,
            "chunks": chunks,
            "rows_per_s": last.rows.saturating_mul(1_000) / ms,
            "bytes_per_s": last.bytes.saturating_mul(1_000) / ms,
            "eta_s": (chunks_left as u64).saturating_mul(ms) / 1_000 / copied.max(1) as u64,
        }
    })
}

/// The waves whose buckets a shard's guards must know.
fn armed(waves: &[Wave], shard: ShardId) -> Vec<(i32, &BucketSet)> {
    let of_shard = |wave: &&Wave| wave.touches(shard) && wave.state.is_armed();
    waves.iter().filter(of_shard).map(|wave| (wave.id, &wave.buckets)).collect()
}
