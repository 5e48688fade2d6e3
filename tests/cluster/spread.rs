//! Writes on several shards: all of them or none, in bounded memory, and without deadlocks that nobody ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::connection::{Connection, message};
use crate::fixture::Fixture;
use crate::reply::ServerError;
use crate::shardyard::{Cluster, SHARDS, eventually};

/// Two transactions that lock rows of two shards crosswise: one is told of a deadlock, the other goes on.
pub(crate) fn deadlocks_end(fixture: &Fixture) -> Result<()> {
    let proxy = fixture.cluster()?.proxy(&[("SHARDYARD__SESSION__LOCK_WAIT_MAX_MS", "300")])?;
    let mut first = Connection::connect(&proxy.dsn)?;
    first.query("create table spread_locks (user_id bigint primary key, n int)")?;
    first.query("insert into spread_locks select n, 0 from generate_series(1, 8) as n")?;
    let start = Instant::now();
    let mut second = Connection::connect(&proxy.dsn)?;
    for client in [&mut first, &mut second] {
        client.set_reply_deadline(Duration::from_secs(30))?;
        client.query("begin")?;
    }
    // By md5 mod 4 keys 1 and 2 are on different shards.
    first.query("update spread_locks set n = n + 1 where user_id = 1")?;
    second.query("update spread_locks set n = n + 1 where user_id = 2")?;
    let waiting = std::thread::spawn(move || {
        let outcome = first.query("update spread_locks set n = n + 1 where user_id = 2").map(drop);
        (first, outcome)
    });
    let crosswise = second.error("update spread_locks set n = n + 1 where user_id = 1");
    second.query("rollback")?;
    let (mut first, outcome) = waiting.join().expect("a thread that does not panic");
    let told = match (&crosswise, &outcome) {
        (Ok(error), _) => error.sqlstate().to_owned(),
        (Err(_), Err(error)) => format!("{error:#}"),
        (Err(error), Ok(())) => format!("nobody was told of a deadlock: {error:#}"),
    };
    ensure!(told.contains("40P01"), "{told}");
    ensure!(start.elapsed() < Duration::from_secs(4), "told after {:?}", start.elapsed());
    first.query(if outcome.is_ok() { "commit" } else { "rollback" })?;
    Ok(())
}

/// What one shard refuses, or the client breaks off, leaves nothing on any shard.
pub(crate) fn refused_by_one_kept_by_none(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table spread_none (user_id bigint primary key, n int check (n < 100))")?;
    client.query("insert into spread_none select n, n from generate_series(1, 20) as n")?;
    let before = sums(cluster)?;
    for sql in [
        "insert into spread_none values (31, 1), (32, 2), (33, 100), (34, 4), (35, 5)",
        "insert into spread_none select n, n from generate_series(50, 120) as n",
        "update spread_none set n = n + 81",
        "delete from spread_none where 1 / (n - 13) < 5",
        "insert into spread_none values (41, 1), (42, 2), (43, 3); update spread_none set n = 100 where user_id = 42",
    ] {
        ensure!(client.query(sql).is_err(), "it should fail: {sql}");
        ensure!(sums(cluster)? == before, "something was kept of: {sql}");
    }
    client.send(&message(b'Q', b"copy spread_none from stdin\0"))?;
    client.send(&message(b'd', b"61\t1\n62\t2\n63\t3\n"))?;
    client.send(&message(b'f', b"no more\0"))?;
    let error = finish(&mut client)?.context("a COPY that was broken off")?;
    ensure!(error.sqlstate() == "57014" && error.message().contains("no more"), "{error}");
    ensure!(error.field("W") == "COPY spread_none, line 4", "{}", error.field("W"));
    ensure!(sums(cluster)? == before, "a COPY that was broken off has left rows");
    ensure!(client.value("select 1")? == "1", "the connection does not go on");
    nothing_is_prepared(cluster)
}

/// A long COPY stays within memory bounds, and its one bad row is told by its line.
pub(crate) fn copy_is_bounded(fixture: &Fixture) -> Result<()> {
    const ROWS: usize = 200_000;
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table spread_copy (user_id bigint, id int, note text, primary key (user_id, id))")?;
    let rows = |bad: Option<usize>| -> Vec<u8> {
        let mut data = Vec::new();
        for row in 0..ROWS {
            let id = if bad == Some(row) { "bad".to_owned() } else { row.to_string() };
            data.extend_from_slice(format!("{},{id},\"a note of\n\"\"two\"\" lines {row}\"\n", row * 7 % 5_003).as_bytes());
        }
        data
    };
    let tag = copy(&mut client, &rows(None))?.err();
    ensure!(tag.as_deref() == Some("COPY 200000"), "{tag:?}");
    let mut count = 0;
    for shard in 0..SHARDS {
        let mut primary = cluster.primary(shard)?;
        let here = primary.value(&format!("select count(*) from spread_copy where shardyard.bucket(user_id) % {SHARDS} = {shard}"))?;
        ensure!(here == primary.value("select count(*) from spread_copy")?, "shard {shard} has rows of others");
        count += here.parse::<usize>()?;
    }
    ensure!(count == ROWS, "{count} rows of {ROWS}");
    client.query("delete from spread_copy")?;
    // Two lines a row, but for the first: PostgreSQL does not know yet how lines end.
    let error = copy(&mut client, &rows(Some(123_456)))?.ok().context("a bad row was taken")?;
    ensure!(error.sqlstate() == "22P02" && error.field("W").contains("line 246913,"), "{error}: {}", error.field("W"));
    ensure!(client.value("select count(*) from spread_copy")? == "0", "a failed COPY has left rows");
    Ok(())
}

