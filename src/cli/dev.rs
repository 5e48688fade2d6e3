//! `shardyard dev`: a local cluster.

use anyhow::Result;

use crate::cli::arguments::DevCommand;
use crate::dev::{DownOptions, UpOptions, add_server, down, status, up};

/// Runs one of the `dev` commands.
pub(crate) async fn run(command: DevCommand) -> Result<u8> {
    match command {
        DevCommand::Up(arguments) => {
            let options = UpOptions {
                shards: arguments.shards,
                replicas: arguments.replicas,
                listen: arguments.listen,
                dir: arguments.dir.dir,
                detach: arguments.detach,
                no_proxy: arguments.no_proxy,
                no_worker: arguments.no_worker,
                fsync: arguments.fsync,
            };
            up(&options).await?;
            Ok(0)
        }
        DevCommand::Status { dir, json } => {
            let status = status(&dir.dir).await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&status.json())?);
            } else {
                status.lines().iter().for_each(|line| println!("{line}"));
            }
            Ok(if status.is_complete() { 0 } else { 3 })
        }
        DevCommand::Server { name, dir } => {
            println!("{}", add_server(&dir.dir, &name).await?);
            Ok(0)
        }
        DevCommand::Down { dir, remove } => {
            down(&DownOptions { dir: dir.dir, remove }).await?;
            Ok(0)
        }
    }
}
