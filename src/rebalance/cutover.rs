//! The switch of a wave's owner: hold, close the source, last pass, flip, open the target.
//!
//! Up to the flip the source is the owner, and every way out opens it again; from the flip on only forward.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::rebalance::capture::{self, LOCK_CLASS, Phase, is_lock_timeout, set_phase};
use crate::rebalance::conduct::Seals;
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::fault;
use crate::rebalance::journal::{Journal, Move, Wave};
use crate::rebalance::pass::{Keys, Sides};
use crate::rebalance::proxies::{self, Until};
use crate::rebalance::shards::Shards;
use crate::rebalance::state::WaveState;
use crate::rebalance::table::Pair;

/// Last pass and flip take some ten milliseconds; so much longer they may take before the source is opened again.
const FENCE_PATIENCE: Duration = Duration::from_secs(2);

/// How a try to switch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fenced {
    Flipped,
    /// Transactions were open for too long, or a replica is late: the source is open again.
    GivenUp(&'static str),
}

/// What a switch works with.
pub(crate) struct Cutover<'a> {
    pub(crate) journal: &'a mut Journal,
    pub(crate) shards: &'a mut Shards,
    pub(crate) pairs: &'a [Pair],
    pub(crate) the_move: &'a Move,
    /// The guards' seals when the rows were verified.
    pub(crate) seals: Option<Seals>,
    pub(crate) times: Times,
}

/// When each step of a switch was done, in milliseconds since writers were held.
#[derive(Debug)]
pub(crate) struct Times {
    began: Instant,
    done: Vec<(&'static str, u64)>,
}

impl Default for Times {
    fn default() -> Self {
        Self { began: Instant::now(), done: Vec::new() }
    }
}

impl Times {
    fn mark(&mut self, step: &'static str) {
        self.done.push((step, u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)));
    }

    /// For the wave's progress.
    pub(crate) fn json(&self) -> serde_json::Value {
        self.done.iter().map(|(step, ms)| ((*step).to_owned(), serde_json::Value::from(*ms))).collect::<serde_json::Map<_, _>>().into()
    }
}

