//! Reads and writes the catalog's tables.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::{Client, GenericClient, Row};

use crate::catalog::loader::Loader;
use crate::catalog::{TableRule, TableRuleKind, TableRules};
use crate::topology::shard_map::Replica;
use crate::topology::{BucketId, Endpoint, Shard, ShardId, ShardMap};

/// The catalog at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogState {
    /// The cluster's name: part of the global ids of two-phase commits.
    pub cluster: String,
    pub map: Arc<ShardMap>,
    pub rules: Arc<TableRules>,
    /// The version at which tables last changed their shape or kind: when it grows, load the schema again.
    pub schema_version: u64,
}

/// A cluster to be written into an empty catalog.
#[derive(Clone, Debug)]
pub struct NewCluster {
    pub name: String,
    pub key_column: String,
    /// Fixes B by its length, the home shard and the first owners.
    pub map: ShardMap,
}

/// One shard as `shardyard shard list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRow {
    pub shard: Shard,
    /// `adding`, `active`, `draining` or `retired`.
    pub state: String,
    /// How many buckets it owns.
    pub buckets: u32,
}

/// Why the catalog could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the catalog has no cluster yet")]
    NoCluster,
    #[error("the catalog already holds a cluster")]
    ClusterExists,
    #[error("the catalog contradicts itself: {0}")]
    Inconsistent(String),
    #[error("the catalog does not answer")]
    Silent,
    #[error("the catalog closed the connection")]
    Closed,
    #[error("the catalog cannot be read or written")]
    Database(#[from] tokio_postgres::Error),
}

/// Writes a new cluster in one transaction. The catalog must be migrated and empty.
///
/// # Errors
/// When there is a cluster already, or the database refuses.
pub async fn create_cluster(client: &mut Client, cluster: &NewCluster) -> Result<(), StoreError> {
    let transaction = client.transaction().await?;
    let buckets = integer(cluster.map.buckets())?;
    let insert = "insert into shardyard.cluster (name, buckets, key_column) values ($1, $2, $3) on conflict do nothing";
    if transaction.execute(insert, &[&cluster.name, &buckets, &cluster.key_column]).await? == 0 {
        return Err(StoreError::ClusterExists);
    }
    for shard in &cluster.map.shards {
        insert_shard(&transaction, shard, "active").await?;
    }
    transaction.execute("update shardyard.cluster set home_shard = $1", &[&i32::from(cluster.map.home.0)]).await?;
    let owners: Vec<i32> = cluster.map.owners.iter().map(|owner| i32::from(owner.0)).collect();
    let fill = "insert into shardyard.bucket_map (bucket, shard_id, version)
                select o.ordinality - 1, o.shard_id, (select shardyard.bump()) from unnest($1::integer[]) with ordinality as o (shard_id, ordinality)";
    transaction.execute(fill, &[&owners]).await?;
    append_event(&transaction, "cluster created", &format!("{{\"shards\": {}, \"buckets\": {buckets}}}", cluster.map.shards.len())).await?;
    transaction.commit().await?;
    Ok(())
}

/// Writes a shard and its replicas; it owns no bucket yet.
///
/// # Errors
/// When the id, ordinal or name is taken, or the database refuses.
pub async fn insert_shard<C: GenericClient>(client: &C, shard: &Shard, state: &str) -> Result<(), StoreError> {
    let insert = "insert into shardyard.shard (id, ordinal, name, state, host, port, database) values ($1, $2, $3, $4, $5, $6, $7)";
    let id = i32::from(shard.id.0);
    let primary = &shard.primary;
    client
        .execute(insert, &[&id, &i32::from(shard.ordinal), &shard.name, &state, &primary.host, &i32::from(primary.port), &primary.database])
        .await?;
    let insert = "insert into shardyard.replica (shard_id, host, port, database, weight) values ($1, $2, $3, $4, $5)";
    for replica in &shard.replicas {
        let endpoint = &replica.endpoint;
        let weight = integer(replica.weight)?;
        client.execute(insert, &[&id, &endpoint.host, &i32::from(endpoint.port), &endpoint.database, &weight]).await?;
    }
    Ok(())
}

/// Reads the whole catalog at one snapshot; `known` saves reading the buckets that have not changed since.
///
/// # Errors
/// When there is no cluster, or the rows contradict each other.
pub async fn load(client: &mut Client, known: Option<&CatalogState>) -> Result<CatalogState, StoreError> {
    Loader::prepare(client).await?.load(client, known).await
}

