//! Tests that need servers. One plain server and one cluster serve them all and are ended here, whatever the outcome.

mod connection;
mod drivers;
mod dsn;
mod fixture;
mod keys;
mod login;
mod plain;
mod reply;
mod shardyard;
mod tokio_driver;
mod wire;

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};

use crate::fixture::Fixture;

/// A test of the shared cluster.
type Test = fn(&Fixture) -> Result<()>;

/// Run side by side.
const TESTS: &[(&str, Test)] = &[
    ("wire::compare::tells_differences", |_| wire::compare::tests::tells_differences()),
    ("wire::compare::allows_what_must_differ", |_| wire::compare::tests::allows_what_must_differ()),
    ("keys::bigint", keys::bigint),
    ("keys::text", keys::text),
    ("keys::uuid", keys::uuid),
    ("drivers::tokio_postgres", |fixture| tokio_driver::run(&fixture.cluster()?.dsn)),
    ("drivers::tokio_postgres_plain", |fixture| tokio_driver::run(fixture.plain()?)),
];

/// Run while no other test runs.
const EXCLUSIVE: &[(&str, Test)] = &[];

/// The servers, and the lock that keeps the exclusive tests alone.
#[derive(Default)]
struct Stage {
    fixture: Fixture,
    alone: RwLock<()>,
}

fn main() {
    let arguments = Arguments::from_args();
    let stage = Arc::new(Stage::default());
    let mut trials: Vec<Trial> = TESTS.iter().map(|(name, test)| trial(&stage, name, test)).collect();
    for (name, path) in wire::scripts() {
        trials.push(trial(&stage, &format!("wire::{name}"), move |fixture: &Fixture| wire::converse(&path, fixture)));
    }
    for (name, suite) in drivers::SUITES {
        trials.push(trial(&stage, &format!("drivers::{name}"), |fixture: &Fixture| drivers::run(suite, &fixture.cluster()?.dsn)));
        trials.push(trial(&stage, &format!("drivers::{name}_plain"), |fixture: &Fixture| drivers::run(suite, fixture.plain()?)));
    }
    trials.extend(EXCLUSIVE.iter().map(|(name, test)| exclusive_trial(&stage, name, *test)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(stage);
    conclusion.exit();
}

fn trial(stage: &Arc<Stage>, name: &str, test: impl FnOnce(&Fixture) -> Result<()> + Send + 'static) -> Trial {
    let stage = Arc::clone(stage);
    Trial::test(name, move || {
        let _with_others = stage.alone.read().unwrap_or_else(PoisonError::into_inner);
        report(test(&stage.fixture))
    })
}

fn exclusive_trial(stage: &Arc<Stage>, name: &str, test: Test) -> Trial {
    let stage = Arc::clone(stage);
    Trial::test(name, move || {
        let _alone = stage.alone.write().unwrap_or_else(PoisonError::into_inner);
        report(test(&stage.fixture))
    })
}

fn report(outcome: Result<()>) -> Result<(), libtest_mimic::Failed> {
    outcome.map_err(|error| format!("{error:#}").into())
}
