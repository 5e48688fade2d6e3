//! Where rows and tables land, asked from the shards themselves.

use anyhow::{Result, ensure};

use shardyard::topology::hash;

use crate::fixture::Fixture;
use crate::shardyard::{Cluster, SHARDS};

/// Four hundred rows of as many keys, each on the shard that md5-mod-N names and nowhere else.
pub(crate) fn rows_land_on_their_shard(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table placed_rows (user_id bigint primary key, note text)")?;
    for key in 1..=400 {
        client.query(&format!("insert into placed_rows values ({key}, 'note {key}')"))?;
    }
    let mut found = 0;
    for shard in 0..SHARDS {
        for row in cluster.primary(shard)?.query("select user_id from placed_rows")? {
            let key = row.first().cloned().flatten().unwrap_or_default();
            let owner = hash::key_hash(key.as_bytes()) as usize % SHARDS;
            ensure!(owner == shard, "row {key} is on shard {shard} and belongs to {owner}");
            found += 1;
        }
    }
    ensure!(found == 400, "{found} rows of 400");
    for key in 1..=400 {
        let note = client.value(&format!("select note from placed_rows where user_id = {key}"))?;
        ensure!(note == format!("note {key}"), "key {key} answered {note}");
    }
    Ok(())
}

/// The same for keys that are text and uuid, spelt in ways that mean the same key.
pub(crate) fn keys_of_other_types(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table placed_texts (user_id text primary key, n int)")?;
    client.query("create table placed_uuids (user_id uuid primary key, n int)")?;
    for n in 0..100 {
        client.query(&format!("insert into placed_texts values ('Käufer {n}', {n})"))?;
        client.query(&format!("insert into placed_uuids values ('{{AABBCCDD-0000-0000-0000-{n:012X}}}', {n})"))?;
        let text = client.value(&format!("select n from placed_texts where user_id = E'K\\u00e4ufer {n}'"))?;
        let uuid = client.value(&format!("select n from placed_uuids where user_id = 'aabbccdd00000000-0000{n:012x}'"))?;
        ensure!(text == n.to_string() && uuid == n.to_string(), "key {n} answered {text} and {uuid}");
    }
    for table in ["placed_texts", "placed_uuids"] {
        for shard in 0..SHARDS {
            let misplaced = format!("select count(*) from {table} where shardyard.bucket(user_id) % {SHARDS} <> {shard}");
            ensure!(cluster.primary(shard)?.value(&misplaced)? == "0", "{table} has rows on shard {shard} that belong elsewhere");
        }
    }
    Ok(())
}

/// A table with the key column is on every shard, a reference table too, any other only on the home shard, and a NOTICE says so.
pub(crate) fn tables_by_kind(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table kind_sharded (user_id bigint primary key)")?;
    let (_, notices) =
        client.query_with_notices("/* shardyard: reference */ create table kind_reference (code text primary key, name text)")?;
    ensure!(notices.is_empty(), "a notice for a reference table: {}", notices[0]);
    let (_, notices) = client.query_with_notices("create table kind_single (id int primary key)")?;
    ensure!(notices.iter().any(|notice| notice.message().contains("kind_single")), "no notice that names the single table");
    ensure!(places(cluster, "kind_sharded")? == [true; SHARDS], "the sharded table is not everywhere");
    ensure!(places(cluster, "kind_reference")? == [true; SHARDS], "the reference table is not everywhere");
    ensure!(places(cluster, "kind_single")?.iter().filter(|there| **there).count() == 1, "the single table is not on one shard");

    client.query("insert into kind_reference values ('EUR', 'euro'), ('USD', 'dollar')")?;
    for shard in 0..SHARDS {
        let count = cluster.primary(shard)?.value("select count(*) from kind_reference")?;
        ensure!(count == "2", "shard {shard} has {count} of 2 reference rows");
    }
    client.query("insert into kind_single values (1)")?;
    ensure!(client.value("select count(*) from kind_single")? == "1");
    Ok(())
}

