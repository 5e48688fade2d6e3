//! Tests that need servers. One plain server and one cluster serve them all and are ended here, whatever the outcome.

mod access;
mod bank;
mod connection;
mod ddl;
mod differential;
mod drivers;
mod dsn;
mod failover;
mod fixture;
mod gather;
mod hints;
mod indexes;
mod keys;
mod locks;
mod login;
mod moves;
mod notifications;
mod placement;
mod plain;
mod point_reads;
mod refusals;
mod replicas;
mod reply;
mod resharding;
mod saturation;
mod scatter;
mod sequences;
mod sessions;
mod shardyard;
mod spread;
mod tokio_driver;
mod transactions;
mod wire;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use tokio::signal::unix::{SignalKind, signal};

use crate::fixture::Fixture;

/// A test that takes longer says so.
const SLOW: Duration = Duration::from_secs(3);

/// A test of the shared cluster.
type Test = fn(&Fixture) -> Result<()>;

/// Run side by side.
const TESTS: &[(&str, Test)] = &[
    ("wire::compare::tells_differences", |_| wire::compare::tests::tells_differences()),
    ("wire::compare::allows_what_must_differ", |_| wire::compare::tests::allows_what_must_differ()),
    ("differential::tells_wrong_answers", |_| differential::compare::tests::tells_wrong_answers()),
    ("differential::allows_what_is_open", |_| differential::compare::tests::allows_what_is_open()),
    ("differential::splits_as_psql", |_| differential::psql::splits_as_psql()),
    ("differential::a_wrong_answer_is_noticed", differential::a_wrong_answer_is_noticed),
    ("differential::seeds_agree", differential::generate::seeds_agree),
    ("keys::bigint", keys::bigint),
    ("keys::text", keys::text),
    ("keys::uuid", keys::uuid),
    ("placement::rows_land_on_their_shard", placement::rows_land_on_their_shard),
    ("placement::keys_of_other_types", placement::keys_of_other_types),
    ("placement::tables_by_kind", placement::tables_by_kind),
    ("placement::ddl_goes_everywhere", placement::ddl_goes_everywhere),
    ("placement::impossible_tables_are_refused", placement::impossible_tables_are_refused),
    ("ddl::success_is_told_last", ddl::success_is_told_last),
    ("ddl::writes_everywhere_are_told_last", ddl::writes_everywhere_are_told_last),
    ("point_reads::only_unique_keys_are_prepared", point_reads::only_unique_keys_are_prepared),
    ("replicas::a_session_reads_its_writes", replicas::a_session_reads_its_writes),
    ("replicas::some_reads_need_the_primary", replicas::some_reads_need_the_primary),
    ("refusals::right_or_refused", refusals::right_or_refused),
    ("refusals::refused_in_transaction", refusals::refused_in_transaction),
    ("gather::a_gather_is_bounded", gather::a_gather_is_bounded),
    ("gather::rows_that_cannot_matter_stay", gather::rows_that_cannot_matter_stay),
    ("gather::gathers_run_side_by_side", gather::gathers_run_side_by_side),
    ("gather::gathers_commit_in_two_phases", gather::gathers_commit_in_two_phases),
    ("gather::gathers_are_cancelled", gather::gathers_are_cancelled),
    ("gather::views_show_no_hidden_rows", gather::views_show_no_hidden_rows),
    ("scatter::first_rows_come_first", scatter::first_rows_come_first),
    ("scatter::scatters_are_cancelled", scatter::scatters_are_cancelled),
    ("scatter::a_lost_shard_is_an_error", scatter::a_lost_shard_is_an_error),
    ("scatter::other_encodings_merge_alike", scatter::other_encodings_merge_alike),
    ("scatter::collations_merge_alike", scatter::collations_merge_alike),
    ("indexes::indexes_change_everywhere", indexes::indexes_change_everywhere),
    ("indexes::half_made_indexes_are_finished", indexes::half_made_indexes_are_finished),
    ("indexes::half_made_indexes_are_told_apart", indexes::half_made_indexes_are_told_apart),
    ("locks::only_what_is_answered_is_locked", locks::only_what_is_answered_is_locked),
    ("locks::every_job_is_taken_once", locks::every_job_is_taken_once),
    ("locks::every_job_is_taken_by_one_statement", locks::every_job_is_taken_by_one_statement),
    ("sequences::numbers_stay_apart", sequences::numbers_stay_apart),
    ("sequences::values_are_computed", sequences::values_are_computed),
    ("sequences::what_mixes_numbers_is_refused", sequences::what_mixes_numbers_is_refused),
    ("hints::hints_choose_the_shard", hints::hints_choose_the_shard),
    ("hints::explain_route_tells", hints::explain_route_tells),
    ("transactions::all_or_nothing", transactions::all_or_nothing),
    ("transactions::vanishing_clients_leave_nothing", transactions::vanishing_clients_leave_nothing),
    ("transactions::pipelines_are_all_or_nothing", transactions::pipelines_are_all_or_nothing),
    ("spread::deadlocks_end", spread::deadlocks_end),
    ("spread::refused_by_one_kept_by_none", spread::refused_by_one_kept_by_none),
    ("spread::copy_is_bounded", spread::copy_is_bounded),
    ("spread::rows_of_an_insert_are_bounded", spread::rows_of_an_insert_are_bounded),
    ("spread::rounded_floats_are_not_values", spread::rounded_floats_are_not_values),
    ("sessions::settings_do_not_leak", sessions::settings_do_not_leak),
    ("sessions::set_config_does_not_leak", sessions::set_config_does_not_leak),
    ("sessions::timeouts_are_ones_own", sessions::timeouts_are_ones_own),
    ("sessions::prepared_names_are_ones_own", sessions::prepared_names_are_ones_own),
    ("sessions::changed_tables_are_prepared_anew", sessions::changed_tables_are_prepared_anew),
    ("sessions::tables_changed_unseen_are_no_error", sessions::tables_changed_unseen_are_no_error),
    ("sessions::cancel_hits_its_own_query", sessions::cancel_hits_its_own_query),
    ("sessions::requests_need_not_wait", sessions::requests_need_not_wait),
    ("sessions::pinned_state_stays", sessions::pinned_state_stays),
    ("sessions::unfinished_work_is_undone", sessions::unfinished_work_is_undone),
    ("sessions::malformed_messages_end_the_connection", sessions::malformed_messages_end_the_connection),
    ("sessions::odd_startups_are_answered", sessions::odd_startups_are_answered),
    ("notifications::every_shard_is_listened_to", notifications::every_shard_is_listened_to),
    ("notifications::ones_own_are_known", notifications::ones_own_are_known),
    ("notifications::none_is_lost", notifications::none_is_lost),
    ("notifications::waiting_ones_are_bounded", notifications::waiting_ones_are_bounded),
    ("access::every_method_of_authentication", access::every_method_of_authentication),
    ("access::tls_towards_clients", access::tls_towards_clients),
    ("access::clients_are_bounded", access::clients_are_bounded),
    ("access::a_proxy_that_ends_says_so", access::a_proxy_that_ends_says_so),
    ("drivers::tokio_postgres", |fixture| tokio_driver::run(&fixture.cluster()?.dsn)),
    ("drivers::tokio_postgres_plain", |fixture| tokio_driver::run(fixture.plain()?)),
];

