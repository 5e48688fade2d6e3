//! Begins a move: reads the map, plans, and writes move and waves to the catalog, all in one transaction of the command that asks.

use std::collections::HashMap;

use tokio_postgres::{Client, Transaction};

use crate::catalog::store::{self, ShardRow};
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::journal::{self, MoveKind};
use crate::rebalance::options::MoveOptions;
use crate::rebalance::plan::{self, Transfer};
use crate::topology::{Shard, ShardId};

/// A wave moves about so many bytes, so that no cutover waits for a pass over much.
const WAVE_BYTES: u64 = 4 << 30;
/// And at most so many buckets: every proxy reads them when the wave begins, and again when its owner is settled.
const WAVE_BUCKETS: usize = 5_000;
const WAVES_MAX: usize = 60;

/// What the operator asks for.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A new shard; its id and ordinal are chosen here.
    Add(Shard),
    Remove(String),
    /// Weights by shard name; those not named have 1.
    Rebalance(HashMap<String, u32>),
}

/// A move as it was planned.
#[derive(Clone, Debug)]
pub struct Planned {
    /// `None` for a dry run.
    pub id: Option<i64>,
    pub kind: MoveKind,
    pub shard: Option<Shard>,
    pub waves: Vec<Transfer>,
    pub shards: Vec<ShardRow>,
}

/// Rows and bytes of the sharded tables of each shard, about.
pub type Sizes = HashMap<ShardId, (u64, u64)>;

/// How a move is to be run.
#[derive(Clone, Debug)]
pub struct Order {
    pub keep_source: bool,
    pub dry_run: bool,
    pub options: MoveOptions,
}

/// Plans the move and, unless it is a dry run, writes it: the worker begins it.
///
/// # Errors
/// When another move is not finished, or the shards are not such that it makes sense.
pub async fn start(catalog: &mut Client, wanted: &Wanted, sizes: &Sizes, order: &Order) -> Result<Planned, StepError> {
    let action = || doing("planning the move");
    let transaction = catalog.transaction().await.map_err(action())?;
    transaction.query_opt("select from shardyard.cluster for update", &[]).await.map_err(action())?;
    if let Some(unfinished) = journal::unfinished(&transaction).await? {
        return Err(StepError::Operator(format!(
            "move {} ({}) is not finished: see \"shardyard move show\"; a reversible one ends with \"shardyard move finalize\"",
            unfinished.id,
            unfinished.state.name()
        )));
    }
    let shards = store::shards(&transaction).await?;
    let owners = owners(&transaction).await?;
    let (kind, shard, transfers) = match wanted {
        Wanted::Add(new) => add(&shards, &owners, new)?,
        Wanted::Remove(name) => remove(&transaction, &shards, &owners, name).await?,
        Wanted::Rebalance(weights) => (MoveKind::Rebalance, None, rebalance(&shards, &owners, weights)?),
    };
    let waves: Vec<Transfer> = transfers.iter().flat_map(|transfer| plan::waves(transfer, waves_of(transfer, &shards, sizes))).collect();
    if waves.is_empty() && kind == MoveKind::Rebalance {
        return Ok(Planned { id: None, kind, shard, waves, shards });
    }
    if order.dry_run {
        return Ok(Planned { id: None, kind, shard, waves, shards });
    }
    if let (MoveKind::Add, Some(shard)) = (kind, &shard) {
        store::insert_shard(&transaction, shard, "adding").await?;
    }
    let id = write(&transaction, kind, shard.as_ref().map(|shard| shard.id), order).await?;
    write_waves(&transaction, id, &waves).await?;
    transaction.commit().await.map_err(action())?;
    Ok(Planned { id: Some(id), kind, shard, waves, shards })
}

fn active(shards: &[ShardRow]) -> Vec<ShardId> {
    shards.iter().filter(|row| row.state == "active").map(|row| row.shard.id).collect()
}

type Choice = (MoveKind, Option<Shard>, Vec<Transfer>);

fn add(shards: &[ShardRow], owners: &[ShardId], new: &Shard) -> Result<Choice, StepError> {
    if let Some(taken) = shards.iter().find(|row| row.shard.name == new.name) {
        return Err(StepError::Operator(format!("there is a shard {} already, {}: choose another name", new.name, taken.state)));
    }
    let same = |row: &&ShardRow| row.state != "retired" && row.shard.primary == new.primary;
    if let Some(taken) = shards.iter().find(same) {
        return Err(StepError::Operator(format!("{} is shard {} already", new.primary, taken.shard.name)));
    }
    let next = |used: Option<u16>| used.map_or(Some(0), |last| last.checked_add(1));
    let id = next(shards.iter().map(|row| row.shard.id.0).max());
    let ordinal = next(shards.iter().map(|row| row.shard.ordinal).max()).filter(|ordinal| *ordinal < 1024);
    let (Some(id), Some(ordinal)) = (id, ordinal) else {
        return Err(StepError::Operator("a cluster has had at most 1024 shards: no sequence would be left for another".to_owned()));
    };
    let shard = Shard { id: ShardId(id), ordinal, ..new.clone() };
    let transfers = plan::add(owners, &active(shards), shard.id);
    Ok((MoveKind::Add, Some(shard), transfers))
}

