//! After the load: what is on the shards against what the clients remember, and what the moves have left behind.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::connection::Connection;
use crate::resharding::history::{Change, Outcome, Write};
use crate::resharding::load::Load;
use crate::resharding::placement;
use crate::resharding::stage::{Stage, lock};
use crate::resharding::{MARKED, Scale};
use crate::shardyard::eventually;

/// Tables and their keys.
const TABLES: &[(&str, &str)] = &[
    ("accounts", "user_id"),
    ("entries", "user_id"),
    ("pairs", "user_id"),
    ("marks", "user_id"),
    ("fixed", "user_id"),
    ("notes", "user_id"),
    ("names", "name"),
];
/// In-doubt transactions of killed proxies are decided after ten seconds.
const RECOVERY: Duration = Duration::from_secs(40);

/// What a worker makes for the time of a move: everything of its schema whose name is a wave's; triggers of the guard.
const LEFT: &str = "select 'relation ' || relname from pg_class where relnamespace = 'shardyard'::regnamespace and relname ~ '^(wave|log)_[0-9]'
     union all select 'function ' || proname from pg_proc where pronamespace = 'shardyard'::regnamespace and proname ~ '^(guard_[0-9]+|wave_at)$'
     union all select 'trigger ' || tgname || ' on ' || tgrelid::regclass from pg_trigger where tgname ~ 'shardyard' and not tgisinternal
     union all select 'index ' || c.relname from pg_index i join pg_class c on c.oid = i.indexrelid
                 where c.relname ~ 'shardyard' or pg_get_indexdef(i.indexrelid) ~ 'shardyard.bucket'
     union all select 'mark of wave ' || wave from shardyard.wave_mark
     union all select 'transaction ' || gid from pg_prepared_xacts
     union all select 'session in a transaction: ' || coalesce(query, '') from pg_stat_activity
                 where application_name ~ 'worker' and datname = current_database() and state like 'idle in%'";

/// What belongs to nobody any more: sessions of workers and proxies that are gone, locks of waves.
const FORMER: &str = "select 'session of a former worker: ' || application_name from pg_stat_activity where datname = current_database()
         and application_name ~ '^shardyard worker ' and application_name <> 'shardyard worker TOKEN'
     union all select 'connection of a former proxy, incarnation ' || objid from pg_locks where locktype = 'advisory' and objsubid = 2
         and database = (select oid from pg_database where datname = current_database())
         and classid::bigint = 1398361426 and objid::bigint not in (PROXIES)
     union all select 'lock of wave ' || objid from pg_locks where locktype = 'advisory' and objsubid = 2
         and database = (select oid from pg_database where datname = current_database()) and classid::bigint = 1398361427";

/// What was seen, for people.
pub(crate) struct Report {
    acknowledged: usize,
    refused: usize,
    unknown: usize,
    reads: u64,
    errors: BTreeMap<String, usize>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, refused, unknown, reads, errors } = self;
        write!(f, "{acknowledged} writes acknowledged, {refused} refused, {unknown} unknown, 0 lost, 0 twice, 0 misplaced; ")?;
        write!(f, "{reads} reads right, 0 wrong; {} errors", errors.values().sum::<usize>())?;
        errors.iter().try_for_each(|(error, count)| write!(f, "\n    {count} × {error}"))
    }
}

/// Waits until what killed processes left is cleared away.
pub(crate) fn check(stage: &Stage, load: &Load) -> Result<Report> {
    eventually(RECOVERY, || nothing_is_left(stage))?;
    check_now(stage, load)
}

fn nothing_is_left(stage: &Stage) -> Result<()> {
    let mut catalog = stage.catalog()?;
    let gate = catalog.query("select gate from shardyard.cluster where gate is not null")?;
    ensure!(gate.is_empty(), "the gate is still {gate:?}");
    let token = catalog.value("select token from shardyard.worker")?;
    let proxies = catalog.value("select coalesce(string_agg(incarnation::text, ','), '0') from shardyard.proxy")?;
    let former = FORMER.replace("TOKEN", &token).replace("PROXIES", &proxies);
    for (name, dsn) in stage.servers() {
        let mut server = Connection::connect(&dsn)?;
        for look in [LEFT, &former] {
            let left = server.query(look)?;
            ensure!(left.is_empty(), "on {name} there is left: {left:?}");
        }
    }
    Ok(())
}

