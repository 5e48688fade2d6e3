//! Copies a wave's rows to the target, in chunks of buckets; each chunk leaves a mark in its own transaction, so that it is done once.
//!
//! Each chunk has a snapshot of its own: what changes after it was logged since the wave was armed, and comes with the passes.

use crate::rebalance::bucket_set::BucketSet;
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::fault;
use crate::rebalance::journal::Wave;
use crate::rebalance::link::Link;
use crate::rebalance::table::Pair;
use crate::rebalance::transfer::{Amount, pipe};
use crate::topology::BucketId;

/// A chunk has about so many bytes of a table, so that little is lost by a crash and the operator's wish is seen in between.
const CHUNK_BYTES: i64 = 64 << 20;
const CHUNKS_MAX: usize = 1_000;

/// An interval of a wave's buckets in one table.
pub(crate) struct Chunk<'a> {
    pub(crate) pair: &'a Pair,
    pub(crate) buckets: BucketSet,
}

/// What is still to be copied of a wave: the buckets that no mark covers. `owned` is how many buckets the source has.
pub(crate) async fn unmarked<'a>(to: &Link, pairs: &'a [Pair], wave: &Wave, owned: usize) -> Result<Vec<Chunk<'a>>, StepError> {
    let select = "select schema_name, table_name, first_bucket, last_bucket from shardyard.wave_mark where wave = $1";
    let rows = to.client().query(select, &[&wave.id]).await.map_err(doing("reading the marks of copies"))?;
    let marks: Vec<(String, String, i32, i32)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    let mut left = Vec::new();
    for pair in pairs {
        let covers = |mark: &(String, String, i32, i32), bucket: BucketId| {
            let interval = u32::try_from(mark.2).unwrap_or(u32::MAX)..=u32::try_from(mark.3).unwrap_or(0);
            mark.0 == pair.from.schema && mark.1 == pair.from.name && interval.contains(&bucket.0)
        };
        let rest = wave.buckets.without(|bucket| marks.iter().any(|mark| covers(mark, bucket)));
        left.extend(chunks(pair, &rest, owned));
    }
    Ok(left)
}

/// Cuts a table's part of some buckets into chunks of about [`CHUNK_BYTES`].
pub(crate) fn chunks<'a>(pair: &'a Pair, buckets: &BucketSet, owned: usize) -> Vec<Chunk<'a>> {
    let whole = |count: usize| i64::try_from(count.max(1)).unwrap_or(i64::MAX);
    let share = pair.from.bytes.saturating_mul(whole(buckets.len())) / whole(owned);
    let count = usize::try_from(share / CHUNK_BYTES + 1).unwrap_or(1).min(CHUNKS_MAX);
    buckets.chunks(count).into_iter().map(|buckets| Chunk { pair, buckets }).collect()
}

impl Chunk<'_> {
    /// Copies the chunk and marks it.
    pub(crate) async fn copy(&self, from: &mut Link, to: &mut Link, wave: i32) -> Result<Amount, StepError> {
        let action = || doing(format!("copying {}", self.pair.from.quoted()));
        let (source, target) = (from.begin_snapshot().await?, to.begin().await?);
        target.batch_execute("set local session_replication_role = replica").await.map_err(action())?;
        let table = &self.pair.from;
        let query = format!("select {} from only {} as t where {}", table.values(), table.quoted(), table.in_buckets(&self.buckets));
        let into = format!("{} ({})", self.pair.to.quoted(), table.column_list());
        let amount = pipe(&source, &query, &target, &into, table.is_portable()).await?;
        let mark = "insert into shardyard.wave_mark (wave, schema_name, table_name, first_bucket, last_bucket, rows, bytes)
                    values ($1, $2, $3, $4, $5, $6, $7)";
        let (first, last) = self.buckets.interval();
        let (rows, bytes) = (i64::try_from(amount.rows).unwrap_or(i64::MAX), i64::try_from(amount.bytes).unwrap_or(i64::MAX));
        target.execute(mark, &[&wave, &table.schema, &table.name, &first, &last, &rows, &bytes]).await.map_err(action())?;
        fault::point("copy.target-commits").await;
        target.commit().await.map_err(action())?;
        source.rollback().await.map_err(action())?;
        Ok(amount)
    }
}
