//! Drives a move: from each state of its waves to the next. Whatever was interrupted is done again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::backend::ControlRole;
use crate::catalog::{TableRules, store};
use crate::rebalance::capture;
use crate::rebalance::error::StepError;
use crate::rebalance::fault;
use crate::rebalance::journal::{Journal, Move, MoveKind, Wave};
use crate::rebalance::pass::Sides;
use crate::rebalance::precheck::{self, Precheck};
use crate::rebalance::prepare::Preparation;
use crate::rebalance::proxies::{self, Until};
use crate::rebalance::shards::Shards;
use crate::rebalance::state::{MoveState, WaveState, Wish};
use crate::rebalance::table::{self, Pair, Table};
use crate::rebalance::throttle::Throttle;
use crate::topology::{Schema, ShardId};

/// Reversible waves are kept equal about so often.
const REVERSE_PASS: Duration = Duration::from_millis(500);

/// Whether there was something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    Worked,
    Idle,
}

/// One leader's work on the current move.
pub(crate) struct Conductor {
    pub(crate) journal: Journal,
    pub(crate) shards: Shards,
    pub(crate) control: ControlRole,
    pub(crate) file_rules: TableRules,
    pub(crate) buckets: u32,
    pub(super) throttle: Throttle,
    /// The wave that has been verified since this leader began, and the guards' seals of that time: while they are the same, only passes
    /// have touched its target.
    pub(super) verified: Option<(i32, Seals)>,
    /// Tries of the current wave's fence that were given up.
    pub(super) given_up: u32,
    /// It was told that the copy waits for a replica.
    pub(super) waits: bool,
    passed_back: Instant,
    /// The tables as they were when the current wave was armed, or this leader began: they must stay so until it has switched.
    known: Option<Known>,
}

/// Of both sides of a wave, see [`capture::seal`].
pub(crate) type Seals = (String, String);

/// The sharded tables, and each shard's own of them.
struct Known {
    schema: Schema,
    tables: HashMap<ShardId, Vec<Table>>,
}

impl Conductor {
    pub(crate) fn new(journal: Journal, shards: Shards, (control, file_rules): (ControlRole, TableRules), buckets: u32) -> Self {
        let throttle = Throttle::default();
        Self {
            journal,
            shards,
            control,
            file_rules,
            buckets,
            throttle,
            verified: None,
            given_up: 0,
            waits: false,
            passed_back: Instant::now(),
            known: None,
        }
    }

    /// Does the next step of the current move, if there is one and its operator wants it.
    pub(crate) async fn round(&mut self) -> Result<Round, StepError> {
        let Some(mut the_move) = self.journal.current().await? else { return Ok(Round::Idle) };
        self.shards.reload(self.journal.client()).await?;
        match self.step(&mut the_move).await {
            Ok(round) => {
                if the_move.error.is_some() && round == Round::Worked {
                    self.journal.set_error(the_move.id, None).await?;
                }
                Ok(round)
            }
            Err(StepError::LeaseLost) => Err(StepError::LeaseLost),
            Err(error) => {
                warn!(id = the_move.id, error = error.line(), "the move does not go on");
                let stop = error.needs_operator();
                let told = self.journal.set_error(the_move.id, Some(&error.line())).await;
                if stop {
                    self.journal.pause(the_move.id).await?;
                }
                told.and(Err(error))
            }
        }
    }

    async fn step(&mut self, the_move: &mut Move) -> Result<Round, StepError> {
        let mut waves = self.journal.waves(the_move.id).await?;
        // What has begun to switch is brought to its end whatever is wished: writers wait.
        let switching = |wave: &Wave| matches!(wave.state, WaveState::Fencing | WaveState::Flipped | WaveState::Released);
        if let Some(at) = waves.iter().position(switching) {
            self.wave_step(the_move, &mut waves, at).await?;
            return Ok(Round::Worked);
        }
        match (the_move.wish, the_move.state) {
            (Wish::Abort | Wish::Rollback, state)
                if !matches!(state, MoveState::Aborting | MoveState::RollingBack | MoveState::Cleaning) =>
            {
                return self.turn(the_move, &waves).await;
            }
            (Wish::Pause, _) => return self.keep_equal(&waves).await,
            _ => {}
        }
        match the_move.state {
            MoveState::Planned => {
                let rules = self.rules().await?;
                let precheck = Precheck { control: &self.control, rules: &rules, shards: &self.shards.rows, home: self.shards.home };
                let named = the_move.shard.map(|id| self.shards.shard(id)).transpose()?;
                let new = named.filter(|_| the_move.kind == MoveKind::Add);
                let removed = the_move.shard.filter(|_| the_move.kind == MoveKind::Remove);
                precheck::passed(&precheck.run(new, removed).await?)?;
                self.journal.set_move(the_move, MoveState::Preparing).await?;
            }
            MoveState::Preparing => self.prepare(the_move).await?,
            MoveState::Moving => return self.run_waves(the_move, &mut waves).await,
            MoveState::Reversible => return self.hold_way_back(the_move, &waves).await,
            MoveState::Cleaning => return self.clean(the_move, &mut waves).await,
            MoveState::Aborting => return self.abort(the_move, &mut waves).await,
            MoveState::RollingBack => return self.roll_back(the_move, &mut waves).await,
            MoveState::Finished | MoveState::Aborted | MoveState::RolledBack => {}
        }
        Ok(Round::Worked)
    }

