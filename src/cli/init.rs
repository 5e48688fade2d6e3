//! `shardyard init`: makes a cluster of servers that stand already.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};

use crate::backend::ControlRole;
use crate::backend::probe::control_target;
use crate::catalog::store::{self, NewCluster, StoreError};
use crate::catalog::{CatalogState, migrate};
use crate::config;
use crate::proxy::MapSource;
use crate::topology::ShardMap;

/// Brings the catalog up to date, prepares every shard, and writes the cluster last: a proxy that finds it finds shards that are ready.
pub(crate) async fn run(folder: PathBuf, name: String) -> Result<u8> {
    let wrong = |mistakes| anyhow!("the configuration is wrong:\n{mistakes}");
    let options = config::read(&folder, None).map_err(wrong)?;
    let MapSource::Catalog(target) = &options.source else {
        bail!("proxy.toml names no catalog: without one the shards of shards.toml are used as they are, and nothing is to be made");
    };
    let mut catalog = target.connect().await?;
    applied("the catalog", &migrate::catalog(&mut catalog).await.context("the catalog")?);
    match store::load(&mut catalog, None).await {
        Ok(CatalogState { cluster, map, .. }) => {
            prepare(&map, &options.control).await?;
            println!("the catalog holds the cluster {cluster} of {} shards already", map.shards.len());
        }
        Err(StoreError::NoCluster) => {
            let map = config::read_shards(&folder, None, &options.database).map_err(wrong)?;
            prepare(&map, &options.control).await?;
            let (shards, buckets) = (map.shards.len(), map.buckets());
            let cluster = NewCluster { name, key_column: options.tables.key_column, map };
            match store::create_cluster(&mut catalog, &cluster).await {
                Ok(()) => println!("made the cluster {} of {shards} shards and {buckets} buckets", cluster.name),
                Err(StoreError::ClusterExists) => println!("another init was faster: the catalog holds a cluster already"),
                Err(error) => return Err(error.into()),
            }
            for rule in &options.tables.rules {
                store::set_table_rule(&catalog, rule).await?;
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(0)
}

async fn prepare(map: &ShardMap, control: &ControlRole) -> Result<()> {
    for shard in &map.shards {
        let what = format!("shard {}", shard.name);
        let mut client = control_target(&shard.primary, control).connect().await.with_context(|| what.clone())?;
        applied(&what, &migrate::shard(&mut client, map.buckets()).await.with_context(|| what.clone())?);
    }
    Ok(())
}

fn applied(what: &str, migrations: &[String]) {
    if !migrations.is_empty() {
        println!("{what}: applied {}", migrations.join(", "));
    }
}
