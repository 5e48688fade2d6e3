//! Reads go to replicas and writes to primaries, counted on the servers; a session reads what it wrote.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::connection::{Connection, message};
use crate::dsn::Dsn;
use crate::fixture::Fixture;
use crate::shardyard::{Cluster, SHARDS, eventually};

const KEYS: u32 = 40;
const ROUNDS: u32 = 10;
/// A server's backends report their counts within ten seconds of being idle.
const COUNTED: Duration = Duration::from_secs(30);
/// Time for a round of reads that finds replicas which do not lag.
const FIT: Duration = Duration::from_secs(60);

/// Reads of a client that has written nothing are answered by replicas, but for moments in which one lags.
pub(crate) fn reads_and_writes_are_apart(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut writer = cluster.connect()?;
    writer.query("create table counted (user_id bigint primary key, n int)")?;
    for key in 1..=KEYS {
        writer.query(&format!("insert into counted values ({key}, 0)"))?;
        writer.query(&format!("update counted set n = {key} where user_id = {key}"))?;
    }
    let primaries: Vec<&Dsn> = cluster.shards.iter().map(|shard| &shard.primary).collect();
    let replicas: Vec<&Dsn> = cluster.shards.iter().flat_map(|shard| &shard.replicas).collect();
    let written = "select n_tup_ins + n_tup_upd from pg_stat_user_tables where relname = 'counted'";
    eventually(COUNTED, || {
        let (there, elsewhere) = (sum(&primaries, written)?, sum(&replicas, written)?);
        ensure!(there == u64::from(2 * KEYS) && elsewhere == 0, "{there} writes on primaries, {elsewhere} on replicas");
        Ok(())
    })?;

    // A replica that lags is rightly passed over, which tests that write beside this one can cause: then once more.
    eventually(FIT, || {
        cluster.wait_for_replicas()?;
        reads_are_on_replicas(cluster, &primaries, &replicas)
    })
}

/// Reads each key some times: at least three of four reads must be counted on replicas.
fn reads_are_on_replicas(cluster: &Cluster, primaries: &[&Dsn], replicas: &[&Dsn]) -> Result<()> {
    let scans = "select coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0) from pg_stat_user_tables where relname = 'counted'";
    let (before_there, before) = (sum(primaries, scans)?, sum(replicas, scans)?);
    let mut reader = cluster.connect()?;
    for _ in 0..ROUNDS {
        for key in 1..=KEYS {
            let n = reader.value(&format!("select n from counted where user_id = {key}"))?;
            ensure!(n == key.to_string(), "key {key} answered {n}");
        }
    }
    let reads = u64::from(KEYS * ROUNDS);
    eventually(COUNTED, || {
        let (on_replicas, on_primaries) = (sum(replicas, scans)? - before, sum(primaries, scans)? - before_there);
        ensure!(on_replicas >= reads * 3 / 4, "{on_replicas} of {reads} reads on replicas, {on_primaries} on primaries");
        Ok(())
    })
}

/// A read right after a write of the same session sees it, two hundred times.
pub(crate) fn a_session_reads_its_writes(fixture: &Fixture) -> Result<()> {
    let mut client = fixture.cluster()?.connect()?;
    client.query("create table own_writes (user_id bigint primary key, n int)")?;
    for key in 1..=200 {
        client.query(&format!("insert into own_writes values ({key}, 1)"))?;
        ensure!(client.value(&format!("select n from own_writes where user_id = {key}"))? == "1");
        client.query(&format!("begin; update own_writes set n = 2 where user_id = {key}; commit"))?;
        ensure!(client.value(&format!("select n from own_writes where user_id = {key}"))? == "2", "key {key} is stale");
    }
    Ok(())
}

