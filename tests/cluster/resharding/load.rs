//! Writers and readers of every sort, until they are told to stop; each read is checked at once, each write remembered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::connection::Connection;
use crate::differential::generate::random::Random;
use crate::reply::ServerError;
use crate::resharding::client::{extended, judge};
use crate::resharding::history::{Change, Outcome, Write};
use crate::resharding::stage::{Stage, lock};
use crate::resharding::trouble::{LOST, NO_ENTRY, Told};
use crate::resharding::{MARKED, SMALL, Scale};
use crate::shardyard::eventually;

/// What clients may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tolerance {
    NoErrors,
    /// Servers and proxies die: errors, but no wrong answers.
    Errors,
}

pub(crate) struct Load<'a> {
    stage: &'a Stage,
    tolerance: Tolerance,
    pub(crate) scale: Scale,
    /// Users that every second write is of, if there are any.
    favoured: RwLock<Vec<i64>>,
    stop: AtomicBool,
    pub(crate) writes: Mutex<Vec<Write>>,
    pub(crate) reads: AtomicU64,
    /// What clients were told, and how often.
    pub(crate) errors: Mutex<BTreeMap<String, usize>>,
    /// The same, one by one.
    pub(crate) told: Mutex<Vec<Told>>,
}

/// Since the process first asked.
pub(crate) fn elapsed() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

impl<'a> Load<'a> {
    /// Lays the tables and fills them.
    pub(crate) fn new(stage: &'a Stage, tolerance: Tolerance) -> Result<Self> {
        Self::sized(stage, tolerance, SMALL)
    }

