//! Shardyard, a shard-routing proxy for PostgreSQL.
//!
//! The layers, from top to bottom; a folder uses only folders below it (held by `tests/tidy.rs`, which reads this order).

// Program: builds everything, owns nothing else.
pub mod cli;
pub mod config;
pub mod dev;
pub mod proxy;
// Operators, moves.
pub mod rebalance;
// Data path: sockets, tasks, servers.
pub mod session;
pub mod execute;
pub mod cache;
pub mod backend;
pub mod catalog;
pub mod net;
pub mod telemetry;
// Core: pure; no socket, clock, file or randomness. What comes from a client must not panic.
#[deny(clippy::unwrap_used, clippy::indexing_slicing)]
pub mod routing;
#[deny(clippy::unwrap_used, clippy::indexing_slicing)]
pub mod merge;
pub mod topology;
#[deny(clippy::unwrap_used, clippy::indexing_slicing)]
pub mod sql;
#[deny(clippy::unwrap_used, clippy::indexing_slicing)]
pub mod wire;
