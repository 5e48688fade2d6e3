//! What the command line accepts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A shard-routing proxy for PostgreSQL.
///
/// Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 the answer is no (dev status: something does not run; check: something is wrong).
#[derive(Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// A local cluster in one folder: real servers, replicas, catalog and proxy
    Dev {
        #[command(subcommand)]
        command: DevCommand,
    },
    /// Run the proxy until SIGTERM
    Serve {
        #[command(flatten)]
        config: Config,
    },
    /// Write the shards of shards.toml into an empty catalog, and bring catalog and shards up to date; harmless when done before
    Init {
        #[command(flatten)]
        config: Config,
        /// The new cluster's name, for people and in two-phase commits
        #[arg(long, default_value = "shardyard")]
        name: String,
    },
}

#[derive(Args)]
pub(crate) struct Config {
    /// The folder with proxy.toml, users.toml, tables.toml and shards.toml
    #[arg(long, default_value = "shard-config", value_name = "DIR")]
    pub(crate) config: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum DevCommand {
    /// Make the cluster, or start it again, and wait until it is ready
    Up(UpArguments),
    /// Show what the cluster consists of and whether it runs; exit code 3 when something does not
    Status {
        #[command(flatten)]
        dir: Dir,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make one more empty server; the last line printed is its DSN
    Server {
        /// The server's name
        name: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Stop every process of the cluster; the data stays
    Down {
        #[command(flatten)]
        dir: Dir,
        /// Remove the data too
        #[arg(long)]
        remove: bool,
    },
}

#[derive(Args)]
pub(crate) struct UpArguments {
    /// Number of shards, 1 to 64
    #[arg(long, default_value_t = 4)]
    pub(crate) shards: u16,
    /// Streaming replicas of each shard, 0 to 8
    #[arg(long, default_value_t = 1)]
    pub(crate) replicas: u16,
    /// Where the proxy listens
    #[arg(long, default_value = "127.0.0.1:6432", value_name = "HOST:PORT")]
    pub(crate) listen: String,
    #[command(flatten)]
    pub(crate) dir: Dir,
    /// Return when the cluster is ready instead of staying in the foreground
    #[arg(long)]
    pub(crate) detach: bool,
    /// Start the servers only
    #[arg(long)]
    pub(crate) no_proxy: bool,
    /// Let the servers wait for the disk, as in production: slower
    #[arg(long)]
    pub(crate) fsync: bool,
}

#[derive(Args)]
pub(crate) struct Dir {
    /// The cluster's folder
    #[arg(long, default_value = ".dev")]
    pub(crate) dir: PathBuf,
}
