//! A shard is added to four and removed again over a million rows, under sixteen writers and four readers: how long whom a switch keeps waiting.
//!
//! Two processors run servers, proxies, worker and clients, so the whole load is slower while rows are copied. What a switch itself costs is told
//! by the writes within its window, against those of the seconds around it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::connection::Connection;
use crate::fixture::Fixture;
use crate::resharding::history::{Outcome, Write};
use crate::resharding::load::{Load, Tolerance};
use crate::resharding::pauses::{Pauses, Times};
use crate::resharding::placement::{Placement, moved};
use crate::resharding::stage::{Stage, lock};
use crate::resharding::windows::{self, Window};
use crate::resharding::{MARKED, Scale, audit, check_share, timed, wait_for_move};

const SCALE: Scale =
    Scale { users: 2_000, fixed: 1_000_000, writers: 16, readers: 4, pauses: (Duration::from_millis(10), Duration::from_millis(250)) };
const SHARDS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(600);
const QUIET: Duration = Duration::from_secs(10);
/// Before and behind a window writes count as its surroundings.
const AROUND: Duration = Duration::from_secs(2);
/// Of the writes that waited longest.
const WORST_SHOWN: usize = 5;
/// What a switch may add to a write of a key that it moves.
const ADDED_P99: Duration = Duration::from_millis(100);
const ADDED_MAX: Duration = Duration::from_millis(300);

/// In `make soak`; alone with a release build by `make bench-moves`.
pub(crate) fn a_million_rows_move(_fixture: &Fixture) -> Result<()> {
    if std::env::var_os("SHARDYARD_SOAK").is_none() {
        return Ok(());
    }
    let stage = Stage::open(SHARDS)?;
    let load = Load::sized(&stage, Tolerance::NoErrors, SCALE)?;
    fill(&stage)?;
    windows::watch(&stage)?;
    let before = Placement::read(&stage)?;
    let (added, removed) = load.run(|| {
        std::thread::sleep(QUIET);
        let added = timed(|| {
            stage.ask_to_add("fifth")?;
            load.favour(moving_users(&stage)?);
            wait_for_move(&stage, "finished", PATIENCE)
        })?;
        let with = Placement::read(&stage)?;
        check_share(&before, &with)?;
        std::thread::sleep(QUIET);
        let removed = timed(|| {
            stage.ask_to_remove("fifth")?;
            load.favour(moving_users(&stage)?);
            wait_for_move(&stage, "finished", PATIENCE)
        })?;
        std::thread::sleep(QUIET);
        Ok(((added, with), removed))
    })?;
    let (added, with) = added;
    println!("moves: {}", audit::check(&stage, &load)?);
    let moving = moved(&before, &with);
    for (name, span) in [("before", (Duration::ZERO, added.0)), ("added in", added), ("removed in", removed)] {
        println!("moves: {name} {} ms: {}", (span.1 - span.0).as_millis(), Pauses::of(&load, &moving, span));
    }
    let outcome = judge(&stage, &load, added.0);
    stage.stop();
    outcome
}

/// What the writes in the fences' windows say.
fn judge(stage: &Stage, load: &Load, quiet_until: Duration) -> Result<()> {
    let windows = windows::read(stage)?;
    let of_wave = users_of_waves(stage)?;
    let writes = lock(&load.writes);
    let usual = usual(&writes, quiet_until);
    let (mut added, mut within, mut around, mut worst) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for window in &windows {
        let users = of_wave.get(&window.wave).context("a wave without buckets")?;
        let overlaps =
            |write: &&Write, from, to| write.outcome == Outcome::Acknowledged && write.began + write.took >= from && write.began <= to;
        for write in writes.iter().filter(|write| write.user != 0 && overlaps(write, window.from, window.to)) {
            if users.contains(&write.user) {
                added.push(write.took.saturating_sub(usual.get(&kind(write)).copied().unwrap_or_default()));
                worst.push((write.took, write, window));
            } else {
                within.push(write.took);
            }
        }
        let others =
            |write: &&Write| write.user != 0 && !users.contains(&write.user) && !windows.iter().any(|at| overlaps(write, at.from, at.to));
        let near = |write: &&Write| overlaps(write, window.from.saturating_sub(AROUND), window.to + AROUND);
        around.extend(writes.iter().filter(|write| others(write) && near(write)).map(|write| write.took));
    }
    let given_up = windows.iter().filter(|window| !window.flipped).count();
    let lengths = Times::new(windows.iter().map(|window| window.to - window.from).collect());
    let (added, within, around) = (Times::new(added), Times::new(within), Times::new(around));
    println!("moves: {} switches, {given_up} of them given up: {lengths}", windows.len());
    println!("moves: added to writes of moving keys at the switches: {added}");
    tell_worst(worst);
    println!("moves: writes of other keys within switches: {within}");
    println!("moves: writes of other keys around switches: {around}");
    for line in
        stage.catalog()?.query("select wave_id, detail -> 'fence_ms', detail -> 'given_up' from shardyard.wave_progress order by 1")?
    {
        println!("moves: wave {line:?}");
    }
    ensure!(added.quantile(990) <= ADDED_P99 && added.quantile(1000) <= ADDED_MAX, "writers of moving keys wait for too long: {added}");
    let allowed = around.quantile(990) + around.quantile(990) / 2 + Duration::from_millis(5);
    ensure!(within.quantile(990) <= allowed, "writers of other keys wait for switches: {within}, and around them {around}");
    Ok(())
}

