//! The proxy process: builds every part, accepts clients, shuts down.

mod control_pools;
mod failover;
mod learner;
mod recovery;
mod strays;
mod supervise;
mod worker;

use crate::backend::{ControlRole, PoolOptions, ReplicaOptions};
use crate::net::{ClientTls, ListenAddress, ServerTls};
use crate::session::{SessionOptions, User};

/// Everything a proxy needs to run; filled by `config`.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: Vec<ListenAddress>,
    /// Threads that serve clients, each with its own runtime. 0: half of the cores, at least 1.
    pub workers: usize,
    /// The one database that clients name, the same as the shards' databases unless their DSNs say otherwise.
    pub database: String,
    pub source: MapSource,
    pub control: ControlRole,
    pub users: Vec<User>,
    pub pool: PoolOptions,
    pub replicas: ReplicaOptions,
    pub session: SessionOptions,
    pub client_tls: ClientTls,
    pub server_tls: ServerTls,
    /// The settings of `tables.toml`.
    pub tables: crate::catalog::TableRules,
}

/// Where the shard map comes from.
#[derive(Clone)]
pub enum MapSource {
    /// A catalog database.
    Catalog(Box<crate::catalog::Target>),
    /// `shards.toml`; never changes.
    Fixed(crate::topology::ShardMap),
}

impl std::fmt::Debug for MapSource {
    /// Without the connection string, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Catalog(_)) { "Catalog" } else { "Fixed" })
    }
}

/// Runs the proxy until SIGTERM or SIGINT.
///
/// # Errors
/// When a listener cannot be bound, or neither catalog nor home shard answers at the start.
pub fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise::supervise(options))
}