    async fn prepare(&mut self, the_move: &mut Move) -> Result<(), StepError> {
        let rules = self.rules().await?;
        match (the_move.kind, the_move.shard) {
            (MoveKind::Add, Some(shard)) => {
                let (journal, shards, control) = (&mut self.journal, &mut self.shards, &self.control);
                Preparation { journal, shards, control, rules: &rules, buckets: self.buckets }.add(shard).await?;
            }
            (kind, shard) => {
                let mut version = self.journal.set_gate(Some("ddl")).await?;
                if let (MoveKind::Remove, Some(shard)) = (kind, shard) {
                    version = self.journal.set_shard(shard, "draining").await?;
                }
                proxies::wait(self.journal.client(), &mut self.shards, version, Until::Both).await?;
            }
        }
        self.journal.set_move(the_move, MoveState::Moving).await
    }

    /// One step of the first wave that is not through.
    async fn run_waves(&mut self, the_move: &mut Move, waves: &mut [Wave]) -> Result<Round, StepError> {
        let through = |wave: &Wave| matches!(wave.state, WaveState::Reversible | WaveState::Finished | WaveState::Aborted);
        match waves.iter().position(|wave| !through(wave)) {
            Some(at) => self.wave_step(the_move, waves, at).await?,
            None => {
                let next = if the_move.keep_source { MoveState::Reversible } else { MoveState::Cleaning };
                self.journal.set_move(the_move, next).await?;
            }
        }
        if self.passed_back.elapsed() > REVERSE_PASS {
            self.keep_equal(waves).await?;
        }
        Ok(Round::Worked)
    }

    async fn hold_way_back(&mut self, the_move: &mut Move, waves: &[Wave]) -> Result<Round, StepError> {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a day")]
        let over = the_move.age_s > the_move.options.reversible_s as f64;
        if the_move.wish == Wish::Finalize || over {
            self.journal.set_move(the_move, MoveState::Cleaning).await?;
            return Ok(Round::Worked);
        }
        self.keep_equal(waves).await
    }

    /// Passes from the new owners to the old ones.
    async fn keep_equal(&mut self, waves: &[Wave]) -> Result<Round, StepError> {
        if self.passed_back.elapsed() < REVERSE_PASS {
            return Ok(Round::Idle);
        }
        for wave in waves.iter().filter(|wave| wave.state == WaveState::Reversible) {
            let pairs = self.pairs(wave.to(), wave.from()).await?;
            let (from, to) = self.shards.two(wave.to(), wave.from()).await?;
            Sides { from, to, pairs: &pairs, wave: wave.id }.pass().await?;
        }
        self.passed_back = Instant::now();
        Ok(Round::Idle)
    }

    async fn clean(&mut self, the_move: &mut Move, waves: &mut [Wave]) -> Result<Round, StepError> {
        if let Some(at) = waves.iter().position(|wave| matches!(wave.state, WaveState::Reversible | WaveState::Cleaning)) {
            self.wave_step(the_move, waves, at).await?;
            return Ok(Round::Worked);
        }
        if let (MoveKind::Remove, Some(shard)) = (the_move.kind, the_move.shard) {
            self.end(the_move, MoveState::Finished, Some(shard)).await?;
        } else {
            self.end(the_move, MoveState::Finished, None).await?;
        }
        Ok(Round::Worked)
    }

    /// What the operator's `abort` or `rollback` means where the move stands.
    async fn turn(&mut self, the_move: &mut Move, waves: &[Wave]) -> Result<Round, StepError> {
        let flipped = waves.iter().any(|wave| !wave.state.is_before_flip() && wave.state != WaveState::Aborted);
        if waves.iter().any(|wave| matches!(wave.state, WaveState::Cleaning | WaveState::Finished)) {
            return Err(StepError::Operator(
                "buckets have moved for good (their old rows are deleted): let the move end with \"move resume\", then move them back"
                    .to_owned(),
            ));
        }
        let next = if flipped { MoveState::RollingBack } else { MoveState::Aborting };
        self.journal.set_move(the_move, next).await?;
        Ok(Round::Worked)
    }

