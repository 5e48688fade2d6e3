//! Moves and waves in the catalog. Every change is made by the leader, in a transaction that holds its lease.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, GenericClient, Row, Transaction};

use crate::catalog::{roles, store};
use crate::rebalance::bucket_set::BucketSet;
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::options::MoveOptions;
use crate::rebalance::state::{MoveState, WaveState, Wish};
use crate::topology::{BucketId, ShardId};

/// What a move does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveKind {
    Add,
    Remove,
    Rebalance,
}

impl MoveKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Rebalance => "rebalance",
        }
    }
}

/// One row of the catalog's `move`.
#[derive(Clone, Debug)]
pub struct Move {
    pub id: i64,
    pub kind: MoveKind,
    /// The shard that is added or removed.
    pub shard: Option<ShardId>,
    pub state: MoveState,
    pub wish: Wish,
    pub keep_source: bool,
    pub options: MoveOptions,
    pub error: Option<String>,
    /// Seconds since it was planned.
    pub age_s: f64,
}

/// One row of the catalog's `wave`, with its buckets.
#[derive(Clone, Debug)]
pub struct Wave {
    pub id: i32,
    pub source: ShardId,
    pub target: ShardId,
    pub state: WaveState,
    pub reversed: bool,
    pub buckets: BucketSet,
}

impl Wave {
    /// Where rows come from: the owner before the flip.
    #[must_use]
    pub fn from(&self) -> ShardId {
        if self.reversed { self.target } else { self.source }
    }

    /// The owner after the flip.
    #[must_use]
    pub fn to(&self) -> ShardId {
        if self.reversed { self.source } else { self.target }
    }

    #[must_use]
    pub fn touches(&self, shard: ShardId) -> bool {
        self.source == shard || self.target == shard
    }
}

/// The catalog, as the leader.
pub(crate) struct Journal {
    client: Client,
    pub(crate) token: i64,
    /// How often shards' primaries had changed when the shards were read.
    primary_changes: Option<i64>,
}

impl Journal {
    /// A leader that is stopped inside a transaction must not keep the lease's row from the next.
    pub(crate) async fn open(client: Client, token: i64) -> Result<Self, StepError> {
        let settings = "set idle_in_transaction_session_timeout = '2s'; set synchronous_commit = on";
        client.batch_execute(settings).await.map_err(doing("opening the catalog"))?;
        Ok(Self { client, token, primary_changes: None })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// From now on nothing is changed if a shard has another primary than it has now: what was done on the former one may be lost. As
    /// proxies write to a new primary only by a map that names it, each change of ours is either one that they know by then, or is refused.
    pub(crate) async fn rely_on_primaries(&mut self) -> Result<(), StepError> {
        self.primary_changes = Some(roles::changes(&self.client).await?);
        Ok(())
    }

    /// Begins a transaction that holds the lease. Waits for a former transaction of ours whose end we have not heard of.
    pub(crate) async fn begin(&mut self) -> Result<Transaction<'_>, StepError> {
        let action = || doing("beginning a transaction in the catalog");
        let token = self.token;
        let transaction = self.client.transaction().await.map_err(action())?;
        // Asked in one go, and not prepared first: a switch waits for each way to the catalog and back.
        let lease = transaction.query_typed_one("select token from shardyard.worker for no key update", &[]);
        let known = self.primary_changes;
        let primaries = async {
            let changes = "select primary_changes from shardyard.cluster for no key update";
            match known {
                Some(known) => Ok(transaction.query_typed_one(changes, &[]).await?.get::<_, i64>(0) == known),
                None => Ok(true),
            }
        };
        let (lease, primaries_stand) = tokio::try_join!(biased; lease, primaries).map_err(action())?;
        if lease.get::<_, i64>(0) != token {
            return Err(StepError::LeaseLost);
        }
        if !primaries_stand {
            return Err(StepError::Later("a shard has another primary: it is begun anew there".to_owned()));
        }
        Ok(transaction)
    }