/// The catalog's version alone, to see whether to load it.
///
/// # Errors
/// When there is no cluster, or the database does not answer.
pub async fn version<C: GenericClient>(client: &C) -> Result<u64, StoreError> {
    let row = client.query_typed_opt("select version from shardyard.cluster", &[]).await?.ok_or(StoreError::NoCluster)?;
    unsigned(row.get::<_, i64>(0))
}

/// B, the cluster's number of buckets.
///
/// # Errors
/// When there is no cluster, or the database does not answer.
pub async fn buckets<C: GenericClient>(client: &C) -> Result<u32, StoreError> {
    let row = client.query_opt("select buckets from shardyard.cluster", &[]).await?.ok_or(StoreError::NoCluster)?;
    unsigned(row.get::<_, i32>(0))
}

/// The catalog's version, and rules at least as new.
///
/// # Errors
/// When there is no cluster, or the database does not answer.
pub async fn rules<C: GenericClient>(client: &C) -> Result<(u64, TableRules), StoreError> {
    let select = "select version, key_column from shardyard.cluster";
    let row = client.query_opt(select, &[]).await?.ok_or(StoreError::NoCluster)?;
    Ok((
        unsigned(row.get::<_, i64>(0))?,
        TableRules { key_column: row.get(1), rules: table_rules(&client.query(TABLE_RULES, &[]).await?)? },
    ))
}

/// All shards, retired ones too, in order of id, with the number of their buckets.
///
/// # Errors
/// When the database does not answer or a number is out of range.
pub async fn shards<C: GenericClient>(client: &C) -> Result<Vec<ShardRow>, StoreError> {
    let select = "select s.id, s.ordinal, s.name, s.state, s.host, s.port, s.database,
                         (select count(*) from shardyard.bucket_map b where b.shard_id = s.id) as buckets
                  from shardyard.shard s order by s.id";
    let mut replicas = replicas(&client.query(REPLICAS, &[]).await?)?;
    let mut shards = Vec::new();
    for row in client.query(select, &[]).await? {
        let buckets: i64 = row.get("buckets");
        let shard = shard(&row, &mut replicas)?;
        shards.push(ShardRow { shard, state: row.get("state"), buckets: unsigned(buckets)? });
    }
    Ok(shards)
}

/// The shards that proxies know: those whose schema and reference tables are complete.
pub(crate) const SERVING_SHARDS: &str =
    "select id, ordinal, name, host, port, database from shardyard.shard where state in ('active', 'draining') order by id";
pub(crate) const REPLICAS: &str = "select shard_id, host, port, database, weight from shardyard.replica order by shard_id, host, port";
pub(crate) const TABLE_RULES: &str =
    "select schema_name, table_name, kind, key_column, local_unique from shardyard.table_kind order by 1, 2";

pub(crate) fn serving_shards(shards: &[Row], replicas: &[Row]) -> Result<Vec<Shard>, StoreError> {
    let mut replicas = self::replicas(replicas)?;
    shards.iter().map(|row| shard(row, &mut replicas)).collect()
}

fn replicas(rows: &[Row]) -> Result<HashMap<i32, Vec<Replica>>, StoreError> {
    let mut replicas: HashMap<i32, Vec<Replica>> = HashMap::new();
    for row in rows {
        let replica = Replica { endpoint: endpoint(row)?, weight: unsigned(row.get::<_, i32>("weight"))? };
        replicas.entry(row.get("shard_id")).or_default().push(replica);
    }
    Ok(replicas)
}

fn shard(row: &Row, replicas: &mut HashMap<i32, Vec<Replica>>) -> Result<Shard, StoreError> {
    let id: i32 = row.get("id");
    let ordinal: i32 = row.get("ordinal");
    Ok(Shard {
        id: shard_id(id)?,
        ordinal: unsigned(ordinal)?,
        name: row.get("name"),
        primary: endpoint(row)?,
        replicas: replicas.remove(&id).unwrap_or_default(),
    })
}

/// Declares a table's kind, or changes it. Does not touch the table itself.
///
/// # Errors
/// When the database refuses.
pub async fn set_table_rule<C: GenericClient>(client: &C, rule: &TableRule) -> Result<(), StoreError> {
    let (kind, key_column) = match &rule.kind {
        TableRuleKind::Sharded { key_column } => ("sharded", Some(key_column)),
        TableRuleKind::Reference => ("reference", None),
        TableRuleKind::Single => ("single", None),
    };
    let upsert = "insert into shardyard.table_kind (schema_name, table_name, kind, key_column, local_unique) values ($1, $2, $3, $4, $5)
                  on conflict (schema_name, table_name)
                  do update set kind = excluded.kind, key_column = excluded.key_column, local_unique = excluded.local_unique";
    client.execute(upsert, &[&rule.schema, &rule.name, &kind, &key_column, &rule.local_unique]).await?;
    Ok(())
}

