//! Buckets go to and fro while clients write: no write is lost or done twice, no row counts twice, nobody sees an error.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio_postgres::NoTls;

use crate::connection::Connection;
use crate::dsn::Dsn;
use crate::fixture::Fixture;
use crate::moves::worker::Worker;
use crate::moves::{Keys, TABLE, lay};
use crate::shardyard::eventually;

const SWITCHES: usize = 12;

/// What the writers have been told.
#[derive(Default)]
struct Told {
    moving: AtomicI64,
    all: AtomicI64,
    over: AtomicBool,
}

/// Two proxies; the test is the worker, and there is no guard on the shards: the proxies' word has to do.
pub(crate) fn writes_survive_switches(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let second = cluster.proxy(&[])?;
    let mut worker = Worker::of(cluster)?;
    let told = Told::default();
    let mut pauses = Vec::new();
    std::thread::scope(|scope| {
        let (told, keys) = (&told, &keys);
        let clients = [
            scope.spawn(|| simple(&cluster.dsn, told, keys)),
            scope.spawn(|| transactions(&second.dsn, told, keys)),
            scope.spawn(|| prepared(&second.dsn, told, keys)),
            scope.spawn(|| everything(&cluster.dsn, told)),
            scope.spawn(|| reads(&cluster.dsn, told)),
        ];
        let switched = switches(cluster, &mut worker, (keys, &moving), &mut pauses);
        told.over.store(true, Ordering::Relaxed);
        let outcomes: Vec<_> = clients.into_iter().map(|client| client.join().expect("a client has panicked")).collect();
        outcomes.into_iter().collect::<Result<Vec<u64>>>().map(|counts| println!("statements of each client: {counts:?}"))?;
        switched
    })?;
    pauses.sort();
    println!("{} switches, hold to release: median {:?}, longest {:?}", pauses.len(), pauses[pauses.len() / 2], pauses[pauses.len() - 1]);
    let expected = told.moving.load(Ordering::Relaxed) + told.all.load(Ordering::Relaxed);
    let found = cluster.connect()?.value(&format!("select n from {TABLE} where user_id = {}", keys.moving))?;
    ensure!(found == expected.to_string(), "{found} writes are there, {expected} were acknowledged");
    worker.clear()
}

fn switches(
    cluster: &crate::shardyard::Cluster,
    worker: &mut Worker,
    (keys, moving): (&Keys, &str),
    pauses: &mut Vec<Duration>,
) -> Result<()> {
    for switch in 0..SWITCHES {
        let (source, target) = (switch % 2, 1 - switch % 2);
        let wave = worker.wave((source, target), moving, "arming")?;
        worker.wait_for("settled_version")?;
        worker.state(wave, "catching up")?;
        let begun = Instant::now();
        worker.state(wave, "fencing")?;
        worker.wait_for("settled_version")?;
        let row = format!("select n from {TABLE} where user_id = {}", keys.moving);
        let n = cluster.primary(source)?.value(&row)?;
        let copy = format!("insert into {TABLE} values ({}, {n}) on conflict (user_id) do update set n = excluded.n", keys.moving);
        cluster.primary(target)?.query(&copy)?;
        worker.flip(wave)?;
        worker.wait_for("seen_version")?;
        worker.state(wave, "released")?;
        pauses.push(begun.elapsed());
        worker.state(wave, "cleaning")?;
        worker.wait_for("acknowledged_version")?;
        cluster.primary(source)?.query(&format!("delete from {TABLE} where user_id = {}", keys.moving))?;
        worker.finish(wave)?;
    }
    Ok(())
}

fn update(key: i64) -> String {
    format!("update {TABLE} set n = n + 1 where user_id = {key}")
}

/// Runs until all switches are done; how often.
fn repeatedly(told: &Told, mut step: impl FnMut() -> Result<()>) -> Result<u64> {
    let mut count = 0;
    while !told.over.load(Ordering::Relaxed) {
        step()?;
        count += 1;
    }
    Ok(count)
}

fn simple(dsn: &Dsn, told: &Told, keys: &Keys) -> Result<u64> {
    let mut client = Connection::connect(dsn)?;
    repeatedly(told, || {
        client.query(&update(keys.moving)).context("simple")?;
        told.moving.fetch_add(1, Ordering::Relaxed);
        client.query(&update(keys.staying)).context("simple, another key").map(drop)
    })
}

fn transactions(dsn: &Dsn, told: &Told, keys: &Keys) -> Result<u64> {
    let mut client = eventually(Duration::from_secs(10), || Connection::connect(dsn))?;
    repeatedly(told, || {
        client.query("begin")?;
        client.query(&format!("select n from {TABLE} where user_id = {}", keys.other)).context("in a transaction, a read")?;
        client.query(&update(keys.moving)).context("in a transaction")?;
        client.query(&update(keys.moving)).context("in a transaction, again")?;
        client.query("commit").context("commit")?;
        told.moving.fetch_add(2, Ordering::Relaxed);
        Ok(())
    })
}

fn prepared(dsn: &Dsn, told: &Told, keys: &Keys) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&dsn.to_string(), NoTls).await?;
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(connection);
        let statement = client.prepare(&format!("update {TABLE} set n = n + 1 where user_id = $1")).await?;
        let mut count = 0;
        while !told.over.load(Ordering::Relaxed) {
            let rows = client.execute(&statement, &[&keys.moving]).await.context("prepared")?;
            ensure!(rows == 1, "{rows} rows updated");
            told.moving.fetch_add(1, Ordering::Relaxed);
            count += 1;
        }
        Ok(count)
    })
}

/// Without a key: every row, on whichever shard.
fn everything(dsn: &Dsn, told: &Told) -> Result<u64> {
    let mut client = Connection::connect(dsn)?;
    repeatedly(told, || {
        client.query(&format!("update {TABLE} set n = n + 1")).context("without a key")?;
        told.all.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

fn reads(dsn: &Dsn, told: &Told) -> Result<u64> {
    let mut client = Connection::connect(dsn)?;
    let mut last = 0;
    repeatedly(told, || {
        let count = client.value(&format!("select count(*) from {TABLE}")).context("a scatter")?;
        ensure!(count == "3", "{count} rows");
        let gathered =
            client.value(&format!("select count(*) from {TABLE} a full join {TABLE} b on a.user_id = b.user_id and a.n > -b.n - 9"))?;
        ensure!(gathered == "3", "{gathered} gathered rows");
        let sum: i64 = client.value(&format!("select sum(n) from {TABLE}")).context("a sum")?.parse()?;
        ensure!(sum >= last, "the sum falls from {last} to {sum}");
        last = sum;
        Ok(())
    })
}
