//! Moves as the proxies see them: the test plays the worker and the shards' guards.

pub(crate) mod load;
pub(crate) mod waiting;
mod worker;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::connection::Connection;
use crate::differential::corpus;
use crate::dsn::Dsn;
use crate::fixture::Fixture;
use crate::moves::worker::Worker;
use crate::shardyard::{Cluster, eventually};

/// A key whose bucket is on the first shard of two, and one whose is not: see `keys`.
struct Keys {
    moving: i64,
    /// On the same shard.
    staying: i64,
    /// On the other shard.
    other: i64,
}

const TABLE: &str = "m_rows";
/// The bucket of `Keys::moving`.
const MOVING: &str = "bucket = shardyard_key_bucket";

/// The table, with three rows; and a wave's condition that chooses the bucket of the first key only.
fn lay(cluster: &Cluster) -> Result<(Keys, String)> {
    let mut client = cluster.connect()?;
    client.query(&format!("drop table if exists {TABLE}; create table {TABLE} (user_id bigint primary key, n bigint not null)"))?;
    let mut home = cluster.primary(0)?;
    let key = |home: &mut Connection, shard: i64, nth: i64| -> Result<i64> {
        let sql =
            format!("select k from generate_series(1, 1000) k where shardyard.bucket(k) % 2 = {shard} order by k offset {nth} limit 1");
        Ok(home.value(&sql)?.parse()?)
    };
    let keys = Keys { moving: key(&mut home, 0, 0)?, staying: key(&mut home, 0, 1)?, other: key(&mut home, 1, 0)? };
    for key in [keys.moving, keys.staying, keys.other] {
        client.query(&format!("insert into {TABLE} values ({key}, 0)"))?;
    }
    let bucket = home.value(&format!("select shardyard.bucket({}::bigint)", keys.moving))?;
    Ok((keys, MOVING.replace("shardyard_key_bucket", &bucket)))
}

/// Copies the moving row to the other shard, as it is there now.
fn copy(cluster: &Cluster, key: i64) -> Result<()> {
    let n = cluster.primary(0)?.value(&format!("select n from {TABLE} where user_id = {key}"))?;
    cluster
        .primary(1)?
        .query(&format!("insert into {TABLE} values ({key}, {n}) on conflict (user_id) do update set n = excluded.n"))
        .map(drop)
}

/// The first shard refuses writes of the key from now on.
fn close(cluster: &Cluster, key: i64) -> Result<()> {
    let refuse = format!(
        "create or replace function m_closed() returns trigger language plpgsql as
             $$begin raise exception 'bucket is closed' using errcode = 'SY001'; end$$;
         create trigger closed before insert or update on {TABLE} for each row when (new.user_id = {key}) execute function m_closed()"
    );
    cluster.primary(0)?.query(&refuse).map(drop)
}

fn n_of(cluster: &Cluster, shard: usize, key: i64) -> Result<i64> {
    Ok(cluster.primary(shard)?.value(&format!("select n from {TABLE} where user_id = {key}"))?.parse()?)
}

/// Runs a statement beside the test; what became of it, and when.
fn beside(dsn: &Dsn, sql: String) -> mpsc::Receiver<(Result<()>, Instant)> {
    let (done, receiver) = mpsc::channel();
    let dsn = dsn.clone();
    std::thread::spawn(move || {
        let outcome = Connection::connect(&dsn).and_then(|mut client| client.query(&sql).map(drop));
        let _ = done.send((outcome, Instant::now()));
    });
    receiver
}

fn ended(receiver: &mpsc::Receiver<(Result<()>, Instant)>) -> Result<Instant> {
    let (outcome, at) = receiver.recv_timeout(Duration::from_secs(20)).context("it does not end")?;
    outcome.map(|()| at)
}

