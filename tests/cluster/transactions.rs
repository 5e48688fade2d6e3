//! Transactions and pipelines over several shards: all or nothing, and nothing left prepared.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::connection::{Connection, message};
use crate::fixture::Fixture;
use crate::shardyard::{Cluster, SHARDS, eventually};

/// COMMIT keeps the rows on every shard, ROLLBACK and an error keep none, and savepoints hold on all of them.
pub(crate) fn all_or_nothing(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table across (user_id bigint primary key, n int)")?;
    client.query("begin")?;
    for key in 1..=8 {
        client.query(&format!("insert into across values ({key}, 1)"))?;
        ensure!(client.value(&format!("select n from across where user_id = {key}"))? == "1", "a transaction does not see its own row");
    }
    ensure!(rows(cluster)? == 0, "rows can be seen before COMMIT");
    client.query("commit")?;
    ensure!(rows(cluster)? == 8, "{} rows of 8 after COMMIT", rows(cluster)?);

    client.query("begin")?;
    for key in 11..=18 {
        client.query(&format!("insert into across values ({key}, 1)"))?;
    }
    client.query("rollback")?;
    ensure!(rows(cluster)? == 8, "ROLLBACK kept rows");

    client.query("begin")?;
    client.query("insert into across values (21, 1)")?;
    client.query("savepoint s")?;
    for key in 22..=28 {
        client.query(&format!("insert into across values ({key}, 1)"))?;
    }
    client.query("rollback to s")?;
    client.query("insert into across values (29, 1)")?;
    client.query("commit")?;
    ensure!(rows(cluster)? == 10, "{} rows of 10 after ROLLBACK TO", rows(cluster)?);

    client.query("begin")?;
    client.query("insert into across values (31, 1), (31, 2) on conflict do nothing").ok();
    client.query("rollback")?;
    client.query("begin; insert into across values (32, 1)")?;
    client.query("insert into across values (33, 1)")?;
    ensure!(client.error("insert into across values (1, 1)")?.sqlstate() == "23505");
    client.query("commit")?;
    ensure!(rows(cluster)? == 10, "a failed transaction kept rows");
    nothing_is_prepared(cluster)
}

/// Clients that vanish in the middle of such transactions leave nothing, neither rows nor locks.
pub(crate) fn vanishing_clients_leave_nothing(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table across_gone (user_id bigint primary key, n int)")?;
    for _ in 0..5 {
        let mut leaving = cluster.connect()?;
        leaving.query("begin")?;
        for key in 1..=8 {
            leaving.query(&format!("insert into across_gone values ({key}, 1)"))?;
        }
    }
    client.query("set statement_timeout = '10s'")?;
    for key in 1..=8 {
        client.query(&format!("insert into across_gone values ({key}, 2)"))?;
        ensure!(client.value(&format!("select n from across_gone where user_id = {key}"))? == "2");
    }
    nothing_is_prepared(cluster)
}

/// What stands before one Sync is one transaction, also where its statements go to several shards; the replies keep their order.
pub(crate) fn pipelines_are_all_or_nothing(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table across_pipeline (user_id bigint primary key, n int)")?;
    let tags = pipeline(&mut client, (1..=20).map(|key| format!("insert into across_pipeline values ({key}, {key})")))?;
    ensure!(tags == vec!["INSERT 0 1"; 20], "{tags:?}");
    let answers = pipeline(&mut client, (1..=20).map(|key| format!("select n from across_pipeline where user_id = {key}")))?;
    ensure!(answers == (1..=20).flat_map(|key| [key.to_string(), "SELECT 1".to_owned()]).collect::<Vec<_>>(), "out of order: {answers:?}");
    let last_fails = (21..=40).chain([7]).map(|key| format!("insert into across_pipeline values ({key}, 0)"));
    let failed = pipeline(&mut client, last_fails)?;
    ensure!(failed.last().is_some_and(|last| last == "23505"), "{failed:?}");
    for key in 21..=40 {
        let kept = client.value(&format!("select count(*) from across_pipeline where user_id = {key}"))?;
        ensure!(kept == "0", "key {key} was kept although its pipeline failed");
    }
    nothing_is_prepared(cluster)
}

/// Sends the statements with one Sync; in order what came: values, tags, SQLSTATEs.
fn pipeline(client: &mut Connection, statements: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let mut bytes = Vec::new();
    for sql in statements {
        bytes.extend(message(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"].concat()));
        bytes.extend(message(b'B', b"\0\0\0\0\0\0\0\0"));
        bytes.extend(message(b'E', b"\0\0\0\0\0"));
    }
    bytes.extend(message(b'S', b""));
    client.send(&bytes)?;
    let mut came = Vec::new();
    while let Some(frame) = client.receive()? {
        match frame.tag {
            b'D' => came.extend(crate::reply::row_values(&frame.body).into_iter().flatten().flatten().map(crate::reply::show)),
            b'C' => came.push(crate::reply::show(frame.body.strip_suffix(b"\0").unwrap_or_default())),
            b'E' => came.push(crate::reply::ServerError::decode(&frame.body).sqlstate().to_owned()),
            b'Z' => break,
            _ => {}
        }
    }
    Ok(came)
}

/// What a proxy that died between PREPARE and COMMIT PREPARED leaves is decided by its anchor's record: committed where there is one,
/// else rolled back, and the anchor says so for good.
pub(crate) fn doubt_is_decided(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let (mut anchor, mut other) = (cluster.primary(0)?, cluster.primary(1)?);
    other.query("create table doubt (n int)")?;
    for (gid, row) in [("shardyard:0:doubt:1", 1), ("shardyard:0:doubt:2", 2)] {
        other.query("begin")?;
        other.query(&format!("insert into doubt values ({row})"))?;
        other.query(&format!("prepare transaction '{gid}'"))?;
    }
    anchor.query("insert into shardyard.commit_decision (gid, decision) values ('shardyard:0:doubt:2', 'commit')")?;
    eventually(Duration::from_secs(40), || {
        let left = other.value("select count(*) from pg_prepared_xacts where gid like 'shardyard:0:doubt:%'")?;
        ensure!(left == "0", "{left} transactions are still in doubt");
        Ok(())
    })?;
    let kept = other.value("select string_agg(n::text, ',') from doubt")?;
    ensure!(kept == "2", "rows {kept} are there, and 2 should be");
    let decision = anchor.value("select decision from shardyard.commit_decision where gid = 'shardyard:0:doubt:1'")?;
    ensure!(decision == "abort", "the anchor's record says {decision}");
    other.query("drop table doubt")?;
    Ok(())
}

fn rows(cluster: &Cluster) -> Result<usize> {
    let mut total = 0;
    for shard in 0..SHARDS {
        total += cluster.primary(shard)?.value("select count(*) from across")?.parse::<usize>()?;
    }
    Ok(total)
}

/// Other tests prepare too: what is prepared must go away, not be absent.
fn nothing_is_prepared(cluster: &Cluster) -> Result<()> {
    for shard in 0..SHARDS {
        let mut primary = cluster.primary(shard)?;
        eventually(Duration::from_secs(20), || {
            let old = primary.value("select count(*) from pg_prepared_xacts where prepared < now() - interval '1 second'")?;
            ensure!(old == "0", "shard {shard} has {old} prepared transactions");
            Ok(())
        })?;
    }
    Ok(())
}
