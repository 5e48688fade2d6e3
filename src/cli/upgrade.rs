//! `shardyard upgrade`: brings the catalog's and the shards' schema to this program's.

use std::path::Path;

use anyhow::{Context, Result};

use crate::catalog::migrate;
use crate::cli::cluster::Cluster;
use crate::proxy::MapSource;

/// The catalog first: a shard's migration may need what the catalog says.
pub(crate) async fn run(folder: &Path, dry_run: bool) -> Result<u8> {
    let cluster = Cluster::open(folder)?;
    if matches!(cluster.options.source, MapSource::Catalog(_)) {
        let mut client = cluster.catalog().await?;
        let names = if dry_run { migrate::missing(&client, false).await } else { migrate::catalog(&mut client).await };
        tell("catalog", dry_run, &names.context("the catalog")?);
    }
    let (map, _) = cluster.state().await?;
    for shard in &map.shards {
        let what = format!("shard {}", shard.name);
        let mut client = cluster.server(&shard.primary).await.with_context(|| what.clone())?;
        let names = if dry_run { migrate::missing(&client, true).await } else { migrate::shard(&mut client, map.buckets()).await };
        tell(&what, dry_run, &names.with_context(|| what.clone())?);
    }
    Ok(0)
}

fn tell(what: &str, dry_run: bool, names: &[String]) {
    let done = if dry_run { "would apply" } else { "applied" };
    match names {
        [] => println!("{what}: up to date"),
        names => println!("{what}: {done} {}", names.join(", ")),
    }
}
