//! A server behind the subject, asked past the proxy; it knows which rows do not belong there.

use anyhow::{Context, Result};

use crate::connection::Connection;
use crate::shardyard::{Cluster, SHARDS};

pub(crate) struct Server {
    pub(crate) connection: Connection,
    /// On `shardyard.bucket(user_id)`; `None` where every row belongs.
    foreign: Option<String>,
}

impl Server {
    /// Of a server that has all rows.
    pub(crate) fn only(connection: Connection) -> Self {
        Self { connection, foreign: None }
    }

    /// The primaries of the first shards, the home shard's first.
    pub(crate) fn of_cluster(cluster: &Cluster) -> Result<Vec<Self>> {
        let mut catalog = Connection::connect(&cluster.catalog)?;
        let moved = catalog.value(&format!("select exists (select from shardyard.bucket_map where shard_id <> bucket % {SHARDS})"))? == "t";
        (0..SHARDS)
            .map(|shard| {
                let foreign = if moved {
                    let owned = format!("select string_agg((shard_id = {shard})::int::text, '' order by bucket) from shardyard.bucket_map");
                    format!("get_bit(B'{}', shardyard.bucket(user_id)) = 0", catalog.value(&owned)?)
                } else {
                    format!("shardyard.bucket(user_id) % {SHARDS} <> {shard}")
                };
                Ok(Self { connection: cluster.primary(shard)?, foreign: Some(foreign) })
            })
            .collect()
    }

    /// How many of the table's rows belong elsewhere.
    pub(crate) fn misplaced(&mut self, table: &str) -> Result<u64> {
        let Some(foreign) = &self.foreign else { return Ok(0) };
        let keyed = format!("select count(*) from pg_attribute where attrelid = '{table}'::regclass and attname = 'user_id'");
        if self.connection.value(&keyed)? == "0" {
            return Ok(0);
        }
        let count = self.connection.value(&format!("select count(*) from {table} where {foreign}"))?;
        count.parse().context("a count")
    }
}
