//! Merged reads when something goes wrong, is slow, or is said in other encodings and orders. What they answer otherwise is compared in
//! `tests/differential`.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::connection::{Connection, Frame, message};
use crate::fixture::Fixture;
use crate::login;
use crate::reply::ServerError;
use crate::shardyard::{Cluster, SHARDS, eventually};

/// Rows of the tables here: enough that no buffer on the way holds a shard's.
const ROWS: usize = 40_000;
/// Where a lock or a kill strikes; not the home shard.
const STRUCK: usize = 2;

/// A table of `ROWS` rows of 3,000 bytes on all shards.
fn lay(cluster: &Cluster, table: &str) -> Result<()> {
    let mut client = cluster.connect()?;
    client.query(&format!("create table {table} (user_id bigint primary key, t text)"))?;
    client.query(&format!("insert into {table} select n, 'x' from generate_series(1, {ROWS}) n"))?;
    client.query(&format!("update {table} set t = repeat('x', 3000)"))?;
    Ok(())
}

/// A statement by the simple protocol, or by the extended one.
pub(crate) fn send(client: &mut Connection, sql: &str, extended: bool) -> Result<()> {
    if !extended {
        return client.send(&message(b'Q', &[sql.as_bytes(), &[0]].concat()));
    }
    let parse = [&[0], sql.as_bytes(), &[0, 0, 0]].concat();
    let parts = [(b'P', parse.as_slice()), (b'B', &[0; 8]), (b'D', b"P\0"), (b'E', &[0; 5]), (b'S', b"")];
    parts.iter().try_for_each(|(tag, body)| client.send(&message(*tag, body)))
}

fn skip_to(client: &mut Connection, tag: u8) -> Result<Frame> {
    loop {
        let frame = client.receive()?.context("the connection was closed")?;
        if frame.tag == tag {
            return Ok(frame);
        }
        ensure!(frame.tag != b'E', "{}", ServerError::decode(&frame.body));
    }
}

/// Reads to ReadyForQuery: rows, and the error or the tag.
pub(crate) fn finish(client: &mut Connection) -> Result<(usize, Result<String, ServerError>)> {
    let mut rows = 0;
    let mut outcome = None;
    while let Some(frame) = client.receive()? {
        match frame.tag {
            b'D' => rows += 1,
            b'E' => outcome = Some(Err(ServerError::decode(&frame.body))),
            b'C' => outcome = outcome.or(Some(Ok(String::from_utf8_lossy(&frame.body).trim_end_matches('\0').to_owned()))),
            b'Z' => return Ok((rows, outcome.context("neither a tag nor an error")?)),
            _ => {}
        }
    }
    bail!("the connection was closed");
}

/// Nobody works for the statement any more.
fn is_over(cluster: &Cluster, table: &str) -> Result<()> {
    eventually(Duration::from_secs(10), || {
        for shard in 0..SHARDS {
            let query = format!(
                "select count(*) from pg_stat_activity where pid <> pg_backend_pid() and state <> 'idle' and query like '%{table}%'
                 and application_name not in ('lock')"
            );
            let busy = cluster.primary(shard)?.value(&query)?;
            ensure!(busy == "0", "{busy} statements still run on shard {shard}");
        }
        Ok(())
    })
}

/// Holds the table on one shard until it is dropped.
fn lock(cluster: &Cluster, table: &str) -> Result<Connection> {
    let mut holder = cluster.primary(STRUCK)?;
    holder.query("set application_name = 'lock'")?;
    holder.query(&format!("begin; lock table {table}"))?;
    Ok(holder)
}

/// The rows of the other shards come while one shard has given none; when it has, all are there.
pub(crate) fn first_rows_come_first(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    lay(cluster, "scatter_first")?;
    let mut client = cluster.connect()?;
    for extended in [false, true] {
        let mut holder = lock(cluster, "scatter_first")?;
        send(&mut client, "/* shardyard: primary */ select user_id, t from scatter_first", extended)?;
        skip_to(&mut client, b'D')?;
        let waiting = "select count(*) from pg_locks where relation = 'scatter_first'::regclass and not granted";
        ensure!(cluster.primary(STRUCK)?.value(waiting)? == "1", "the shard is not waited for");
        holder.query("rollback")?;
        let (rows, outcome) = finish(&mut client)?;
        ensure!(rows + 1 == ROWS && outcome.as_ref().is_ok_and(|tag| *tag == format!("SELECT {ROWS}")), "{rows} more rows, {outcome:?}");
    }
    Ok(())
}