    /// The move that is not finished, if there is one. There is one at most.
    pub(crate) async fn current(&mut self) -> Result<Option<Move>, StepError> {
        let transaction = self.begin().await?;
        let found = unfinished(&transaction).await?;
        transaction.commit().await.map_err(doing("reading the moves"))?;
        Ok(found)
    }

    /// The waves of a move in order.
    pub(crate) async fn waves(&self, id: i64) -> Result<Vec<Wave>, StepError> {
        waves(&self.client, id).await
    }

    /// Goes from the wave's state to `next`; answers with the catalog's version.
    pub(crate) async fn advance(&mut self, wave: &mut Wave, next: WaveState) -> Result<u64, StepError> {
        debug_assert!(wave.state.leads_to(next), "{:?} does not lead to {next:?}", wave.state);
        let transaction = self.begin().await?;
        let version = set_state(&transaction, wave, next, wave.reversed).await?;
        transaction.commit().await.map_err(doing(format!("setting wave {} to {}", wave.id, next.name())))?;
        wave.state = next;
        Ok(version)
    }

    /// Turns a reversible wave around.
    pub(crate) async fn reverse(&mut self, wave: &mut Wave) -> Result<(), StepError> {
        let transaction = self.begin().await?;
        set_state(&transaction, wave, WaveState::CatchingUp, true).await?;
        transaction.commit().await.map_err(doing(format!("turning wave {} around", wave.id)))?;
        (wave.state, wave.reversed) = (WaveState::CatchingUp, true);
        Ok(())
    }

    /// Before writers are held for a flip: the buckets are the source's.
    pub(crate) async fn check_owner(&self, wave: &Wave) -> Result<(), StepError> {
        let select = "select count(*) from shardyard.bucket_map where bucket = any ($1) and shard_id = $2";
        let from = i32::from(wave.from().0);
        let row = self.client.query_one(select, &[&wave.buckets.numbers(), &from]).await.map_err(doing("reading a wave's buckets"))?;
        let owned: i64 = row.get(0);
        if usize::try_from(owned) == Ok(wave.buckets.len()) {
            return Ok(());
        }
        Err(StepError::Operator(format!(
            "wave {} has {} buckets, of which shard {from} owns {owned} only: the catalog was changed by another hand",
            wave.id,
            wave.buckets.len()
        )))
    }

    /// The commit point: from this version on the buckets belong to the other shard, as everybody reads it off the wave's state
    /// (`catalog::waves::give_flipped`). No more is written while writers wait.
    pub(crate) async fn flip(&mut self, wave: &mut Wave) -> Result<u64, StepError> {
        self.advance(wave, WaveState::Flipped).await
    }

    /// From `Released` to `next`: the buckets' rows say what the wave's state has said since the flip.
    pub(crate) async fn settle_owner(&mut self, wave: &mut Wave, next: WaveState) -> Result<(), StepError> {
        let action = || doing(format!("writing the owner of wave {}'s buckets", wave.id));
        let transaction = self.begin().await?;
        let version = set_state(&transaction, wave, next, wave.reversed).await?;
        // By the primary key: a join's plan depends on statistics, and a wrong one was seen to take seconds.
        let update = "update shardyard.bucket_map set shard_id = $2, version = $3 where bucket = any ($1)";
        let (to, version) = (i32::from(wave.to().0), i64::try_from(version).unwrap_or(i64::MAX));
        transaction.execute(update, &[&wave.buckets.numbers(), &to, &version]).await.map_err(action())?;
        transaction.commit().await.map_err(action())?;
        wave.state = next;
        Ok(())
    }

    pub(crate) async fn set_move(&mut self, the_move: &mut Move, next: MoveState) -> Result<(), StepError> {
        debug_assert!(the_move.state.leads_to(next), "{:?} does not lead to {next:?}", the_move.state);
        let action = || doing(format!("setting move {} to {}", the_move.id, next.name()));
        let transaction = self.begin().await?;
        let update =
            "update shardyard.move set state = $2, error = null, finished_at = case when $3 then now() end where id = $1 and state = $4";
        let parameters: [&(dyn ToSql + Sync); 4] = [&the_move.id, &next.name(), &next.is_final(), &the_move.state.name()];
        if transaction.execute(update, &parameters).await.map_err(action())? != 1 {
            return Err(StepError::LeaseLost);
        }
        let detail = serde_json::json!({ "move": the_move.id, "kind": the_move.kind.name() }).to_string();
        store::append_event(&transaction, &format!("move {}", next.name()), &detail).await?;
        transaction.commit().await.map_err(action())?;
        the_move.state = next;
        Ok(())
    }