    /// The same for more clients and users. Fixed rows beyond the first are the caller's to make.
    pub(crate) fn sized(stage: &'a Stage, tolerance: Tolerance, scale: Scale) -> Result<Self> {
        stage.command(&["table", "shard", "names", "--key", "name"])?;
        let mut client = stage.connect(0)?;
        for sql in [
            "create table accounts (user_id bigint primary key, balance bigint not null)",
            "create table entries (user_id bigint not null references accounts, client int, number int, amount bigint not null,
                                   primary key (user_id, client, number))",
            "create table pairs (user_id bigint, half int, amount bigint not null, primary key (user_id, half))",
            "create table marks (user_id bigint, client int, count int not null, primary key (user_id, client))",
            "create table fixed (user_id bigint primary key, value bigint not null, filler text)",
            "create table notes (user_id bigint, client int, number int, body text)",
            "create table names (name text primary key, client int, number int)",
        ] {
            client.query(sql).with_context(|| sql.to_owned())?;
        }
        eventually(Duration::from_secs(5), || stage.connect(1)?.query("select from names where name = 'x'").map(drop))?;
        client.query("begin")?;
        for user in 1..=scale.users {
            client.query(&format!("insert into accounts values ({user}, 0)"))?;
            client.query(&format!("insert into pairs values ({user}, 1, 0), ({user}, 2, 0)"))?;
        }
        for user in 1..=MARKED {
            client.query(&format!("insert into fixed values ({user}, {user}, repeat('x', {}))", user % 7 * 600))?;
            let marks: Vec<String> = (0..scale.writers).map(|client| format!("({user}, {client}, 0)")).collect();
            client.query(&format!("insert into marks values {}", marks.join(", ")))?;
        }
        client.query("commit")?;
        elapsed();
        Ok(Self {
            stage,
            tolerance,
            scale,
            favoured: RwLock::default(),
            stop: AtomicBool::new(false),
            writes: Mutex::new(Vec::new()),
            reads: AtomicU64::new(0),
            errors: Mutex::default(),
            told: Mutex::default(),
        })
    }

    /// Forgets everything and takes it back on the servers, so that the next move finds small tables.
    pub(crate) fn renew(&self) -> Result<()> {
        let mut client = self.stage.connect(0)?;
        for sql in [
            "delete from entries",
            "delete from notes",
            "delete from names",
            "update accounts set balance = 0",
            "update pairs set amount = 0",
            "update marks set count = 0",
        ] {
            client.query(sql).with_context(|| sql.to_owned())?;
        }
        lock(&self.writes).clear();
        lock(&self.errors).clear();
        lock(&self.told).clear();
        self.reads.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Runs clients while `act` runs; the first failure of either.
    pub(crate) fn run<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let writers = (0..self.scale.writers).map(|client| scope.spawn(move || self.client(client, Self::write_on)));
            let readers =
                (0..self.scale.readers).map(|client| scope.spawn(move || self.client(self.scale.writers + client, Self::read_on)));
            let clients: Vec<_> = writers.chain(readers).collect();
            let acted = act();
            self.stop.store(true, Ordering::Relaxed);
            let ends: Vec<Result<()>> =
                clients.into_iter().map(|client| client.join().unwrap_or_else(|_| bail!("a client panicked"))).collect();
            // A client's complaint tells more than what came of it.
            ends.into_iter().collect::<Result<()>>()?;
            acted
        })
    }

    /// From now on every second write is of one of these users.
    pub(crate) fn favour(&self, users: Vec<i64>) {
        *self.favoured.write().unwrap_or_else(PoisonError::into_inner) = users;
    }

    fn user(&self, random: &mut Random) -> i64 {
        let favoured = self.favoured.read().unwrap_or_else(PoisonError::into_inner);
        if favoured.is_empty() || random.chance(50) {
            return random.between(1, self.scale.users);
        }
        favoured[random.below(favoured.len())]
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// One client over as many connections as it takes.
    fn client(&self, client: u64, on: fn(&Self, u64, &mut Connection, &mut Random) -> Result<()>) -> Result<()> {
        let mut random = Random::new(500 + client + 100 * self.reads.load(Ordering::Relaxed));
        let failed = |error: anyhow::Error| {
            // The others need not go on.
            self.stop.store(true, Ordering::Relaxed);
            Err(error.context(format!("client {client}")))
        };
        while !self.stopped() {
            let mut connection = match self.stage.connect(random.below(2)) {
                Ok(connection) => connection,
                Err(error) if self.tolerance == Tolerance::NoErrors => return failed(error),
                Err(error) => {
                    self.note(error.downcast_ref::<ServerError>().map_or(NO_ENTRY, ServerError::sqlstate), &error);
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
            };
            match on(self, client, &mut connection, &mut random) {
                Ok(()) => {}
                Err(error) if self.tolerance == Tolerance::NoErrors || error.downcast_ref::<Wrong>().is_some() => return failed(error),
                Err(error) => {
                    *lock(&self.errors).entry(format!("{:#}", error.root_cause())).or_default() += 1;
                    self.note(error.downcast_ref::<ServerError>().map_or(LOST, ServerError::sqlstate), &error);
                }
            }
        }
        Ok(())
    }

    fn note(&self, class: &str, error: &anyhow::Error) {
        lock(&self.told).push(Told { at: elapsed(), class: class.to_owned(), text: format!("{:#}", error.root_cause()) });
    }

    fn write_on(&self, client: u64, connection: &mut Connection, random: &mut Random) -> Result<()> {
        let mut notes = Vec::new();
        while !self.stopped() {
            std::thread::sleep(self.scale.pauses.0);
            let change = match random.below(100) {
                0..25 => Change::Payment { amount: random.between(-50, 50) },
                25..40 => Change::Deposit { amount: random.between(1, 50) },
                40..62 => Change::Note,
                62..75 if !notes.is_empty() => {
                    let (user, note) = notes.swap_remove(random.below(notes.len()));
                    self.attempt(client, user, Change::NoteDeleted { note }, connection)?;
                    continue;
                }
                62..88 => Change::Shift,
                88..90 => Change::Marks,
                _ => Change::Name,
            };
            let user = if matches!(change, Change::Marks | Change::Name) { 0 } else { self.user(random) };
            let number = self.attempt(client, user, change, connection)?;
            if change == Change::Note {
                let seen = extended(
                    connection,
                    "select count(*) from notes where user_id = $1 and client = $2 and number = $3",
                    &[&user.to_string(), &client.to_string(), &number.to_string()],
                )?;
                right(seen == [[Some("1".to_owned())]], || {
                    format!("the note {number} of user {user}, just written, is there {seen:?} times")
                })?;
                notes.push((user, number));
            }
        }
        Ok(())
    }

    /// Makes the change and remembers what came of it; its number.
    fn attempt(&self, client: u64, user: i64, change: Change, connection: &mut Connection) -> Result<u64> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let began = elapsed();
        let mut write = Write { client, number, user, change, outcome: Outcome::Unknown, began, took: Duration::ZERO };
        let made = make(connection, &write);
        write.took = elapsed() - began;
        write.outcome = made.as_ref().map_or_else(|(outcome, _)| *outcome, |()| Outcome::Acknowledged);
        lock(&self.writes).push(write);
        made.map(|()| number).map_err(|(_, error)| error.context(format!("{change:?} of user {user} after {} ms", write.took.as_millis())))
    }

    fn read_on(&self, _client: u64, connection: &mut Connection, random: &mut Random) -> Result<()> {
        while !self.stopped() {
            std::thread::sleep(self.scale.pauses.1);
            let Scale { users, fixed, writers, .. } = self.scale;
            let user = random.between(1, users.min(fixed));
            let (sql, expected) = match random.below(6) {
                0 => ("select count(*), sum(value) from fixed".to_owned(), format!("{fixed} {}", fixed * (fixed + 1) / 2)),
                1 => ("select count(*), sum(amount) from pairs".to_owned(), format!("{} 0", users * 2)),
                2 => (
                    "select count(*), count(distinct user_id) from marks".to_owned(),
                    format!("{} {MARKED}", MARKED * writers.cast_signed()),
                ),
                3 => {
                    let balance = "select (select balance from accounts a where a.user_id = U) -
                                   (select coalesce(sum(amount), 0) from entries e where e.user_id = U)";
                    (balance.replace('U', &user.to_string()), "0".to_owned())
                }
                4 => {
                    (format!("select count(*), sum(value) from fixed where user_id <= {user}"), format!("{user} {}", user * (user + 1) / 2))
                }
                _ => (format!("select user_id from fixed where value = {user} order by user_id limit 2"), user.to_string()),
            };
            let rows =
                if random.chance(50) { connection.query(&sql) } else { extended(connection, &sql, &[]) }.with_context(|| sql.clone())?;
            let got: Vec<String> = rows.iter().flatten().map(|value| value.clone().unwrap_or_default()).collect();
            right(got.join(" ") == expected, || format!("{sql}: {}, and not {expected}", got.join(" ")))?;
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// An answer that no fault excuses.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

fn right(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Wrong(what()).into()) }
}

fn make(connection: &mut Connection, write: &Write) -> Result<(), (Outcome, anyhow::Error)> {
    let Write { client, number, user, change, .. } = write;
    match change {
        Change::Payment { amount } => transaction(connection, |connection| {
            let balance: i64 = connection.value(&format!("select balance from accounts where user_id = {user} for update"))?.parse()?;
            let sql = "update accounts set balance = $1 where user_id = $2";
            extended(connection, sql, &[&(balance + amount).to_string(), &user.to_string()])?;
            connection.query(&format!("insert into entries values ({user}, {client}, {number}, {amount})"))?;
            Ok(())
        }),
        Change::Deposit { amount } => transaction(connection, |connection| {
            connection.query(&format!("insert into entries values ({user}, {client}, {number}, {amount})"))?;
            connection.query(&format!("update accounts set balance = balance + {amount} where user_id = {user}"))?;
            Ok(())
        }),
        Change::Shift => transaction(connection, |connection| {
            connection.query(&format!("update pairs set amount = amount - {number} where user_id = {user} and half = 1"))?;
            connection.query(&format!("update pairs set amount = amount + {number} where user_id = {user} and half = 2"))?;
            Ok(())
        }),
        Change::Note => {
            let sql = "insert into notes values ($1, $2, $3, repeat('n', 300))";
            alone(extended(connection, sql, &[&user.to_string(), &client.to_string(), &number.to_string()]).map(drop))
        }
        Change::NoteDeleted { note } => {
            let sql = format!("delete from notes where user_id = {user} and client = {client} and number = {note} returning number");
            alone(connection.query(&sql).and_then(|rows| {
                right(rows.len() == 1, || format!("the note {note} of user {user} was there {} times to be deleted", rows.len()))
            }))
        }
        Change::Marks => alone(
            connection.query(&format!("update marks set count = count + 1 where client = {client} returning user_id")).and_then(|rows| {
                right(i64::try_from(rows.len())? == MARKED, || {
                    format!("{} marks of client {client} were changed, not {MARKED}", rows.len())
                })
            }),
        ),
        Change::Name => alone(connection.query(&format!("insert into names values ('name {number}', {client}, {number})")).map(drop)),
    }
}

/// A statement that commits by itself.
fn alone(made: Result<()>) -> Result<(), (Outcome, anyhow::Error)> {
    made.map_err(|error| (judge(&error), error))
}

/// All or nothing; before COMMIT was sent nothing is certain to be there.
fn transaction(connection: &mut Connection, act: impl FnOnce(&mut Connection) -> Result<()>) -> Result<(), (Outcome, anyhow::Error)> {
    let refused = |error| (Outcome::Refused, error);
    connection.query("begin").map_err(refused)?;
    act(connection).map_err(refused)?;
    connection.query("commit").map(drop).map_err(|error| (judge(&error), error))
}
