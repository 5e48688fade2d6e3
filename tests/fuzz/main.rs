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
mod template;
mod wire;

#[test]
fn startup_packets() {
    harness::run("startup_packets", corpus::STARTUP, wire::startup);
}

#[test]
fn client_streams() {
    harness::run("client_streams", corpus::CLIENT_STREAM, wire::client_stream);
}

#[test]
fn client_bodies() {
    harness::run("client_bodies", corpus::CLIENT_BODY, wire::client_body);
}

#[test]
fn server_bodies() {
    harness::run("server_bodies", corpus::SERVER_BODY, wire::server_body);
}

#[test]
fn encoded_messages() {
    harness::run("encoded_messages", corpus::CLIENT_BODY, wire::encoded);
}

#[test]
fn tokens() {
    harness::run("tokens", corpus::SQL, sql::tokens);
}

#[test]
fn scans() {
    harness::run("scans", corpus::SQL, sql::scan);
}

#[test]
fn keys() {
    harness::run("keys", corpus::KEYS, sql::keys);
}

#[test]
fn plans_of_any_text() {
    harness::run("plans_of_any_text", corpus::SQL, template::any_text);
}

#[test]
fn plans_of_made_statements() {
    harness::run("plans_of_made_statements", corpus::SEEDS, template::made_statement);
}
