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
        /// Leave the terminal's session, as a daemon does
        #[arg(long, hide = true)]
        new_session: bool,
    },
    /// Run a worker, which drives moves, until SIGTERM
    Worker {
        #[command(flatten)]
        config: Config,
        /// Leave the terminal's session, as a daemon does
        #[arg(long, hide = true)]
        new_session: bool,
    },
    /// Moves of buckets between shards
    Move {
        #[command(subcommand)]
        command: MoveCommand,
    },
    /// Look for everything that would not work: configuration, servers, roles, versions, schema; exit code 3 when there is something
    Check {
        #[command(flatten)]
        config: Config,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring the schema "shardyard" of the catalog and of every shard to this program's
    Upgrade {
        #[command(flatten)]
        config: Config,
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// The cluster's shards
    Shard {
        #[command(subcommand)]
        command: ShardCommand,
    },
    /// Which table lives where
    Table {
        #[command(subcommand)]
        command: TableCommand,
    },
    /// Ask a running proxy where a statement would go, without running it
    Explain {
        /// The statement
        sql: String,
        #[command(flatten)]
        config: Config,
        /// The proxy's connection string, instead of the configuration's first user and address
        #[arg(long)]
        dsn: Option<String>,
    },
    /// Take databases that are sharded by md5 mod N already: look at their rows, then do as init; no row moves
    Adopt {
        #[command(flatten)]
        config: Config,
        /// The new cluster's name
        #[arg(long, default_value = "shardyard")]
        name: String,
        /// Rows of each table on each shard that are looked at; 0: all
        #[arg(long, default_value_t = 10_000)]
        sample: u64,
        /// Look only
        #[arg(long)]
        dry_run: bool,
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

#[derive(Subcommand)]
pub(crate) enum ShardCommand {
    /// List the shards with their state, buckets and servers
    List {
        #[command(flatten)]
        config: Config,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a shard: an empty database gets the tables and its share of the buckets
    Add {
        /// The new shard's name
        name: String,
        /// Its primary
        #[arg(long, value_name = "DSN")]
        primary: String,
        /// A replica of it; may be given several times
        #[arg(long, value_name = "DSN")]
        replica: Vec<String>,
        #[command(flatten)]
        run: MoveArguments,
    },
    /// Remove a shard: its buckets go to the others
    Remove {
        /// The shard's name
        name: String,
        #[command(flatten)]
        run: MoveArguments,
    },
    /// Drop the database of a removed shard
    Drop {
        /// The shard's name
        name: String,
        /// Do it; without, only say what would be done (exit code 3)
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        config: Config,
    },
    /// Make the shards' shares equal, or as weights say
    Rebalance {
        /// A shard's weight; 1 if it is not given
        #[arg(long, value_name = "NAME=NUMBER")]
        weight: Vec<String>,
        #[command(flatten)]
        run: MoveArguments,
    },
}

/// What every command that moves buckets may be told.
#[derive(Args)]
pub(crate) struct MoveArguments {
    #[command(flatten)]
    pub(crate) config: Config,
    /// Print the plan only
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait until it is done, and tell how it goes
    #[arg(long)]
    pub(crate) wait: bool,
    /// Delete the old rows as soon as the buckets have moved, instead of keeping a way back until "move finalize"
    #[arg(long)]
    pub(crate) finalize: bool,
    /// The longest that writes wait for open transactions at a switch, in milliseconds
    #[arg(long, default_value_t = 300)]
    pub(crate) hold_max_ms: u64,
    /// Copy and delete at most so many rows a second; 0: no limit
    #[arg(long, default_value_t = 0)]
    pub(crate) rows_per_second: u64,
    /// Copy at most so many bytes a second; 0: no limit
    #[arg(long, default_value_t = 0)]
    pub(crate) bytes_per_second: u64,
    /// Copy so many parts of tables at once, over as many pairs of connections
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) copy_jobs: u32,
    /// Copying and deleting wait while a replica of either shard is more bytes behind; 0: never
    #[arg(long, default_value_t = 64 << 20)]
    pub(crate) lag_bytes_max: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum MoveCommand {
    /// List the moves, the newest first
    List {
        #[command(flatten)]
        config: Config,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a move with its waves
    Show {
        /// The move's number; the newest if there is none
        id: Option<i64>,
        #[command(flatten)]
        config: Config,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell how the current move goes until it has ended
    Watch {
        #[command(flatten)]
        config: Config,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let the current move rest
    Pause {
        #[command(flatten)]
        config: Config,
    },
    /// Let it go on, also after an error
    Resume {
        #[command(flatten)]
        config: Config,
    },
    /// Stop it and undo what it has done
    Abort {
        #[command(flatten)]
        config: Config,
    },
    /// Take back buckets that have moved
    Rollback {
        #[command(flatten)]
        config: Config,
    },
    /// Give up the way back: the old rows are deleted
    Finalize {
        #[command(flatten)]
        config: Config,
    },
    /// Go on after rows were found to differ: they are copied again
    Repair {
        #[command(flatten)]
        config: Config,
    },
}

#[derive(Subcommand)]
pub(crate) enum TableCommand {
    /// List the tables and where their rows live
    List {
        #[command(flatten)]
        config: Config,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep a table whole on every shard; what is there is copied, writers wait meanwhile and those that waited are cancelled
    Reference {
        /// NAME or SCHEMA.NAME, as it is written in the catalog
        table: String,
        #[command(flatten)]
        config: Config,
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Keep a table on the home shard although it has the key column; before it is made
    Single {
        /// NAME or SCHEMA.NAME, as it is written in the catalog
        table: String,
        #[command(flatten)]
        config: Config,
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Shard a table by another column than the default one; before it is made
    Shard {
        /// NAME or SCHEMA.NAME, as it is written in the catalog
        table: String,
        /// The key column
        #[arg(long)]
        key: String,
        /// Accept UNIQUE and PRIMARY KEY without the key: unique within a shard only
        #[arg(long)]
        local_unique: bool,
        #[command(flatten)]
        config: Config,
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
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
    /// Start no worker: nothing can move
    #[arg(long)]
    pub(crate) no_worker: bool,
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
