//! Reads the whole catalog in one turn: a proxy that is waited for has no time for more.

use std::sync::Arc;

use tokio_postgres::{Client, Statement};

use crate::catalog::TableRules;
use crate::catalog::store::{self, CatalogState, StoreError};
use crate::catalog::waves::{self, Before};
use crate::topology::{MapVersion, Moving, ShardMap};

const BEGIN: &str = "begin isolation level repeatable read read only";

/// The statements, prepared on one connection.
pub(crate) struct Loader {
    cluster: Statement,
    shards: Statement,
    replicas: Statement,
    owners: Statement,
    waves: Statement,
    rules: Statement,
}

impl Loader {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, StoreError> {
        let (cluster, shards, replicas, owners, waves, rules) = tokio::try_join!(
            client.prepare("select name, buckets, key_column, home_shard, version, schema_version, gate from shardyard.cluster"),
            client.prepare(store::SERVING_SHARDS),
            client.prepare(store::REPLICAS),
            client.prepare("select bucket, shard_id from shardyard.bucket_map where version > $1"),
            client.prepare(waves::UNDER_WAY),
            client.prepare(store::TABLE_RULES),
        )?;
        Ok(Self { cluster, shards, replicas, owners, waves, rules })
    }

    /// As [`store::load`].
    pub(crate) async fn load(&self, client: &Client, known: Option<&CatalogState>) -> Result<CatalogState, StoreError> {
        match self.load_since(client, known).await {
            // Another number of buckets: it is another cluster.
            Ok(None) => self.load_since(client, None).await?.ok_or(StoreError::NoCluster),
            loaded => loaded?.ok_or(StoreError::NoCluster),
        }
    }

    async fn load_since(&self, client: &Client, known: Option<&CatalogState>) -> Result<Option<CatalogState>, StoreError> {
        let known = known.map(|known| known.map.as_ref());
        let since = known.map_or(-1, |map| i64::try_from(map.version.0).unwrap_or(i64::MAX));
        let since: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&since];
        // Sent in this order without waiting; one transaction, so one snapshot.
        let (begun, cluster, shards, replicas, owners, under_way, rules, ended) = tokio::join!(
            client.batch_execute(BEGIN),
            client.query_opt(&self.cluster, &[]),
            client.query(&self.shards, &[]),
            client.query(&self.replicas, &[]),
            client.query(&self.owners, &since),
            client.query(&self.waves, &[]),
            client.query(&self.rules, &[]),
            client.batch_execute("commit"),
        );
        begun?;
        let (row, shards, replicas, owners, under_way, rules) = (cluster?, shards?, replicas?, owners?, under_way?, rules?);
        ended?;
        let row = row.ok_or(StoreError::NoCluster)?;
        let version = MapVersion(store::unsigned(row.get::<_, i64>("version"))?);
        let buckets: i32 = row.get("buckets");
        let length = usize::try_from(buckets).map_err(|_| store::out_of_range(buckets))?;
        if known.is_some_and(|map| map.owners.len() != length) {
            return Ok(None);
        }
        let home: Option<i32> = row.get("home_shard");
        let home = store::shard_id(home.ok_or_else(|| StoreError::Inconsistent("no home shard".to_owned()))?)?;
        let before = Before { version, known: known.and_then(|map| map.moving.as_deref()) };
        let shards = store::serving_shards(&shards, &replicas)?;
        let mut owners = store::owners(&owners, length, known)?;
        let waves = waves::of(client, &under_way, before, length).await?;
        waves::give_flipped(&under_way, &waves, &mut owners);
        let gate = waves::gate(row.get("gate"), before)?;
        let moving = Moving::new(waves, gate, &owners);
        let map = ShardMap { version, shards, home, owners, moving };
        store::check(&map)?;
        let rules = TableRules { key_column: row.get("key_column"), rules: store::table_rules(&rules)? };
        let schema_version = store::unsigned(row.get::<_, i64>("schema_version"))?;
        Ok(Some(CatalogState { cluster: row.get("name"), map: Arc::new(map), rules: Arc::new(rules), schema_version }))
    }
}
