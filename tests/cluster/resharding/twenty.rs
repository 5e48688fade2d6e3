//! Twenty moves in a row at full load, in both directions; then every answer must still be PostgreSQL's. In `make soak`.

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::differential::{corpus, generate};
use crate::fixture::Fixture;
use crate::resharding::audit;
use crate::resharding::faults::soak;
use crate::resharding::load::{Load, Tolerance, elapsed};
use crate::resharding::stage::{Setting, Stage};
use crate::shardyard::{Cluster, SHARDS};

/// Each adds a shard and removes it.
const ROUNDS: usize = 10;
/// Not those of `make test`.
const SEEDS: std::ops::Range<u64> = 900..912;

pub(crate) fn answers_agree_after_twenty_moves(_fixture: &Fixture) -> Result<()> {
    if !soak() {
        return Ok(());
    }
    let cluster = Arc::new(Cluster::start()?);
    let fixture = Fixture::of(Arc::clone(&cluster));
    let agreed = after_moves(&cluster, &fixture);
    fixture.stop();
    agreed
}

fn after_moves(cluster: &Arc<Cluster>, fixture: &Fixture) -> Result<()> {
    // Its tables are moved too.
    fixture.differential_subject()?;
    let stage = Stage::over(Arc::clone(cluster), Setting { shards: SHARDS, replicas: 1, ..Setting::default() })?;
    let load = Load::new(&stage, Tolerance::NoErrors)?;
    load.run(|| {
        for round in 0..ROUNDS {
            let name = format!("guest{round}");
            let began = elapsed();
            stage.add(&name).with_context(|| format!("adding {name}"))?;
            stage.remove(&name).with_context(|| format!("removing {name}"))?;
            println!("moves: {name} came and went in {:.1} s", (elapsed() - began).as_secs_f64());
        }
        Ok(())
    })?;
    println!("moves: {}", audit::check(&stage, &load)?);
    cluster.wait_for_replicas()?;
    let mut wrong = Vec::new();
    for name in corpus::files() {
        wrong.extend(corpus::compare_file(fixture, &name).err().map(|error| format!("{name}: {error:#}")));
    }
    for name in corpus::shapes() {
        wrong.extend(corpus::compare_shape(fixture, &name).err().map(|error| format!("{name}: {error:#}")));
    }
    wrong.extend(generate::some_agree(fixture, SEEDS).err().map(|error| format!("{error:#}")));
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
