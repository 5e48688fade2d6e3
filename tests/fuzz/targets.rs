//! The list of targets: what is fuzzed, from where, by which property.

use crate::{corpus, sql, template, wire};

/// Bytes in, a signature of what they made the target do out. Panics when a property does not hold.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) seeds: &'static [&'static [u8]],
    pub(crate) run: fn(&[u8]) -> u64,
}

const fn target(name: &'static str, seeds: &'static [&'static [u8]], run: fn(&[u8]) -> u64) -> Target {
    Target { name, seeds, run }
}

pub(crate) static ALL: [Target; 10] = [
    target("startup_packets", corpus::STARTUP, wire::startup),
    target("client_streams", corpus::CLIENT_STREAM, wire::client_stream),
    target("client_bodies", corpus::CLIENT_BODY, wire::client_body),
    target("server_bodies", corpus::SERVER_BODY, wire::server_body),
    target("encoded_messages", corpus::CLIENT_BODY, wire::encoded),
    target("tokens", corpus::SQL, sql::tokens),
    target("scans", corpus::SQL, sql::scan),
    target("keys", corpus::KEYS, sql::keys),
    target("plans_of_any_text", corpus::SQL, template::any_text),
    target("plans_of_made_statements", corpus::SEEDS, template::made_statement),
];