/// A cancel in the middle of the rows ends the statement on all shards; the session goes on, in a transaction after its rollback.
pub(crate) fn scatters_are_cancelled(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    lay(cluster, "scatter_cancel")?;
    let mut client = cluster.connect()?;
    let key = client.key.clone().context("no BackendKeyData")?;
    for (extended, block) in [(false, false), (true, false), (false, true), (true, true)] {
        for locked in [true, false] {
            if block {
                client.query("begin")?;
            }
            let holder = locked.then(|| lock(cluster, "scatter_cancel")).transpose()?;
            let order = if locked { "" } else { "order by user_id" };
            send(&mut client, &format!("/* shardyard: primary */ select user_id, t from scatter_cancel {order}"), extended)?;
            skip_to(&mut client, b'D')?;
            let mut request = Connection::open(&cluster.dsn)?;
            request.send(&login::request(80_877_102, &key))?;
            let (rows, outcome) = finish(&mut client)?;
            let error = outcome.err().with_context(|| format!("{rows} rows and no error"))?;
            ensure!(error.sqlstate() == "57014", "{error}");
            drop(holder);
            if block {
                ensure!(client.error("select 1")?.sqlstate() == "25P02");
                client.query("rollback")?;
            }
            is_over(cluster, "scatter_cancel")?;
            ensure!(client.value("select count(*) from scatter_cancel")? == ROWS.to_string());
        }
    }
    Ok(())
}

/// A server process that ends before or among its rows fails the statement: a short answer never looks whole.
pub(crate) fn a_lost_shard_is_an_error(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    lay(cluster, "scatter_lost")?;
    let mut client = cluster.connect()?;
    for (extended, locked, order) in [
        (false, true, ""),
        (true, true, ""),
        (false, false, "order by user_id"),
        (true, false, "order by user_id desc"),
        (false, false, ""),
    ] {
        let holder = locked.then(|| lock(cluster, "scatter_lost")).transpose()?;
        send(&mut client, &format!("/* shardyard: primary */ select user_id, t from scatter_lost {order}"), extended)?;
        skip_to(&mut client, b'D')?;
        let ended = cluster.primary(STRUCK)?.value(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where state = 'active' and pid <> pg_backend_pid() and query like '%select user_id, t from scatter_lost%'",
        )?;
        ensure!(ended == "1", "{ended} server processes were ended");
        let (rows, outcome) = finish(&mut client)?;
        let error = outcome.err().with_context(|| format!("{rows} rows and no error, {order}"))?;
        ensure!(matches!(error.sqlstate(), "57P01" | "08006"), "{error}");
        drop(holder);
        is_over(cluster, "scatter_lost")?;
        ensure!(client.value("select count(*) from scatter_lost")? == ROWS.to_string());
    }
    Ok(())
}

/// The same when the whole server goes without a word, and comes back.
pub(crate) fn a_crashed_shard_is_an_error(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    lay(cluster, "scatter_crash")?;
    for order in ["", "order by user_id"] {
        let mut client = cluster.connect()?;
        send(&mut client, &format!("/* shardyard: primary */ select user_id, t from scatter_crash {order}"), false)?;
        skip_to(&mut client, b'D')?;
        let pid = cluster.primary(STRUCK)?.value(
            "select pid from pg_stat_activity
             where state = 'active' and pid <> pg_backend_pid() and query like '%select user_id, t from scatter_crash%'",
        )?;
        // A server process that is killed takes all others of its server along.
        let killed = std::process::Command::new("kill").args(["-9", &pid]).status()?;
        ensure!(killed.success(), "server process {pid} could not be killed");
        let (rows, outcome) = finish(&mut client)?;
        ensure!(outcome.is_err(), "{rows} rows, {outcome:?}");
        eventually(Duration::from_secs(30), || {
            let count = client.value("/* shardyard: primary */ select count(*) from scatter_crash")?;
            ensure!(count == ROWS.to_string(), "{count} rows");
            Ok(())
        })?;
    }
    // A commit, so that what is waited for is on its way.
    cluster.connect()?.query("drop table scatter_crash")?;
    cluster.wait_for_replicas()
}