/// A map is acknowledged within milliseconds; not while a statement runs by an older one, nor settled while a transaction is open that has
/// been on a shard of a wave.
pub(crate) fn maps_are_acknowledged(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    let wave = worker.wave((0, 1), &moving, "arming")?;
    let mut latencies = Vec::new();
    for state in ["copying", "catching up", "verifying", "catching up", "verifying", "catching up"].repeat(5) {
        let begun = Instant::now();
        worker.state(wave, state)?;
        while !worker.is_reached("settled_version")? {
            ensure!(begun.elapsed() < Duration::from_secs(2), "{state} is not acknowledged");
        }
        latencies.push(begun.elapsed());
    }
    latencies.sort();
    println!("published to acknowledged: median {:?}, longest {:?}", latencies[latencies.len() / 2], latencies[latencies.len() - 1]);
    ensure!(latencies[latencies.len() / 2] < Duration::from_millis(500), "slow: {latencies:?}");
    // A running statement.
    let sleeping = beside(&cluster.dsn, format!("select pg_sleep(1.5) from {TABLE} where user_id = {}", keys.other));
    std::thread::sleep(Duration::from_millis(300));
    worker.state(wave, "verifying")?;
    worker.wait_for("seen_version")?;
    ensure!(!worker.is_reached("acknowledged_version")?, "a statement runs by the older map");
    ended(&sleeping)?;
    worker.wait_acknowledged()?;
    // An open transaction; it goes by the new map all the same.
    let mut client = cluster.connect()?;
    client.query("begin")?;
    client.query(&format!("select from {TABLE} where user_id = {}", keys.staying))?;
    worker.state(wave, "catching up")?;
    worker.wait_acknowledged()?;
    ensure!(!worker.is_reached("settled_version")?, "a transaction is open on the source");
    let version = worker.catalog.value("select version from shardyard.cluster")?;
    ensure!(client.value("show shardyard.map_version")? == version, "the transaction does not follow the map");
    client.query("commit")?;
    worker.wait_for("settled_version")?;
    worker.clear()
}

/// Writes of a bucket that is switched wait and go to its new shard; others, reads, and transactions that were there before do not wait.
pub(crate) fn writes_wait_for_the_switch(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    let wave = worker.wave((0, 1), &moving, "catching up")?;
    let update = |key: i64| format!("update {TABLE} set n = n + 1 where user_id = {key}");
    let mut before = cluster.connect()?;
    before.query(&format!("begin; {}", update(keys.moving)))?;
    worker.state(wave, "fencing")?;
    worker.wait_acknowledged()?;
    before.query(&update(keys.moving))?;
    before.query("commit")?;
    worker.wait_for("settled_version")?;
    let waiting: Vec<_> = [
        update(keys.moving),
        format!("begin; {}; commit", update(keys.moving)),
        format!("update {TABLE} set n = n + 1"),
        format!(
            "insert into {TABLE} values ({}, 7), (-5, 7), (-6, 7), (-7, 7) on conflict (user_id) do update set n = {TABLE}.n + 1",
            keys.moving
        ),
        format!("select n from {TABLE} where user_id = {} for update", keys.moving),
    ]
    .into_iter()
    .map(|sql| beside(&cluster.dsn, sql))
    .collect();
    std::thread::sleep(Duration::from_millis(200));
    let mut client = cluster.connect()?;
    let others = Instant::now();
    client.query(&update(keys.staying))?;
    client.query(&update(keys.other))?;
    ensure!(client.value(&format!("select n from {TABLE} where user_id = {}", keys.moving))? == "2", "the writes have not waited");
    ensure!(others.elapsed() < Duration::from_millis(500), "other keys have waited");
    copy(cluster, keys.moving)?;
    worker.flip(wave)?;
    worker.wait_acknowledged()?;
    std::thread::sleep(Duration::from_millis(100));
    ensure!(waiting.iter().all(|receiver| receiver.try_recv().is_err()), "something has not waited for the release");
    let released = Instant::now();
    worker.state(wave, "released")?;
    for receiver in &waiting {
        println!("released after {:?}", ended(receiver)?.saturating_duration_since(released));
    }
    let found = (n_of(cluster, 0, keys.moving)?, n_of(cluster, 1, keys.moving)?);
    ensure!(found == (2, 6), "source and target have {found:?}");
    ensure!(client.value(&format!("select n from {TABLE} where user_id = {}", keys.moving))? == "6", "the client reads the source");
    worker.clear()
}

