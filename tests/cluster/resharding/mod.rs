//! A shard is added and removed again while clients write and read: nothing lost, nothing twice, every row where the map says, every
//! constant sum constant in every single read, no error, nothing left behind. Then the same while everything is killed and stopped.

mod audit;
mod cards;
mod client;
pub(crate) mod controls;
mod disk;
pub(crate) mod failovers;
pub(crate) mod faults;
mod history;
pub(crate) mod late;
mod load;
pub(crate) mod million;
mod network;
pub(crate) mod ordeal;
mod pauses;
mod placement;
pub(crate) mod stage;
mod standby;
mod trouble;
pub(crate) mod twenty;
mod way_back;
mod windows;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::connection::Connection;
use crate::fixture::Fixture;
use crate::resharding::load::{Load, Tolerance};
use crate::resharding::pauses::Pauses;
use crate::resharding::placement::{Placement, moved};
use crate::resharding::stage::Stage;
use crate::resharding::way_back::there_and_back;

/// How many clients do what to how many rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Users whose rows are written; each has an account and two halves of a pair.
    users: i64,
    /// Rows that stay as they are, of users from 1 on.
    fixed: i64,
    writers: u64,
    readers: u64,
    /// What a writer and a reader think between two statements, so that latencies show the moves and not the processors.
    pauses: (Duration, Duration),
}

const SMALL: Scale = Scale { users: 200, fixed: 200, writers: 6, readers: 2, pauses: (Duration::from_millis(4), Duration::from_millis(4)) };
/// Users that have a mark for each writer, and a fixed value of some length.
const MARKED: i64 = 200;
/// Before, between and after the moves.
const QUIET: Duration = Duration::from_secs(2);
/// How long one move may take on a busy machine.
const MOVE_PATIENCE: Duration = Duration::from_secs(300);

/// 2 → 3 → 2 under load without a single error; and before that there and back, with all that was written meanwhile.
pub(crate) fn a_shard_comes_and_goes(_fixture: &Fixture) -> Result<()> {
    let stage = Stage::open(2)?;
    let load = Load::new(&stage, Tolerance::NoErrors)?;
    let before = Placement::read(&stage)?;
    let (added, removed) = load.run(|| {
        std::thread::sleep(QUIET);
        there_and_back(&stage, &before, "trial")?;
        let added = timed(|| stage.add("third"))?;
        let with = Placement::read(&stage)?;
        check_share(&before, &with)?;
        std::thread::sleep(QUIET);
        let removed = timed(|| stage.remove("third"))?;
        std::thread::sleep(QUIET);
        Ok(((added, with), removed))
    })?;
    let ((added, with), after) = (added, Placement::read(&stage)?);
    ensure!(after.shards() == before.shards(), "other shards than before own buckets: {:?}", after.shards());
    let report = audit::check(&stage, &load)?;
    println!("moves: {report}");
    let moving = moved(&before, &with);
    for (name, span) in [("before", (Duration::ZERO, added.0)), ("added in", added), ("removed in", removed)] {
        println!("moves: {name} {} ms: {}", (span.1 - span.0).as_millis(), Pauses::of(&load, &moving, span));
    }
    stage.stop();
    Ok(())
}

/// Without a move the load passes the audit; a row on a second shard, a lost one and an object of a wave do not.
pub(crate) fn the_audit_notices(_fixture: &Fixture) -> Result<()> {
    let stage = Stage::open(2)?;
    let load = Load::new(&stage, Tolerance::NoErrors)?;
    load.run(|| {
        std::thread::sleep(QUIET);
        Ok(())
    })?;
    println!("moves: {}", audit::check(&stage, &load)?);
    let servers = stage.servers();
    let mut shards = servers.iter().map(|(_, dsn)| Connection::connect(dsn)).collect::<Result<Vec<_>>>()?;
    let [first, second] = shards.as_mut_slice() else { anyhow::bail!("{} shards", servers.len()) };
    let user = first.value("select min(user_id) from pairs")?;
    let copies: &[(&str, &str)] = &[
        ("rows of bucket", &format!("insert into pairs values ({user}, 1, 0)")),
        ("table wave_7_log", "create table shardyard.wave_7_log_x (key bigint)"),
    ];
    for (sign, damage) in copies {
        second.query("begin")?;
        second.query(damage)?;
        second.query("commit")?;
        let noticed = audit::check_now(&stage, &load).err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(noticed.contains(sign.trim_start_matches("table ")), "{damage} is noticed as {noticed:?}");
        second.query(if damage.starts_with("insert") {
            "delete from pairs where amount = 0 and half = 1 and user_id not in (select user_id from accounts)"
        } else {
            "drop table shardyard.wave_7_log_x"
        })?;
    }
    let lost = first.query("delete from entries where ctid = (select min(ctid) from entries) returning client")?;
    ensure!(lost.len() == 1, "no entry to lose");
    let noticed = audit::check_now(&stage, &load).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(noticed.contains("is there 0 times"), "a lost entry is noticed as {noticed:?}");
    stage.stop();
    Ok(())
}

/// When it began and ended, after the load's beginning.
type Span = (Duration, Duration);

fn timed(act: impl FnOnce() -> Result<()>) -> Result<Span> {
    let began = load::elapsed();
    act()?;
    Ok((began, load::elapsed()))
}

/// The new shard has its share and nothing but its share moved.
fn check_share(before: &Placement, with: &Placement) -> Result<()> {
    let (fewest, most) = with.spread();
    ensure!(most - fewest <= 1, "a shard owns {most} buckets and another {fewest}");
    let moved = before.differences(with);
    let share = before.buckets() / with.shards().len();
    ensure!(moved == share || moved == share + 1, "{moved} buckets moved, {share} are the new shard's share");
    Ok(())
}

/// Waits until the newest move is in this state.
fn wait_for_move(stage: &Stage, wanted: &str, patience: Duration) -> Result<()> {
    let end = Instant::now() + patience;
    loop {
        match stage.last_move() {
            Ok((state, _)) if state == wanted => return Ok(()),
            Ok((state, error)) if state == "aborted" || state == "waiting for its operator" || Instant::now() > end => {
                anyhow::bail!("the move is {state}: {}\n{}", error.unwrap_or_default(), stage.waves().unwrap_or_default())
            }
            Err(error) if Instant::now() > end => return Err(error).context("the catalog does not tell"),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
