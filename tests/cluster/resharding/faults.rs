//! Shards come and go while everything is killed and stopped: the worker at each of its steps, late workers, and all at random.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use shardyard::rebalance::fault::POINTS;

use crate::differential::generate::random::Random;
use crate::fixture::Fixture;
use crate::resharding::load::{Load, Tolerance};
use crate::resharding::placement::Placement;
use crate::resharding::stage::{Stage, Victim};
use crate::resharding::{audit, check_share};
use crate::shardyard::eventually;

/// How long a move may take while it is disturbed.
const PATIENCE: Duration = Duration::from_secs(300);
/// After so long another worker leads.
const TAKEN_OVER: Duration = Duration::from_millis(2_500);
const POLL: Duration = Duration::from_millis(2);
/// Random faults in `make test`, and in `make soak`.
const FAULTS: usize = 10;
const SOAK_FAULTS: usize = 500;
/// In `make test` one of so many points is tried.
const EVERY: usize = 10;

/// The worker is killed once at every point of a move, forwards and back.
pub(crate) fn the_worker_dies_at_every_step(_fixture: &Fixture) -> Result<()> {
    at_points(0, |stage, point| {
        stage.kill(Victim::Worker)?;
        disarm(stage, point);
        stage.revive(Victim::Worker)
    })
}

/// The worker is left standing at every point, another takes the lead and goes on, and then the first wakes up.
pub(crate) fn workers_come_too_late(_fixture: &Fixture) -> Result<()> {
    at_points(EVERY / 2, |stage, point| {
        let stopped = stage.stopped(Victim::Worker)?;
        let late = stage.take_worker().context("no worker")?;
        disarm(stage, point);
        stage.revive(Victim::Worker)?;
        std::thread::sleep(TAKEN_OVER);
        stopped.wake();
        std::thread::sleep(Duration::from_millis(500));
        println!("moves: worker {} came too late at {point}", late.pid());
        Ok(())
    })
}

/// With a rule of the protocol left out on purpose the same harness must complain. In `make soak`.
pub(crate) fn without_a_rule_it_goes_wrong(_fixture: &Fixture) -> Result<()> {
    if !soak() {
        return Ok(());
    }
    for omitted in [&["last-pass"][..], &["acknowledgement"], &["acknowledgement", "hard-fence"]] {
        let stage = Stage::open(2)?;
        let load = Load::new(&stage, Tolerance::NoErrors)?;
        for rule in omitted {
            std::fs::write(stage.fault_file(&format!("omit-{rule}")), "")?;
        }
        let went = load.run(|| stage.add("third")).and_then(|()| audit::check(&stage, &load));
        let complaint = went.err().with_context(|| format!("without {omitted:?} nothing goes wrong"))?;
        println!("moves: without {omitted:?}: {:.300}", format!("{complaint:#}"));
        stage.stop();
    }
    Ok(())
}

fn soak() -> bool {
    std::env::var_os("SHARDYARD_SOAK").is_some()
}