/// A write that a shard refuses waits for the map that says where it belongs; in a transaction the client repeats it.
pub(crate) fn refused_writes_run_again(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    let wave = worker.wave((0, 1), &moving, "catching up")?;
    worker.wait_acknowledged()?;
    close(cluster, keys.moving)?;
    copy(cluster, keys.moving)?;
    let update = format!("update {TABLE} set n = n + 1 where user_id = {}", keys.moving);
    let mut client = cluster.connect()?;
    let error = client.error(&format!("begin; {update}"))?;
    ensure!(error.sqlstate() == "40001", "{error}");
    client.query("rollback")?;
    let waiting = [
        beside(&cluster.dsn, update.clone()),
        beside(&cluster.dsn, update.clone()),
        beside(
            &cluster.dsn,
            format!(
                "insert into {TABLE} values ({}, 7), (-5, 7), (-6, 7) on conflict (user_id) do update set n = {TABLE}.n + 1",
                keys.moving
            ),
        ),
    ];
    std::thread::sleep(Duration::from_millis(300));
    ensure!(waiting.iter().all(|receiver| receiver.try_recv().is_err()), "a refusal has reached a client");
    worker.flip(wave)?;
    worker.state(wave, "released")?;
    for receiver in &waiting {
        ended(receiver)?;
    }
    ensure!(n_of(cluster, 1, keys.moving)? == 3, "not each write once on the target");
    worker.clear()
}

/// Writes without a key, and rows copied out, leave alone what only stands on a shard and belongs to the other.
pub(crate) fn writes_leave_other_shards_rows(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    copy(cluster, keys.moving)?;
    let wave = worker.wave((0, 1), &moving, "catching up")?;
    worker.wait_acknowledged()?;
    let mut client = cluster.connect()?;
    client.query("drop table if exists m_others; create table m_others (user_id bigint primary key, n bigint)")?;
    client.query(&format!("update {TABLE} set n = n + 1; update {TABLE} t set n = n + 1 where n = 1 or n = 5 -- all of them"))?;
    let found = (n_of(cluster, 0, keys.moving)?, n_of(cluster, 1, keys.moving)?, n_of(cluster, 1, keys.other)?);
    ensure!(found == (2, 0, 2), "before the flip: {found:?}");
    client.query(&format!("insert into m_others select user_id, n from {TABLE} where n > -1"))?;
    ensure!(client.value("select count(*) || ' ' || sum(n) from m_others")? == "3 6", "INSERT … SELECT has stored other rows");
    worker.state(wave, "fencing")?;
    worker.flip(wave)?;
    worker.state(wave, "released")?;
    worker.wait_acknowledged()?;
    client.query(&format!("update {TABLE} set n = n + 10"))?;
    let found = (n_of(cluster, 0, keys.moving)?, n_of(cluster, 1, keys.moving)?, n_of(cluster, 0, keys.staying)?);
    ensure!(found == (2, 10, 12), "after the flip: {found:?}");
    for (sql, expected) in [
        (format!("select sum(n) from {TABLE}"), "34"),
        (format!("select count(*) from {TABLE} a full join {TABLE} b on a.n = b.n + 2"), "5"),
        (format!("select string_agg(n::text, ',' order by n) from {TABLE}"), "10,12,12"),
    ] {
        ensure!(client.value(&sql)? == expected, "{sql}: {}", client.value(&sql)?);
    }
    let route = client.query(&format!("explain (route) select sum(n) from {TABLE}"))?;
    let told = route.iter().any(|row| row[0].as_deref() == Some("leaves out"));
    ensure!(told, "EXPLAIN (ROUTE) is silent: {route:?}");
    client.query(&format!("delete from {TABLE}"))?;
    ensure!(n_of(cluster, 0, keys.moving)? == 2 && n_of(cluster, 1, keys.moving).is_err(), "DELETE");
    worker.clear()
}

/// With rows present on two shards every answer is as before, whichever of them owns the buckets.
pub(crate) fn reads_count_each_row_once(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    fixture.differential_subject()?;
    let mut worker = Worker::of(cluster)?;
    let wave = worker.wave((1, 2), "true", "copying")?;
    worker.wait_acknowledged()?;
    let tables = duplicate(cluster)?;
    cluster.wait_for_replicas()?;
    worker.state(wave, "catching up")?;
    worker.wait_acknowledged()?;
    let before = corpus::compare_reads(fixture, "before the flip");
    worker.state(wave, "fencing")?;
    worker.flip(wave)?;
    worker.state(wave, "released")?;
    worker.wait_acknowledged()?;
    let after = corpus::compare_reads(fixture, "after the flip");
    // The rows go first: without the wave they would count.
    let mut target = cluster.primary(2)?;
    worker.catalog.query("update shardyard.bucket_map set shard_id = 1, version = shardyard.bump() where bucket % 4 = 1")?;
    for table in tables {
        target.query(&format!("delete from {table} where shardyard.bucket(user_id) % 4 = 1"))?;
    }
    cluster.wait_for_replicas()?;
    worker.clear()?;
    before.and(after)
}

