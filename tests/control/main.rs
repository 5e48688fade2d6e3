//! The catalog, the shards' functions and the local cluster, on a cluster of two shards that is made at the start and removed at the end.

mod adopt;
mod agreement;
mod catalog;
mod cluster;
mod commands;
mod copying;
mod ddl;
mod fixture;
mod moves;
mod schema;
mod trouble;

use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::fixture::Fixture;

/// A name and what it does.
type Test = (&'static str, fn(&Fixture) -> Result<()>);

fn main() -> Result<()> {
    let arguments = Arguments::from_args();
    if arguments.list {
        libtest_mimic::run(&arguments, trials(None)).exit();
    }
    let fixture = Arc::new(Fixture::start()?);
    let conclusion = libtest_mimic::run(&arguments, trials(Some(&fixture)));
    fixture.stop()?;
    conclusion.exit()
}

fn trials(fixture: Option<&Arc<Fixture>>) -> Vec<Trial> {
    let tests: &[Test] = &[
        ("agreement::vectors", agreement::vectors),
        ("agreement::random_keys", agreement::random_keys),
        ("catalog::migrations_twice_and_at_once", catalog::migrations_twice_and_at_once),
        ("catalog::refuses_what_is_newer", catalog::refuses_what_is_newer),
        ("catalog::changes_bump_the_version_once", catalog::changes_bump_the_version_once),
        ("catalog::watcher_follows_and_survives", catalog::watcher_follows_and_survives),
        ("catalog::application_may_decide_and_hash", catalog::application_may_decide_and_hash),
        ("schema::learned", schema::learned),
        ("ddl::judgements", ddl::judgements),
        ("ddl::sequences_stay_apart", ddl::sequences_stay_apart),
        ("commands::shards_are_listed", commands::shards_are_listed),
        ("commands::upgrades_are_repeatable", commands::upgrades_are_repeatable),
        ("commands::tables_become_reference_tables", commands::tables_become_reference_tables),
        ("commands::tables_are_declared_before_they_are_made", commands::tables_are_declared_before_they_are_made),
        ("commands::check_names_what_is_wrong", commands::check_names_what_is_wrong),
        ("adopt::databases_become_a_cluster", adopt::databases_become_a_cluster),
        ("moves::shards_come_and_go", moves::shards_come_and_go),
        ("moves::moves_are_turned_back", moves::moves_are_turned_back),
        ("moves::differences_are_found", moves::differences_are_found),
        ("moves::copies_run_at_once", copying::copies_run_at_once),
        ("moves::the_last_pass_carries_every_type", copying::the_last_pass_carries_every_type),
        ("trouble::moves_wait_for_disks_and_replicas", trouble::moves_wait_for_disks_and_replicas),
        ("cluster::status_and_contract", cluster::status_and_contract),
        ("cluster::replicas_follow", cluster::replicas_follow),
        ("cluster::unix_sockets_serve", cluster::unix_sockets_serve),
        ("cluster::one_more_server", cluster::one_more_server),
        ("cluster::stops_and_starts_again", cluster::stops_and_starts_again),
        ("cluster::half_made_is_made_again", cluster::half_made_is_made_again),
        ("cluster::foreign_folder_is_refused", cluster::foreign_folder_is_refused),
    ];
    let trial = |(name, test): &Test| {
        let (fixture, test) = (fixture.cloned(), *test);
        let run = move || match &fixture {
            Some(fixture) => test(fixture).map_err(|error| Failed::from(format!("{error:#}"))),
            None => Ok(()),
        };
        Trial::test(*name, run)
    };
    tests.iter().map(trial).collect()
}
