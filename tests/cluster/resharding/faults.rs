//! Shards come and go while the worker is killed at each of its steps, and comes too late.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use shardyard::rebalance::fault::POINTS;

use crate::fixture::Fixture;
use crate::resharding::load::{Load, Tolerance};
use crate::resharding::placement::Placement;
use crate::resharding::stage::{Stage, Victim};
use crate::resharding::{audit, check_share};

/// How long a move may take while it is disturbed.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// After so long another worker leads.
const TAKEN_OVER: Duration = Duration::from_millis(2_500);
const POLL: Duration = Duration::from_millis(2);
/// Between two looks at a full disk.
const ROOM: Duration = Duration::from_millis(500);
/// In `make test` the worker dies at one of so many points, and comes too late at another.
const EVERY: usize = 10;

/// The worker is killed once at every point of a move, forwards and back.
pub(crate) fn the_worker_dies_at_every_step(_fixture: &Fixture) -> Result<()> {
    if soak() {
        return at_points(POINTS.iter().copied().collect(), die);
    }
    let points = POINTS.iter().copied().step_by(EVERY / 2).collect();
    let (dies, late): (Vec<&str>, Vec<&str>) = (every(0), every(EVERY / 2));
    println!("moves: the worker dies at {dies:?} and is late at {late:?}");
    at_points(points, |stage, point| if dies.contains(&point) { die(stage, point) } else { come_too_late(stage, point) })
}

/// The worker is left standing at every point, another takes the lead and goes on, and then the first wakes up. In `make soak`.
pub(crate) fn workers_come_too_late(_fixture: &Fixture) -> Result<()> {
    if soak() { at_points(POINTS.iter().copied().collect(), come_too_late) } else { Ok(()) }
}

fn every(first: usize) -> Vec<&'static str> {
    POINTS.iter().copied().skip(first).step_by(EVERY).collect()
}

fn die(stage: &Stage, point: &str) -> Result<()> {
    stage.kill(Victim::Worker)?;
    disarm(stage, point);
    stage.revive(Victim::Worker)
}

fn come_too_late(stage: &Stage, point: &str) -> Result<()> {
    let stopped = stage.stopped(Victim::Worker)?;
    let late = stage.take_worker().context("no worker")?;
    disarm(stage, point);
    stage.revive(Victim::Worker)?;
    std::thread::sleep(TAKEN_OVER);
    stopped.wake();
    std::thread::sleep(Duration::from_millis(500));
    println!("moves: worker {} came too late at {point}", late.pid());
    Ok(())
}

pub(super) fn soak() -> bool {
    std::env::var_os("SHARDYARD_SOAK").is_some()
}

fn at_points(points: BTreeSet<&'static str>, act: impl Fn(&Stage, &str) -> Result<()>) -> Result<()> {
    let stage = Stage::open(2)?;
    // No client notices what becomes of a worker.
    let load = Load::new(&stage, Tolerance::NoErrors)?;
    let before = Placement::read(&stage)?;
    let began = Instant::now();
    let mut left = points.clone();
    load.run(|| {
        for turn in ["add", "remove"] {
            for point in &left {
                arm(&stage, point)?;
            }
            if turn == "add" {
                stage.ask_to_add("third")?
            } else {
                stage.ask_to_remove("third")?
            }
            until_over(&stage, || {
                let reached = left.iter().copied().find(|point| reached(&stage, point));
                let Some(point) = reached else { return Ok(()) };
                left.remove(point);
                act(&stage, point).with_context(|| format!("at {point}"))
            })
            .with_context(|| format!("in {turn}"))?;
            if turn == "add" {
                check_share(&before, &Placement::read(&stage)?)?;
            }
        }
        Ok(())
    })?;
    left.iter().for_each(|point| disarm(&stage, point));
    println!("moves: {} points in {} s, not passed: {left:?}", points.len() - left.len(), began.elapsed().as_secs());
    println!("moves: {}", audit::check(&stage, &load)?);
    ensure!(Placement::read(&stage)?.shards() == before.shards(), "other shards than before own buckets");
    ensure!(left.len() * 4 <= points.len(), "too many points were not passed");
    stage.stop();
    Ok(())
}

/// Watches the newest move until it is over; it must be finished.
pub(super) fn until_over(stage: &Stage, mut watch: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut last = String::new();
    loop {
        watch()?;
        // The catalog may be dead for the moment.
        if let Ok((state, error)) = stage.last_move() {
            match state.as_str() {
                "finished" => return Ok(()),
                // What its operator does, until there is room.
                "waiting for its operator" if error.as_ref().is_some_and(|error| error.contains("53100")) => {
                    std::thread::sleep(ROOM);
                    let _ = stage.command(&["move", "resume"]);
                }
                "aborted" | "rolled back" | "waiting for its operator" => bail!("the move is {state}: {error:?}"),
                _ => last = format!("{state}: {error:?}"),
            }
        }
        ensure!(Instant::now() < end, "the move does not end: {last}\n{}", stage.waves().unwrap_or_default());
        std::thread::sleep(POLL);
    }
}

/// The next worker to come to the point stops there.
pub(super) fn arm(stage: &Stage, point: &str) -> Result<()> {
    Ok(std::fs::write(stage.fault_file(&armed(point)), "")?)
}

fn armed(point: &str) -> String {
    format!("worker-{point}-0")
}

pub(super) fn reached(stage: &Stage, point: &str) -> bool {
    stage.fault_file(&format!("{}.reached", armed(point))).exists()
}

pub(super) fn disarm(stage: &Stage, point: &str) {
    for file in [armed(point), format!("{}.reached", armed(point))] {
        let _ = std::fs::remove_file(stage.fault_file(&file));
    }
}