/// Rows that a query makes to be written are held, up to a bound; beyond it nothing is written and the session goes on.
pub(crate) fn rows_of_an_insert_are_bounded(fixture: &Fixture) -> Result<()> {
    let proxy = fixture.cluster()?.proxy(&[("SHARDYARD__SESSION__KEPT_BYTES_MAX", "15000000")])?;
    let mut client = Connection::connect(&proxy.dsn)?;
    client.set_reply_deadline(Duration::from_secs(60))?;
    client.query("create table spread_feed (user_id bigint primary key, t text)")?;
    let insert = |rows: u32| format!("insert into spread_feed select n, repeat('x', 1000000) from generate_series(1, {rows}) n");
    let error = client.error(&insert(20))?;
    ensure!(error.sqlstate() == "53400" && error.hint().contains("several statements"), "{error}");
    ensure!(client.value("select count(*) from spread_feed")? == "0", "a refused INSERT has left rows");
    client.query(&insert(10))?;
    ensure!(client.value("select sum(length(t)) from spread_feed")? == "10000000");
    client.query("drop table spread_feed")?;
    Ok(())
}

/// Floats travel as text: rounded text is neither written nor compared.
pub(crate) fn rounded_floats_are_not_values(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table spread_float (user_id bigint primary key, f float8)")?;
    client.query("create table spread_float_from (user_id bigint primary key, f float8)")?;
    client.query("insert into spread_float_from select n, 0.1 + (9 - n) * 1e-16 from generate_series(1, 9) n")?;
    let insert = "insert into spread_float select user_id + 100, f from spread_float_from";
    let order = "select user_id from spread_float_from order by f, user_id";
    let right = client.query(order)?;
    for rounding in ["set extra_float_digits = 0", "begin; set local extra_float_digits = -3"] {
        client.query(rounding)?;
        ensure!(client.query(order)? == right, "rounded floats have another order");
        let error = client.error(insert)?;
        ensure!(error.sqlstate() == "0A000" && error.hint().contains("extra_float_digits"), "{error}");
        client.query("rollback")?;
        client.query(rounding)?;
        client.query("insert into spread_float (user_id) select user_id + 200 from spread_float_from")?;
        client.query("delete from spread_float where user_id > 200")?;
        client.query("rollback")?;
    }
    client.query("set extra_float_digits = 1")?;
    client.query(insert)?;
    let made =
        "create table spread_float_made (user_id bigint primary key, f float8); insert into spread_float_made select * from spread_float";
    client.query(made)?;
    ensure!(client.value("select count(*) from spread_float_made")? == "9");
    let same = "select count(*) from spread_float a join spread_float_from b on a.user_id = b.user_id + 100 and a.f = b.f";
    ensure!(client.value(same)? == "9", "floats have changed on their way");
    Ok(())
}

/// The error of a COPY of CSV data, or its tag.
fn copy(client: &mut Connection, data: &[u8]) -> Result<Result<ServerError, String>> {
    client.set_reply_deadline(Duration::from_secs(120))?;
    let mut bytes = message(b'Q', b"copy spread_copy from stdin csv\0");
    for piece in data.chunks(8192) {
        bytes.extend(message(b'd', piece));
    }
    bytes.extend(message(b'c', b""));
    let sending = client.send_beside(bytes)?;
    let mut tag = String::new();
    let mut error = None;
    while let Some(frame) = client.receive()? {
        match frame.tag {
            b'E' => error = Some(ServerError::decode(&frame.body)),
            b'C' => tag = String::from_utf8_lossy(&frame.body).trim_end_matches('\0').to_owned(),
            b'Z' => break,
            _ => {}
        }
    }
    sending.join().expect("a thread that does not panic");
    Ok(error.ok_or(tag))
}

/// Reads up to ReadyForQuery; the error on the way.
fn finish(client: &mut Connection) -> Result<Option<ServerError>> {
    let mut error = None;
    while let Some(frame) = client.receive()? {
        match frame.tag {
            b'E' => error = Some(ServerError::decode(&frame.body)),
            b'Z' => break,
            _ => {}
        }
    }
    Ok(error)
}

fn sums(cluster: &Cluster) -> Result<Vec<String>> {
    (0..SHARDS).map(|shard| cluster.primary(shard)?.value("select count(*) || ' ' || coalesce(sum(n), 0) from spread_none")).collect()
}

fn nothing_is_prepared(cluster: &Cluster) -> Result<()> {
    let start = Instant::now();
    eventually(Duration::from_secs(20), || {
        for shard in 0..SHARDS {
            let count =
                cluster.primary(shard)?.value("select count(*) from pg_prepared_xacts where prepared < now() - interval '2 seconds'")?;
            ensure!(count == "0", "{count} prepared transactions on shard {shard} after {:?}", start.elapsed());
        }
        Ok(())
    })
}
