//! Five hundred clients on a pool of five, a third of them killed at random moments, a server restarted twice:
//! every reply belongs to its request, no connection leaks, throughput comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::connection::{Connection, message};
use crate::fixture::Fixture;
use crate::plain;
use crate::reply::ServerError;
use crate::shardyard::{Cluster, Proxy, SHARDS, eventually};

const CLIENTS: usize = 500;
const POOL: &str = "5";
/// Pools are per server and user; with a replica each there are this many.
const POOLS: usize = 2 * SHARDS;
/// The promise of the throughput's return.
const RECOVERY: Duration = Duration::from_secs(2);

/// What all clients report to.
#[derive(Default)]
struct Scoreboard {
    stop: AtomicBool,
    answered: AtomicU64,
    refused: AtomicU64,
    left: AtomicU64,
}

/// 15 s in `make test`; 60 s under `SHARDYARD_SOAK`, as `make soak` runs it.
pub(crate) fn replies_belong_to_requests(fixture: &Fixture) -> Result<()> {
    let duration = Duration::from_secs(if is_soak() { 60 } else { 15 });
    let cluster = fixture.cluster()?;
    cluster.connect()?.query("create table saturation (user_id bigint primary key, token text)")?;
    let proxy = cluster.proxy(&[("SHARDYARD__POOL__SIZE", POOL)])?;
    let board = Scoreboard::default();
    let outcomes = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (proxy, board) = (&proxy, &board);
                let body = move || client(proxy, board, number);
                std::thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, body)
            })
            .collect::<std::io::Result<_>>()?;
        let disturbed = disturb(cluster, &board, duration);
        board.stop.store(true, Ordering::Relaxed);
        let mut outcomes: Vec<Result<()>> =
            clients.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a client panicked"))).collect();
        outcomes.push(disturbed);
        anyhow::Ok(outcomes)
    })?;
    let answered = board.answered.load(Ordering::Relaxed);
    let (refused, left) = (board.refused.load(Ordering::Relaxed), board.left.load(Ordering::Relaxed));
    println!("saturation: {answered} right answers, {refused} errors told, {left} clients killed, in {} s", duration.as_secs());
    outcomes.into_iter().collect::<Result<()>>().with_context(|| proxy.log())?;
    ensure!(answered > 1000, "only {answered} answers");
    connections_are_bounded(cluster, &proxy)
}

fn is_soak() -> bool {
    std::env::var_os("SHARDYARD_SOAK").is_some()
}

