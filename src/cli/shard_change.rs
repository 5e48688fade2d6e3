//! `shardyard shard add`, `remove`, `rebalance`: plans a move and leaves it to the worker.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use tokio_postgres::Client;
use tokio_postgres::config::Host;

use crate::catalog::store;
use crate::cli::arguments::{MoveArguments, ShardCommand};
use crate::cli::cluster::Cluster;
use crate::cli::move_watch;
use crate::cli::plan_report::{self, Rate};
use crate::rebalance::journal::MoveKind;
use crate::rebalance::precheck::{self, Check, Precheck};
use crate::rebalance::start::{self, Order, Planned, Wanted};
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
        ShardCommand::Drop { name, yes, config } => drop_database(&Cluster::open(&config.config)?, &name, yes).await,
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
        copy_jobs: run.copy_jobs,
        lag_bytes_max: run.lag_bytes_max,
        ..MoveOptions::default()
    };
    let order = Order { keep_source: !run.finalize, dry_run: run.dry_run, options };
    // Planned once for nothing, so that nothing is written that cannot begin.
    let rehearsal = Order { dry_run: true, ..order.clone() };
    let mut planned = start::start(&mut catalog, &wanted, &sizes, &rehearsal).await.map_err(line)?;
    let checks = check(cluster, &catalog, &planned).await?;
    if !run.dry_run {
        precheck::passed(&checks).map_err(line)?;
        planned = start::start(&mut catalog, &wanted, &sizes, &order).await.map_err(line)?;
    }
    let rate = Rate::read(&catalog, &order.options).await?;
    plan_report::tell(&planned, &sizes, &rate, &checks, run.json);
    precheck::passed(&checks).map_err(line)?;
    match planned.id {
        Some(id) if run.wait => move_watch::wait(cluster, id, run.json).await,
        Some(_) => Ok(0),
        None => Ok(0),
    }
}

async fn check(cluster: &Cluster, catalog: &Client, planned: &Planned) -> Result<Vec<Check>> {
    let (map, rules) = cluster.state().await?;
    let shards = store::shards(catalog).await?;
    let precheck = Precheck { control: &cluster.options.control, rules: &rules, shards: &shards, home: map.home };
    let new = planned.shard.as_ref().filter(|_| planned.kind == MoveKind::Add);
    let removed = planned.shard.as_ref().filter(|_| planned.kind == MoveKind::Remove).map(|shard| shard.id);
    precheck.run(new, removed).await.map_err(line)
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

/// Drops the database of a retired shard. Its row stays in the catalog: ids and ordinals are not used again.
async fn drop_database(cluster: &Cluster, name: &str, yes: bool) -> Result<u8> {
    let rows = store::shards(&cluster.catalog().await?).await?;
    let row = rows.iter().find(|row| row.shard.name == name).with_context(|| format!("there is no shard {name}"))?;
    if row.state != "retired" {
        bail!("shard {name} is {}: remove it first", row.state);
    }
    let primary = &row.shard.primary;
    if let Some(user) = rows.iter().find(|other| other.state != "retired" && other.shard.primary == *primary) {
        bail!("{primary} is now shard {}", user.shard.name);
    }
    if !yes {
        println!("would drop the database {} of {}:{}; say --yes to do it", primary.database, primary.host, primary.port);
        return Ok(3);
    }
    let server = cluster.server(&Endpoint { database: "postgres".to_owned(), ..primary.clone() }).await?;
    let database = format!("\"{}\"", primary.database.replace('"', "\"\""));
    server.batch_execute(&format!("drop database if exists {database} with (force)")).await.context("dropping the database")?;
    println!("dropped the database {} of {}:{}", primary.database, primary.host, primary.port);
    Ok(0)
}