/// Rows as bytes, and whether the order counts: the same as from one plain server.
fn same_as_plain(fixture: &Fixture, setup: &[String], queries: &[(&str, bool)]) -> Result<()> {
    let mut sides = vec![fixture.cluster()?.connect()?, Connection::connect(fixture.plain()?)?];
    for side in &mut sides {
        for statement in setup {
            side.query(statement)?;
        }
    }
    for (sql, ordered) in queries {
        for extended in [false, true] {
            let mut answers = Vec::new();
            for side in &mut sides {
                send(side, &format!("/* shardyard: primary */ {sql}"), extended)?;
                let mut rows = Vec::new();
                loop {
                    let frame = side.receive()?.context("closed")?;
                    match frame.tag {
                        b'D' => rows.push(frame.body),
                        b'E' => bail!("{sql}: {}", ServerError::decode(&frame.body)),
                        b'Z' => break,
                        _ => {}
                    }
                }
                if !ordered {
                    rows.sort();
                }
                answers.push(rows);
            }
            ensure!(answers.first() == answers.last(), "{sql}: {answers:?}");
            ensure!(answers.first().is_some_and(|rows| !rows.is_empty()), "{sql}: no rows");
        }
    }
    Ok(())
}

/// Texts in another encoding than the servers': compared, grouped and sorted as they are on one server.
pub(crate) fn other_encodings_merge_alike(fixture: &Fixture) -> Result<()> {
    for (table, encoding) in [("scatter_latin", "LATIN1"), ("scatter_win", "WIN1252"), ("scatter_utf", "UTF8")] {
        let setup = [
            format!("create table {table} (user_id bigint primary key, t text, c char(4), n numeric)"),
            format!(
                "insert into {table} select n, chr(190 + n % 60) || chr(65 + n % 5), chr(228 + n % 7), n % 9 / 2.0 from generate_series(1, 300) n"
            ),
            format!("set client_encoding = '{encoding}'"),
        ];
        let queries: Vec<String> = [
            "select user_id, t, c from TABLE",
            "select t, user_id from TABLE order by t, user_id",
            "select t, user_id from TABLE order by t desc, user_id limit 20 offset 7",
            "select distinct t from TABLE order by t",
            "select c, count(*), min(t), max(t), sum(n) from TABLE group by c order by c",
            "select min(t), max(t), min(c), max(c) from TABLE",
            "select t from TABLE where t > chr(200) order by t, user_id",
            "select t, rank() over (order by t, user_id) from TABLE order by 2",
        ]
        .iter()
        .map(|sql| sql.replace("TABLE", table))
        .collect();
        let queries: Vec<_> = queries.iter().map(|sql| (sql.as_str(), sql.contains("order by"))).collect();
        same_as_plain(fixture, &setup, &queries)?;
    }
    Ok(())
}

/// Orders that are not of bytes: the column's collation, or one that the statement names.
pub(crate) fn collations_merge_alike(fixture: &Fixture) -> Result<()> {
    let words =
        ["Zebra", "apple", "Äpfel", "apfel", "zebra", "Öl", "oel", "école", "Ecole", "eclair", "-dash", "dash", "10", "9", "a b", "ab"];
    let mut setup = vec![
        "create collation if not exists scatter_numeric (provider = icu, locale = 'en-u-kn-true')".to_owned(),
        "create table scatter_words (user_id bigint primary key, w text collate \"de-x-icu\", c text collate \"C\", d text)".to_owned(),
    ];
    for (at, word) in words.iter().cycle().take(120).enumerate() {
        setup.push(format!("insert into scatter_words values ({at}, '{word}', '{word}', '{word}{}')", at % 12));
    }
    let queries = [
        ("select w, user_id from scatter_words order by w, user_id", true),
        ("select w, user_id from scatter_words order by w desc, user_id limit 25", true),
        ("select c, user_id from scatter_words order by c, user_id", true),
        ("select d, user_id from scatter_words order by d, user_id", true),
        ("select c, user_id from scatter_words order by c collate \"fr-x-icu\", user_id", true),
        ("select d, user_id from scatter_words order by d collate scatter_numeric, user_id", true),
        ("select min(w), max(w), min(c), max(c), min(d), max(d) from scatter_words", true),
        ("select w, count(*), min(c), max(d) from scatter_words group by w order by w", true),
        ("select distinct w from scatter_words", false),
        ("select distinct on (w) w, user_id from scatter_words order by w, user_id", true),
        ("select w from scatter_words where w between 'a' and 'e' order by w, user_id", true),
        ("select upper(w) from scatter_words order by upper(w), user_id", true),
    ];
    same_as_plain(fixture, &setup, &queries)
}
