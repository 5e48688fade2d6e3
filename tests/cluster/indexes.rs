//! Indexes of sharded tables: changed on every shard that has them; one that was made on some shards only is finished by the same statement.

use anyhow::{Result, ensure};

use crate::connection::Connection;
use crate::fixture::Fixture;
use crate::shardyard::{Cluster, SHARDS};

/// What each shard has of an index: `valid`, `invalid`, or nothing.
fn states(cluster: &Cluster, index: &str) -> Result<Vec<String>> {
    let query = format!(
        "select coalesce((select case when indisvalid then 'valid' else 'invalid' end
                          from pg_index where indexrelid = to_regclass('{index}')), '')"
    );
    (0..SHARDS).map(|shard| cluster.primary(shard)?.value(&query)).collect()
}

fn ensure_states(cluster: &Cluster, index: &str, expected: &[&str; SHARDS]) -> Result<()> {
    let found = states(cluster, index)?;
    ensure!(found == expected, "{index}: {found:?} instead of {expected:?}");
    Ok(())
}

/// DROP, RENAME, REINDEX and COMMENT name the index, not its table; it is on every shard.
pub(crate) fn indexes_change_everywhere(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table indexed_rows (user_id bigint primary key, a int, b int)")?;
    client.query("create table indexed_single (id bigint primary key, a int)")?;
    client.query("create index indexed_a on indexed_rows (a)")?;
    client.query("create index concurrently indexed_b on indexed_rows (b)")?;
    client.query("create index indexed_single_a on indexed_single (a)")?;
    ensure_states(cluster, "indexed_a", &["valid"; SHARDS])?;
    ensure_states(cluster, "indexed_single_a", &["valid", "", "", ""])?;
    client.query("alter index indexed_a rename to indexed_c")?;
    ensure_states(cluster, "indexed_c", &["valid"; SHARDS])?;
    client.query("reindex index indexed_c")?;
    client.query("reindex index concurrently indexed_c")?;
    client.query("comment on index indexed_c is 'on all shards'")?;
    client.query("begin; drop index indexed_c")?;
    client.query("rollback")?;
    ensure_states(cluster, "indexed_c", &["valid"; SHARDS])?;
    client.query("drop index indexed_c")?;
    ensure_states(cluster, "indexed_c", &[""; SHARDS])?;
    client.query("drop index concurrently indexed_b")?;
    ensure_states(cluster, "indexed_b", &[""; SHARDS])?;
    client.query("drop index indexed_single_a")?;
    ensure!(client.error("drop index indexed_single_a")?.sqlstate() == "42704");
    client.query("drop index if exists indexed_single_a")?;
    Ok(())
}

fn rows_with_a_double(cluster: &Cluster, client: &mut Connection, table: &str) -> Result<()> {
    client.query(&format!("create table {table} (user_id bigint, a int, b int)"))?;
    client.query(&format!("insert into {table} select n, n, n from generate_series(1, 40) n"))?;
    // The same row twice on the third shard.
    let doubled = cluster.primary(2)?.value(&format!("insert into {table} select * from {table} limit 1 returning user_id"))?;
    ensure!(!doubled.is_empty());
    Ok(())
}

/// A unique index fails on the third shard: some have it, one has it invalid, one has none. Once the rows are right, the same statement
/// finishes it; before that it fails again and leaves no more behind.
pub(crate) fn half_made_indexes_are_finished(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    for (table, exists) in [("half_made", ""), ("half_made_or_not", "if not exists ")] {
        rows_with_a_double(cluster, &mut client, table)?;
        let index = format!("{table}_key");
        let create = format!("create unique index concurrently {exists}{index} on {table} (user_id, a)");
        for _ in 0..2 {
            ensure!(client.error(&create)?.sqlstate() == "23505");
            let found = states(cluster, &index)?;
            ensure!(found.first().is_some_and(|home| home == "valid") && found.get(2).is_some_and(|third| third == "invalid"), "{found:?}");
        }
        cluster.primary(2)?.query(&format!("delete from {table} a using {table} b where a.user_id = b.user_id and a.ctid > b.ctid"))?;
        client.query(&create)?;
        ensure_states(cluster, &index, &["valid"; SHARDS])?;
        match exists {
            "" => ensure!(client.error(&create)?.sqlstate() == "42P07"),
            _ => drop(client.query(&create)?),
        }
        ensure_states(cluster, &index, &["valid"; SHARDS])?;
    }
    Ok(())
}

/// A half made index can be dropped, and is not mistaken for another one of its name.
pub(crate) fn half_made_indexes_are_told_apart(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    rows_with_a_double(cluster, &mut client, "half_apart")?;
    let create = "create unique index concurrently half_apart_key on half_apart (user_id, a)";
    ensure!(client.error(create)?.sqlstate() == "23505");
    client.query("drop index concurrently half_apart_key")?;
    ensure_states(cluster, "half_apart_key", &[""; SHARDS])?;
    ensure!(client.error(create)?.sqlstate() == "23505");
    cluster.primary(2)?.query("delete from half_apart a using half_apart b where a.user_id = b.user_id and a.ctid > b.ctid")?;
    ensure!(client.error("create unique index concurrently half_apart_key on half_apart (user_id, b)")?.sqlstate() == "42P07");
    let found = states(cluster, "half_apart_key")?;
    ensure!(found.first().is_some_and(|home| home == "valid") && found.get(2).is_some_and(String::is_empty), "{found:?}");
    client.query(create)?;
    ensure_states(cluster, "half_apart_key", &["valid"; SHARDS])
}
