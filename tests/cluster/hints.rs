//! Routing hints and EXPLAIN (ROUTE).

use anyhow::{Result, ensure};

use shardyard::topology::hash;

use crate::fixture::Fixture;
use crate::shardyard::SHARDS;

/// A hint sends a statement to a key's shard or to a shard by number.
pub(crate) fn hints_choose_the_shard(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table hinted (user_id bigint primary key)")?;
    for key in 1..=40 {
        client.query(&format!("insert into hinted values ({key})"))?;
    }
    for shard in 0..SHARDS {
        let direct = cluster.primary(shard)?.value("select count(*) from hinted")?;
        let hinted = client.value(&format!("/* shardyard: shard={shard} */ select count(*) from hinted"))?;
        ensure!(direct == hinted, "shard {shard} has {direct} rows, the hint answered {hinted}");
    }
    for key in 1..=8_usize {
        let shard = hash::key_hash(key.to_string().as_bytes()) as usize % SHARDS;
        let direct = cluster.primary(shard)?.value("select sum(user_id) from hinted")?;
        let by_key = client.value(&format!("/* shardyard: key={key} */ select sum(user_id) from hinted"))?;
        ensure!(direct == by_key, "key {key}: {by_key} instead of {direct}");
        client.query(&format!("begin; set local shardyard.key = '{key}'"))?;
        let by_setting = client.value("select sum(user_id) from hinted")?;
        client.query("commit")?;
        ensure!(direct == by_setting, "key {key} by setting: {by_setting} instead of {direct}");
    }
    ensure!(client.value("select sum(user_id) from hinted")? == "820", "SET LOCAL outlived its transaction");
    Ok(())
}

/// EXPLAIN (ROUTE) names the shard that the row is really on, and runs nothing.
pub(crate) fn explain_route_tells(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table explained (user_id bigint primary key, n int)")?;
    for key in 1..=12_usize {
        let name = format!("shard{}", hash::key_hash(key.to_string().as_bytes()) as usize % SHARDS);
        let told = client.query(&format!("explain (route) insert into explained values ({key}, 1)"))?;
        let text = format!("{told:?}");
        let others = (0..SHARDS).map(|shard| format!("shard{shard}")).filter(|other| *other != name);
        ensure!(text.contains(&name) && !others.into_iter().any(|other| text.contains(&other)), "key {key} is of {name}, told: {text}");
    }
    ensure!(client.value("select count(*) from explained where user_id = 1")? == "0", "EXPLAIN (ROUTE) ran its statement");
    let refused = format!("{:?}", client.query("explain (route) update explained set user_id = user_id + 1")?);
    ensure!(refused.contains("0A000") || refused.to_lowercase().contains("refuse"), "a refusal is not told: {refused}");
    Ok(())
}
