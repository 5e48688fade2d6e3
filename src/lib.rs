//! Shardyard, a shard-routing proxy for PostgreSQL.
//!
//! The layers, from top to bottom; a folder uses only folders below it (held by `tests/tidy.rs`).

// Program: builds everything, owns nothing else.
pub mod cli;
pub mod config;
pub mod dev;
pub mod proxy;
// Data path: sockets, tasks, servers.
pub mod backend;
pub mod cache;
pub mod catalog;
pub mod execute;
pub mod net;
pub mod session;
pub mod telemetry;
// Core: pure; no socket, clock, file or randomness.
pub mod routing;
pub mod sql;
pub mod topology;
pub mod wire;
