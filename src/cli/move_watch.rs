//! How a move goes, as it goes: a bar on a terminal, a line for each change elsewhere, or JSON.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::cli::cluster::Cluster;
use crate::cli::moves::details;
use crate::cli::shard_change::line;
use crate::rebalance::journal::{self, Move, Wave};
use crate::rebalance::state::{MoveState, WaveState, Wish};

const POLL: Duration = Duration::from_millis(100);
/// A worker that does not lead by now will not lead by itself.
const NO_WORKER: Duration = Duration::from_secs(10);
/// A catalog that is away for longer is an error.
const CATALOG_PATIENCE: Duration = Duration::from_secs(60);
const BAR: usize = 30;
/// Back to the line's beginning, and clear it.
const ANEW: &str = "\r\u{1b}[2K";

/// Waits until the move is done: reversible, or with `--finalize` finished.
pub(crate) async fn wait(cluster: &Cluster, id: i64, as_json: bool) -> Result<u8> {
    watch(cluster, id, as_json, |state| state.is_final() || state == MoveState::Reversible).await
}

/// Tells each change until the move's state is what is waited for; exit code 1 if the move needs a person, or has ended otherwise than it began.
pub(crate) async fn watch(cluster: &Cluster, id: i64, as_json: bool, done: impl Fn(MoveState) -> bool) -> Result<u8> {
    let mut teller = Teller { as_json, bar: !as_json && std::io::stdout().is_terminal(), told: String::new(), switched: Vec::new() };
    let mut catalog = None;
    let (mut silent, mut lost) = (Instant::now(), Instant::now());
    loop {
        tokio::time::sleep(POLL).await;
        // A catalog that is away for a moment stops nobody from waiting.
        let seen = match look(cluster, &mut catalog, id).await {
            Ok(found) => found,
            Err(error) if lost.elapsed() > CATALOG_PATIENCE => return Err(error),
            Err(_) => {
                catalog = None;
                continue;
            }
        };
        lost = Instant::now();
        if teller.tell(&seen)? {
            silent = Instant::now();
        }
        let the_move = seen.the_move;
        if the_move.error.is_some() && the_move.wish == Wish::Pause {
            teller.end();
            bail!("move {id} waits for you: {}", the_move.error.unwrap_or_default());
        }
        if done(the_move.state) {
            teller.end();
            return Ok(u8::from(matches!(the_move.state, MoveState::Aborted | MoveState::RolledBack)));
        }
        if silent.elapsed() > NO_WORKER && the_move.state == MoveState::Planned {
            eprintln!("no worker has begun it yet: is \"shardyard worker\" running?");
            silent = Instant::now();
        }
    }
}

/// What the catalog says at one moment.
struct Seen {
    the_move: Move,
    waves: Vec<Wave>,
    details: Vec<(i32, Value)>,
}

async fn look(cluster: &Cluster, catalog: &mut Option<Client>, id: i64) -> Result<Seen> {
    let catalog = match catalog {
        Some(client) => client,
        none => none.insert(cluster.catalog().await?),
    };
    let moves = journal::moves(catalog).await.map_err(line)?;
    let the_move = moves.into_iter().find(|the_move| the_move.id == id).context("the move is gone from the catalog")?;
    let waves = journal::waves(catalog, id).await.map_err(line)?;
    let details = details(catalog, id).await?;
    Ok(Seen { the_move, waves, details })
}

/// Says what is new.
struct Teller {
    as_json: bool,
    bar: bool,
    told: String,
    /// Waves whose switch has been told.
    switched: Vec<i32>,
}

impl Teller {
    /// Whether there was anything new.
    fn tell(&mut self, seen: &Seen) -> Result<bool> {
        if self.as_json {
            return Ok(self.print(seen.json()));
        }
        let mut out = std::io::stdout().lock();
        for wave in seen.waves.iter().filter(|wave| !wave.state.is_before_flip()) {
            let Some(switch) = seen.switch(wave).filter(|_| !self.switched.contains(&wave.id)) else { continue };
            self.switched.push(wave.id);
            let anew = if self.bar { ANEW } else { "" };
            writeln!(out, "{anew}wave {} from shard {} to {}: {switch}", wave.id, wave.from(), wave.to())?;
            self.told.clear();
        }
        drop(out);
        if !self.bar {
            return Ok(self.print(seen.standing()));
        }
        let now = format!("[{}] {}", bar(seen.fraction()), seen.standing());
        let new = now != self.told;
        if new {
            let mut out = std::io::stdout().lock();
            write!(out, "{ANEW}{now}")?;
            out.flush()?;
            self.told = now;
        }
        Ok(new)
    }

    fn print(&mut self, now: String) -> bool {
        let new = now != self.told;
        if new {
            println!("{now}");
            self.told = now;
        }
        new
    }