/// When those that waited longest began and ended.
fn tell_worst(mut worst: Vec<(Duration, &Write, &Window)>) {
    worst.sort_unstable_by_key(|(took, ..)| std::cmp::Reverse(*took));
    for (took, write, window) in worst.into_iter().take(WORST_SHOWN) {
        let (before, behind) =
            (window.from.saturating_sub(write.began).as_millis(), (write.began + took).saturating_sub(window.to).as_millis());
        println!(
            "moves: {:?} for {} ms, from {before} ms before a switch of {} ms until {behind} ms behind it",
            write.change,
            took.as_millis(),
            (window.to - window.from).as_millis()
        );
    }
}

fn kind(write: &Write) -> std::mem::Discriminant<crate::resharding::history::Change> {
    std::mem::discriminant(&write.change)
}

/// The median of each kind of write before anything moved.
fn usual(
    writes: &[Write],
    until: Duration,
) -> std::collections::HashMap<std::mem::Discriminant<crate::resharding::history::Change>, Duration> {
    let mut times: std::collections::HashMap<_, Vec<Duration>> = std::collections::HashMap::new();
    for write in writes.iter().filter(|write| write.began < until) {
        times.entry(kind(write)).or_default().push(write.took);
    }
    times.into_iter().map(|(kind, times)| (kind, Times::new(times).quantile(500))).collect()
}

/// The fixed rows beyond those that the load makes, each on its owner.
fn fill(stage: &Stage) -> Result<()> {
    let first = MARKED + 1;
    for (at, (name, dsn)) in stage.servers().iter().enumerate() {
        let mut shard = Connection::connect(dsn)?;
        let insert = format!(
            "insert into fixed select n, n, repeat('x', (n % 100)::int) from generate_series({first}::bigint, {}) n
             where shardyard.bucket(n) % {SHARDS} = {at}",
            SCALE.fixed
        );
        shard.query(&insert).with_context(|| format!("filling {name}"))?;
        shard.query("vacuum analyze")?;
    }
    Ok(())
}

/// Users of the newest move's buckets.
fn moving_users(stage: &Stage) -> Result<Vec<i64>> {
    let newest: i32 = stage.catalog()?.value("select max(id) from shardyard.move")?.parse()?;
    let waves = stage.catalog()?.query(&format!("select id from shardyard.wave where move_id = {newest}"))?;
    let waves: BTreeSet<i32> = waves.into_iter().flatten().flatten().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let of_wave = users_of_waves(stage)?;
    Ok(of_wave.into_iter().filter(|(wave, _)| waves.contains(wave)).flat_map(|(_, users)| users).collect())
}

fn users_of_waves(stage: &Stage) -> Result<BTreeMap<i32, BTreeSet<i64>>> {
    let placement = Placement::read(stage)?;
    let mut users: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
    for user in 1..=SCALE.users {
        users.entry(placement.bucket_of(user)?).or_default().push(user);
    }
    let mut waves: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
    for row in stage.catalog()?.query("select wave_id, bucket from shardyard.wave_bucket")? {
        let [wave, bucket] = <[Option<String>; 2]>::try_from(row).ok().context("a row of another length")?;
        let of = waves.entry(wave.context("no wave")?.parse()?).or_default();
        of.extend(users.get(&bucket.context("no bucket")?.parse()?).into_iter().flatten());
    }
    Ok(waves)
}
