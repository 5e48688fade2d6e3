//! `shardyard table reference`: copies a table of the home shard to every shard and keeps it there.
//!
//! Writers wait while it happens. One that has begun to wait was routed to the home shard alone, so it is cancelled in the end: its
//! client repeats it, and the statement then goes to every shard.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use tokio::process::Command;
use tokio_postgres::Client;

use crate::catalog::{TableRule, schema, store};
use crate::cli::cluster::Cluster;
use crate::cli::table::existing;
use crate::topology::schema::RelationKind;
use crate::topology::{Placement, ShardMap};

/// Proxies follow the catalog within a second; this is three times that.
const PROXIES_FOLLOW: Duration = Duration::from_secs(3);

pub(crate) async fn declare(cluster: &Cluster, rule: &TableRule, dry_run: bool) -> Result<u8> {
    let catalog = cluster.catalog().await?;
    let (map, rules) = cluster.state().await?;
    let home = cluster.home(&map).await?;
    let schema = schema::load(&home, &rules, 0).await?;
    let name = format!("{}.{}", rule.schema, rule.name);
    let Some(relation) = existing(&schema, rule) else {
        return finish(dry_run, &format!("declared {name}; it does not exist yet"), store::set_table_rule(&catalog, rule)).await;
    };
    match (&relation.placement, relation.kind) {
        (Placement::Reference, _) => {
            println!("{name} is a reference table already");
            return Ok(0);
        }
        (Placement::Single, RelationKind::Table) => {}
        (Placement::Sharded { .. }, _) => bail!("{name} is sharded: make a new reference table, copy the rows, and rename it"),
        _ => bail!("{name} is no plain table"),
    }
    if dry_run {
        println!("would copy {name} to {} shards", map.shards.len().saturating_sub(1));
        return Ok(0);
    }
    copy_everywhere(cluster, &map, &home, &catalog, rule).await?;
    println!("{name} is on all {} shards", map.shards.len());
    Ok(0)
}

async fn finish(dry_run: bool, text: &str, act: impl Future<Output = Result<(), store::StoreError>>) -> Result<u8> {
    if dry_run {
        println!("would have {text}");
    } else {
        act.await?;
        println!("{text}");
    }
    Ok(0)
}

/// Everything on the other shards is one transaction each, all open until the last has the rows.
async fn copy_everywhere(cluster: &Cluster, map: &ShardMap, home: &Client, catalog: &Client, rule: &TableRule) -> Result<()> {
    let name = quoted(rule);
    home.batch_execute(&format!("begin; set local lock_timeout = '10s'; lock table {name} in share mode"))
        .await
        .context("locking the table")?;
    let definition = definition(cluster, map, rule).await?;
    let mut targets = Vec::new();
    for shard in map.shards.iter().filter(|shard| shard.id != map.home) {
        let client = cluster.server(&shard.primary).await.with_context(|| format!("shard {}", shard.name))?;
        fill(home, &client, rule, &definition).await.with_context(|| format!("shard {}", shard.name))?;
        targets.push((client, shard));
    }
    for (client, shard) in &targets {
        client.batch_execute("commit").await.with_context(|| format!("shard {}: the table may be on some shards only", shard.name))?;
    }
    store::set_table_rule(catalog, rule).await?;
    store::append_event(catalog, "table made a reference table", &serde_json::json!({ "table": name }).to_string()).await?;
    tokio::time::sleep(PROXIES_FOLLOW).await;
    let waiting = "select count(pg_catalog.pg_cancel_backend(pid)) from pg_catalog.pg_stat_activity
                   where pg_catalog.pg_backend_pid() = any (pg_catalog.pg_blocking_pids(pid))";
    let cancelled: i64 = home.query_one(waiting, &[]).await?.get(0);
    if cancelled > 0 {
        println!("{cancelled} statements that waited to write were cancelled");
    }
    // Until they are gone the lock stays.
    while home.query_one(waiting, &[]).await?.get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    home.batch_execute("commit").await?;
    Ok(())
}

/// Makes the table on a shard and copies the home shard's rows into it, in a transaction that stays open.
async fn fill(home: &Client, client: &Client, rule: &TableRule, definition: &str) -> Result<()> {
    let name = quoted(rule);
    let owner = "select pg_catalog.pg_get_userbyid(nspowner)::text from pg_catalog.pg_namespace where nspname = $1";
    let owner: String = home.query_one(owner, &[&rule.schema]).await?.get(0);
    let schema = format!("create schema if not exists {} authorization {}", identifier(&rule.schema), identifier(&owner));
    client.batch_execute(&format!("begin; set local client_min_messages = warning; {schema}")).await?;
    client.batch_execute(definition).await.context("making the table")?;
    // Rows are copied as they are: no trigger, and foreign keys hold as they held at home.
    client.batch_execute("set local session_replication_role = replica").await?;
    let rows = home.copy_out(&format!("copy {name} to stdout")).await.context("reading the table")?;
    let sink = client.copy_in::<_, bytes::Bytes>(&format!("copy {name} from stdin")).await?;
    rows.forward(sink).await.context("copying the rows")
}

/// The table's definition with its indexes, constraints and grants, as `pg_dump` prints it.
async fn definition(cluster: &Cluster, map: &ShardMap, rule: &TableRule) -> Result<String> {
    let home = &map.shard(map.home).context("the home shard is not in the map")?.primary;
    let control = &cluster.options.control;
    let mut command = Command::new("pg_dump");
    command.stdin(Stdio::null()).args(["--schema-only", "--no-password", "--table"]).arg(quoted(rule));
    command.arg("--host").arg(&home.host).arg("--port").arg(home.port.to_string());
    command.arg("--username").arg(&control.user).arg("--dbname").arg(&home.database);
    if let Some(password) = &control.password {
        command.env("PGPASSWORD", password);
    }
    let output = command.output().await.context("running pg_dump, which comes with PostgreSQL's client programs")?;
    ensure!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8(output.stdout).context("pg_dump's output")?;
    // Its lines for psql only (\restrict).
    Ok(text.lines().filter(|line| !line.starts_with('\\')).map(|line| format!("{line}\n")).collect())
}

fn quoted(rule: &TableRule) -> String {
    format!("{}.{}", identifier(&rule.schema), identifier(&rule.name))
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