    /// Why the move does not go on; `None`: it does.
    pub(crate) async fn set_error(&mut self, id: i64, error: Option<&str>) -> Result<(), StepError> {
        let transaction = self.begin().await?;
        let update = "update shardyard.move set error = $2 where id = $1 and error is distinct from $2";
        transaction.execute(update, &[&id, &error]).await.map_err(doing("writing the move's error"))?;
        transaction.commit().await.map_err(doing("writing the move's error"))
    }

    /// Stops a move that only a person can help.
    pub(crate) async fn pause(&mut self, id: i64) -> Result<(), StepError> {
        let transaction = self.begin().await?;
        let update = "update shardyard.move set wish = 'pause' where id = $1";
        transaction.execute(update, &[&id]).await.map_err(doing("pausing the move"))?;
        transaction.commit().await.map_err(doing("pausing the move"))
    }

    /// What must not run beside the worker: `ddl`, `everywhere` or nothing. Answers with the version.
    pub(crate) async fn set_gate(&mut self, gate: Option<&str>) -> Result<u64, StepError> {
        let action = || doing("setting the gate");
        let transaction = self.begin().await?;
        transaction.execute("update shardyard.cluster set gate = $1 where gate is distinct from $1", &[&gate]).await.map_err(action())?;
        let version = store::version(&transaction).await?;
        transaction.commit().await.map_err(action())?;
        Ok(version)
    }

    pub(crate) async fn set_shard(&mut self, shard: ShardId, state: &str) -> Result<u64, StepError> {
        let action = || doing(format!("setting shard {shard} to {state}"));
        let transaction = self.begin().await?;
        let update = "update shardyard.shard set state = $2 where id = $1 and state <> $2";
        transaction.execute(update, &[&i32::from(shard.0), &state]).await.map_err(action())?;
        let version = store::version(&transaction).await?;
        transaction.commit().await.map_err(action())?;
        Ok(version)
    }

    /// Adds `note` to the name of a retired shard.
    pub(crate) async fn rename_shard(&mut self, shard: ShardId, note: &str) -> Result<(), StepError> {
        let transaction = self.begin().await?;
        let update = "update shardyard.shard set name = name || ' (' || $2 || ')' where id = $1 and state = 'retired'";
        transaction.execute(update, &[&i32::from(shard.0), &note]).await.map_err(doing("renaming a shard"))?;
        transaction.commit().await.map_err(doing("renaming a shard"))
    }

    /// A shard that is ready becomes active, and writes of reference tables go on: both at one version, which is the answer.
    pub(crate) async fn open_shard(&mut self, shard: ShardId) -> Result<u64, StepError> {
        let action = || doing(format!("opening shard {shard}"));
        let transaction = self.begin().await?;
        let update = "update shardyard.shard set state = 'active' where id = $1 and state = 'adding'";
        transaction.execute(update, &[&i32::from(shard.0)]).await.map_err(action())?;
        transaction.execute("update shardyard.cluster set gate = 'ddl' where gate is distinct from 'ddl'", &[]).await.map_err(action())?;
        let version = store::version(&transaction).await?;
        transaction.commit().await.map_err(action())?;
        Ok(version)
    }

    /// Adds to what is told of a wave; wakes nobody.
    pub(crate) async fn tell(&self, wave: i32, detail: &Value) -> Result<(), StepError> {
        let upsert = "insert into shardyard.wave_progress (wave_id, detail) values ($1, $2::text::jsonb)
                      on conflict (wave_id) do update set detail = wave_progress.detail || excluded.detail";
        self.client.execute(upsert, &[&wave, &detail.to_string()]).await.map_err(doing("writing progress"))?;
        Ok(())
    }
}

