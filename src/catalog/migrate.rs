//! Applies the numbered files of `migrations/` to the catalog and to shards: forward only, safe to run twice and at once.

use tokio_postgres::{Client, Transaction};

/// One file of `migrations/`.
struct Migration {
    number: i32,
    name: &'static str,
    sql: &'static str,
}

const CATALOG: &[Migration] = &[
    Migration { number: 1, name: "cluster", sql: include_str!("../../migrations/catalog/0001_cluster.sql") },
    Migration { number: 2, name: "moves", sql: include_str!("../../migrations/catalog/0002_moves.sql") },
    Migration { number: 3, name: "failover", sql: include_str!("../../migrations/catalog/0003_failover.sql") },
];

const SHARD: &[Migration] = &[
    Migration { number: 1, name: "bucket", sql: include_str!("../../migrations/shard/0001_bucket.sql") },
    Migration { number: 2, name: "commit_decision", sql: include_str!("../../migrations/shard/0002_commit_decision.sql") },
    Migration { number: 3, name: "search_path", sql: include_str!("../../migrations/shard/0003_search_path.sql") },
    Migration { number: 4, name: "moves", sql: include_str!("../../migrations/shard/0004_moves.sql") },
    Migration { number: 5, name: "strangers", sql: include_str!("../../migrations/shard/0005_strangers.sql") },
];

/// Taken while migrations run, so that two upgrades at once do one after the other. "shrdyard" in ASCII.
const LOCK: i64 = 0x7368_7264_7961_7264;

/// Why a database could not be brought to this program's schema.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the database has migration {found} of the schema shardyard, this program knows {known}: use a newer shardyard")]
    Newer { found: i32, known: i32 },
    #[error("the shard was made for {found} buckets, the cluster has {wanted}")]
    OtherBuckets { found: i32, wanted: u32 },
    #[error("migration {number:04}_{name} failed")]
    Failed { number: i32, name: &'static str, source: tokio_postgres::Error },
    #[error("cannot read or write the migration record")]
    Record(#[from] tokio_postgres::Error),
}

/// Brings the catalog's database up to date; answers with the names of what was applied, empty when nothing was missing.
///
/// # Errors
/// When the database is newer than this program, or a migration fails: then nothing has been changed.
pub async fn catalog(client: &mut Client) -> Result<Vec<String>, MigrateError> {
    let transaction = client.transaction().await?;
    let applied = apply(&transaction, CATALOG, "").await?;
    transaction.commit().await?;
    Ok(applied)
}

/// Brings one shard's database up to date. `buckets` is the cluster's B: it becomes a constant of the functions.
///
/// # Errors
/// As [`catalog`]; and when the shard was made for another number of buckets.
pub async fn shard(client: &mut Client, buckets: u32) -> Result<Vec<String>, MigrateError> {
    let transaction = client.transaction().await?;
    let applied = apply(&transaction, SHARD, &buckets.to_string()).await?;
    let found: i32 = transaction.query_one("select shardyard.buckets()", &[]).await?.get(0);
    if u32::try_from(found) != Ok(buckets) {
        return Err(MigrateError::OtherBuckets { found, wanted: buckets });
    }
    transaction.commit().await?;
    Ok(applied)
}

/// The migrations that `client`'s database lacks, without applying them. For `--dry-run` and `shardyard check`.
///
/// # Errors
/// When the database cannot be read, or is newer than this program.
pub async fn missing(client: &Client, of_shard: bool) -> Result<Vec<String>, MigrateError> {
    let known = if of_shard { SHARD } else { CATALOG };
    let recorded: bool = client.query_one("select to_regclass('shardyard.migration') is not null", &[]).await?.get(0);
    let found = if recorded { client.query_one("select coalesce(max(number), 0) from shardyard.migration", &[]).await?.get(0) } else { 0 };
    Ok(pending(known, found)?.map(Migration::file_name).collect())
}

impl Migration {
    fn file_name(&self) -> String {
        format!("{:04}_{}", self.number, self.name)
    }
}

async fn apply(transaction: &Transaction<'_>, known: &'static [Migration], buckets: &str) -> Result<Vec<String>, MigrateError> {
    transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    // NOTICEs of "already exists" would only confuse whoever reads the server's log.
    transaction
        .batch_execute(
            "set local client_min_messages = warning;
             create schema if not exists shardyard;
             create table if not exists shardyard.migration (
                 number integer primary key, name text not null, applied_at timestamptz not null default now())",
        )
        .await?;
    let found: i32 = transaction.query_one("select coalesce(max(number), 0) from shardyard.migration", &[]).await?.get(0);
    let mut applied = Vec::new();
    for migration in pending(known, found)? {
        let failed = |source| MigrateError::Failed { number: migration.number, name: migration.name, source };
        transaction.batch_execute(&migration.sql.replace("{{buckets}}", buckets)).await.map_err(failed)?;
        let record = "insert into shardyard.migration (number, name) values ($1, $2)";
        transaction.execute(record, &[&migration.number, &migration.name]).await.map_err(failed)?;
        applied.push(migration.file_name());
    }
    Ok(applied)
}

fn pending(known: &'static [Migration], found: i32) -> Result<impl Iterator<Item = &'static Migration>, MigrateError> {
    let last = known.last().map_or(0, |migration| migration.number);
    if found > last {
        return Err(MigrateError::Newer { found, known: last });
    }
    Ok(known.iter().filter(move |migration| migration.number > found))
}
