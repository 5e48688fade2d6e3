//! Reads what moves: the waves under way with their buckets, and the gate.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::{GenericClient, Row};

use crate::catalog::StoreError;
use crate::topology::moving::{BucketSet, Wave, WaveState};
use crate::topology::{BucketId, Gate, MapVersion, Moving, ShardId};

/// The waves whose rows may be on two shards.
pub(crate) const UNDER_WAY: &str = "select id, source_id, target_id, state, reversed
     from shardyard.wave where state not in ('planned', 'finished', 'aborted') order by id";

/// One map's version and what was known before it.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub version: MapVersion,
    pub known: Option<&'a Moving>,
}

/// The waves whose rows may be on two shards. Buckets of a wave that is known already are not read again: they do not change.
pub(crate) async fn of<C: GenericClient>(client: &C, rows: &[Row], before: Before<'_>, buckets: usize) -> Result<Vec<Wave>, StoreError> {
    let known: HashMap<i32, &Wave> = before.known.iter().flat_map(|moving| &moving.waves).map(|wave| (wave.id, wave)).collect();
    let unknown: Vec<i32> = rows.iter().map(|row| row.get(0)).filter(|id| !known.contains_key(id)).collect();
    let mut read = if unknown.is_empty() { HashMap::new() } else { bucket_sets(client, &unknown, buckets).await? };
    let mut waves = Vec::with_capacity(rows.len());
    for row in rows {
        let (id, state): (i32, &str) = (row.get(0), row.get(3));
        let state = WaveState::of(state).ok_or_else(|| StoreError::Inconsistent(format!("wave state \"{state}\"")))?;
        let known = known.get(&id);
        let buckets = match known {
            Some(wave) => Arc::clone(&wave.buckets),
            None => Arc::new(read.remove(&id).unwrap_or_default()),
        };
        let held_since = (state == WaveState::Held).then(|| known.and_then(|wave| wave.held_since).unwrap_or(before.version));
        waves.push(Wave { id, source: shard(row.get(1))?, target: shard(row.get(2))?, state, buckets, held_since });
    }
    Ok(waves)
}

/// From the flip on a wave's buckets belong to its other shard. The flip is only the wave's state, as writers wait for it; the buckets' rows
/// follow when the wave goes on from `released` (`rebalance::journal`).
pub(crate) fn give_flipped(rows: &[Row], waves: &[Wave], owners: &mut [ShardId]) {
    for (row, wave) in rows.iter().zip(waves) {
        if !matches!(row.get(3), "flipped" | "released") {
            continue;
        }
        let owner = if row.get(4) { wave.source } else { wave.target };
        for bucket in wave.buckets.iter() {
            if let Some(entry) = owners.get_mut(bucket.0 as usize) {
                *entry = owner;
            }
        }
    }
}

/// The gate as it is now, and since which version this process has seen it so.
pub(crate) fn gate(text: Option<&str>, before: Before<'_>) -> Result<Option<(Gate, MapVersion)>, StoreError> {
    let gate = match text {
        None => return Ok(None),
        Some("ddl") => Gate::Ddl,
        Some("everywhere") => Gate::Everywhere,
        Some(other) => return Err(StoreError::Inconsistent(format!("gate \"{other}\""))),
    };
    let same = before.known.filter(|moving| moving.gate == Some(gate));
    Ok(Some((gate, same.map_or(before.version, |moving| moving.gate_since))))
}

async fn bucket_sets<C: GenericClient>(client: &C, waves: &[i32], buckets: usize) -> Result<HashMap<i32, BucketSet>, StoreError> {
    let select = "select wave_id, bucket from shardyard.wave_bucket where wave_id = any ($1)";
    let mut sets: HashMap<i32, BucketSet> = HashMap::new();
    for row in client.query(select, &[&waves]).await? {
        let bucket: i32 = row.get(1);
        let number = u32::try_from(bucket).ok().filter(|number| (*number as usize) < buckets);
        let number = number.ok_or_else(|| StoreError::Inconsistent(format!("bucket {bucket} of a wave is out of range")))?;
        sets.entry(row.get(0)).or_insert_with(|| BucketSet::new(buckets)).insert(BucketId(number));
    }
    Ok(sets)
}

fn shard(id: i32) -> Result<ShardId, StoreError> {
    u16::try_from(id).map(ShardId).map_err(|_| StoreError::Inconsistent(format!("shard {id} of a wave is out of range")))
}
