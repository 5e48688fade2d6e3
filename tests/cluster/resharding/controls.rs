//! With a rule of the protocol left out on purpose the same harness must complain. In `make soak`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::fixture::Fixture;
use crate::resharding::audit;
use crate::resharding::faults::{arm, disarm, reached, soak, until_over};
use crate::resharding::load::{Load, Tolerance};
use crate::resharding::stage::{Setting, Stage, lock};

/// Held writes are sent after so many milliseconds, and the shard judges.
const HOLD_PATIENCE_MS: u64 = 200;
/// The worker stands so long between the last pass and the flip.
const STANDS: Duration = Duration::from_millis(1_000);
const BETWEEN: &str = "fence.passed";

pub(crate) fn without_a_rule_it_goes_wrong(_fixture: &Fixture) -> Result<()> {
    if !soak() {
        return Ok(());
    }
    for omitted in [&["last-pass"][..], &["acknowledgement"], &["acknowledgement", "hard-fence"]] {
        let stage = Stage::open(2)?;
        let load = Load::new(&stage, Tolerance::NoErrors)?;
        omit(&stage, omitted)?;
        let went = load.run(|| stage.add("third")).and_then(|()| audit::check(&stage, &load));
        let complaint = went.err().with_context(|| format!("without {omitted:?} nothing goes wrong"))?;
        println!("moves: without {omitted:?}: {:.300}", format!("{complaint:#}"));
        stage.stop();
    }
    Ok(())
}

/// Proxies lose patience and send what they held while the source is closed and the flip is still to come: the hard fence refuses it.
/// Without it such writes are acknowledged and lost.
pub(crate) fn only_the_hard_fence_stops_the_impatient(_fixture: &Fixture) -> Result<()> {
    if !soak() {
        return Ok(());
    }
    let complaint = impatient(&["hard-fence"]).err().context("without the hard fence nothing goes wrong")?;
    println!("moves: without the hard fence: {:.300}", format!("{complaint:#}"));
    impatient(&[])
}

fn impatient(omitted: &[&str]) -> Result<()> {
    let setting = Setting { shards: 2, hold_patience_ms: Some(HOLD_PATIENCE_MS), ..Setting::default() };
    let stage = Stage::open_with(setting)?;
    let load = Load::new(&stage, Tolerance::Errors)?;
    omit(&stage, omitted)?;
    arm(&stage, BETWEEN)?;
    let mut stood = 0;
    load.run(|| {
        stage.ask_to_add("third")?;
        until_over(&stage, || {
            if reached(&stage, BETWEEN) {
                std::thread::sleep(STANDS);
                stood += 1;
                disarm(&stage, BETWEEN);
            }
            Ok(())
        })
    })?;
    println!("moves: {}", audit::check(&stage, &load)?);
    ensure!(stood == 1, "the worker stood still {stood} times");
    // A lock is not sent by impatience.
    let other = lock(&load.told).iter().find(|told| told.class != "40001").cloned();
    ensure!(other.is_none(), "{other:?}");
    stage.stop();
    Ok(())
}

fn omit(stage: &Stage, rules: &[&str]) -> Result<()> {
    rules.iter().try_for_each(|rule| Ok(std::fs::write(stage.fault_file(&format!("omit-{rule}")), "")?))
}
