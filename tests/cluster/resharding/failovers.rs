//! The source or the target of a wave dies in the middle of it and its synchronous replica takes its place.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::connection::Connection;
use crate::fixture::Fixture;
use crate::resharding::audit;
use crate::resharding::faults::{arm, disarm, reached, soak, until_over};
use crate::resharding::load::{Load, Tolerance};
use crate::resharding::stage::{Setting, Stage};

/// Places in `Stage::servers`: rows go from the second shard to the first, and back at the next turn.
const SIDES: [usize; 2] = [0, 1];
/// Where the worker stands, whose server dies, and the wave's phase there, if it must be this one.
const POINTS: &[(&str, Side, Option<&str>)] = &[
    ("arming.guards", Side::Source, None),
    ("arming.after", Side::Target, Some("0")),
    ("copy.target-commits", Side::Source, Some("1")),
    ("copy.target-commits", Side::Target, Some("0")),
    ("pass.target-commits", Side::Source, Some("1")),
    ("pass.source-commits", Side::Target, Some("0")),
    ("verify.after", Side::Source, Some("1")),
    ("verify.after", Side::Target, Some("0")),
    ("fence.locked", Side::Source, Some("1")),
    ("fence.closed", Side::Source, Some("0")),
    ("fence.passed", Side::Target, Some("0")),
    ("flip.before", Side::Source, Some("0")),
    ("flip.after", Side::Source, Some("0")),
    ("flip.after", Side::Target, Some("0")),
    ("release.opened", Side::Target, Some("2")),
    ("release.opened", Side::Source, Some("0")),
    ("clean.before", Side::Source, Some("0")),
    ("clean.deleted", Side::Source, Some("0")),
    ("clean.after", Side::Target, None),
    ("end.objects", Side::Source, None),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

/// Nothing is lost, nothing twice, and the move ends; a phase stands on the promoted server exactly as it was on the dead one. In
/// `make soak`: each failover takes seconds.
pub(crate) fn servers_fail_over_in_mid_wave(_fixture: &Fixture) -> Result<()> {
    if !soak() {
        return Ok(());
    }
    let stage = Stage::open_with(Setting { shards: 2, replicas: 1, ..Setting::default() })?;
    stage.wait_synchronously()?;
    let load = Load::new(&stage, Tolerance::Errors)?;
    let mut left = POINTS.to_vec();
    let began = Instant::now();
    let mut moves = 0;
    load.run(|| {
        while !left.is_empty() {
            // One at each of a turn's points.
            let mut armed: Vec<&str> = left.iter().map(|(point, ..)| *point).collect();
            armed.dedup();
            armed.iter().try_for_each(|point| arm(&stage, point))?;
            let weight = if moves % 2 == 0 { "shard0=3" } else { "shard0=1" };
            stage.command(&["shard", "rebalance", "--weight", weight, "--finalize"])?;
            let before = left.len();
            until_over(&stage, || {
                let Some(at) = left.iter().position(|(point, ..)| reached(&stage, point)) else { return Ok(()) };
                let (point, side, phase) = left.remove(at);
                let failed_over = fail_over(&stage, (side == Side::Target) == (moves % 2 == 0), phase);
                disarm(&stage, point);
                failed_over.with_context(|| format!("{side:?} at {point}"))
            })?;
            armed.iter().for_each(|point| disarm(&stage, point));
            ensure!(left.len() < before, "not passed: {left:?}");
            moves += 1;
        }
        Ok(())
    })?;
    println!("moves: {moves} moves with failovers in {} s", began.elapsed().as_secs());
    println!("moves: {}", audit::check(&stage, &load)?);
    stage.stop();
    Ok(())
}

fn fail_over(stage: &Stage, first: bool, phase: Option<&str>) -> Result<()> {
    let at = SIDES[usize::from(!first)];
    stage.fail_over(at)?;
    let Some(phase) = phase else { return Ok(()) };
    let (_, dsn) = stage.servers().get(at).context("no such server")?.clone();
    let select = "select pg_sequence_last_value(oid) from pg_class where relkind = 'S' and relname ~ '^wave_[0-9]+_phase$'";
    let found = Connection::connect(&dsn)?.query(select)?;
    println!("moves: phases on the promoted server: {found:?}");
    ensure!(found.iter().any(|row| row.first() == Some(&Some(phase.to_owned()))), "the phase is {found:?} and not {phase}");
    Ok(())
}
