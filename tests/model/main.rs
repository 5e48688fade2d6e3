//! The protocol of moves, checked exhaustively within small bounds; and broken on purpose, where the checker must find it.

mod checker;
mod protocol;
mod proxies;
mod state;
mod statements;
mod workers;

use std::time::Instant;

use crate::checker::walk;
use crate::protocol::{Broken, Protocol};
use crate::state::{Faults, Kind};

/// A bound on memory: a state takes about 200 bytes.
const STATES_MAX: usize = 30_000_000;

type Clients = &'static [(u8, Kind)];

const WRITES: Clients = &[(0, Kind::Write), (0, Kind::Write)];
const WRITE_READ: Clients = &[(0, Kind::Write), (1, Kind::Read)];
const WRITE_SCATTER: Clients = &[(0, Kind::Write), (1, Kind::Scatter)];
const WRITE_SNAPSHOT: Clients = &[(0, Kind::Write), (1, Kind::Snapshot)];
const WRITE_TRANSACTION: Clients = &[(0, Kind::Write), (1, Kind::Transaction)];
const TRANSACTION_LOCK: Clients = &[(0, Kind::Transaction), (1, Kind::Locking)];
const LOCKS: Clients = &[(0, Kind::Locking), (1, Kind::Locking)];
const WRITES_SCATTER: Clients = &[(0, Kind::Write), (0, Kind::Write), (1, Kind::Scatter)];
const WRITE_LOCK_READ: Clients = &[(0, Kind::Write), (1, Kind::Locking), (1, Kind::Read)];

const NONE: Faults = Faults { takeovers: 0, fences: 0, deaths: 0, restarts: 0, back_offs: 0, impatient: 0, wishes: 0 };
const SUSPECTED: Faults = Faults { fences: 1, ..NONE };
const DEAD: Faults = Faults { deaths: 1, restarts: 1, ..NONE };
const TWO_WORKERS: Faults = Faults { takeovers: 1, ..NONE };
const IMPATIENT: Faults = Faults { back_offs: 1, impatient: 1, ..NONE };
const WISHES: Faults = Faults { wishes: 1, ..NONE };

/// The model with no faults but these must hold; prints its size.
fn holds(name: &str, clients: Clients, faults: Faults) {
    let began = Instant::now();
    let walk = walk(&Protocol { clients, faults, broken: None }, STATES_MAX);
    println!("model {name}: {} states, {} steps, depth {}, {} ms", walk.states, walk.steps, walk.depth, began.elapsed().as_millis());
    if let Err(wrong) = walk.verdict {
        panic!("{name}: {}\n  {}", wrong.what, wrong.way.join("\n  "));
    }
}

/// In `make soak` only.
fn holds_in_soak(name: &str, clients: Clients, faults: Faults) {
    if std::env::var_os("SHARDYARD_SOAK").is_some() {
        holds(name, clients, faults);
    }
}

/// The same without a rule must fail, and for this reason; `Err` says what came instead.
fn fails(broken: Broken, clients: Clients, faults: Faults, reason: &str) -> Result<(), String> {
    let walk = walk(&Protocol { clients, faults, broken: Some(broken) }, STATES_MAX);
    let Err(wrong) = walk.verdict else { return Err(format!("{broken:?} is not noticed in {} states", walk.states)) };
    println!("model, {broken:?}: {}; after {} states:\n  {}", wrong.what, walk.states, wrong.way.join("\n  "));
    if wrong.what.contains(reason) {
        Ok(())
    } else {
        Err(format!("{broken:?} is noticed by another sign than \"{reason}\": {}", wrong.what))
    }
}

#[test]
fn nothing_goes_wrong() {
    holds("write, scatter", WRITE_SCATTER, NONE);
    holds("transaction, lock", TRANSACTION_LOCK, NONE);
    holds("write, snapshot", WRITE_SNAPSHOT, NONE);
    holds("locks", LOCKS, NONE);
    holds_in_soak("writes, scatter", WRITES_SCATTER, NONE);
    holds_in_soak("write, lock, read", WRITE_LOCK_READ, NONE);
}