/// Copies all rows of the corpus' sharded tables from the second shard to the third.
fn duplicate(cluster: &Cluster) -> Result<Vec<String>> {
    let (mut source, mut target) = (cluster.primary(1)?, cluster.primary(2)?);
    let tables = source.query(
        "select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid
         where c.relname like 'd\\_%' and c.relkind = 'r' and a.attname = 'user_id' order by 1",
    )?;
    let tables: Vec<String> = tables.into_iter().flatten().flatten().collect();
    for table in &tables {
        for row in source.query(&format!("select quote_literal(t::text) from {table} t"))?.into_iter().flatten().flatten() {
            target.query(&format!("insert into {table} select ({row}::{table}).*"))?;
        }
    }
    Ok(tables)
}

/// While a shard is being made definitions are refused; while reference tables are copied, writes of them wait.
pub(crate) fn the_gate_keeps_definitions_out(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let mut worker = Worker::of(cluster)?;
    let mut client = cluster.connect()?;
    client.query("drop table if exists m_codes; /* shardyard: reference */ create table m_codes (code int primary key)")?;
    let mut open = cluster.connect()?;
    open.query("begin; insert into m_codes values (1)")?;
    worker.catalog.query("update shardyard.cluster set gate = 'everywhere'")?;
    worker.wait_acknowledged()?;
    ensure!(!worker.is_reached("settled_version")?, "a reference table is being written");
    open.query("insert into m_codes values (2); commit")?;
    worker.wait_for("settled_version")?;
    for definition in ["create table m_more (n int)", "alter table m_codes add column n int", "analyze m_codes", "truncate m_codes"] {
        let error = client.error(definition)?;
        ensure!(error.sqlstate() == "55006", "{definition}: {error}");
    }
    let waiting = beside(&cluster.dsn, "insert into m_codes values (3)".to_owned());
    std::thread::sleep(Duration::from_millis(300));
    ensure!(waiting.try_recv().is_err(), "a reference table was written");
    worker.catalog.query("update shardyard.cluster set gate = 'ddl'")?;
    ended(&waiting)?;
    let error = client.error("create table m_more (n int)")?;
    ensure!(error.sqlstate() == "55006", "{error}");
    worker.clear()?;
    client.query("drop table m_codes").map(drop)
}

/// A proxy that was fenced out and its connections ended comes in again under another incarnation.
pub(crate) fn a_fenced_proxy_returns(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, _) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    let mut client = cluster.connect()?;
    client.query(&format!("select count(*) from {TABLE}"))?;
    let old = worker.catalog.value("select incarnation from shardyard.proxy")?;
    for shard in 0..2 {
        cluster.primary(shard)?.query(&format!("insert into shardyard.fenced values ({old})"))?;
        let ended = cluster.primary(shard)?.value(&format!(
            "select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory' and classid = 1398361426 and objid = {old}"
        ))?;
        ensure!(ended != "0", "no connection on shard {shard} says whose it is");
    }
    worker.catalog.query(&format!("delete from shardyard.proxy where incarnation = {old}"))?;
    eventually(Duration::from_secs(10), || client.query(&format!("update {TABLE} set n = n + 1 where user_id = {}", keys.other)))?;
    client.query(&format!("select count(*) from {TABLE}"))?;
    let new = worker.catalog.value("select incarnation from shardyard.proxy")?;
    ensure!(new != old, "still incarnation {old}");
    worker.clear()
}

/// A transaction of one snapshot goes on with what has not been moved since it began, and with nothing else.
pub(crate) fn snapshots_do_not_outlive_a_switch(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    copy(cluster, keys.moving)?;
    let wave = worker.wave((0, 1), &moving, "fencing")?;
    worker.wait_acknowledged()?;
    let by_key = |key: i64| format!("select n from {TABLE} where user_id = {key}");
    let sum = format!("select sum(n) from {TABLE}");
    let begin = |level: &str| -> Result<Connection> {
        let mut client = cluster.connect()?;
        client.query(&format!("begin isolation level {level}"))?;
        client.query(&by_key(keys.staying))?;
        Ok(client)
    };
    let (mut snapshot, mut scattered, mut committed) = (begin("repeatable read")?, begin("serializable")?, begin("read committed")?);
    let mut late = cluster.connect()?;
    late.query("begin isolation level repeatable read")?;
    worker.flip(wave)?;
    worker.state(wave, "released")?;
    worker.wait_acknowledged()?;
    for key in [keys.staying, keys.other] {
        snapshot.query(&by_key(key))?;
    }
    let error = snapshot.error(&by_key(keys.moving))?;
    ensure!(error.sqlstate() == "40001", "{error}");
    let error = scattered.error(&sum)?;
    ensure!(error.sqlstate() == "40001", "{error}");
    for client in [&mut committed, &mut late] {
        ensure!(client.value(&sum)? == "0" && client.value(&by_key(keys.moving))? == "0");
    }
    worker.clear()
}