async fn remove(transaction: &Transaction<'_>, shards: &[ShardRow], owners: &[ShardId], name: &str) -> Result<Choice, StepError> {
    let Some(row) = shards.iter().find(|row| row.shard.name == name) else {
        return Err(StepError::Operator(format!("there is no shard {name}: see \"shardyard shard list\"")));
    };
    if row.state != "active" {
        return Err(StepError::Operator(format!("shard {name} is {} already", row.state)));
    }
    let home = transaction.query_one("select home_shard from shardyard.cluster", &[]).await.map_err(doing("reading the home shard"))?;
    if home.get::<_, Option<i32>>(0) == Some(i32::from(row.shard.id.0)) {
        return Err(StepError::Operator(format!("shard {name} is the home shard, which keeps the single tables: it cannot be removed")));
    }
    let rest: Vec<ShardId> = active(shards).into_iter().filter(|id| *id != row.shard.id).collect();
    if rest.is_empty() {
        return Err(StepError::Operator(format!("shard {name} is the only one")));
    }
    Ok((MoveKind::Remove, Some(row.shard.clone()), plan::remove(owners, &rest, row.shard.id)))
}

fn rebalance(shards: &[ShardRow], owners: &[ShardId], weights: &HashMap<String, u32>) -> Result<Vec<Transfer>, StepError> {
    if let Some(unknown) = weights.keys().find(|name| !shards.iter().any(|row| row.state == "active" && row.shard.name == **name)) {
        return Err(StepError::Operator(format!("there is no active shard {unknown}")));
    }
    let weight = |row: &ShardRow| (row.shard.id, weights.get(&row.shard.name).copied().unwrap_or(1));
    let weights: Vec<(ShardId, u32)> = shards.iter().filter(|row| row.state == "active").map(weight).collect();
    if weights.iter().all(|(_, weight)| *weight == 0) {
        return Err(StepError::Operator("no shard would keep anything".to_owned()));
    }
    Ok(plan::rebalance(owners, &weights))
}

fn waves_of(transfer: &Transfer, shards: &[ShardRow], sizes: &Sizes) -> usize {
    let owned = shards.iter().find(|row| row.shard.id == transfer.source).map_or(1, |row| row.buckets.max(1));
    let bytes = sizes.get(&transfer.source).map_or(0, |(_, bytes)| *bytes);
    let moved = bytes.saturating_mul(transfer.buckets.len() as u64) / u64::from(owned);
    let by_size = usize::try_from(moved / WAVE_BYTES + 1).unwrap_or(WAVES_MAX);
    by_size.max(transfer.buckets.len().div_ceil(WAVE_BUCKETS)).min(WAVES_MAX)
}

async fn owners(transaction: &Transaction<'_>) -> Result<Vec<ShardId>, StepError> {
    let rows = transaction.query("select shard_id from shardyard.bucket_map order by bucket", &[]).await;
    let owner = |row: &tokio_postgres::Row| ShardId(u16::try_from(row.get::<_, i32>(0)).unwrap_or(u16::MAX));
    Ok(rows.map_err(doing("reading the shard map"))?.iter().map(owner).collect())
}

async fn write(transaction: &Transaction<'_>, kind: MoveKind, shard: Option<ShardId>, order: &Order) -> Result<i64, StepError> {
    let insert = "insert into shardyard.move (kind, shard_id, keep_source, options) values ($1, $2, $3, $4::text::jsonb) returning id";
    let options = serde_json::to_string(&order.options).unwrap_or_else(|_| "{}".to_owned());
    let shard = shard.map(|id| i32::from(id.0));
    let row = transaction.query_one(insert, &[&kind.name(), &shard, &order.keep_source, &options]).await;
    let id: i64 = row.map_err(doing("writing the move"))?.get(0);
    let detail = serde_json::json!({ "move": id, "kind": kind.name() }).to_string();
    store::append_event(transaction, "move planned", &detail).await?;
    Ok(id)
}

async fn write_waves(transaction: &Transaction<'_>, id: i64, waves: &[Transfer]) -> Result<(), StepError> {
    for wave in waves {
        let action = || doing("writing the waves");
        let insert = "insert into shardyard.wave (move_id, source_id, target_id) values ($1, $2, $3) returning id";
        let row = transaction.query_one(insert, &[&id, &i32::from(wave.source.0), &i32::from(wave.target.0)]).await.map_err(action())?;
        let wave_id: i32 = row.get(0);
        let buckets: Vec<i32> = wave.buckets.iter().filter_map(|bucket| i32::try_from(bucket.0).ok()).collect();
        let insert = "insert into shardyard.wave_bucket (wave_id, bucket) select $1, b from pg_catalog.unnest($2::integer[]) b";
        transaction.execute(insert, &[&wave_id, &buckets]).await.map_err(action())?;
    }
    Ok(())
}
