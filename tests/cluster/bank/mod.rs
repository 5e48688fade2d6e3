//! A bank over four shards: clients move money while the proxy and the shards' primaries are killed, at random and at every step of a
//! commit. No money is made or lost, no acknowledged transfer is missing, no refused one is there, nothing stays prepared.

mod client;
mod ledger;
mod victims;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::bank::client::{Board, transfer};
use crate::bank::ledger::{Outcome, Transfer};
use crate::bank::victims::Bank;
use crate::connection::Connection;
use crate::differential::generate::random::Random;
use crate::fixture::Fixture;
use crate::shardyard::{SHARDS, eventually};

const ACCOUNTS: i64 = 1000;
const START: i64 = 1000;
const CLIENTS: u64 = 8;
/// Random kills in `make test`, and in `make soak`.
const KILLS: usize = 10;
const SOAK_KILLS: usize = 200;
/// The promise: so long after the last fault nothing is prepared any more.
const RECOVERY: Duration = Duration::from_secs(30);

/// The places in a commit over three shards, in order; see `execute::two_phase`.
const STEPS: &[&str] = &["prepare-0", "prepare-1", "decide-0", "commit-0", "finish-0", "finish-1", "finish-2"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Proxy,
    Primary(usize),
}

/// Both halves on one cluster of its own, as it is damaged.
pub(crate) fn money_survives_kills(_fixture: &Fixture) -> Result<()> {
    let bank = Bank::open(ACCOUNTS, START)?;
    let began = Instant::now();
    every_step(&bank)?;
    println!("bank: every step of a commit with every victim, {} s", began.elapsed().as_secs());
    let kills = if std::env::var_os("SHARDYARD_SOAK").is_some() { SOAK_KILLS } else { KILLS };
    at_random(&bank, kills)
}

/// One transfer over three shards for each step and victim: the commit is stopped there, the victim killed, the commit let go.
fn every_step(bank: &Bank) -> Result<()> {
    let soak = std::env::var_os("SHARDYARD_SOAK").is_some();
    let mut number = 0;
    for (at, step) in STEPS.iter().enumerate() {
        // The anchor is the first that is written: shard 0.
        let victims = [Victim::Proxy, Victim::Primary(at % 3), Victim::Primary((at + 1) % 3), Victim::Primary((at + 2) % 3)];
        for victim in victims.into_iter().take(if soak { victims.len() } else { 2 }) {
            // Others than before: those may still be locked by what recovery will decide.
            let accounts = bank.accounts_of_shards(number)?;
            number += 1;
            let changes = vec![(accounts[0], -30), (accounts[1], 10), (accounts[2], 20)];
            let mut asked = Transfer { client: 1000, number, changes, outcome: Outcome::Refused };
            let mut client = Connection::connect(&bank.proxy_dsn()?)?;
            bank.arm(step)?;
            let outcome = std::thread::scope(|scope| {
                let running = scope.spawn(|| transfer(&mut client, &asked));
                let reached = bank.reached(step);
                let killed = reached.and_then(|()| bank.kill(victim));
                bank.release(step)?;
                let outcome = running.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
                killed.with_context(|| format!("step {step}, {victim:?}"))?;
                anyhow::Ok(outcome)
            })?;
            asked.outcome = outcome;
            bank.ledger.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.push(asked);
            bank.revive(victim)?;
        }
    }
    settle(bank).context("after the kills at every step")
}

/// Eight clients, and a kill every few hundred milliseconds.
fn at_random(bank: &Bank, kills: usize) -> Result<()> {
    let seed = std::env::var("SHARDYARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("bank: {kills} random kills, seed {seed}");
    let mut random = Random::new(seed);
    let board = Board { stop: AtomicBool::new(false), done: Mutex::new(Vec::new()) };
    let began = Instant::now();
    let disturbed = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let board = &board;
                    move || client::run(bank, board, client, ACCOUNTS)
                })
            })
            .collect();
        let disturbed = disturb(bank, kills, &mut random);
        board.stop.store(true, Ordering::Relaxed);
        let outcomes: Vec<Result<()>> =
            clients.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a client panicked"))).collect();
        outcomes.into_iter().collect::<Result<()>>().and(disturbed)
    });
    let last_fault = Instant::now();
    let done = std::mem::take(&mut *board.done.lock().map_err(|_| anyhow::anyhow!("poisoned"))?);
    let count = |outcome: Outcome| done.iter().filter(|transfer| transfer.outcome == outcome).count();
    println!(
        "bank: {} transfers acknowledged, {} refused, {} unknown, {kills} kills in {} s",
        count(Outcome::Acknowledged),
        count(Outcome::Refused),
        count(Outcome::Unknown),
        began.elapsed().as_secs()
    );
    disturbed?;
    ensure!(count(Outcome::Acknowledged) > kills, "too few transfers succeed for this to say anything");
    bank.ledger.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.extend(done);
    settle(bank)?;
    println!("bank: settled {} ms after the last fault", last_fault.elapsed().as_millis());
    Ok(())
}

fn disturb(bank: &Bank, kills: usize, random: &mut Random) -> Result<()> {
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(u64::try_from(random.between(50, 600))?));
        let victim = if random.chance(40) { Victim::Proxy } else { Victim::Primary(random.below(SHARDS)) };
        bank.kill(victim)?;
        std::thread::sleep(Duration::from_millis(u64::try_from(random.between(0, 200))?));
        bank.revive(victim)?;
    }
    Ok(())
}

/// Waits until nothing is prepared, and then checks every account and every transfer.
fn settle(bank: &Bank) -> Result<()> {
    let end = Instant::now() + RECOVERY;
    for shard in 0..SHARDS {
        eventually(end.saturating_duration_since(Instant::now()), || {
            let prepared = bank.primary(shard)?.value("select count(*) from pg_prepared_xacts")?;
            ensure!(
                prepared == "0",
                "shard {shard} still has {prepared} prepared transactions {} s after the last fault",
                RECOVERY.as_secs()
            );
            Ok(())
        })?;
    }
    let ledger = bank.ledger.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
    ledger::check(bank, &ledger, (ACCOUNTS, START))
}
