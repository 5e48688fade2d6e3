//! Compares both sides of a wave: counts and an order-independent sum of row hashes per bucket, chunk by chunk.
//!
//! Before a chunk is compared, a pass brings the target to the source's snapshot in which the chunk is read; later passes compare what they copy.

use std::collections::BTreeMap;

use tokio_postgres::{GenericClient, Transaction};

use crate::rebalance::bucket_set::BucketSet;
use crate::rebalance::copy::Chunk;
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::link::Link;
use crate::rebalance::table::{Pair, Table};
use crate::rebalance::transfer::pipe;
use crate::topology::BucketId;

/// The operator is shown so many keys of a table that differ.
const SHOWN_MAX: usize = 100;

/// Rows that differ in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) table: String,
    /// How many identities, and the first of them as PostgreSQL writes a row.
    pub(crate) count: usize,
    pub(crate) shown: Vec<String>,
    pub(crate) buckets: Vec<BucketId>,
}

/// Compares a chunk in the two transactions of a pass; `None`: equal.
pub(crate) async fn compare(
    source: &Transaction<'_>,
    target: &Transaction<'_>,
    chunk: &Chunk<'_>,
) -> Result<Option<Difference>, StepError> {
    // Both hash with the source's order of columns.
    let hash = chunk.pair.from.row_hash();
    let (of_source, of_target) =
        tokio::try_join!(sums(source, &chunk.pair.from, &hash, &chunk.buckets), sums(target, &chunk.pair.to, &hash, &chunk.buckets))?;
    let buckets: Vec<BucketId> = chunk.buckets.iter().filter(|bucket| of_source.get(&bucket.0) != of_target.get(&bucket.0)).collect();
    if buckets.is_empty() {
        return Ok(None);
    }
    let differing = chunk.buckets.without(|bucket| !buckets.contains(&bucket));
    let (one, other) =
        tokio::try_join!(rows(source, &chunk.pair.from, &hash, &differing), rows(target, &chunk.pair.to, &hash, &differing))?;
    let keys: Vec<String> = one.keys().chain(other.keys()).filter(|key| one.get(*key) != other.get(*key)).cloned().collect();
    let mut keys: Vec<String> = keys;
    keys.sort();
    keys.dedup();
    let (table, count) = (chunk.pair.from.quoted(), keys.len());
    keys.truncate(SHOWN_MAX);
    Ok(Some(Difference { table, count, shown: keys, buckets }))
}

/// Has every row of the buckets copied again by the next pass: all identities of both sides count as touched.
pub(crate) async fn touch(
    source: &Transaction<'_>,
    target: &mut Link,
    pair: &Pair,
    (wave, buckets): (i32, &BucketSet),
) -> Result<(), StepError> {
    let log = format!("{} (wave, {})", pair.from.log(), pair.from.identity_list(""));
    let select = |table: &Table| {
        format!("select {wave}, {} from only {} as t where {}", pair.from.identity_list("t."), table.quoted(), table.in_buckets(buckets))
    };
    let of_source = format!("insert into {log} {}", select(&pair.from));
    source.execute(&of_source, &[]).await.map_err(doing("marking rows that differ"))?;
    let target = target.begin().await?;
    pipe(&target, &select(&pair.to), source, &log, false).await?;
    target.rollback().await.map_err(doing("marking rows that differ"))
}

type Sums = BTreeMap<u32, (i64, String)>;

async fn sums<C: GenericClient>(client: &C, table: &Table, hash: &str, buckets: &BucketSet) -> Result<Sums, StepError> {
    let select = format!(
        "select {} as bucket, count(*), sum({hash})::pg_catalog.text from only {} as t where {} group by 1",
        table.bucket("t."),
        table.quoted(),
        table.in_buckets(buckets)
    );
    let rows = client.query(&select, &[]).await.map_err(doing(format!("summing up {}", table.quoted())))?;
    Ok(rows.iter().map(|row| (u32::try_from(row.get::<_, i32>(0)).unwrap_or(u32::MAX), (row.get(1), row.get(2)))).collect())
}

/// Hashes by identity. Where rows share an identity, their sum.
async fn rows<C: GenericClient>(
    client: &C,
    table: &Table,
    hash: &str,
    buckets: &BucketSet,
) -> Result<BTreeMap<String, (i64, String)>, StepError> {
    let select = format!(
        "select row({})::pg_catalog.text, count(*), sum({hash})::pg_catalog.text from only {} as t where {} group by 1",
        table.identity_list("t."),
        table.quoted(),
        table.in_buckets(buckets)
    );
    let rows = client.query(&select, &[]).await.map_err(doing(format!("looking for rows that differ in {}", table.quoted())))?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
}
