//! `shardyard shard`: the cluster's shards.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::catalog::store::{self, ShardRow};
use crate::cli::cluster::Cluster;
use crate::proxy::MapSource;
use crate::topology::Endpoint;

/// Every shard with its state and the number of its buckets.
pub(crate) async fn list(folder: &Path, as_json: bool) -> Result<u8> {
    let cluster = Cluster::open(folder)?;
    let rows = match &cluster.options.source {
        MapSource::Catalog(_) => store::shards(&cluster.catalog().await?).await?,
        MapSource::Fixed(map) => {
            let owned = |id| map.owners.iter().filter(|owner| **owner == id).count();
            let row = |shard: &crate::topology::Shard| ShardRow {
                buckets: u32::try_from(owned(shard.id)).unwrap_or(u32::MAX),
                shard: shard.clone(),
                state: "active".to_owned(),
            };
            map.shards.iter().map(row).collect()
        }
    };
    if as_json {
        let shards: Vec<_> = rows.iter().map(to_json).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "shards": shards }))?);
        return Ok(0);
    }
    println!("{:>5}  {:<20} {:<9} {:>8}  servers", "id", "name", "state", "buckets");
    for ShardRow { shard, state, buckets } in &rows {
        let replicas: String = shard.replicas.iter().map(|replica| format!(", {}", replica.endpoint)).collect();
        println!("{:>5}  {:<20} {state:<9} {buckets:>8}  {}{replicas}", shard.id.0, shard.name, shard.primary);
    }
    Ok(0)
}

fn to_json(row: &ShardRow) -> serde_json::Value {
    let replicas: Vec<String> = row.shard.replicas.iter().map(|replica| dsn(&replica.endpoint)).collect();
    json!({
        "id": row.shard.id.0,
        "name": row.shard.name,
        "state": row.state,
        "buckets": row.buckets,
        "primary": dsn(&row.shard.primary),
        "replicas": replicas,
    })
}

/// Without credentials. A unix socket's folder goes into the query, as libpq reads it.
fn dsn(endpoint: &Endpoint) -> String {
    if endpoint.is_unix() {
        return format!("postgres:///{}?host={}&port={}", endpoint.database, endpoint.host, endpoint.port);
    }
    format!("postgres://{}:{}/{}", endpoint.host, endpoint.port, endpoint.database)
}