pub(crate) fn check_now(stage: &Stage, load: &Load) -> Result<Report> {
    nothing_is_left(stage)?;
    placement::check(stage, TABLES)?;
    let writes = lock(&load.writes);
    let rows = Rows::read(stage)?;
    rows.check_entries(&writes, load.scale)?;
    rows.check_notes(&writes)?;
    rows.check_names(&writes)?;
    rows.check_marks(&writes, load.scale)?;
    ensure!(rows.shifted.len() == usize::try_from(load.scale.users)?, "{} pairs are there", rows.shifted.len());
    ensure!(rows.shifted.values().all(|amounts| amounts.len() == 2 && amounts.iter().sum::<i64>() == 0), "a pair is not even");
    check_shifts(&rows, &writes)?;
    let count = |outcome| writes.iter().filter(|write| write.outcome == outcome).count();
    Ok(Report {
        acknowledged: count(Outcome::Acknowledged),
        refused: count(Outcome::Refused),
        unknown: count(Outcome::Unknown),
        reads: load.reads.load(std::sync::atomic::Ordering::Relaxed),
        errors: lock(&load.errors).clone(),
    })
}

/// Client and number.
type Id = (i64, i64);

/// All rows of all shards.
struct Rows {
    balances: BTreeMap<i64, Vec<i64>>,
    /// User and amount.
    entries: BTreeMap<Id, Vec<(i64, i64)>>,
    /// Users.
    notes: BTreeMap<Id, Vec<i64>>,
    names: BTreeMap<Id, usize>,
    /// By client, then by user.
    marks: BTreeMap<i64, BTreeMap<i64, Vec<i64>>>,
    shifted: BTreeMap<i64, Vec<i64>>,
}

impl Rows {
    fn read(stage: &Stage) -> Result<Self> {
        let mut rows = Self {
            balances: BTreeMap::new(),
            entries: BTreeMap::new(),
            notes: BTreeMap::new(),
            names: BTreeMap::new(),
            marks: BTreeMap::new(),
            shifted: BTreeMap::new(),
        };
        for (_, dsn) in stage.servers() {
            let mut server = Connection::connect(&dsn)?;
            for [user, balance] in numbers(&mut server, "select user_id, balance from accounts")? {
                rows.balances.entry(user).or_default().push(balance);
            }
            for [client, number, user, amount] in numbers(&mut server, "select client, number, user_id, amount from entries")? {
                rows.entries.entry((client, number)).or_default().push((user, amount));
            }
            for [client, number, user] in numbers(&mut server, "select client, number, user_id from notes")? {
                rows.notes.entry((client, number)).or_default().push(user);
            }
            for [client, number] in numbers(&mut server, "select client, number from names")? {
                *rows.names.entry((client, number)).or_default() += 1;
            }
            for [client, user, count] in numbers(&mut server, "select client, user_id, count from marks")? {
                rows.marks.entry(client).or_default().entry(user).or_default().push(count);
            }
            for [user, amount] in numbers(&mut server, "select user_id, amount from pairs")? {
                rows.shifted.entry(user).or_default().push(amount);
            }
        }
        Ok(rows)
    }

    fn check_entries(&self, writes: &[Write], scale: Scale) -> Result<()> {
        let mut due: BTreeMap<i64, i64> = (1..=scale.users).map(|user| (user, 0)).collect();
        let mut known = 0;
        for write in writes {
            let (Change::Payment { amount } | Change::Deposit { amount }) = write.change else { continue };
            let there = self.entries.get(&id(write)?).map_or(&[][..], Vec::as_slice);
            at_most_once(write, there.len())?;
            ensure!(there.iter().all(|entry| *entry == (write.user, amount)), "{write:?} is there as {there:?}");
            known += there.len();
            for (user, amount) in there {
                *due.entry(*user).or_default() += amount;
            }
        }
        let there: usize = self.entries.values().map(Vec::len).sum();
        ensure!(there == known, "{there} entries are there, and {known} of them were asked for");
        for (user, due) in due {
            let balance = self.balances.get(&user).map_or(&[][..], Vec::as_slice);
            ensure!(balance == [due], "user {user} has {balance:?}, and entries of {due}");
        }
        Ok(())
    }

