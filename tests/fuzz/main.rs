//! Hostile bytes: every decoder and the tokenizer against random input. No panic, no hang, bounded memory.
//!
//! `FUZZ_SECONDS` (5) per target; `FUZZ_SEED` repeats a run; `make fuzz` runs each for ten minutes.
//! An input that failed once goes to `tests/fuzz/regressions/TARGET/` and is tried first ever after.

mod corpus;
mod harness;
mod mutate;
mod random;
mod sql;
mod statement;
mod targets;
mod template;
mod wire;

#[test]
fn startup_packets() {
    harness::run("startup_packets");
}

#[test]
fn client_streams() {
    harness::run("client_streams");
}

#[test]
fn client_bodies() {
    harness::run("client_bodies");
}

#[test]
fn server_bodies() {
    harness::run("server_bodies");
}

#[test]
fn encoded_messages() {
    harness::run("encoded_messages");
}

#[test]
fn tokens() {
    harness::run("tokens");
}

#[test]
fn scans() {
    harness::run("scans");
}

#[test]
fn keys() {
    harness::run("keys");
}

#[test]
fn plans_of_any_text() {
    harness::run("plans_of_any_text");
}

#[test]
fn plans_of_made_statements() {
    harness::run("plans_of_made_statements");
}
