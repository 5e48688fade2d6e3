//! Reads computed over rows that are gathered on the home shard: bounded, cancelled, beside each other, in transactions, and nothing is left.
//! What they answer is compared in `tests/differential`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::connection::{Connection, message};
use crate::fixture::Fixture;
use crate::login;
use crate::scatter::{finish, send};
use crate::shardyard::{Cluster, SHARDS, eventually};

/// More rows than `gather_bytes_max` are an error, outside and inside of a transaction; the next statement works.
pub(crate) fn a_gather_is_bounded(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table gather_bound (user_id bigint primary key, t text)")?;
    for key in 1..=20 {
        client.query(&format!("insert into gather_bound select {key}, repeat('x', 20000)"))?;
    }
    let proxy = cluster.proxy(&[("SHARDYARD__SESSION__GATHER_BYTES_MAX", "100000")])?;
    let mut client = Connection::connect(&proxy.dsn)?;
    let all = "select count(*) over (), t from gather_bound order by 2 limit 1";
    for _ in 0..3 {
        let error = client.error(all)?;
        ensure!(error.sqlstate() == "53400" && error.hint().contains("gather_bytes_max"), "{error}");
        ensure!(client.query("select user_id, rank() over (order by user_id) from gather_bound")?.len() == 20, "the next gather fails");
    }
    client.query("begin")?;
    client.query("insert into gather_bound values (21, 'y')")?;
    client.query("savepoint s")?;
    ensure!(client.error(all)?.sqlstate() == "53400");
    ensure!(client.error("select 1")?.sqlstate() == "25P02");
    client.query("rollback to s")?;
    let few = "select count(*) over (), t from gather_bound where user_id in (20, 21, 22) order by t desc limit 1";
    ensure!(client.value(few)? == "2", "the transaction's own row is not seen after the error");
    client.query("rollback")?;
    nothing_is_left(cluster)
}

/// Rows for which a condition on their own table does not hold are not brought, by either protocol.
pub(crate) fn rows_that_cannot_matter_stay(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table gather_stay (user_id bigint primary key, n int, t text)")?;
    client.query("insert into gather_stay select n, n, repeat('x', 20000) from generate_series(1, 20) n")?;
    let proxy = cluster.proxy(&[("SHARDYARD__SESSION__GATHER_BYTES_MAX", "100000")])?;
    let mut client = Connection::connect(&proxy.dsn)?;
    ensure!(client.error("select rank() over (order by t) from gather_stay")?.sqlstate() == "53400");
    let few = "select rank() over (order by t) from gather_stay where n between 3 and 5";
    let (left, other) = ("t.n < 3 and t.t like 'x%'", "b.n in (7) or b.t is null");
    let either = format!("select count(distinct t.t) from gather_stay t left join gather_stay b on t.t = b.t and ({other}) where {left}");
    for (sql, rows) in [(few, 3), (either.as_str(), 1)] {
        for extended in [false, true] {
            send(&mut client, sql, extended)?;
            let (found, outcome) = finish(&mut client)?;
            ensure!(found == rows && outcome.is_ok(), "{sql}: {found} rows, {outcome:?}");
        }
    }
    // A parameter, in binary format, of a type that only its use decides.
    let sql = b"\0select rank() over (order by t) from gather_stay where n < $1\0\0\0";
    let bind = [b"\0\0\0\x01\0\x01\0\x01\0\0\0\x04".as_slice(), &4_i32.to_be_bytes(), &[0; 2]].concat();
    for (tag, body) in [(b'P', sql.as_slice()), (b'B', &bind), (b'E', &[0; 5]), (b'S', b"")] {
        client.send(&message(tag, body))?;
    }
    let (found, outcome) = finish(&mut client)?;
    ensure!(found == 3 && outcome.is_ok(), "{found} rows, {outcome:?}");
    nothing_is_left(cluster)
}

/// A view reads with its owner's rights, a gathered one with the client's: where policies make that another answer, it is refused.
pub(crate) fn views_show_no_hidden_rows(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table gather_hidden (user_id bigint primary key, owner text)")?;
    client.query("insert into gather_hidden select n, 'nobody' from generate_series(1, 9) n")?;
    client.query("create view gather_shown as select * from gather_hidden")?;
    let ranks = "select rank() over (order by user_id) from gather_shown";
    ensure!(client.query(ranks)?.len() == 9);
    client.query("alter table gather_hidden enable row level security")?;
    eventually(Duration::from_secs(5), || {
        let error = client.error(ranks)?;
        ensure!(error.sqlstate() == "0A000" && error.to_string().contains("row-level security"), "{error}");
        Ok(())
    })?;
    ensure!(client.query("select rank() over (order by user_id) from gather_hidden")?.len() == 9, "the owner does not see the rows");
    Ok(())
}