/// From the `first` on; at every one in `make soak`.
fn at_points(first: usize, act: impl Fn(&Stage, &str) -> Result<()>) -> Result<()> {
    let stage = Stage::open(2)?;
    // No client notices what becomes of a worker.
    let load = Load::new(&stage, Tolerance::NoErrors)?;
    let before = Placement::read(&stage)?;
    let began = Instant::now();
    let (first, step) = if soak() { (0, 1) } else { (first, EVERY) };
    let points: BTreeSet<&str> = POINTS.iter().skip(first).step_by(step).copied().collect();
    let mut left = points.clone();
    load.run(|| {
        for turn in ["add", "remove"] {
            for point in &left {
                std::fs::write(stage.fault_file(&armed(point)), "")?;
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

/// Random kills and stops of everybody, over as many moves as it takes.
pub(crate) fn everybody_dies(_fixture: &Fixture) -> Result<()> {
    let faults = if soak() { SOAK_FAULTS } else { FAULTS };
    let seed = std::env::var("SHARDYARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("moves: {faults} random faults, seed {seed}");
    let stage = Stage::open(2)?;
    let load = Load::new(&stage, Tolerance::Errors)?;
    let before = Placement::read(&stage)?;
    let (done, made, began) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    let moves = load.run(|| {
        std::thread::scope(|scope| {
            let disturbing = scope.spawn(|| {
                let disturbed = disturb(&stage, faults, (&made, &done), &mut Random::new(seed));
                done.store(true, Ordering::Relaxed);
                disturbed
            });
            let moved = move_until(&stage, &done);
            done.store(true, Ordering::Relaxed);
            disturbing.join().unwrap_or_else(|_| bail!("the disturber panicked"))?;
            moved
        })
    })?;
    let made = made.load(Ordering::Relaxed);
    println!("moves: {moves} moves under {made} faults in {} s", began.elapsed().as_secs());
    println!("moves: {}", audit::check(&stage, &load)?);
    ensure!(Placement::read(&stage)?.shards() == before.shards(), "other shards than before own buckets");
    ensure!(made == faults, "{made} faults were made");
    stage.stop();
    Ok(())
}

/// Shards come and go until the disturber has finished; an even number of moves.
fn move_until(stage: &Stage, done: &AtomicBool) -> Result<usize> {
    let mut moves = 0;
    while moves % 2 == 1 || !done.load(Ordering::Relaxed) {
        let name = format!("extra{}", moves / 2);
        let ask = || if moves % 2 == 0 { stage.ask_to_add(&name) } else { stage.ask_to_remove(&name) };
        let asked = stage.moves().unwrap_or(moves);
        eventually(PATIENCE, || match stage.moves()? {
            // An answer that was lost is not asked for again.
            now if now > asked => Ok(()),
            _ => ask(),
        })?;
        until_over(stage, || Ok(()))?;
        moves += 1;
    }
    Ok(moves)
}

fn disturb(stage: &Stage, faults: usize, (made, done): (&AtomicUsize, &AtomicBool), random: &mut Random) -> Result<()> {
    while made.load(Ordering::Relaxed) < faults && !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(u64::try_from(random.between(100, 1_500))?));
        let victim = match random.below(100) {
            0..40 => Victim::Worker,
            40..60 => Victim::Proxy(random.below(2)),
            60..85 => Victim::Primary(random.below(stage.servers().len().min(3))),
            _ => Victim::Catalog,
        };
        if random.chance(60) {
            stage.kill(victim)?;
            std::thread::sleep(Duration::from_millis(u64::try_from(random.between(0, 400))?));
            stage.revive(victim).with_context(|| format!("reviving {victim:?}"))?;
        } else {
            let length_max = if random.chance(30) { 4_000 } else { 1_000 };
            let length = random.between(100, length_max);
            let stopped = stage.stopped(victim)?;
            std::thread::sleep(Duration::from_millis(u64::try_from(length)?));
            stopped.wake();
        }
        made.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Watches the newest move until it is over; it must be finished.
fn until_over(stage: &Stage, mut watch: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut last = String::new();
    loop {
        watch()?;
        // The catalog may be dead for the moment.
        if let Ok((state, error)) = stage.last_move() {
            match state.as_str() {
                "finished" => return Ok(()),
                "aborted" | "rolled back" => bail!("the move is {state}: {error:?}"),
                _ => last = format!("{state}: {error:?}"),
            }
        }
        ensure!(Instant::now() < end, "the move does not end: {last}\n{}", stage.waves().unwrap_or_default());
        std::thread::sleep(POLL);
    }
}

fn armed(point: &str) -> String {
    format!("worker-{point}-0")
}

fn reached(stage: &Stage, point: &str) -> bool {
    stage.fault_file(&format!("{}.reached", armed(point))).exists()
}

fn disarm(stage: &Stage, point: &str) {
    for file in [armed(point), format!("{}.reached", armed(point))] {
        let _ = std::fs::remove_file(stage.fault_file(&file));
    }
}