/// Run while no other test runs.
const EXCLUSIVE: &[(&str, Test)] = &[
    // A replica that lags under the others' load is passed over, rightly.
    ("replicas::reads_and_writes_are_apart", replicas::reads_and_writes_are_apart),
    // It ends every connection that listens.
    ("notifications::a_loss_is_told", notifications::a_loss_is_told),
    ("replicas::a_lost_replica_is_no_error", replicas::a_lost_replica_is_no_error),
    ("replicas::recovery_conflicts_are_no_error", replicas::recovery_conflicts_are_no_error),
    ("gather::gathers_need_temporary_tables", gather::gathers_need_temporary_tables),
    ("scatter::a_crashed_shard_is_an_error", scatter::a_crashed_shard_is_an_error),
    ("transactions::doubt_is_decided", transactions::doubt_is_decided),
    ("moves::maps_are_acknowledged", moves::maps_are_acknowledged),
    ("moves::writes_wait_for_the_switch", moves::writes_wait_for_the_switch),
    ("moves::refused_writes_run_again", moves::refused_writes_run_again),
    ("moves::writes_leave_other_shards_rows", moves::writes_leave_other_shards_rows),
    ("moves::reads_count_each_row_once", moves::reads_count_each_row_once),
    ("moves::the_gate_keeps_definitions_out", moves::the_gate_keeps_definitions_out),
    ("moves::a_fenced_proxy_returns", moves::a_fenced_proxy_returns),
    ("moves::snapshots_do_not_outlive_a_switch", moves::snapshots_do_not_outlive_a_switch),
    ("moves::patience_ends", moves::patience_ends),
    ("moves::shards_come_and_go", moves::shards_come_and_go),
    ("moves::a_switch_waits_for_no_read", moves::waiting::a_switch_waits_for_no_read),
    ("moves::refused_batches_run_again", moves::waiting::refused_batches_run_again),
    ("moves::held_clients_give_up", moves::waiting::held_clients_give_up),
    ("moves::load::writes_survive_switches", moves::load::writes_survive_switches),
    ("bank::money_survives_kills", bank::money_survives_kills),
    ("resharding::the_audit_notices", resharding::the_audit_notices),
    ("resharding::a_shard_comes_and_goes", resharding::a_shard_comes_and_goes),
    ("resharding::the_worker_dies_at_every_step", resharding::faults::the_worker_dies_at_every_step),
    ("resharding::workers_come_too_late", resharding::faults::workers_come_too_late),
    ("resharding::a_million_rows_move", resharding::million::a_million_rows_move),
    ("resharding::everything_happens", resharding::ordeal::everything_happens),
    ("resharding::without_a_rule_it_goes_wrong", resharding::controls::without_a_rule_it_goes_wrong),
    ("resharding::only_the_hard_fence_stops_the_impatient", resharding::controls::only_the_hard_fence_stops_the_impatient),
    ("resharding::late_writes_find_no_shard", resharding::late::late_writes_find_no_shard),
    ("resharding::answers_agree_after_twenty_moves", resharding::twenty::answers_agree_after_twenty_moves),
    ("resharding::servers_fail_over_in_mid_wave", resharding::failovers::servers_fail_over_in_mid_wave),
    ("failover::writes_follow_a_promotion", failover::writes_follow_a_promotion),
    ("saturation::replies_belong_to_requests", saturation::replies_belong_to_requests),
];