/// A read whose server is ended in the middle, before it has answered, is answered all the same, by both protocols.
pub(crate) fn a_lost_replica_is_no_error(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    cluster.connect()?.query("create table lost_replica (user_id bigint primary key)")?;
    cluster.connect()?.query("insert into lost_replica values (1)")?;
    cluster.wait_for_replicas()?;
    let count = |number: &str| {
        format!("select count(*) from lost_replica, generate_series(1, {number}) a, generate_series(1, {number}) b where user_id = 1")
    };
    let simple = |number: &str| message(b'Q', format!("{}\0", count(number)).as_bytes());
    let parameter = |number: &str| {
        let bind = format!("\0\0\0\0\0\x01\0\0\0{}{number}\0\0", char::from(u8::try_from(number.len()).unwrap_or(0)));
        let text = format!("\0{}\0\0\0", count("$1::int"));
        [message(b'P', text.as_bytes()), message(b'B', bind.as_bytes()), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat()
    };
    let mut wrong = false;
    for extended in [false, true] {
        let request = |number: &str| if extended { parameter(number) } else { simple(number) };
        let mut reader = cluster.connect()?;
        for _ in 0..8 {
            reader.send(&request("10"))?;
            ensure!(reader.finish_query()?.0 == [[Some("100".to_owned())]]);
        }
        // A replica that lags at the moment is passed over: then once more.
        eventually(Duration::from_secs(60), || {
            reader.send(&request("6000"))?;
            let ended = eventually(Duration::from_secs(2), || {
                let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                           where state = 'active' and query like '%from lost_replica%' and pid <> pg_backend_pid()";
                let replicas: Vec<&Dsn> = cluster.shards.iter().flat_map(|shard| &shard.replicas).collect();
                ensure!(sum(&replicas, end)? > 0, "no replica runs it");
                Ok(())
            });
            let rows = reader.finish_query()?.0;
            wrong |= rows != [[Some("36000000".to_owned())]];
            ended
        })?;
        ensure!(!wrong, "the count of a read whose replica was lost is wrong");
    }
    Ok(())
}

/// Inside a transaction that may write, with a locking clause, a volatile function or the hint, a read goes to the primary.
pub(crate) fn some_reads_need_the_primary(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table needs_primary (user_id bigint primary key)")?;
    client.query("create sequence needs_primary_sequence")?;
    client.query("insert into needs_primary values (1)")?;
    let mut reader = cluster.connect()?;
    let ports: Vec<String> = cluster.shards.iter().map(|shard| shard.primary.port.to_string()).collect();
    let to_primary = [
        "select inet_server_port() from needs_primary where user_id = 1 for update",
        "select inet_server_port() from needs_primary where user_id = 1 for share",
        "select inet_server_port(), pg_advisory_xact_lock_shared(1) from needs_primary where user_id = 1",
        "/* shardyard: primary */ select inet_server_port() from needs_primary where user_id = 1",
        "with w as (update needs_primary set user_id = user_id where user_id = 1 returning 1) select inet_server_port() from w",
        "begin; select inet_server_port() from needs_primary where user_id = 1; commit",
    ];
    for sql in to_primary {
        let port = reader.value(sql)?;
        ensure!(ports.contains(&port), "not on a primary: {sql}");
    }
    let mut fresh = cluster.connect()?;
    let to_replica = [
        "select inet_server_port() from needs_primary where user_id = 1",
        "/* shardyard: replica */ select inet_server_port() from needs_primary where user_id = 1",
    ];
    for sql in to_replica {
        eventually(Duration::from_secs(5), || {
            let port = fresh.value(sql)?;
            ensure!(!ports.contains(&port), "not on a replica: {sql}");
            Ok(())
        })?;
    }
    Ok(())
}

fn sum(servers: &[&Dsn], sql: &str) -> Result<u64> {
    let mut total = 0;
    for dsn in servers {
        total += Connection::connect(dsn)?.value(sql)?.parse::<u64>()?;
    }
    Ok(total)
}

/// Replay on a replica cancels what reads there, for a lock on the primary: the primary answers instead, and the client sees no error.
pub(crate) fn recovery_conflicts_are_no_error(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.set_reply_deadline(Duration::from_secs(120))?;
    client.query("create table conflict_rows (user_id bigint primary key)")?;
    client.query("insert into conflict_rows select n from generate_series(1, 8) n")?;
    for server in cluster.shards.iter().flat_map(|shard| &shard.replicas) {
        let mut replica = Connection::connect(server)?;
        replica.query("alter system set max_standby_streaming_delay = '20ms'")?;
        replica.query("select pg_reload_conf()")?;
    }
    cluster.wait_for_replicas()?;
    let conflicts = || -> Result<u64> {
        let count = |server| Connection::connect(server)?.value("select sum(confl_lock) from pg_stat_database_conflicts");
        let counts = cluster.shards.iter().flat_map(|shard| &shard.replicas).map(count);
        counts.map(|count| Ok(count?.parse::<u64>()?)).sum()
    };
    let slow = |steps: u32| format!("(select count(*) from generate_series(1, {steps}) g where g > user_id)");
    let one = format!("select {} from conflict_rows where user_id = 7", slow(4_000_000));
    let all = format!("select user_id, {} from conflict_rows", slow(2_000_000));
    let cases = [(one.clone(), 1, false), (one, 1, true), (all.clone(), 8, false), (all, 8, true)];
    for (sql, rows, extended) in cases {
        let before = conflicts()?;
        // A plan that is known goes the short way; by the extended protocol it has to be.
        for turn in 0..3 {
            // Replicas serve once it is known how far they are.
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(400) {
                for key in 1..=8 {
                    client.query(&format!("select from conflict_rows where user_id = {key}"))?;
                }
            }
            if extended {
                let name = if rows == 1 { "one" } else { "all" };
                let parse = [name.as_bytes(), &[0], sql.as_bytes(), &[0, 0, 0]].concat();
                let bind = [&[0], name.as_bytes(), &[0; 7]].concat();
                let parts = [(b'P', parse.as_slice()), (b'B', &bind), (b'D', b"P\0"), (b'E', &[0; 5]), (b'S', b"")];
                let parts = parts.iter().skip(usize::from(turn > 0));
                let bytes: Vec<u8> = parts.flat_map(|(tag, body)| message(*tag, body)).collect();
                client.send(&bytes)?;
            } else {
                client.send(&message(b'Q', &[sql.as_bytes(), &[0]].concat()))?;
            }
            std::thread::sleep(Duration::from_millis(100));
            for shard in 0..if extended && turn == 0 { 0 } else { SHARDS } {
                cluster.primary(shard)?.query("begin; lock table conflict_rows; rollback")?;
            }
            let (answer, _) = client.finish_query().with_context(|| sql.clone())?;
            ensure!(answer.len() == rows, "{} rows of {rows} from {sql}", answer.len());
        }
        let after = conflicts()?;
        ensure!(after > before, "no replica was in the way of {sql}");
    }
    for server in cluster.shards.iter().flat_map(|shard| &shard.replicas) {
        let mut replica = Connection::connect(server)?;
        replica.query("alter system reset max_standby_streaming_delay")?;
        replica.query("select pg_reload_conf()")?;
    }
    Ok(())
}