#[test]
fn proxies_are_suspected() {
    holds("suspected: write, scatter", WRITE_SCATTER, SUSPECTED);
    holds("suspected: write, read", WRITE_READ, SUSPECTED);
    holds_in_soak("suspected: locks", LOCKS, SUSPECTED);
    holds_in_soak("suspected: write, snapshot", WRITE_SNAPSHOT, SUSPECTED);
}

#[test]
fn proxies_die() {
    holds("dead: write, scatter", WRITE_SCATTER, Faults { restarts: 1, ..NONE });
    holds("dead: writes", WRITES, DEAD);
    holds_in_soak("dead: write, scatter, two of them", WRITE_SCATTER, DEAD);
    holds_in_soak("dead: write, transaction", WRITE_TRANSACTION, DEAD);
}

#[test]
fn workers_overtake() {
    holds("two workers: writes", WRITES, TWO_WORKERS);
    holds("two workers: write, scatter", WRITE_SCATTER, TWO_WORKERS);
    holds_in_soak("two workers: lock, transaction", TRANSACTION_LOCK, TWO_WORKERS);
    holds_in_soak("two workers, a wish: writes", WRITES, Faults { wishes: 1, back_offs: 1, ..TWO_WORKERS });
    holds_in_soak("two workers, a suspicion: write", &[(0, Kind::Write), (0, Kind::Read)], Faults { fences: 1, ..TWO_WORKERS });
}

#[test]
fn patience_ends() {
    holds("impatient: write, scatter", WRITE_SCATTER, IMPATIENT);
    holds("impatient: locks", LOCKS, IMPATIENT);
    holds("impatient: transaction, lock", TRANSACTION_LOCK, IMPATIENT);
}

#[test]
fn operators_wish() {
    holds("wishes: write, scatter", WRITE_SCATTER, WISHES);
    holds("wishes: writes", WRITES, Faults { back_offs: 1, ..WISHES });
    holds("wishes: write, snapshot", WRITE_SNAPSHOT, WISHES);
    holds_in_soak("wishes: transaction, lock", TRANSACTION_LOCK, WISHES);
}

#[test]
fn every_rule_is_needed() {
    let noticed = [
        fails(Broken::NoHardFence, WRITE_SCATTER, IMPATIENT, "was committed on the Source"),
        fails(Broken::FlipBeforeLastPass, WRITE_SCATTER, NONE, "are acknowledged"),
        fails(Broken::NoAcknowledgement, WRITE_READ, NONE, "a read saw"),
        fails(Broken::NoWaitForOldReads, WRITE_READ, NONE, "a read found no row"),
        fails(Broken::NoSettlingBeforeCopy, WRITE_SCATTER, NONE, "a scatter counted 2"),
        fails(Broken::NoSettlingBeforeFlip, LOCKS, NONE, "while it was locked"),
        fails(Broken::NoOwnershipCondition, WRITE_SCATTER, NONE, "a scatter counted 2"),
        fails(Broken::NoFencing, WRITE_READ, SUSPECTED, "a read saw"),
        fails(Broken::NoTokens, WRITES, TWO_WORKERS, "was committed on the Source"),
        fails(Broken::SameToken, WRITES, TWO_WORKERS, "was committed on the Source"),
        fails(Broken::NoDraining, WRITES, NONE, "are acknowledged"),
        fails(Broken::OneLogEntry, WRITES, NONE, "are acknowledged"),
        fails(Broken::LiftedBeforeCleaning, WRITE_SCATTER, NONE, "is left on the Source"),
        fails(Broken::LocksSentByPatience, LOCKS, IMPATIENT, "while it was locked"),
        fails(Broken::OldSnapshots, WRITE_SNAPSHOT, NONE, "a read"),
        fails(Broken::StaleRoutes, WRITE_READ, SUSPECTED, "a read saw"),
        fails(Broken::MapBeforeRow, WRITE_READ, SUSPECTED, "a read saw"),
        fails(Broken::SameRow, WRITES, DEAD, "found no row on the Source"),
        fails(Broken::HeldCountsAsRunning, WRITES, NONE, "no good end"),
    ];
    let missed: Vec<String> = noticed.into_iter().filter_map(Result::err).collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
