//! Copies a wave's rows to the target, in chunks of buckets; each chunk leaves a mark in its own transaction, so that it is done once.
//!
//! Each chunk has a snapshot of its own: what changes after it was logged since the wave was armed, and comes with the passes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

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
/// Tables of less are not cut for the sake of copying parts of them at once.
const PART_BYTES: i64 = 1 << 20;
/// No chunk is begun so long after the first: replicas and the operator's wish are looked at in between.
const ROUND: Duration = Duration::from_millis(250);
/// A target with so many times the wave's rows has its index before them: to build it anew would take longer than to insert into it.
const INDEX_FIRST: i64 = 2;

/// An interval of a wave's buckets in one table.
pub(crate) struct Chunk<'a> {
    pub(crate) pair: &'a Pair,
    pub(crate) buckets: BucketSet,
}

/// What is still to be copied of a wave: the buckets that no mark covers, in chunks for so many `jobs` at once. `owned` is how many buckets the
/// source has.
pub(crate) async fn unmarked<'a>(
    to: &Link,
    pairs: &'a [Pair],
    wave: &Wave,
    (owned, jobs): (usize, usize),
) -> Result<Vec<Chunk<'a>>, StepError> {
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
        left.extend(chunks(pair, &rest, (owned, jobs)));
    }
    Ok(left)
}

/// Cuts a table's part of some buckets into chunks of about [`CHUNK_BYTES`], or smaller ones, so that `jobs` have something to do.
pub(crate) fn chunks<'a>(pair: &'a Pair, buckets: &BucketSet, (owned, jobs): (usize, usize)) -> Vec<Chunk<'a>> {
    let share = share(pair.from.bytes, buckets, owned);
    let parts = (share / PART_BYTES).clamp(1, i64::try_from(jobs).unwrap_or(1));
    let count = usize::try_from((share / CHUNK_BYTES + 1).max(parts)).unwrap_or(1).min(CHUNKS_MAX);
    buckets.chunks(count).into_iter().map(|buckets| Chunk { pair, buckets }).collect()
}

/// Whether the target's index on the bucket is made behind the copy, in one go: it is on few rows besides.
pub(crate) fn indexes_later(pair: &Pair, buckets: &BucketSet, owned: usize) -> bool {
    pair.to.rows <= share(pair.from.rows, buckets, owned).saturating_mul(INDEX_FIRST)
}

/// What some buckets have of a table's rows or bytes, about.
fn share(of: i64, buckets: &BucketSet, owned: usize) -> i64 {
    let whole = |count: usize| i64::try_from(count.max(1)).unwrap_or(i64::MAX);
    of.saturating_mul(whole(buckets.len())) / whole(owned)
}

/// Copies chunks over several pairs of connections at once, each the next that is left; those of a round only. Answers with how much that was,
/// and how many chunks. What an error interrupts has no mark, and is copied again.
pub(crate) async fn round(lanes: Vec<(&mut Link, &mut Link)>, chunks: &[Chunk<'_>], wave: i32) -> Result<(Amount, usize), StepError> {
    let (began, next) = (Instant::now(), AtomicUsize::new(0));
    let work = async |(from, to): (&mut Link, &mut Link)| {
        let mut amount = Amount::default();
        while began.elapsed() < ROUND {
            let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            amount += chunk.copy(from, to, wave).await?;
        }
        Ok::<Amount, StepError>(amount)
    };
    let mut amount = Amount::default();
    for copied in try_join_all(lanes.into_iter().map(work)).await? {
        amount += copied;
    }
    Ok((amount, next.into_inner().min(chunks.len())))
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
