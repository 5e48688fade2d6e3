//! The command line: reads the arguments, calls the layer that acts, prints.

pub mod adopt;
pub mod arguments;
pub mod check;
pub mod cluster;
pub mod dev;
pub mod explain;
pub mod init;
mod move_watch;
pub mod moves;
mod plan_report;
pub mod reference;
pub mod serve;
pub mod shard;
pub mod shard_change;
pub mod table;
pub mod upgrade;
pub mod worker;

use anyhow::Result;
use clap::Parser;

use crate::cli::arguments::{Arguments, Command};

/// Reads the command line and does what it says; answers with the exit code.
///
/// # Errors
/// When the command failed.
pub fn run() -> Result<u8> {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Dev { command } => block_on(dev::run(command)),
        Command::Serve { config, new_session } => serve::run(&config.config, new_session),
        Command::Check { config, json } => block_on(check::run(&config.config, json)),
        Command::Upgrade { config, dry_run } => block_on(upgrade::run(&config.config, dry_run)),
        Command::Shard { command } => block_on(shard_change::run(command)),
        Command::Move { command } => block_on(moves::run(command)),
        Command::Worker { config, new_session } => block_on(worker::run(&config.config, new_session)),
        Command::Table { command } => block_on(table::run(command)),
        Command::Explain { sql, config, dsn } => block_on(explain::run(&config.config, dsn.as_deref(), &sql)),
        Command::Adopt { config, name, sample, dry_run } => {
            block_on(adopt::run(adopt::Adoption { folder: config.config, name, sample, dry_run }))
        }
        Command::Init { config, name } => block_on(init::run(config.config, name)),
    }
}

fn block_on(work: impl Future<Output = Result<u8>>) -> Result<u8> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