/// A write that has waited for too long is sent, for the shard to judge; a lock is not.
pub(crate) fn patience_ends(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    let proxy = cluster.proxy(&[("SHARDYARD__SESSION__HOLD_PATIENCE_MS", "300")])?;
    worker.wave((0, 1), &moving, "fencing")?;
    worker.wait_acknowledged()?;
    let mut client = Connection::connect(&proxy.dsn)?;
    let begun = Instant::now();
    client.query(&format!("update {TABLE} set n = n + 1 where user_id = {}", keys.moving))?;
    ensure!(begun.elapsed() > Duration::from_millis(250), "it has not waited");
    ensure!(n_of(cluster, 0, keys.moving)? == 1, "it was not written");
    let error = client.error(&format!("select from {TABLE} where user_id = {} for update", keys.moving))?;
    ensure!(error.sqlstate() == "40001", "{error}");
    worker.clear()
}

/// A shard is known from when it is active until it is retired; then nothing of the proxy is connected to it.
pub(crate) fn shards_come_and_go(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    let place = &cluster.shards[1].primary;
    cluster.primary(1)?.query("create database third owner app")?;
    let third = Dsn { database: "third".to_owned(), ..place.clone() };
    make_shard(&third)?;
    Connection::connect(&third)?.query(&format!(
        "create table {TABLE} (user_id bigint primary key, n bigint not null); alter table {TABLE} owner to app; insert into {TABLE} values ({}, 70)",
        keys.moving
    ))?;
    worker.catalog.query(&format!(
        "insert into shardyard.shard (id, ordinal, name, state, host, port, database) values (2, 2, 'third', 'adding', '{}', {}, 'third')",
        place.host, place.port
    ))?;
    worker.wait_acknowledged()?;
    let mut client = cluster.connect()?;
    let sum = format!("select sum(n) from {TABLE}");
    ensure!(client.value(&sum)? == "0" && !client.value("show shardyard.shards")?.contains("third"), "known while it is being made");
    let wave = worker.wave((0, 2), &moving, "arming")?;
    worker.catalog.query("update shardyard.shard set state = 'active' where id = 2")?;
    worker.wait_acknowledged()?;
    ensure!(client.value(&sum)? == "0", "the rows of a shard that owns none count");
    worker.flip(wave)?;
    worker.wait_acknowledged()?;
    ensure!(client.value(&sum)? == "70", "the rows of the new shard do not count");
    ensure!(client.value(&format!("select n from {TABLE} where user_id = {}", keys.moving))? == "70");
    worker.catalog.query("update shardyard.shard set state = 'draining' where id = 2")?;
    worker.state(wave, "released")?;
    ensure!(client.value(&sum)? == "70", "a draining shard still owns its buckets");
    worker.catalog.query("update shardyard.bucket_map set shard_id = 0, version = shardyard.bump() where shard_id = 2")?;
    worker.finish(wave)?;
    worker.catalog.query("update shardyard.shard set state = 'retired' where id = 2")?;
    worker.wait_acknowledged()?;
    ensure!(client.value(&sum)? == "0", "a retired shard's rows count");
    let mut observer = cluster.primary(1)?;
    eventually(Duration::from_secs(5), || {
        let left = observer.value("select count(*) from pg_stat_activity where datname = 'third' and usename = 'app'")?;
        ensure!(left == "0", "{left} connections to a retired shard");
        Ok(())
    })?;
    worker.catalog.query("delete from shardyard.wave; delete from shardyard.move; delete from shardyard.shard where id = 2")?;
    observer.query("drop database third with (force)")?;
    worker.clear()
}

/// What the worker does to a new shard's database.
fn make_shard(dsn: &Dsn) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = shardyard::catalog::connect(&dsn.to_string()).await?;
        shardyard::catalog::migrate::shard(&mut client, 55_440).await?;
        Ok(())
    })
}
