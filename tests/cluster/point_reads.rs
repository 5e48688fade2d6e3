//! Reads of one row by its unique key, sent as text again and again: servers keep them prepared, and only them.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::connection::Connection;
use crate::fixture::Fixture;
use crate::shardyard::{Cluster, eventually};

const SEEN: Duration = Duration::from_secs(10);

/// Servers tell what their backends run, or ran last: whether any of them has this text.
fn servers_have(cluster: &Cluster, text: &str) -> Result<bool> {
    let asked = format!("select count(*) from pg_stat_activity where query = '{text}'");
    let servers = cluster.shards.iter().flat_map(|shard| std::iter::once(&shard.primary).chain(&shard.replicas));
    for server in servers {
        if Connection::connect(server)?.value(&asked)? != "0" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Only with a unique index on the key does no value change what a server plans.
pub(crate) fn only_unique_keys_are_prepared(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table pointed (user_id bigint primary key, n int)")?;
    client.query("create table unpointed (user_id bigint, n int, primary key (user_id, n))")?;
    for table in ["pointed", "unpointed"] {
        client.query(&format!("insert into {table} select i, i from generate_series(1, 40) i"))?;
    }
    let mut reads = |table: &str, more: &str| -> Result<()> {
        for key in 1..=40 {
            let n = client.value(&format!("select n from {table} where user_id = {key}{more}"))?;
            ensure!(n == key.to_string(), "{table}: key {key} answered {n}");
        }
        Ok(())
    };
    // Other tests' statements take the place of what a backend ran last.
    eventually(SEEN, || {
        reads("pointed", "")?;
        ensure!(servers_have(cluster, "select n from pointed where user_id =  $1 ")?, "no server has the read prepared");
        Ok(())
    })?;
    for (table, more) in [("unpointed", ""), ("pointed", " and n > 0"), ("pointed", " limit 1")] {
        let text = format!("select n from {table} where user_id = ");
        eventually(SEEN, || {
            reads(table, more)?;
            ensure!(servers_have(cluster, &format!("{text}40{more}"))?, "{table}{more} is not sent as it is");
            Ok(())
        })?;
        ensure!(!servers_have(cluster, &format!("{text} $1 {more}"))?, "{table}{more} is prepared");
    }
    Ok(())
}
