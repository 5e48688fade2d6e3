//! Deletes the rows of a wave where they no longer belong, in batches.

use crate::rebalance::error::{StepError, doing};
use crate::rebalance::journal::Wave;
use crate::rebalance::link::Link;
use crate::rebalance::table::Table;

/// Rows of one transaction: a lock on each, held for some ten milliseconds.
const BATCH: i64 = 5_000;

/// Deletes up to a batch of rows of one table; answers with how many were deleted, 0 when none is left.
pub(crate) async fn delete_batch(link: &mut Link, table: &Table, wave: &Wave) -> Result<u64, StepError> {
    let action = || doing(format!("deleting rows of {}", table.quoted()));
    let transaction = link.begin().await?;
    // No trigger, no cascade: the rows live on the other shard, with all that belongs to them.
    transaction.batch_execute("set local session_replication_role = replica").await.map_err(action())?;
    let delete = format!(
        "delete from only {0} where ctid = any (array(select t.ctid from only {0} as t where {1} limit {BATCH}))",
        table.quoted(),
        table.in_buckets(&wave.buckets)
    );
    let deleted = transaction.execute(&delete, &[]).await.map_err(action())?;
    transaction.commit().await.map_err(action())?;
    Ok(deleted)
}

/// Forgets what was logged and copied of a wave, so that it could begin anew.
pub(crate) async fn forget(link: &mut Link, tables: &[Table], wave: i32) -> Result<(), StepError> {
    let action = || doing(format!("forgetting wave {wave}"));
    let transaction = link.begin().await?;
    for table in tables {
        let exists = "select pg_catalog.to_regclass($1) is not null";
        if transaction.query_one(exists, &[&table.log()]).await.map_err(action())?.get::<_, bool>(0) {
            transaction.execute(&format!("delete from {} where wave = $1", table.log()), &[&wave]).await.map_err(action())?;
        }
    }
    transaction.execute("delete from shardyard.wave_mark where wave = $1", &[&wave]).await.map_err(action())?;
    transaction.commit().await.map_err(action())
}

/// Whether the shard has rows of the wave's buckets.
pub(crate) async fn has_rows(link: &Link, table: &Table, wave: &Wave) -> Result<bool, StepError> {
    let select = format!("select exists (select from only {} as t where {})", table.quoted(), table.in_buckets(&wave.buckets));
    let row = link.client().query_one(&select, &[]).await;
    Ok(row.map_err(doing(format!("looking for rows in {}", table.quoted())))?.get(0))
}
