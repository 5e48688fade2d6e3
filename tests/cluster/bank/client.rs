//! A client of the bank: moves money between accounts of any shards, and remembers what it was told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::bank::ledger::{Outcome, Transfer};
use crate::bank::victims::Bank;
use crate::connection::Connection;
use crate::differential::generate::random::Random;
use crate::reply::ServerError;

/// What all clients report to.
pub(crate) struct Board {
    pub(crate) stop: AtomicBool,
    pub(crate) done: Mutex<Vec<Transfer>>,
}

/// Transfers until told to stop, over as many connections as it takes.
pub(crate) fn run(bank: &Bank, board: &Board, client: u64, accounts: i64) -> Result<()> {
    let mut random = Random::new(7000 + client);
    let (mut connection, mut number) = (None, 0);
    while !board.stop.load(Ordering::Relaxed) {
        let Some(open) = &mut connection else {
            connection = bank.proxy_dsn().and_then(|dsn| Connection::connect(&dsn)).ok();
            if connection.is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
            continue;
        };
        number += 1;
        let mut transfer = Transfer { client, number, changes: changes(&mut random, accounts), outcome: Outcome::Refused };
        transfer.outcome = self::transfer(open, &transfer);
        if transfer.outcome != Outcome::Acknowledged && open.query("rollback").is_err() {
            connection = None;
        }
        board.done.lock().map_err(|_| anyhow!("another client panicked"))?.push(transfer);
    }
    Ok(())
}

/// From one account to one or two others, in the order of their numbers: the bank has no deadlocks.
fn changes(random: &mut Random, accounts: i64) -> Vec<(i64, i64)> {
    let amount = random.between(1, 20) * 2;
    let mut chosen: Vec<i64> = Vec::new();
    let wanted = if random.chance(50) { 2 } else { 3 };
    while chosen.len() < wanted {
        let account = random.between(1, accounts);
        if !chosen.contains(&account) {
            chosen.push(account);
        }
    }
    let mut changes: Vec<(i64, i64)> = match chosen.as_slice() {
        [from, to] => vec![(*from, -amount), (*to, amount)],
        [from, to, other, ..] => vec![(*from, -amount), (*to, amount / 2), (*other, amount / 2)],
        _ => Vec::new(),
    };
    changes.sort_unstable();
    changes
}

/// One transaction. What was told before COMMIT was sent is certain; after that only success and a plain refusal are.
pub(crate) fn transfer(connection: &mut Connection, transfer: &Transfer) -> Outcome {
    let Transfer { client, number, changes, .. } = transfer;
    let mut statements = vec!["begin".to_owned()];
    for (account, amount) in changes {
        statements.push(format!("update bank_accounts set amount = amount + {amount} where user_id = {account}"));
        statements.push(format!("insert into bank_log values ({account}, {client}, {number}, {amount})"));
    }
    for statement in &statements {
        if connection.query(statement).is_err() {
            return Outcome::Refused;
        }
    }
    match connection.query("commit") {
        Ok(_) => Outcome::Acknowledged,
        Err(error) => match error.downcast_ref::<ServerError>() {
            // The connection's loss, a server's end, or "transaction resolution unknown": either may have happened.
            Some(told) if told.sqlstate().starts_with("08") || told.sqlstate().starts_with("57P") => Outcome::Unknown,
            Some(_) => Outcome::Refused,
            None => Outcome::Unknown,
        },
    }
}