impl Cutover<'_> {
    /// From `CatchingUp` or `Verifying` to `Flipped`, or back to `CatchingUp`.
    pub(crate) async fn fence(&mut self, wave: &mut Wave) -> Result<Fenced, StepError> {
        self.shards.warm(wave.to()).await;
        self.journal.check_owner(wave).await?;
        self.times = Times::default();
        let began = Instant::now();
        let hold_max = Duration::from_millis(self.the_move.options.hold_max_ms.max(1));
        let version = self.journal.advance(wave, WaveState::Fencing).await?;
        self.times.mark("published");
        fault::point("fence.published").await;
        // A server that stands still must not keep the source closed: what waits for it is given up.
        let switched = timeout(hold_max + FENCE_PATIENCE, self.close_and_flip(wave, version, began + hold_max)).await;
        let switched = switched.unwrap_or_else(|_| Err(StepError::Later("a server stands still inside the fence".to_owned())));
        match switched {
            Ok(Fenced::Flipped) => {
                info!(wave = wave.id, fence_ms = began.elapsed().as_millis(), "flipped");
                Ok(Fenced::Flipped)
            }
            Ok(given_up) => {
                self.reopen(wave).await?;
                Ok(given_up)
            }
            // The flip may have been committed: the catalog says so when it is read again.
            Err(error @ StepError::LeaseLost) => Err(error),
            Err(error) if wave.state == WaveState::Fencing => {
                match timeout(FENCE_PATIENCE, self.reopen(wave)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(again)) => warn!(wave = wave.id, error = again.line(), "the source is not open again yet"),
                    Err(_) => warn!(wave = wave.id, "the source is not open again yet"),
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// After a crash or in vain: the source is open and logs, and the proxies hold nothing. Only while the catalog says `Fencing`.
    pub(crate) async fn reopen(&mut self, wave: &mut Wave) -> Result<(), StepError> {
        // Whoever may still be flipping is waited for by this transaction: it holds the lease's row.
        let guard = self.journal.begin().await?;
        let state =
            guard.query_one("select state from shardyard.wave where id = $1", &[&wave.id]).await.map_err(doing("reading a wave"))?;
        guard.commit().await.map_err(doing("reading a wave"))?;
        if state.get::<_, &str>(0) != WaveState::Fencing.name() {
            return Err(StepError::Later(format!("wave {} has gone on", wave.id)));
        }
        let link = self.shards.link(wave.from()).await?;
        let transaction = link.begin().await?;
        set_phase(&transaction, wave.id, Phase::Logging).await?;
        transaction.commit().await.map_err(doing("opening the source again"))?;
        self.journal.advance(wave, WaveState::CatchingUp).await?;
        Ok(())
    }

    async fn close_and_flip(&mut self, wave: &mut Wave, version: u64, deadline: Instant) -> Result<Fenced, StepError> {
        if !proxies::wait_until(self.journal.client(), version, Until::Settled, deadline).await? {
            return Ok(Fenced::GivenUp("transactions that have touched the shards are open"));
        }
        self.times.mark("settled");
        if !self.close(wave, deadline).await? {
            return Ok(Fenced::GivenUp("transactions that have written rows of the wave are open"));
        }
        self.times.mark("closed");
        fault::point("fence.closed").await;
        if !fault::omits("last-pass") {
            let (from, to) = self.shards.two(wave.from(), wave.to()).await?;
            let passed = Sides { from, to, pairs: self.pairs, wave: wave.id }.short_pass(Keys::Kept).await?;
            info!(wave = wave.id, keys = passed.keys, rows = passed.rows, ms = passed.took.as_millis(), "last pass");
        }
        let (from, to) = self.shards.two(wave.from(), wave.to()).await?;
        if self.seals.as_ref() != Some(&capture::seals(from, to, self.pairs).await?) {
            return Ok(Fenced::GivenUp("somebody has passed by the guards since the rows were verified"));
        }
        self.times.mark("passed");
        fault::point("fence.passed").await;
        if !self.shards.replicas_have_replayed(wave.to(), deadline.max(Instant::now() + Duration::from_millis(100))).await? {
            return Ok(Fenced::GivenUp("a replica of the new owner is behind"));
        }
        self.times.mark("replayed");
        fault::point("flip.before").await;
        self.journal.flip(wave).await?;
        self.times.mark("flipped");
        fault::point("flip.after").await;
        Ok(Fenced::Flipped)
    }

    /// Waits for those who have passed the guard, then closes it. Those who come meanwhile wait for us, and are refused.
    async fn close(&mut self, wave: &Wave, deadline: Instant) -> Result<bool, StepError> {
        if fault::omits("hard-fence") {
            return Ok(true);
        }
        let action = || doing(format!("closing wave {}", wave.id));
        let link = self.shards.link(wave.from()).await?;
        let transaction = link.begin().await?;
        let left = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
        let lock = format!("set local lock_timeout = {left}; select pg_catalog.pg_advisory_xact_lock({LOCK_CLASS}, {})", wave.id);
        match transaction.batch_execute(&lock).await {
            Ok(()) => {}
            Err(error) if is_lock_timeout(&error) => return Ok(false),
            Err(error) => return Err(action()(error)),
        }
        fault::point("fence.locked").await;
        set_phase(&transaction, wave.id, Phase::Closed).await?;
        transaction.commit().await.map_err(action())?;
        Ok(true)
    }

    /// From `Flipped` to `Released`: every proxy knows the new owner, then it is opened.
    pub(crate) async fn release(&mut self, wave: &mut Wave) -> Result<(), StepError> {
        let version = crate::catalog::store::version(self.journal.client()).await?;
        // Reads that were routed before the flip may still run: the source stands still, and keeps its rows until they have ended.
        proxies::wait(self.journal.client(), self.shards, version, Until::Seen).await?;
        self.times.mark("seen");
        fault::point("release.acknowledged").await;
        let keeps_way_back = self.the_move.keep_source && !wave.reversed;
        let link = self.shards.link(wave.to()).await?;
        let transaction = link.begin().await?;
        set_phase(&transaction, wave.id, if keeps_way_back { Phase::Logging } else { Phase::Open }).await?;
        transaction.commit().await.map_err(doing("opening the target"))?;
        fault::point("release.opened").await;
        self.journal.advance(wave, WaveState::Released).await?;
        self.times.mark("released");
        fault::point("release.after").await;
        Ok(())
    }
}
