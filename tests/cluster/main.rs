//! Tests that need servers. One plain server and one cluster serve them all and are ended here, whatever the outcome.

mod connection;
mod dsn;
mod fixture;
mod login;
mod plain;
mod reply;
mod wire;

use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};

use crate::fixture::Fixture;

fn main() {
    let arguments = Arguments::from_args();
    let fixture = Arc::new(Fixture::default());
    let mut trials = vec![
        Trial::test("wire::compare::tells_differences", || report(wire::compare::tests::tells_differences())),
        Trial::test("wire::compare::allows_what_must_differ", || report(wire::compare::tests::allows_what_must_differ())),
    ];
    for (name, path) in wire::scripts() {
        let fixture = Arc::clone(&fixture);
        trials.push(Trial::test(format!("wire::{name}"), move || report(wire::converse(&path, &fixture))));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(fixture);
    conclusion.exit();
}

fn report(outcome: Result<()>) -> Result<(), libtest_mimic::Failed> {
    outcome.map_err(|error| format!("{error:#}").into())
}
