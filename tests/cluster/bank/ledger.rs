//! What the clients remember, against what is in the tables.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::bank::victims::Bank;
use crate::shardyard::SHARDS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// COMMIT was answered.
    Acknowledged,
    /// It is certain that nothing was committed.
    Refused,
    /// The connection was lost in COMMIT, or the error says that it is not known.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) client: u64,
    pub(crate) number: u64,
    /// Account and amount.
    pub(crate) changes: Vec<(i64, i64)>,
    pub(crate) outcome: Outcome,
}

/// Reads the shards themselves.
pub(crate) fn check(bank: &Bank, transfers: &[Transfer], (accounts, start): (i64, i64)) -> Result<()> {
    let mut balances: BTreeMap<i64, i64> = BTreeMap::new();
    let mut logged: BTreeMap<(u64, u64), Vec<(i64, i64)>> = BTreeMap::new();
    for shard in 0..SHARDS {
        let mut primary = bank.primary(shard)?;
        for row in primary.query("select user_id, amount from bank_accounts")? {
            let [account, amount] = numbers(&row)?;
            ensure!(balances.insert(account, amount).is_none(), "account {account} is there twice");
        }
        for row in primary.query("select client, number, user_id, amount from bank_log")? {
            let [client, number, account, amount] = numbers(&row)?;
            logged.entry((u64::try_from(client)?, u64::try_from(number)?)).or_default().push((account, amount));
        }
    }
    ensure!(balances.len() == usize::try_from(accounts)?, "{} accounts are there", balances.len());
    let total: i64 = balances.values().sum();
    ensure!(total == accounts * start, "{total} is in the accounts, {} was paid in", accounts * start);
    for changes in logged.values_mut() {
        changes.sort_unstable();
        for (account, amount) in changes {
            balances.entry(*account).and_modify(|balance| *balance -= *amount);
        }
    }
    for (account, balance) in &balances {
        ensure!(*balance == start, "account {account} has {} that no transfer explains", balance - start);
    }
    let known: BTreeMap<(u64, u64), &Transfer> = transfers.iter().map(|transfer| ((transfer.client, transfer.number), transfer)).collect();
    ensure!(known.len() == transfers.len(), "a number was used twice");
    for (id, transfer) in &known {
        let mut asked = transfer.changes.clone();
        asked.sort_unstable();
        match (transfer.outcome, logged.get(id)) {
            (Outcome::Acknowledged, None) => anyhow::bail!("transfer {id:?} was acknowledged and is not there: {asked:?}"),
            (Outcome::Refused, Some(there)) => anyhow::bail!("transfer {id:?} was refused and is there: {there:?}"),
            (_, Some(there)) => ensure!(*there == asked, "of transfer {id:?} only {there:?} is there, not {asked:?}"),
            (_, None) => {}
        }
    }
    let unasked = logged.keys().find(|id| !known.contains_key(id));
    ensure!(unasked.is_none(), "transfer {unasked:?} is there and nobody asked for it");
    Ok(())
}

fn numbers<const N: usize>(row: &[Option<String>]) -> Result<[i64; N]> {
    let numbers: Vec<i64> = row.iter().flatten().map(|value| value.parse()).collect::<Result<_, _>>()?;
    numbers.try_into().ok().context("a row of another length")
}