/// Asks for its own token until told to stop. Every third client leaves in the middle of something, again and again.
fn client(proxy: &Proxy, board: &Scoreboard, number: usize) -> Result<()> {
    let mut random = StdRng::seed_from_u64(number as u64);
    while !board.stop.load(Ordering::Relaxed) {
        let mut connection = match Connection::connect(&proxy.dsn) {
            Ok(connection) => connection,
            Err(error) if error.is::<ServerError>() => {
                board.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Err(error) => return Err(error.context("connecting")),
        };
        let leaves_after = if number.is_multiple_of(3) { random.random_range(1..60) } else { usize::MAX };
        for turn in 0..leaves_after {
            if board.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            match ask(&mut connection, number, turn, &mut random) {
                Ok(()) => board.answered.fetch_add(1, Ordering::Relaxed),
                // A server that restarts ends what ran on it: told as an error, never as a wrong answer.
                Err(error) if error.is::<ServerError>() => {
                    board.refused.fetch_add(1, Ordering::Relaxed);
                    connection = Connection::connect(&proxy.dsn).context("connecting after an error")?;
                    0
                }
                Err(error) => return Err(error),
            };
        }
        leave(&mut connection, number, &mut random)?;
        board.left.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// One request of a random kind, whose answer must hold this client's token and nothing else.
fn ask(connection: &mut Connection, number: usize, turn: usize, random: &mut StdRng) -> Result<()> {
    let token = format!("token-{number}-{turn}-{}", random.random::<u32>());
    let key = number * 1000 + random.random_range(0..50);
    let rows = match random.random_range(0..5) {
        0 => connection.query(&format!("select '{token}' as t"))?,
        1 => connection.query(&format!("select '{token}' as t from (select count(*) from saturation where user_id = {key}) as c"))?,
        2 => connection.query(&format!(
            "insert into saturation values ({key}, '{token}') on conflict (user_id) do update set token = excluded.token returning token"
        ))?,
        3 => connection
            .query(&format!("begin; select '{token}' as t from (select count(*) from saturation where user_id = {key}) as c; commit"))?,
        _ => extended(connection, &token, key)?,
    };
    ensure!(rows == [vec![Some(token.clone())]], "client {number} asked for {token} and was answered {rows:?}");
    Ok(())
}

fn extended(connection: &mut Connection, token: &str, key: usize) -> Result<crate::connection::Rows> {
    let sql = "select $2::text as t from (select count(*) from saturation where user_id = $1) as c";
    let key = key.to_string();
    let length = |text: &str| u32::try_from(text.len()).unwrap_or(0).to_be_bytes();
    let values = [b"\0\0\0\0\0\x02", &length(&key)[..], key.as_bytes(), &length(token)[..], token.as_bytes(), b"\0\0"].concat();
    let batch = [
        message(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"].concat()),
        message(b'B', &values),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ];
    connection.send(&batch.concat())?;
    Ok(connection.finish_query()?.0)
}

/// Gone without a word: in the middle of a result, inside a transaction, or with a query unanswered.
fn leave(connection: &mut Connection, number: usize, random: &mut StdRng) -> Result<()> {
    match random.random_range(0..4) {
        0 => connection.send(&message(b'Q', b"select n, repeat('y', 500) from generate_series(1, 20000) as n\0")),
        1 => connection.send(&message(b'Q', format!("begin; select count(*) from saturation where user_id = {number}\0").as_bytes())),
        2 => connection.send(b"Q\0\0\x10\0select 'half a mess"),
        _ => connection.send(&message(b'Q', b"select pg_sleep(0.05)\0")),
    }
}

/// Restarts one shard's primary twice while the clients run, and watches the throughput come back.
fn disturb(cluster: &Cluster, board: &Scoreboard, duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    std::thread::sleep(duration / 4);
    // All of it in the long run; in the short one, on a machine that does other things too, half is enough.
    let percent = if is_soak() { 90 } else { 50 };
    for _ in 0..2 {
        let usual = rate(board, Duration::from_secs(1));
        restart(cluster, 1)?;
        let back = Instant::now();
        let (recovered, now) = loop {
            let now = rate(board, Duration::from_millis(250));
            if now * 100 >= usual * percent {
                break (back.elapsed(), now);
            }
            if back.elapsed() > RECOVERY {
                bail!("{now} answers a second {} ms after the server was back; before it were {usual}", back.elapsed().as_millis());
            }
        };
        println!("saturation: {usual} answers a second before the restart, {now} within {} ms after", recovered.as_millis());
        std::thread::sleep(duration / 8);
    }
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    Ok(())
}

/// Answers a second over the next `window`.
fn rate(board: &Scoreboard, window: Duration) -> u64 {
    let before = board.answered.load(Ordering::Relaxed);
    std::thread::sleep(window);
    (board.answered.load(Ordering::Relaxed) - before) * 1000 / u64::try_from(window.as_millis()).unwrap_or(1)
}

/// As an operator would: `pg_ctl restart -m fast` as the owner of the data folder; returns when the server accepts connections.
fn restart(cluster: &Cluster, shard: usize) -> Result<()> {
    let data = cluster.primary(shard)?.value("show data_directory")?;
    plain::restart(std::path::Path::new(&data))?;
    eventually(Duration::from_secs(20), || cluster.primary(shard).map(drop))
}

/// With all clients gone, each server is left with at most a pool of connections, none of them in a transaction.
fn connections_are_bounded(cluster: &Cluster, proxy: &Proxy) -> Result<()> {
    let pool: usize = POOL.parse()?;
    eventually(Duration::from_secs(10), || {
        let mut total = 0;
        for shard in 0..SHARDS {
            let mut primary = cluster.primary(shard)?;
            let of_app = "select count(*) from pg_stat_activity where usename = 'app' and application_name not like 'psql%'";
            let busy = "select count(*) from pg_stat_activity where usename = 'app' and state <> 'idle'";
            ensure!(primary.value(busy)? == "0", "shard {shard} has connections that are not idle");
            total += primary.value(of_app)?.parse::<usize>()?;
        }
        // The cluster's own proxy keeps connections too, up to twenty a server.
        ensure!(total <= SHARDS * (pool + 20), "{total} connections on the primaries");
        Ok(())
    })?;
    let sockets = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid()))?
        .flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:")))
        .count();
    // Pools, control connections, listeners.
    ensure!(sockets <= POOLS * pool + 60, "the proxy has {sockets} sockets open without a client");
    Ok(())
}