    fn check_notes(&self, writes: &[Write]) -> Result<()> {
        let deleted: BTreeMap<(u64, u64), Outcome> = writes
            .iter()
            .filter_map(|write| match write.change {
                Change::NoteDeleted { note } => Some(((write.client, note), write.outcome)),
                _ => None,
            })
            .collect();
        let mut known = 0;
        for write in writes.iter().filter(|write| write.change == Change::Note) {
            let there = self.notes.get(&id(write)?).map_or(0, Vec::len);
            known += there;
            match deleted.get(&(write.client, write.number)) {
                Some(Outcome::Acknowledged) => ensure!(there == 0, "{write:?} was deleted and is there"),
                Some(Outcome::Unknown) => ensure!(there <= 1, "{write:?} is there {there} times"),
                Some(Outcome::Refused) | None => at_most_once(write, there)?,
            }
        }
        let there: usize = self.notes.values().map(Vec::len).sum();
        ensure!(there == known, "{there} notes are there, and {known} of them were asked for");
        Ok(())
    }

    fn check_names(&self, writes: &[Write]) -> Result<()> {
        let mut known = 0;
        for write in writes.iter().filter(|write| write.change == Change::Name) {
            let there = self.names.get(&id(write)?).copied().unwrap_or(0);
            at_most_once(write, there)?;
            known += there;
        }
        let there: usize = self.names.values().sum();
        ensure!(there == known, "{there} names are there, and {known} of them were asked for");
        Ok(())
    }

    /// Every mark of a client was counted as often as every other, and as often as it was acknowledged, or may have been.
    fn check_marks(&self, writes: &[Write], scale: Scale) -> Result<()> {
        for client in 0..scale.writers {
            let marks = self.marks.get(&i64::try_from(client)?).context("a client has no marks")?;
            ensure!(marks.len() == usize::try_from(MARKED)?, "client {client} has marks of {} users", marks.len());
            let first = marks.values().next().context("no marks")?;
            ensure!(first.len() == 1 && marks.values().all(|counts| counts == first), "client {client}'s marks differ: {marks:?}");
            let told = |outcome| {
                writes.iter().filter(|write| (write.client, write.change, write.outcome) == (client, Change::Marks, outcome)).count()
            };
            let (sure, open) = (i64::try_from(told(Outcome::Acknowledged))?, i64::try_from(told(Outcome::Unknown))?);
            ensure!(
                first[0] >= sure && first[0] <= sure + open,
                "client {client}'s marks: {first:?}, of {sure} acknowledged and {open} unknown"
            );
        }
        Ok(())
    }
}

/// The halves differ by the numbers of the shifts that were made; where none is unknown that is exact.
fn check_shifts(rows: &Rows, writes: &[Write]) -> Result<()> {
    let mut made: BTreeMap<i64, i64> = BTreeMap::new();
    let mut open: BTreeMap<i64, bool> = BTreeMap::new();
    for write in writes.iter().filter(|write| write.change == Change::Shift) {
        match write.outcome {
            Outcome::Acknowledged => *made.entry(write.user).or_default() += i64::try_from(write.number)?,
            Outcome::Unknown => drop(open.insert(write.user, true)),
            Outcome::Refused => {}
        }
    }
    for (user, amounts) in rows.shifted.iter().filter(|(user, _)| !open.contains_key(user)) {
        let shifted = amounts.iter().max().copied().unwrap_or(0);
        let made = made.get(user).copied().unwrap_or(0);
        ensure!(shifted == made, "user {user}'s halves have {amounts:?}, and shifts of {made} were made");
    }
    Ok(())
}

fn at_most_once(write: &Write, there: usize) -> Result<()> {
    match write.outcome {
        Outcome::Acknowledged => ensure!(there == 1, "{write:?} is there {there} times"),
        Outcome::Refused => ensure!(there == 0, "{write:?} was refused and is there {there} times"),
        Outcome::Unknown => ensure!(there <= 1, "{write:?} is there {there} times"),
    }
    Ok(())
}

fn id(write: &Write) -> Result<Id> {
    Ok((i64::try_from(write.client)?, i64::try_from(write.number)?))
}

fn numbers<const N: usize>(server: &mut Connection, sql: &str) -> Result<Vec<[i64; N]>> {
    let rows = server.query(sql).with_context(|| sql.to_owned())?;
    let number = |value: Option<String>| anyhow::Ok(value.context("a value is null")?.parse()?);
    let row = |row: Vec<Option<String>>| {
        let values: Vec<i64> = row.into_iter().map(number).collect::<Result<_>>()?;
        <[i64; N]>::try_from(values).ok().context("a row of another length")
    };
    rows.into_iter().map(row).collect()
}