    /// The bar's line is ended.
    fn end(&self) {
        if self.bar {
            println!();
        }
    }
}

impl Seen {
    fn detail(&self, wave: &Wave) -> &Value {
        self.details.iter().find(|(id, _)| *id == wave.id).map_or(&Value::Null, |(_, detail)| detail)
    }

    fn json(&self) -> String {
        let wave = |wave: &Wave| json!({"id": wave.id, "state": wave.state.name(), "progress": self.detail(wave)});
        let waves: Vec<Value> = self.waves.iter().map(wave).collect();
        let the_move = &self.the_move;
        json!({"move": the_move.id, "state": the_move.state.name(), "waves": waves, "error": the_move.error}).to_string()
    }

    fn standing(&self) -> String {
        let the_move = &self.the_move;
        let through = |wave: &&Wave| !wave.state.is_before_flip();
        let rests =
            |wave: &Wave| matches!(wave.state, WaveState::Planned | WaveState::Reversible | WaveState::Finished | WaveState::Aborted);
        let busy = self.waves.iter().find(|wave| !rests(wave));
        let busy = busy.map(|wave| format!(", wave {}: {}{}", wave.id, wave.state.name(), self.rate(wave))).unwrap_or_default();
        let error = the_move.error.as_ref().map(|error| format!("; {error}")).unwrap_or_default();
        format!(
            "move {}: {}, {} of {} waves switched{busy}{error}",
            the_move.id,
            the_move.state.name(),
            self.waves.iter().filter(through).count(),
            self.waves.len()
        )
    }

    /// What is known of the speed of the wave's copy or of its passes.
    fn rate(&self, wave: &Wave) -> String {
        let detail = self.detail(wave);
        if let (WaveState::Copying, Some(reason)) = (wave.state, detail["waits"].as_str()) {
            return format!(", waits: {reason}");
        }
        match wave.state {
            WaveState::Copying if detail["copying"].is_object() => {
                let number = |name: &str| detail["copying"][name].as_u64().unwrap_or(0);
                format!(
                    ", {} rows/s, {} MB/s, {} of {} chunks left, {} s",
                    number("rows_per_s"),
                    number("bytes_per_s") / 1_000_000,
                    number("chunks_left"),
                    number("chunks"),
                    number("eta_s")
                )
            }
            WaveState::CatchingUp => {
                let given_up = detail["given_up"]
                    .as_u64()
                    .map(|tries| format!(", switch given up {tries} times: {}", detail["reason"].as_str().unwrap_or_default()));
                format!(", last pass {} keys{}", detail["pass_keys"].as_u64().unwrap_or(0), given_up.unwrap_or_default())
            }
            _ => String::new(),
        }
    }

    /// How long writers were held, and when each step of the switch was done.
    fn switch(&self, wave: &Wave) -> Option<String> {
        let detail = self.detail(wave);
        let held = detail["held_ms"].as_u64()?;
        let mut steps: Vec<(&String, u64)> =
            detail["fence_ms"].as_object()?.iter().map(|(step, ms)| (step, ms.as_u64().unwrap_or(0))).collect();
        steps.sort_by_key(|(_, ms)| *ms);
        let steps: Vec<String> = steps.iter().map(|(step, ms)| format!("{step} {ms}")).collect();
        Some(format!("switched, writers held {held} ms ({})", steps.join(", ")))
    }

    /// How much of the move is through. A wave's copy is most of it.
    #[expect(clippy::cast_precision_loss, reason = "for a bar")]
    fn fraction(&self) -> f64 {
        let of = |wave: &Wave| match wave.state {
            WaveState::Planned | WaveState::Arming => 0.0,
            WaveState::Copying => {
                let copying = &self.detail(wave)["copying"];
                let (left, all) = (copying["chunks_left"].as_u64().unwrap_or(1), copying["chunks"].as_u64().unwrap_or(1).max(1));
                0.7 * (1.0 - (left as f64 / all as f64).min(1.0))
            }
            WaveState::CatchingUp | WaveState::Verifying | WaveState::Fencing => 0.8,
            _ => 1.0,
        };
        let buckets: usize = self.waves.iter().map(|wave| wave.buckets.len()).sum();
        let done: f64 = self.waves.iter().map(|wave| of(wave) * wave.buckets.len() as f64).sum();
        done / (buckets.max(1) as f64)
    }
}

/// `###...` for a fraction between 0 and 1.
fn bar(fraction: f64) -> String {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for a bar")]
    let full = (fraction.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "#".repeat(full), ".".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use crate::cli::move_watch::{BAR, bar};

    #[test]
    fn bars_have_one_length() {
        assert_eq!(bar(0.0), ".".repeat(BAR));
        assert_eq!(bar(0.5), format!("{}{}", "#".repeat(BAR / 2), ".".repeat(BAR / 2)));
        assert_eq!(bar(7.0), "#".repeat(BAR));
    }
}