    async fn abort(&mut self, the_move: &mut Move, waves: &mut [Wave]) -> Result<Round, StepError> {
        if let Some(at) = waves.iter().position(|wave| wave.state != WaveState::Aborted) {
            self.abort_wave(waves, at).await?;
            return Ok(Round::Worked);
        }
        self.undo_shard(the_move, MoveState::Aborted).await?;
        Ok(Round::Worked)
    }

    /// Waves that have flipped are turned around and run again; the others are aborted.
    async fn roll_back(&mut self, the_move: &mut Move, waves: &mut [Wave]) -> Result<Round, StepError> {
        let left = |wave: &Wave| !matches!(wave.state, WaveState::Aborted | WaveState::Finished);
        let Some(at) = waves.iter().position(left) else {
            self.undo_shard(the_move, MoveState::RolledBack).await?;
            return Ok(Round::Worked);
        };
        match waves.get_mut(at) {
            Some(wave) if !wave.reversed && wave.state == WaveState::Reversible => {
                (self.verified, self.given_up) = (None, 0);
                self.journal.reverse(wave).await?;
            }
            Some(wave) if !wave.reversed && wave.state.is_before_flip() => self.abort_wave(waves, at).await?,
            _ => self.wave_step(the_move, waves, at).await?,
        }
        Ok(Round::Worked)
    }

    /// The shards are as they were before the move.
    async fn undo_shard(&mut self, the_move: &mut Move, last: MoveState) -> Result<(), StepError> {
        match (the_move.kind, the_move.shard) {
            (MoveKind::Add, Some(shard)) => {
                self.end(the_move, last, Some(shard)).await?;
                // The name is free for another try; id and ordinal are not.
                self.journal.rename_shard(shard, &format!("move {}", the_move.id)).await
            }
            (MoveKind::Remove, Some(shard)) => {
                self.journal.set_shard(shard, "active").await?;
                self.end(the_move, last, None).await
            }
            _ => self.end(the_move, last, None).await,
        }
    }

    /// Removes every object of moves, retires a shard, lifts the gate.
    async fn end(&mut self, the_move: &mut Move, last: MoveState, retired: Option<ShardId>) -> Result<(), StepError> {
        self.known = None;
        self.shards.close_lanes();
        // One that was only being added may be half made, or away: nothing of ours in it is anybody's.
        for id in self.shards.made() {
            let tables = self.tables(id).await?;
            capture::remove_all(self.shards.link(id).await?, &tables).await?;
        }
        fault::point("end.objects").await;
        if let Some(shard) = retired {
            self.shards.has_decided_all(shard).await?;
            let version = self.journal.set_shard(shard, "retired").await?;
            proxies::wait(self.journal.client(), &mut self.shards, version, Until::Both).await?;
        }
        self.journal.set_gate(None).await?;
        self.journal.set_move(the_move, last).await?;
        fault::point("end.after").await;
        info!(id = the_move.id, state = last.name(), "the move has ended");
        Ok(())
    }

    pub(super) async fn pairs(&mut self, from: ShardId, to: ShardId) -> Result<Vec<Pair>, StepError> {
        table::pairs(self.tables(from).await?, self.tables(to).await?)
    }

    /// A shard's sharded tables, as they were when they were first asked for.
    pub(super) async fn tables(&mut self, shard: ShardId) -> Result<Vec<Table>, StepError> {
        if let Some(tables) = self.known.as_ref().and_then(|known| known.tables.get(&shard)) {
            return Ok(tables.clone());
        }
        let known = match self.known.take() {
            Some(known) => known,
            None => Known { schema: self.schema().await?, tables: HashMap::new() },
        };
        let link = self.shards.link(shard).await?;
        let tables = table::of_shard(link.client(), &known.schema, &link.name).await?;
        let known = self.known.insert(known);
        known.tables.insert(shard, tables.clone());
        Ok(tables)
    }

    pub(super) fn forget_tables(&mut self) {
        self.known = None;
    }

    /// Whether nobody has changed the tables since the wave was armed: behind our back, for proxies refuse it.
    pub(super) async fn tables_are_the_same(&mut self, wave: &Wave) -> Result<(), StepError> {
        let fresh = self.schema().await?;
        for id in [wave.source, wave.target] {
            let known = self.tables(id).await?;
            let link = self.shards.link(id).await?;
            let now = table::of_shard(link.client(), &fresh, &link.name).await?;
            if let Some(name) = table::first_change(&known, &now) {
                return Err(StepError::Operator(format!(
                    "table {name} was changed on shard {} while its rows moved: \"move abort\", then begin again",
                    link.name
                )));
            }
        }
        Ok(())
    }

    async fn schema(&mut self) -> Result<Schema, StepError> {
        let rules = self.rules().await?;
        let home = self.shards.home;
        table::sharded(self.shards.link(home).await?.client(), &rules).await
    }

    async fn rules(&self) -> Result<TableRules, StepError> {
        let (_, rules) = store::rules(self.journal.client()).await?;
        Ok(rules.over(&self.file_rules))
    }
}