/// ALTER, CREATE INDEX, RENAME and DROP of a sharded table happen on every shard; a failing one on none.
pub(crate) fn ddl_goes_everywhere(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table ddl_all (user_id bigint primary key, note text)")?;
    client.query("alter table ddl_all add column more int not null default 7")?;
    client.query("create index ddl_all_note on ddl_all (note)")?;
    client.query("create view ddl_all_view as select user_id, more from ddl_all")?;
    client.query("create type ddl_all_mood as enum ('sad', 'glad')")?;
    ensure!(places(cluster, "ddl_all_note")? == [true; SHARDS], "the index is not everywhere");
    ensure!(places(cluster, "ddl_all_view")? == [true; SHARDS], "the view is not everywhere");
    for key in 1..=8 {
        client.query(&format!("insert into ddl_all (user_id) values ({key})"))?;
        ensure!(client.value(&format!("select more from ddl_all_view where user_id = {key}"))? == "7");
    }
    // Only one shard has a row that breaks the constraint: none may keep it.
    let error = client.error("alter table ddl_all add constraint not_five check (user_id <> 5)")?;
    ensure!(error.sqlstate() == "23514", "{error}");
    for shard in 0..SHARDS {
        let kept = cluster.primary(shard)?.value("select count(*) from pg_constraint where conname = 'not_five'")?;
        ensure!(kept == "0", "shard {shard} kept a constraint that another refused");
    }
    client.query("begin; alter table ddl_all add column gone int; rollback")?;
    client.query("drop view ddl_all_view")?;
    client.query("alter table ddl_all rename to ddl_renamed")?;
    ensure!(
        places(cluster, "ddl_renamed")? == [true; SHARDS] && places(cluster, "ddl_all")? == [false; SHARDS],
        "renamed on some shards only"
    );
    ensure!(client.value("select more from ddl_renamed where user_id = 3")? == "7");
    client.query("drop table ddl_renamed")?;
    ensure!(places(cluster, "ddl_renamed")? == [false; SHARDS], "dropped on some shards only");
    Ok(())
}

/// Keys that cannot be unique over shards, and foreign keys that cannot hold, are refused where the table is made.
pub(crate) fn impossible_tables_are_refused(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table possible_parents (user_id bigint primary key, name text)")?;
    let refused = [
        "create table impossible (id bigint primary key, user_id bigint)",
        "create table impossible (user_id bigint, email text unique)",
        "create table impossible (user_id double precision primary key)",
        "create table impossible (user_id bigint, id serial primary key)",
        "create table impossible (user_id bigint, id bigint, parent bigint references possible_parents, primary key (user_id, id))",
    ];
    for sql in refused {
        let error = client.error(sql)?;
        ensure!(matches!(error.sqlstate(), "0A000" | "42P16") && !error.hint().is_empty(), "{sql}: {error}");
        ensure!(places(cluster, "impossible")? == [false; SHARDS], "refused, but made: {sql}");
    }
    client.query("create table possible_serial (user_id bigint, id bigserial primary key)")?;
    client.query("create table possible_children (user_id bigint references possible_parents, item int, primary key (user_id, item))")?;
    let mut ids = Vec::new();
    for key in 1..=40 {
        ids.push(client.value(&format!("insert into possible_serial values ({key}) returning id"))?);
    }
    ids.sort();
    ids.dedup();
    ensure!(ids.len() == 40, "{} different ids for 40 rows over all shards", ids.len());
    Ok(())
}

/// On which shards a relation of this name is.
fn places(cluster: &Cluster, relation: &str) -> Result<Vec<bool>> {
    (0..SHARDS)
        .map(|shard| Ok(cluster.primary(shard)?.value(&format!("select to_regclass('public.{relation}') is not null"))? == "t"))
        .collect()
}
