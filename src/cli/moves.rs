//! `shardyard move`: what moves, and how it goes on.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::cli::arguments::MoveCommand;
use crate::cli::cluster::Cluster;
use crate::cli::move_watch;
use crate::cli::shard_change::line;
use crate::rebalance::journal::{self, Move, Wave};
use crate::rebalance::state::{MoveState, Wish};

/// Runs one of the `move` commands.
pub(crate) async fn run(command: MoveCommand) -> Result<u8> {
    let (config, wish) = match command {
        MoveCommand::List { config, json } => return list(&Cluster::open(&config.config)?, json).await,
        MoveCommand::Show { id, config, json } => return show(&Cluster::open(&config.config)?, id, json).await,
        MoveCommand::Watch { config, json } => {
            let cluster = Cluster::open(&config.config)?;
            let catalog = cluster.catalog().await?;
            return match journal::unfinished(&catalog).await.map_err(line)? {
                Some(the_move) => move_watch::watch(&cluster, the_move.id, json, MoveState::is_final).await,
                None => {
                    println!("nothing moves");
                    Ok(0)
                }
            };
        }
        MoveCommand::Pause { config } => (config, Wish::Pause),
        MoveCommand::Resume { config } => (config, Wish::Run),
        MoveCommand::Abort { config } => (config, Wish::Abort),
        MoveCommand::Rollback { config } => (config, Wish::Rollback),
        MoveCommand::Finalize { config } => (config, Wish::Finalize),
        MoveCommand::Repair { config } => {
            let catalog = Cluster::open(&config.config)?.catalog().await?;
            let the_move = journal::unfinished(&catalog).await.map_err(line)?.context("nothing moves")?;
            let update = "update shardyard.move set options = options || '{\"repair\": true}', wish = 'run', error = null where id = $1";
            catalog.execute(update, &[&the_move.id]).await?;
            println!("move {}: rows that differ are copied again", the_move.id);
            return Ok(0);
        }
    };
    let catalog = Cluster::open(&config.config)?.catalog().await?;
    let the_move = journal::unfinished(&catalog).await.map_err(line)?.context("nothing moves")?;
    if let Some(refusal) = refusal(&the_move, wish) {
        bail!("move {} is {}: {refusal}", the_move.id, the_move.state.name());
    }
    let update = "update shardyard.move set wish = $2, error = null where id = $1 and state = $3";
    if catalog.execute(update, &[&the_move.id, &wish.name(), &the_move.state.name()]).await? == 0 {
        bail!("move {} has just gone on: look at it again", the_move.id);
    }
    println!("move {}: {}", the_move.id, wish.name());
    Ok(0)
}

/// Why a wish makes no sense where the move stands.
fn refusal(the_move: &Move, wish: Wish) -> Option<&'static str> {
    match (wish, the_move.state) {
        (Wish::Abort | Wish::Rollback, MoveState::Cleaning) => Some("its old rows are being deleted, there is no way back"),
        (Wish::Abort, MoveState::Reversible) => Some("every bucket has moved: \"move rollback\" takes them back"),
        (Wish::Finalize, state) if state != MoveState::Reversible && state != MoveState::Moving => Some("it is not at its end"),
        _ => None,
    }
}

async fn list(cluster: &Cluster, as_json: bool) -> Result<u8> {
    let moves = journal::moves(&cluster.catalog().await?).await.map_err(line)?;
    if as_json {
        let moves: Vec<Value> = moves.iter().map(to_json).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "moves": moves }))?);
        return Ok(0);
    }
    for the_move in moves {
        println!("{}", summary(&the_move));
    }
    Ok(0)
}

async fn show(cluster: &Cluster, id: Option<i64>, as_json: bool) -> Result<u8> {
    let catalog = cluster.catalog().await?;
    let moves = journal::moves(&catalog).await.map_err(line)?;
    let found = moves.into_iter().find(|the_move| id.is_none_or(|id| the_move.id == id));
    let the_move = found.context("there is no such move")?;
    let waves = journal::waves(&catalog, the_move.id).await.map_err(line)?;
    let details = details(&catalog, the_move.id).await?;
    let detail = |wave: &Wave| details.iter().find(|(id, _)| *id == wave.id).map_or(Value::Null, |(_, detail)| detail.clone());
    if as_json {
        let wave_json = |wave: &Wave| {
            json!({"id": wave.id, "source": wave.source.0, "target": wave.target.0, "state": wave.state.name(),
                   "reversed": wave.reversed, "buckets": wave.buckets.len(), "progress": detail(wave)})
        };
        let mut value = to_json(&the_move);
        value["waves"] = waves.iter().map(wave_json).collect();
        println!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(0);
    }
    println!("{}", summary(&the_move));
    for wave in &waves {
        let back = if wave.reversed { ", back" } else { "" };
        println!(
            "  wave {}: shard {} to {}{back}, {} buckets: {}  {}",
            wave.id,
            wave.source,
            wave.target,
            wave.buckets.len(),
            wave.state.name(),
            detail(wave)
        );
    }
    Ok(0)
}

fn summary(the_move: &Move) -> String {
    let shard = the_move.shard.map(|id| format!(" shard {id}")).unwrap_or_default();
    let error = the_move.error.as_ref().map(|error| format!("; {error}")).unwrap_or_default();
    format!("move {}: {}{shard}, {} (wish: {}){error}", the_move.id, the_move.kind.name(), the_move.state.name(), the_move.wish.name())
}

fn to_json(the_move: &Move) -> Value {
    json!({"id": the_move.id, "kind": the_move.kind.name(), "shard": the_move.shard.map(|id| id.0), "state": the_move.state.name(),
           "wish": the_move.wish.name(), "keep_source": the_move.keep_source, "error": the_move.error})
}

pub(super) async fn details(catalog: &Client, id: i64) -> Result<Vec<(i32, Value)>> {
    let select =
        "select p.wave_id, p.detail::text from shardyard.wave_progress p join shardyard.wave w on w.id = p.wave_id where w.move_id = $1";
    let rows = catalog.query(select, &[&id]).await?;
    rows.iter().map(|row| Ok((row.get(0), serde_json::from_str(row.get(1))?))).collect()
}
