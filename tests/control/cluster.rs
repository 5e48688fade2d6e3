//! `shardyard dev`: what the command-line contract promises, and folders in every condition.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shardyard::catalog::connect;

use crate::fixture::{Fixture, block_on, shardyard, status, succeed, up};

pub(crate) fn status_and_contract(fixture: &Fixture) -> Result<()> {
    let status = fixture.status();
    ensure!(status["dsn"].as_str().is_some_and(|dsn| dsn.starts_with("postgres://app:") && dsn.ends_with("@127.0.0.1:6432/app")));
    ensure!(status["admin_dsn"].as_str().is_some_and(|dsn| dsn.ends_with("@127.0.0.1:6432/shardyard")));
    let config = Path::new(status["config"].as_str().context("config")?);
    for name in ["proxy.toml", "users.toml", "tables.toml", "shards.toml"] {
        ensure!(config.join(name).is_file(), "{name} is missing");
    }
    let shards = status["shards"].as_array().context("shards")?;
    ensure!(shards.len() == 2 && shards.iter().all(|shard| shard["replicas"].as_array().is_some_and(|replicas| replicas.len() == 1)));
    block_on(async {
        for shard in [0, 1] {
            let superuser = connect(fixture.primary(shard)).await?;
            let row = superuser.query_one("select usesuper from pg_user where usename = 'app'", &[]).await?;
            ensure!(!row.get::<_, bool>(0), "the application is a superuser");
            connect(&fixture.application(shard)?).await?.batch_execute("create schema own; drop schema own").await?;
        }
        let identifiers = async |shard| -> Result<i64> {
            let client = connect(fixture.primary(shard)).await?;
            Ok(client.query_one("select system_identifier from pg_control_system()", &[]).await?.get(0))
        };
        ensure!(identifiers(0).await? != identifiers(1).await?, "two shards look like one server");
        Ok(())
    })?;
    shardyard::config::read(config, Some(std::collections::HashMap::new())).map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    Ok(())
}