/// Many clients gather one table while it is written; each sees whole rows, and what it wrote itself.
pub(crate) fn gathers_run_side_by_side(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    cluster.connect()?.query("create table gather_beside (user_id bigint primary key, n int)")?;
    let clients: Vec<_> = (0..6_usize)
        .map(|number| {
            let mut client = cluster.connect()?;
            Ok(std::thread::spawn(move || -> Result<()> {
                for round in 0..12 {
                    let key = number * 100 + round;
                    client.query(&format!("insert into gather_beside values ({key}, 1)"))?;
                    let own = format!(
                        "select count(*), (select count(*) from gather_beside b where b.user_id / 100 = {number}) from gather_beside"
                    );
                    let rows = client.query(&own)?;
                    let seen = rows.first().and_then(|row| row.get(1)).cloned().flatten().unwrap_or_default();
                    ensure!(seen == (round + 1).to_string(), "client {number} sees {seen} of its {} rows", round + 1);
                    client.query("begin")?;
                    client.query(&format!("update gather_beside set n = n + 1 where user_id = {key}"))?;
                    let most = client.value("select max(n), (select min(n) from gather_beside) from gather_beside")?;
                    ensure!(most == "2", "client {number} sees {most} for its own update");
                    client.query(if round % 2 == 0 { "rollback" } else { "commit" })?;
                }
                Ok(())
            }))
        })
        .collect::<Result<_>>()?;
    for client in clients {
        client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    nothing_is_left(cluster)
}

/// A transaction that has gathered and written several shards commits in two phases: the home shard, which cannot be prepared, is the anchor.
pub(crate) fn gathers_commit_in_two_phases(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table gather_phases (user_id bigint primary key, n int)")?;
    client.query("create table gather_plain (n int)")?;
    for round in 0..4 {
        client.query("begin")?;
        let mut order: Vec<usize> = (1..=8).collect();
        order.rotate_left(round);
        for key in order {
            client.query(&format!("insert into gather_phases values ({}, {round})", key + round * 10))?;
        }
        let count = client.value("select count(*), (select min(n) from gather_phases) from gather_phases")?;
        ensure!(count == ((round + 1) * 8).to_string(), "{count} rows in round {round}");
        client.query("insert into gather_plain values (1)")?;
        ensure!(client.value("select count(*) from gather_phases, gather_plain")? == ((round + 1) * 8 * (round + 1)).to_string());
        client.query("commit")?;
    }
    let mut rows = 0;
    for shard in 0..SHARDS {
        rows += cluster.primary(shard)?.value("select count(*) from gather_phases")?.parse::<usize>()?;
    }
    ensure!(rows == 32, "{rows} rows of 32 were committed");
    nothing_is_left(cluster)
}

/// A cancel in the middle ends the statement on all servers, and the connection goes on. A client that leaves takes all of it along.
pub(crate) fn gathers_are_cancelled(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table gather_slow (user_id bigint primary key)")?;
    client.query(
        "create function gather_wait(n bigint) returns bigint language plpgsql stable as $$ begin perform pg_sleep(0.2); return n; end $$",
    )?;
    for key in 1..=40 {
        client.query(&format!("insert into gather_slow values ({key})"))?;
    }
    client.query("create view gather_view as select gather_wait(user_id) as n from gather_slow")?;
    let slow = message(b'Q', b"select max(a.n), max(b.n) from gather_view a, gather_view b\0");
    client.send(&slow)?;
    std::thread::sleep(Duration::from_millis(300));
    let key = client.key.clone().context("no BackendKeyData")?;
    let mut request = Connection::open(&cluster.dsn)?;
    request.send(&login::request(80_877_102, &key))?;
    let cancelled = client.finish_query().err().context("not cancelled")?;
    ensure!(cancelled.to_string().starts_with("57014"), "{cancelled}");
    ensure!(client.value("select count(*), max(user_id) over () from gather_slow group by user_id limit 1")? == "1");
    let mut leaving = cluster.connect()?;
    leaving.send(&slow)?;
    std::thread::sleep(Duration::from_millis(300));
    drop(leaving);
    nothing_is_left(cluster)
}

/// Without the right to make temporary tables the error says what to grant.
pub(crate) fn gathers_need_temporary_tables(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table gather_denied (user_id bigint primary key)")?;
    for shard in 0..SHARDS {
        let mut primary = cluster.primary(shard)?;
        primary.query("create role gather_poor; grant select on gather_denied to gather_poor; grant gather_poor to app")?;
    }
    let mut home = cluster.primary(0)?;
    home.query("revoke temporary on database app from public")?;
    let ranks = "select rank() over (order by user_id) from gather_denied";
    client.query("set role gather_poor")?;
    // PostgreSQL says it in other words on a connection that has had temporary tables before.
    let told = (0..2).map(|_| {
        let error = client.error(ranks);
        client.query(&format!("reset role; {ranks}; set role gather_poor"))?;
        error
    });
    let told: Result<Vec<_>> = told.collect();
    home.query("grant temporary on database app to public")?;
    for error in told? {
        ensure!(error.sqlstate() == "42501" && error.hint().contains("GRANT TEMPORARY"), "{error}");
    }
    nothing_is_left(cluster)
}

/// No temporary table, no transaction and nothing prepared on any server.
fn nothing_is_left(cluster: &Cluster) -> Result<()> {
    eventually(Duration::from_secs(20), || {
        for shard in 0..SHARDS {
            let mut server = cluster.primary(shard)?;
            let tables = server.value("select count(*) from pg_class where relpersistence = 't' and relname like 'gather\\_%'")?;
            ensure!(tables == "0", "{tables} temporary tables on shard {shard}");
            let open = server.value(
                "select count(*) from pg_stat_activity where pid <> pg_backend_pid() and state <> 'idle' and query like '%gather\\_%'",
            )?;
            ensure!(open == "0", "{open} statements still run on shard {shard}");
        }
        Ok(())
    })
}
