//! The command line: reads the arguments, calls the layer that acts, prints.

pub mod arguments;
pub mod dev;
pub mod init;
pub mod serve;

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
        Command::Serve { config } => serve::run(&config.config),
        Command::Init { config, name } => block_on(init::run(config.config, name)),
    }
}

fn block_on(work: impl Future<Output = Result<u8>>) -> Result<u8> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