/// The servers, and the lock that keeps the exclusive tests alone.
#[derive(Default)]
struct Stage {
    fixture: Fixture,
    alone: RwLock<()>,
}

fn main() {
    let arguments = Arguments::from_args();
    let stage = Arc::new(Stage::default());
    stop_on_signals(&stage);
    let mut trials: Vec<Trial> = TESTS.iter().map(|(name, test)| trial(&stage, name, test)).collect();
    for (name, path) in wire::scripts() {
        trials.push(trial(&stage, &format!("wire::{name}"), move |fixture: &Fixture| wire::converse(&path, fixture)));
    }
    for name in differential::corpus::files() {
        trials.push(trial(&stage, &format!("differential::corpus::{name}"), move |fixture: &Fixture| {
            differential::corpus::compare_file(fixture, &name)
        }));
    }
    for name in differential::corpus::shapes() {
        let compare = |name: String| move |fixture: &Fixture| differential::corpus::compare_shape(fixture, &name);
        trials.push(trial(&stage, &format!("differential::shape::{name}"), compare(name)));
    }
    if let Some(folder) = differential::regression::folder() {
        trials.push(trial(&stage, "regression", move |fixture: &Fixture| differential::regression::agree(fixture, &folder)));
    }
    for (name, suite) in drivers::SUITES {
        trials.push(trial(&stage, &format!("drivers::{name}"), |fixture: &Fixture| drivers::run(suite, &fixture.cluster()?.dsn)));
        trials.push(trial(&stage, &format!("drivers::{name}_plain"), |fixture: &Fixture| drivers::run(suite, fixture.plain()?)));
    }
    trials.extend(EXCLUSIVE.iter().map(|(name, test)| exclusive_trial(&stage, name, *test)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    stage.fixture.stop();
    conclusion.exit();
}

/// A run that is interrupted leaves no server behind either.
fn stop_on_signals(stage: &Arc<Stage>) {
    let stage = Arc::clone(stage);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime for signals");
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be caught");
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        });
        stage.fixture.stop();
        std::process::exit(130);
    });
}

fn trial(stage: &Arc<Stage>, name: &str, test: impl FnOnce(&Fixture) -> Result<()> + Send + 'static) -> Trial {
    let (stage, name) = (Arc::clone(stage), name.to_owned());
    Trial::test(name.clone(), move || {
        let _with_others = stage.alone.read().unwrap_or_else(PoisonError::into_inner);
        report(&name, || test(&stage.fixture))
    })
}

fn exclusive_trial(stage: &Arc<Stage>, name: &str, test: Test) -> Trial {
    let (stage, name) = (Arc::clone(stage), name.to_owned());
    Trial::test(name.clone(), move || {
        let _alone = stage.alone.write().unwrap_or_else(PoisonError::into_inner);
        report(&name, || test(&stage.fixture))
    })
}

/// Says how long it took where that counts: the whole has a bound.
fn report(name: &str, test: impl FnOnce() -> Result<()>) -> Result<(), libtest_mimic::Failed> {
    let began = Instant::now();
    let outcome = test();
    let took = began.elapsed();
    if took >= SLOW {
        eprintln!("{name} took {:.1} s", took.as_secs_f64());
    }
    outcome.map_err(|error| format!("{error:#}").into())
}
