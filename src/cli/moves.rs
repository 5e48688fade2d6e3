//! `shardyard move`: what moves, and how it goes on.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::cli::arguments::MoveCommand;
use crate::cli::cluster::Cluster;
use crate::cli::shard_change::line;
use crate::rebalance::journal::{self, Move, Wave};
use crate::rebalance::state::{MoveState, WaveState, Wish};

const POLL: Duration = Duration::from_millis(100);
/// A worker that does not lead by now will not lead by itself.
const NO_WORKER: Duration = Duration::from_secs(10);
/// A catalog that is away for longer is an error.
const CATALOG_PATIENCE: Duration = Duration::from_secs(60);

/// Runs one of the `move` commands.
pub(crate) async fn run(command: MoveCommand) -> Result<u8> {
    let (config, wish) = match command {
        MoveCommand::List { config, json } => return list(&Cluster::open(&config.config)?, json).await,
        MoveCommand::Show { id, config, json } => return show(&Cluster::open(&config.config)?, id, json).await,
        MoveCommand::Watch { config, json } => {
            let cluster = Cluster::open(&config.config)?;
            let catalog = cluster.catalog().await?;
            return match journal::unfinished(&catalog).await.map_err(line)? {
                Some(the_move) => watch(&cluster, the_move.id, json, MoveState::is_final).await,
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

/// Waits until the move is done: reversible, or with `--finalize` finished.
pub(crate) async fn wait(cluster: &Cluster, id: i64, as_json: bool) -> Result<u8> {
    watch(cluster, id, as_json, |state| state.is_final() || state == MoveState::Reversible).await
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

/// Tells each change until the move's state is what is waited for; exit code 1 if the move needs a person, or has ended otherwise than it began.
async fn watch(cluster: &Cluster, id: i64, as_json: bool, done: impl Fn(MoveState) -> bool) -> Result<u8> {
    let mut told = String::new();
    let mut catalog = None;
    let (mut silent, mut lost) = (Instant::now(), Instant::now());
    loop {
        tokio::time::sleep(POLL).await;
        // A catalog that is away for a moment stops nobody from waiting.
        let (the_move, waves, details) = match look(cluster, &mut catalog, id).await {
            Ok(found) => found,
            Err(error) if lost.elapsed() > CATALOG_PATIENCE => return Err(error),
            Err(_) => {
                catalog = None;
                continue;
            }
        };
        lost = Instant::now();
        let now = standing(&the_move, &waves, &details, as_json);
        if now != told {
            println!("{now}");
            (told, silent) = (now, Instant::now());
        }
        if the_move.error.is_some() && the_move.wish == Wish::Pause {
            bail!("move {id} waits for you: {}", the_move.error.unwrap_or_default());
        }
        if done(the_move.state) {
            return Ok(u8::from(matches!(the_move.state, MoveState::Aborted | MoveState::RolledBack)));
        }
        if silent.elapsed() > NO_WORKER && the_move.state == MoveState::Planned {
            eprintln!("no worker has begun it yet: is \"shardyard worker\" running?");
            silent = Instant::now();
        }
    }
}

async fn look(cluster: &Cluster, catalog: &mut Option<Client>, id: i64) -> Result<(Move, Vec<Wave>, Vec<(i32, Value)>)> {
    let catalog = match catalog {
        Some(client) => client,
        none => none.insert(cluster.catalog().await?),
    };
    let moves = journal::moves(catalog).await.map_err(line)?;
    let the_move = moves.into_iter().find(|the_move| the_move.id == id).context("the move is gone from the catalog")?;
    let waves = journal::waves(catalog, id).await.map_err(line)?;
    let details = details(catalog, id).await?;
    Ok((the_move, waves, details))
}

fn standing(the_move: &Move, waves: &[Wave], details: &[(i32, Value)], as_json: bool) -> String {
    if as_json {
        let of = |wave: &Wave| details.iter().find(|(id, _)| *id == wave.id).map_or(Value::Null, |(_, detail)| detail.clone());
        let waves: Vec<Value> = waves.iter().map(|wave| json!({"id": wave.id, "state": wave.state.name(), "progress": of(wave)})).collect();
        return json!({"move": the_move.id, "state": the_move.state.name(), "waves": waves, "error": the_move.error}).to_string();
    }
    let through = |wave: &&Wave| !wave.state.is_before_flip();
    let busy = waves
        .iter()
        .find(|wave| !matches!(wave.state, WaveState::Planned | WaveState::Reversible | WaveState::Finished | WaveState::Aborted));
    let busy = busy.map(|wave| format!(", wave {}: {}{}", wave.id, wave.state.name(), rate(wave, details))).unwrap_or_default();
    let error = the_move.error.as_ref().map(|error| format!("; {error}")).unwrap_or_default();
    format!(
        "move {}: {}, {} of {} waves switched{busy}{error}",
        the_move.id,
        the_move.state.name(),
        waves.iter().filter(through).count(),
        waves.len()
    )
}

/// What is known of the speed of the wave's copy or of its passes.
fn rate(wave: &Wave, details: &[(i32, Value)]) -> String {
    let Some((_, detail)) = details.iter().find(|(id, _)| *id == wave.id) else { return String::new() };
    match wave.state {
        WaveState::Copying => {
            let number = |name: &str| detail["copying"][name].as_u64().unwrap_or(0);
            format!(
                ", {} rows/s, {} MB/s, {} chunks left, {} s",
                number("rows_per_s"),
                number("bytes_per_s") / 1_000_000,
                number("chunks_left"),
                number("eta_s")
            )
        }
        WaveState::CatchingUp => format!(", last pass {} keys", detail["pass_keys"].as_u64().unwrap_or(0)),
        _ => String::new(),
    }
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

async fn details(catalog: &Client, id: i64) -> Result<Vec<(i32, Value)>> {
    let select =
        "select p.wave_id, p.detail::text from shardyard.wave_progress p join shardyard.wave w on w.id = p.wave_id where w.move_id = $1";
    let rows = catalog.query(select, &[&id]).await?;
    rows.iter().map(|row| Ok((row.get(0), serde_json::from_str(row.get(1))?))).collect()
}