/// The move that is not finished.
pub async fn unfinished<C: GenericClient>(client: &C) -> Result<Option<Move>, StepError> {
    let select = format!("{MOVES} where state not in ('finished', 'aborted', 'rolled back')");
    client.query_opt(&select, &[]).await.map_err(doing("reading the moves"))?.as_ref().map(read_move).transpose()
}

/// All moves, the newest first.
pub async fn moves<C: GenericClient>(client: &C) -> Result<Vec<Move>, StepError> {
    client.query(&format!("{MOVES} order by id desc"), &[]).await.map_err(doing("reading the moves"))?.iter().map(read_move).collect()
}

const MOVES: &str = "select id, kind, shard_id, state, wish, keep_source, options::text, error,
                            extract(epoch from now() - created_at)::double precision as age_s from shardyard.move";

/// The waves of a move in order, with their buckets.
pub async fn waves<C: GenericClient>(client: &C, id: i64) -> Result<Vec<Wave>, StepError> {
    let select = "select w.id, w.source_id, w.target_id, w.state, w.reversed,
                         array(select bucket from shardyard.wave_bucket b where b.wave_id = w.id order by 1)
                  from shardyard.wave w where w.move_id = $1 order by w.id";
    client.query(select, &[&id]).await.map_err(doing("reading the waves"))?.iter().map(read_wave).collect()
}

async fn set_state(transaction: &Transaction<'_>, wave: &Wave, next: WaveState, reversed: bool) -> Result<u64, StepError> {
    let update = "update shardyard.wave set state = $2, reversed = $3 where id = $1 and state = $4 and reversed = $5 returning id";
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&wave.id, Type::INT4),
        (&next.name(), Type::TEXT),
        (&reversed, Type::BOOL),
        (&wave.state.name(), Type::TEXT),
        (&wave.reversed, Type::BOOL),
    ];
    let set = async {
        let changed = transaction.query_typed(update, &parameters).await;
        changed.map_err(doing(format!("setting wave {} to {}", wave.id, next.name())))
    };
    // Sent right behind it.
    let (changed, version) = tokio::try_join!(biased; set, async { Ok(store::version(transaction).await?) })?;
    if changed.len() != 1 {
        return Err(StepError::Later(format!("wave {} is no longer {}", wave.id, wave.state.name())));
    }
    Ok(version)
}

fn read_move(row: &Row) -> Result<Move, StepError> {
    let unknown =
        |what: &str| StepError::Operator(format!("the catalog has a move whose {what} this program does not know: use a newer one"));
    let kind = match row.get::<_, &str>("kind") {
        "add" => MoveKind::Add,
        "remove" => MoveKind::Remove,
        "rebalance" => MoveKind::Rebalance,
        _ => return Err(unknown("kind")),
    };
    Ok(Move {
        id: row.get("id"),
        kind,
        shard: row.get::<_, Option<i32>>("shard_id").and_then(|id| u16::try_from(id).ok()).map(ShardId),
        state: MoveState::parse(row.get("state")).ok_or_else(|| unknown("state"))?,
        wish: Wish::parse(row.get("wish")).ok_or_else(|| unknown("wish"))?,
        keep_source: row.get("keep_source"),
        options: serde_json::from_str(row.get("options")).unwrap_or_default(),
        error: row.get("error"),
        age_s: row.get("age_s"),
    })
}

fn read_wave(row: &Row) -> Result<Wave, StepError> {
    let shard = |at: usize| ShardId(u16::try_from(row.get::<_, i32>(at)).unwrap_or(u16::MAX));
    let state = WaveState::parse(row.get(3));
    let state = state
        .ok_or_else(|| StepError::Operator("the catalog has a wave whose state this program does not know: use a newer one".to_owned()))?;
    let numbers: Vec<i32> = row.get(5);
    let buckets = numbers.into_iter().filter_map(|bucket| u32::try_from(bucket).ok()).map(BucketId).collect();
    Ok(Wave { id: row.get(0), source: shard(1), target: shard(2), state, reversed: row.get(4), buckets: BucketSet::new(buckets) })
}