/// Forgets what was declared of a table: it is sharded again if it has the key column, else single.
///
/// # Errors
/// When the database refuses.
pub async fn remove_table_rule<C: GenericClient>(client: &C, schema: &str, name: &str) -> Result<bool, StoreError> {
    let delete = "delete from shardyard.table_kind where schema_name = $1 and table_name = $2";
    Ok(client.execute(delete, &[&schema, &name]).await? > 0)
}

/// Tells every proxy that tables have changed their shape; answers with the new version.
///
/// # Errors
/// When the database refuses.
pub async fn schema_changed<C: GenericClient>(client: &C) -> Result<u64, StoreError> {
    unsigned(client.query_one("select shardyard.bump_schema()", &[]).await?.get::<_, i64>(0))
}

/// Adds a line to the cluster's history. `detail` is a JSON object without secrets or row values.
///
/// # Errors
/// When the database refuses, or `detail` is not JSON.
pub async fn append_event<C: GenericClient>(client: &C, kind: &str, detail: &str) -> Result<(), StoreError> {
    let insert = "insert into shardyard.event (version, kind, detail)
                  select coalesce((select version from shardyard.cluster), 0), $1, $2::text::jsonb";
    client.execute(insert, &[&kind, &detail]).await?;
    Ok(())
}

pub(crate) fn table_rules(rows: &[Row]) -> Result<Vec<TableRule>, StoreError> {
    rows.iter()
        .map(|row| {
            let kind: &str = row.get("kind");
            let key_column: Option<String> = row.get("key_column");
            let kind = match (kind, key_column) {
                ("sharded", Some(key_column)) => TableRuleKind::Sharded { key_column },
                ("reference", _) => TableRuleKind::Reference,
                ("single", _) => TableRuleKind::Single,
                (other, _) => return Err(StoreError::Inconsistent(format!("table kind \"{other}\""))),
            };
            Ok(TableRule { schema: row.get("schema_name"), name: row.get("table_name"), kind, local_unique: row.get("local_unique") })
        })
        .collect()
}

pub(crate) fn owners(rows: &[Row], length: usize, known: Option<&ShardMap>) -> Result<Box<[ShardId]>, StoreError> {
    let mut owners = known.map_or_else(|| vec![None; length], |map| map.owners.iter().copied().map(Some).collect());
    for row in rows {
        let bucket: i32 = row.get(0);
        let owner = owners.get_mut(usize::try_from(bucket).unwrap_or(usize::MAX)).ok_or_else(|| out_of_range(bucket))?;
        *owner = Some(shard_id(row.get(1))?);
    }
    let without = |bucket: usize| StoreError::Inconsistent(format!("bucket {bucket} has no shard"));
    owners.into_iter().enumerate().map(|(bucket, owner)| owner.ok_or_else(|| without(bucket))).collect()
}

pub(crate) fn check(map: &ShardMap) -> Result<(), StoreError> {
    if map.shard(map.home).is_none() {
        return Err(StoreError::Inconsistent(format!("home shard {} does not exist or is retired", map.home)));
    }
    for bucket in 0..map.buckets() {
        let owner = map.owner(BucketId(bucket));
        if map.shard(owner).is_none() {
            return Err(StoreError::Inconsistent(format!("bucket {bucket} belongs to shard {owner}, which does not exist or is retired")));
        }
    }
    Ok(())
}

fn endpoint(row: &Row) -> Result<Endpoint, StoreError> {
    Ok(Endpoint { host: row.get("host"), port: unsigned(row.get::<_, i32>("port"))?, database: row.get("database") })
}

pub(crate) fn shard_id(id: i32) -> Result<ShardId, StoreError> {
    unsigned(id).map(ShardId)
}

fn integer(number: u32) -> Result<i32, StoreError> {
    i32::try_from(number).map_err(|_| out_of_range(number))
}

pub(crate) fn unsigned<From: Copy + std::fmt::Display, To: TryFrom<From>>(number: From) -> Result<To, StoreError> {
    To::try_from(number).map_err(|_| out_of_range(number))
}

pub(crate) fn out_of_range(number: impl std::fmt::Display) -> StoreError {
    StoreError::Inconsistent(format!("{number} is out of range"))
}
