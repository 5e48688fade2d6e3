//! The commands for operators, on the cluster's shard-config.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shardyard::catalog::connect;

use crate::fixture::{Fixture, block_on, succeed};

/// `shardyard ARGUMENTS --config CONFIG`.
fn run(fixture: &Fixture, arguments: &[&str]) -> Result<Output> {
    let config = fixture.status()["config"].as_str().context("config")?;
    Ok(Command::new(env!("CARGO_BIN_EXE_shardyard")).args(arguments).args(["--config", config]).output()?)
}

fn json(fixture: &Fixture, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&succeed(run(fixture, &[arguments, &["--json"]].concat())?)?)?)
}

pub(crate) fn shards_are_listed(fixture: &Fixture) -> Result<()> {
    let listed = json(fixture, &["shard", "list"])?;
    let shards = listed["shards"].as_array().context("shards")?;
    ensure!(shards.len() == 2, "{listed}");
    for (id, shard) in shards.iter().enumerate() {
        ensure!(
            shard["id"] == id && shard["name"] == format!("shard{id}") && shard["state"] == "active" && shard["buckets"] == 27_720,
            "{shard}"
        );
        let port = shard["primary"].as_str().and_then(|dsn| dsn.rsplit(':').next()).context("a primary")?;
        ensure!(fixture.primary(id).ends_with(port), "{shard}");
        ensure!(shard["replicas"].as_array().is_some_and(|replicas| replicas.len() == 1));
    }
    ensure!(!listed.to_string().contains("shardyard:"), "a password is shown");
    Ok(())
}

pub(crate) fn upgrades_are_repeatable(fixture: &Fixture) -> Result<()> {
    for arguments in [&["upgrade", "--dry-run"][..], &["upgrade"]] {
        let told = succeed(run(fixture, arguments)?)?;
        ensure!(told == "catalog: up to date\nshard shard0: up to date\nshard shard1: up to date\n", "{told}");
    }
    Ok(())
}

/// A table of the home shard becomes a reference table: rows, index and grant are on the other shard.
pub(crate) fn tables_become_reference_tables(fixture: &Fixture) -> Result<()> {
    let _turn = fixture.turn();
    let name = "\"Odd codes\"";
    block_on(async {
        let home = connect(fixture.primary(0)).await?;
        let make = format!(
            "create table {name} (code text primary key, n int unique, \"back\\slash\" text); grant select on {name} to app;
             insert into {name} select 'c' || g, g, E'\\t\\\\ü' from generate_series(1, 1000) g"
        );
        Ok(home.batch_execute(&make).await?)
    })?;
    ensure!(kind(fixture, "Odd codes")? == "single");
    ensure!(succeed(run(fixture, &["table", "reference", "Odd codes", "--dry-run"])?)?.starts_with("would copy"));
    ensure!(kind(fixture, "Odd codes")? == "single", "--dry-run changed something");
    succeed(run(fixture, &["table", "reference", "Odd codes"])?)?;
    ensure!(kind(fixture, "Odd codes")? == "reference");
    block_on(async {
        let digest = format!("select md5(string_agg(t::text, ',' order by code)) from {name} t");
        let (home, other) = (connect(fixture.primary(0)).await?, connect(fixture.primary(1)).await?);
        let (there, here): (String, String) = (other.query_one(&digest, &[]).await?.get(0), home.query_one(&digest, &[]).await?.get(0));
        ensure!(there == here, "other rows");
        let indexes = "select count(*) from pg_indexes where tablename = 'Odd codes'";
        ensure!(other.query_one(indexes, &[]).await?.get::<_, i64>(0) == 2, "the indexes are missing");
        connect(&fixture.application(1)?).await?.batch_execute(&format!("select from {name}")).await?;
        for client in [home, other] {
            client.batch_execute(&format!("drop table {name}")).await?;
        }
        Ok(())
    })
}

/// What exists stays where it is; what does not exist yet can be declared.
pub(crate) fn tables_are_declared_before_they_are_made(fixture: &Fixture) -> Result<()> {
    let _turn = fixture.turn();
    block_on(async { Ok(connect(fixture.primary(0)).await?.batch_execute("create table placed (user_id bigint)").await?) })?;
    for refused in [&["table", "single", "placed"][..], &["table", "reference", "placed"], &["table", "shard", "placed", "--key", "other"]]
    {
        let output = run(fixture, refused)?;
        ensure!(output.status.code() == Some(1), "{refused:?}: {output:?}");
    }
    succeed(run(fixture, &["table", "shard", "placed", "--key", "user_id", "--local-unique"])?)?;
    succeed(run(fixture, &["table", "single", "to_come"])?)?;
    block_on(async { Ok(connect(fixture.primary(0)).await?.batch_execute("create table to_come (user_id bigint)").await?) })?;
    ensure!(kind(fixture, "to_come")? == "single" && kind(fixture, "placed")? == "sharded");
    block_on(async { Ok(connect(fixture.primary(0)).await?.batch_execute("drop table placed, to_come").await?) })
}

/// A healthy cluster has no errors; drift between shards is one, and named.
pub(crate) fn check_names_what_is_wrong(fixture: &Fixture) -> Result<()> {
    let _turn = fixture.turn();
    let errors = |found: &Value| -> Vec<String> {
        let all = found["findings"].as_array().cloned().unwrap_or_default();
        all.iter()
            .filter(|finding| finding["severity"] == "error")
            .map(|finding| format!("{}: {}", finding["place"], finding["text"]))
            .collect()
    };
    let found = json(fixture, &["check"])?;
    ensure!(errors(&found).is_empty(), "{found}");
    block_on(async {
        connect(fixture.primary(0))
            .await?
            .batch_execute(
                "create table drifted (user_id bigint, v int); create table lacking (user_id bigint);
                 create table bare (user_id bigint primary key, v int check (v > 0))",
            )
            .await?;
        connect(fixture.primary(1))
            .await?
            .batch_execute("create table drifted (user_id bigint, v text); create table bare (user_id bigint primary key, v int)")
            .await?;
        Ok(())
    })?;
    let output = run(fixture, &["check", "--json"])?;
    ensure!(output.status.code() == Some(3), "{output:?}");
    let found = errors(&serde_json::from_slice(&output.stdout)?);
    ensure!(
        found.len() == 3
            && found.iter().any(|error| error.contains("public.bare; it lacks: constraint bare_v_check CHECK"))
            && found.iter().any(|error| error.contains("drifted"))
            && found.iter().any(|error| error.contains("lacks table public.lacking")),
        "{found:?}"
    );
    block_on(async {
        connect(fixture.primary(0)).await?.batch_execute("drop table drifted, lacking, bare").await?;
        Ok(connect(fixture.primary(1)).await?.batch_execute("drop table drifted, bare").await?)
    })
}

fn kind(fixture: &Fixture, name: &str) -> Result<String> {
    let listed = json(fixture, &["table", "list"])?;
    let tables = listed["tables"].as_array().context("tables")?;
    let table = tables.iter().find(|table| table["name"] == name).with_context(|| format!("no table {name} in {listed}"))?;
    Ok(table["kind"].as_str().unwrap_or_default().to_owned())
}