pub(crate) fn replicas_follow(fixture: &Fixture) -> Result<()> {
    block_on(async {
        let primary = connect(fixture.primary(1)).await?;
        primary.batch_execute("create table public.followed as select 42 as answer").await?;
        let position: String = primary.query_one("select pg_current_wal_lsn()::text", &[]).await?.get(0);
        let replica = connect(fixture.status()["shards"][1]["replicas"][0].as_str().context("a replica")?).await?;
        let replayed = format!("select pg_is_in_recovery() and pg_last_wal_replay_lsn() >= '{position}'");
        for _ in 0..200 {
            if replica.query_one(&replayed, &[]).await?.get(0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let answer: i32 = replica.query_one("select answer from public.followed", &[]).await?.get(0);
        ensure!(answer == 42);
        primary.batch_execute("drop table public.followed").await?;
        Ok(())
    })
}

/// By the socket in the cluster's folder, as a DSN names it.
pub(crate) fn unix_sockets_serve(fixture: &Fixture) -> Result<()> {
    let config: tokio_postgres::Config = fixture.primary(0).parse()?;
    let password = String::from_utf8_lossy(config.get_password().context("a password")?).into_owned();
    let port = config.get_ports().first().context("a port")?;
    let sockets = fixture.dir().canonicalize()?.join("sockets");
    let dsn = format!("host={} port={port} user=shardyard password={password} dbname=app", sockets.display());
    block_on(async {
        let client = connect(&dsn).await?;
        let local: bool = client.query_one("select inet_client_addr() is null", &[]).await?.get(0);
        ensure!(local, "it is no unix socket");
        Ok(())
    })
}

pub(crate) fn one_more_server(fixture: &Fixture) -> Result<()> {
    let printed = succeed(shardyard(&["dev", "server", "newcomer"], fixture.dir())?)?;
    let dsn = printed.lines().last().context("a line")?.to_owned();
    block_on(async {
        let client = connect(&dsn).await?;
        let tables: i64 = client.query_one("select count(*) from pg_class where relnamespace = 'public'::regnamespace", &[]).await?.get(0);
        let prepared: String = client.query_one("show max_prepared_transactions", &[]).await?.get(0);
        ensure!(tables == 0 && prepared != "0");
        Ok(())
    })?;
    ensure!(!shardyard(&["dev", "server", "newcomer"], fixture.dir())?.status.success(), "the name is taken");
    ensure!(!shardyard(&["dev", "server", "../newcomer"], fixture.dir())?.status.success(), "no name");
    Ok(())
}

/// Data survives; no process does; a second `up` of a running cluster changes nothing; another shape is refused.
pub(crate) fn stops_and_starts_again(_: &Fixture) -> Result<()> {
    with_folder(|dir| {
        up(dir, &["--shards", "1", "--replicas", "1"])?;
        let first = status(dir)?;
        let primary = first["shards"][0]["primary"].as_str().context("a primary")?;
        block_on(async { Ok(connect(primary).await?.batch_execute("create table kept (); create sequence s").await?) })?;
        up(dir, &["--shards", "1", "--replicas", "1"])?;
        ensure!(status(dir)? == first, "a second up changed something");
        succeed(shardyard(&["dev", "down"], dir)?)?;
        ensure!(processes(dir)?.is_empty(), "left: {:?}", processes(dir)?);
        ensure!(status(dir)?["servers"].as_array().is_some_and(|servers| servers.iter().all(|server| server["running"] == false)));
        let other = shardyard(&["dev", "up", "--detach", "--no-proxy", "--shards", "2"], dir)?;
        ensure!(String::from_utf8_lossy(&other.stderr).contains("holds a cluster of 1 shards"), "{other:?}");
        up(dir, &["--shards", "1", "--replicas", "1"])?;
        block_on(async { Ok(connect(primary).await?.batch_execute("select from kept").await?) })?;
        succeed(shardyard(&["dev", "down", "--remove"], dir)?)?;
        ensure!(!dir.exists(), "the folder is still there");
        Ok(())
    })
}

/// `dev up` was killed before it was ready: its servers are stopped, and the cluster is made anew.
pub(crate) fn half_made_is_made_again(_: &Fixture) -> Result<()> {
    with_folder(|dir| {
        up(dir, &["--shards", "1", "--replicas", "0"])?;
        let record = dir.join("cluster.json");
        let text = std::fs::read_to_string(&record)?;
        std::fs::write(&record, text.replace("\"made\"", "\"making\""))?;
        let before = processes(dir)?;
        up(dir, &["--shards", "2", "--replicas", "0"])?;
        let after = processes(dir)?;
        ensure!(before.iter().all(|process| !after.contains(process)), "servers of the first attempt still run");
        ensure!(status(dir)?["shards"].as_array().is_some_and(|shards| shards.len() == 2));
        Ok(())
    })
}

pub(crate) fn foreign_folder_is_refused(_: &Fixture) -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("letter.txt"), "mine")?;
    let refused = shardyard(&["dev", "up", "--detach", "--no-proxy"], dir.path())?;
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("is not empty"), "{refused:?}");
    ensure!(std::fs::read_dir(dir.path())?.count() == 1, "something was left behind");
    for command in ["status", "down"] {
        ensure!(!shardyard(&["dev", command], dir.path())?.status.success(), "there is no cluster to {command}");
    }
    Ok(())
}

/// A folder whose cluster is removed whatever happens.
fn with_folder(test: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = tempfile::Builder::new().prefix("shardyard-dev-").tempdir()?;
    std::fs::set_permissions(parent.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let dir = parent.path().join("cluster");
    let outcome = test(&dir);
    if dir.exists() {
        let _ = shardyard(&["dev", "down", "--remove"], &dir);
    }
    outcome
}

/// The process ids of the servers whose data lies in the folder.
fn processes(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let inside = String::from_utf8_lossy(&arguments).contains(&dir.join("servers").display().to_string());
        if name.bytes().all(|byte| byte.is_ascii_digit()) && inside {
            found.push(name);
        }
    }
    Ok(found)
}
