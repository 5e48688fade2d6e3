//! Options of pools and replicas, filled by `config`.

use std::time::Duration;

/// When a server connection goes back to its pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolMode {
    /// When the transaction ends.
    #[default]
    Transaction,
    /// When the client leaves.
    Session,
}

/// Bounds of each pool; a pool is per (server, database, user).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Most server connections of one pool. With 20, a shard with two replicas has at most 60 connections per user.
    pub size: usize,
    /// Connections kept open without use. 0 by default.
    pub min_idle: usize,
    /// How long a client waits for a connection before `53300`. 10 s by default.
    pub acquire_timeout: Duration,
    /// Most clients waiting in one pool; the next is refused with `53300`. 20,000 by default.
    pub waiters_max: usize,
    /// How long a client that has sent nothing yet waits for a primary that is away, or is being replaced. 10 s by default.
    pub failover_hold: Duration,
    /// How long opening a connection and logging in may take. 5 s by default.
    pub connect_timeout: Duration,
    /// An idle connection is closed after this. 600 s by default.
    pub idle_timeout: Duration,
    /// A connection is closed after about this long (plus or minus a tenth). 3,600 s by default.
    pub lifetime_max: Duration,
    /// Prepared statements kept per server connection; the least recently used is closed beyond. 500 by default.
    pub prepared_max: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            size: 20,
            min_idle: 0,
            acquire_timeout: Duration::from_secs(10),
            waiters_max: 20_000,
            failover_hold: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(600),
            lifetime_max: Duration::from_secs(3600),
            prepared_max: 500,
        }
    }
}

/// When a replica may serve reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaOptions {
    /// A replica behind by more is left out. 100 ms by default.
    pub lag_max: Duration,
    /// How often positions are sampled while there is traffic. 50 ms by default.
    pub sample_interval: Duration,
    /// How often every server is probed. 1 s by default.
    pub probe_interval: Duration,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self { lag_max: Duration::from_millis(100), sample_interval: Duration::from_millis(50), probe_interval: Duration::from_secs(1) }
    }
}

/// The role with which the proxy probes servers, reads the schema and commits in doubt transactions.
#[derive(Clone, PartialEq, Eq)]
pub struct ControlRole {
    pub user: String,
    pub password: Option<String>,
    /// As for clients' connections to servers.
    pub tls: crate::net::ServerTls,
}

impl std::fmt::Debug for ControlRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlRole").field("user", &self.user).finish_non_exhaustive()
    }
}
