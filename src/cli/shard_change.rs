//! `shardyard shard add`, `remove`, `rebalance`: plans a move and leaves it to the worker.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio_postgres::config::Host;

use crate::cli::arguments::{MoveArguments, ShardCommand};
use crate::cli::cluster::Cluster;
use crate::cli::moves;
use crate::rebalance::start::{self, Order, Planned, Sizes, Wanted};
use crate::rebalance::{MoveOptions, sizes};
use crate::topology::shard_map::Replica;
use crate::topology::{Endpoint, Shard, ShardId};

/// Runs one of the `shard` commands that change the cluster.
pub(crate) async fn run(command: ShardCommand) -> Result<u8> {
    match command {
        ShardCommand::List { config, json } => crate::cli::shard::list(&config.config, json).await,
        ShardCommand::Add { name, primary, replica, run } => {
            let cluster = Cluster::open(&run.config.config)?;
            let primary = endpoint(&primary, &cluster.options.database)?;
            let replicas: Result<Vec<Replica>> =
                replica.iter().map(|dsn| Ok(Replica { endpoint: endpoint(dsn, &cluster.options.database)?, weight: 1 })).collect();
            let shard = Shard { id: ShardId(0), ordinal: 0, name, primary, replicas: replicas? };
            begin(&cluster, Wanted::Add(shard), &run).await
        }
        ShardCommand::Remove { name, run } => begin(&Cluster::open(&run.config.config)?, Wanted::Remove(name), &run).await,
        ShardCommand::Rebalance { weight, run } => {
            begin(&Cluster::open(&run.config.config)?, Wanted::Rebalance(weights(&weight)?), &run).await
        }
    }
}

async fn begin(cluster: &Cluster, wanted: Wanted, run: &MoveArguments) -> Result<u8> {
    let mut catalog = cluster.catalog().await?;
    let sizes = sizes::read(&catalog, &cluster.options.control, &cluster.options.tables).await.map_err(line)?;
    let options = MoveOptions {
        hold_max_ms: run.hold_max_ms,
        rows_per_second: run.rows_per_second,
        bytes_per_second: run.bytes_per_second,
        ..MoveOptions::default()
    };
    let order = Order { keep_source: !run.finalize, dry_run: run.dry_run, options };
    let planned = start::start(&mut catalog, &wanted, &sizes, &order).await.map_err(line)?;
    tell(&planned, &sizes, run.json)?;
    match planned.id {
        Some(id) if run.wait => moves::wait(cluster, id, run.json).await,
        Some(_) => Ok(0),
        None => Ok(0),
    }
}

/// What moves, and how much that is.
fn tell(planned: &Planned, sizes: &Sizes, as_json: bool) -> Result<()> {
    let rows_of = |wave: &crate::rebalance::plan::Transfer| {
        let owned = planned.shards.iter().find(|row| row.shard.id == wave.source).map_or(1, |row| u64::from(row.buckets.max(1)));
        let (rows, bytes) = sizes.get(&wave.source).copied().unwrap_or_default();
        let count = wave.buckets.len() as u64;
        (rows.saturating_mul(count) / owned, bytes.saturating_mul(count) / owned)
    };
    let name = |id: ShardId| {
        let own = planned.shard.iter().find(|shard| shard.id == id).map(|shard| shard.name.clone());
        let listed = || planned.shards.iter().find(|row| row.shard.id == id).map(|row| row.shard.name.clone());
        own.or_else(listed).unwrap_or_default()
    };
    if as_json {
        let wave = |wave: &crate::rebalance::plan::Transfer| -> Value {
            let (rows, bytes) = rows_of(wave);
            json!({"source": name(wave.source), "target": name(wave.target), "buckets": wave.buckets.len(), "rows": rows, "bytes": bytes})
        };
        let waves: Vec<Value> = planned.waves.iter().map(wave).collect();
        println!("{}", json!({ "move": planned.id, "kind": planned.kind.name(), "waves": waves }));
        return Ok(());
    }
    let buckets: usize = planned.waves.iter().map(|wave| wave.buckets.len()).sum();
    let all: u64 = planned.shards.iter().map(|row| u64::from(row.buckets)).sum();
    match planned.id {
        Some(id) => println!("move {id}: {buckets} of {all} buckets in {} waves", planned.waves.len()),
        None if planned.waves.is_empty() => println!("the shares are as they should be: nothing moves"),
        None => println!("would move {buckets} of {all} buckets in {} waves", planned.waves.len()),
    }
    for wave in &planned.waves {
        let (rows, bytes) = rows_of(wave);
        println!(
            "  {} to {}: {} buckets, about {rows} rows, {} MB",
            name(wave.source),
            name(wave.target),
            wave.buckets.len(),
            bytes / 1_000_000
        );
    }
    Ok(())
}

/// An error of the layer below, its causes in one line.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn line(error: crate::rebalance::StepError) -> anyhow::Error {
    anyhow::Error::msg(error.line())
}

fn weights(arguments: &[String]) -> Result<HashMap<String, u32>> {
    let weight = |argument: &String| {
        let (name, weight) = argument.split_once('=').context("--weight is NAME=NUMBER")?;
        Ok((name.to_owned(), weight.parse().with_context(|| format!("the weight of {name} is no whole number"))?))
    };
    arguments.iter().map(weight).collect()
}

/// Host, port and database of a connection string. Its user and password are not kept: the control role of `proxy.toml` is used everywhere.
fn endpoint(dsn: &str, database: &str) -> Result<Endpoint> {
    let config: tokio_postgres::Config = dsn.parse().context("not a PostgreSQL connection string")?;
    let host = match config.get_hosts() {
        [Host::Tcp(host)] => host.clone(),
        [Host::Unix(path)] => path.display().to_string(),
        _ => bail!("the connection string must name one host"),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    Ok(Endpoint { host, port, database: config.get_dbname().unwrap_or(database).to_owned() })
}
