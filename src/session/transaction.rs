//! The client's transaction: what it sees of it, and the server transactions that make it up.

use std::sync::Arc;

use crate::backend::settings::quoted_identifier;
use crate::backend::{ServerConnection, SettingSet};
use crate::catalog::TableRule;
use crate::execute::two_phase::{self, CommitError};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::settings::Snapshot;
use crate::topology::{MapVersion, Schema};
use crate::wire::{PlainError, SqlState, TransactionStatus, to_client};

/// Savepoints of one transaction; PostgreSQL's own bound is memory.
const SAVEPOINTS_MAX: usize = 10_000;

/// Who opened the transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Nobody: each statement commits by itself.
    #[default]
    None,
    /// The proxy, for a statement or a batch that needs several shards; closed by the proxy.
    Internal,
    /// The client, by BEGIN.
    Explicit,
}

/// The state of the client's transaction.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    mode: Mode,
    failed: bool,
    /// What opens it on a server.
    begin: String,
    /// The settings it began with.
    start: Option<Snapshot>,
    savepoints: Vec<Savepoint>,
    /// SET LOCAL and SET TRANSACTION statements so far, for servers that join later.
    local: Vec<String>,
    /// DDL ran in it: when it is committed everybody learns the schema anew.
    pub(super) changes_schema: bool,
    /// The schema as its own DDL has made it so far.
    pub(super) schema: Option<Arc<Schema>>,
    /// Part of the plans' context while `schema` is set.
    pub(super) schema_context: u64,
    /// Its DDL made names that `schema` does not know: a statement with an unknown name is refused.
    pub(super) opaque: bool,
    /// Kinds of tables it made, to be declared in the catalog.
    pub(super) declares: Vec<TableRule>,
    /// The map's version when it first ran a definition or wrote a reference table.
    pub(super) everywhere_since: Option<MapVersion>,
}

#[derive(Debug)]
struct Savepoint {
    name: String,
    settings: Snapshot,
    local: usize,
    /// Changes of what is listened to.
    listening: usize,
}

impl Transaction {
    /// What ReadyForQuery tells the client.
    pub(super) fn status(&self) -> TransactionStatus {
        match (self.mode, self.failed) {
            (Mode::Explicit, true) => TransactionStatus::Failed,
            (Mode::Explicit, false) => TransactionStatus::InTransaction,
            _ => TransactionStatus::Idle,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.mode != Mode::None
    }

    pub(super) fn is_explicit(&self) -> bool {
        self.mode == Mode::Explicit
    }

    pub(super) fn is_internal(&self) -> bool {
        self.mode == Mode::Internal
    }

    pub(super) fn has_failed(&self) -> bool {
        self.is_open() && self.failed
    }

    pub(super) fn fail(&mut self) {
        self.failed = self.is_open();
    }

    /// The session settings that server sessions must have before they join; `None`: the present ones.
    pub(super) fn settings_at_start(&self) -> Option<&Arc<SettingSet>> {
        self.start.as_ref().map(|start| &start.settings)
    }

    pub(super) fn open_internal(&mut self, settings: Snapshot) {
        *self = Self { mode: Mode::Internal, begin: "BEGIN".to_owned(), start: Some(settings), ..Self::default() };
    }

    /// Takes over a transaction that a statement's text has opened on its server.
    pub(super) fn adopt(&mut self, failed: bool, settings: Snapshot) {
        *self = Self { mode: Mode::Explicit, failed, begin: "BEGIN".to_owned(), start: Some(settings), ..Self::default() };
    }

    pub(super) fn open_explicit(&mut self, begin: &str, settings: Snapshot) {
        let before = std::mem::take(self);
        *self = Self { mode: Mode::Explicit, begin: begin.to_owned(), start: Some(before.start.unwrap_or(settings)), ..before };
    }

    /// Whether the client has asked for more than READ COMMITTED.
    pub(super) fn wants_one_snapshot(&self) -> bool {
        let texts = std::iter::once(&self.begin).chain(&self.local).map(|text| text.to_ascii_lowercase());
        texts.filter(|text| text.contains("isolation")).any(|text| text.contains("repeatable") || text.contains("serializable"))
    }

    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    /// Whether a statement that holds for this transaction names the setting.
    pub(super) fn has_local(&self, setting: &str) -> bool {
        self.local.iter().any(|statement| statement.to_ascii_lowercase().contains(setting))
    }

    pub(super) fn note_local(&mut self, statement: String) {
        if self.is_open() {
            self.local.push(statement);
        }
    }

    /// What brings a server that joins now to the transaction's state.
    fn joining_statements(&self, settings: &SettingSet) -> String {
        self.joining(settings, &self.local)
    }

    /// As [`Transaction::joining_statements`], for a transaction beside it: what is said of the transaction itself is left out.
    fn joining_beside(&self, settings: &SettingSet) -> String {
        let of_transaction =
            |statement: &String| statement.trim_start().get(..15).is_some_and(|start| start.eq_ignore_ascii_case("set transaction"));
        let local: Vec<String> =
            self.local.iter().map(|statement| if of_transaction(statement) { String::new() } else { statement.clone() }).collect();
        self.joining(settings, &local)
    }

    fn joining(&self, settings: &SettingSet, local: &[String]) -> String {
        let mut sql = String::new();
        let mut before = self.start.as_ref().map(|start| Arc::clone(&start.settings)).unwrap_or_default();
        let mut local = local.iter();
        let mut told = 0;
        for savepoint in &self.savepoints {
            sql.extend(before.statements_towards(&savepoint.settings.settings));
            for statement in local.by_ref().take(savepoint.local.saturating_sub(told)) {
                sql.push_str(statement);
                sql.push(';');
            }
            told = savepoint.local;
            sql.push_str(&format!("SAVEPOINT {};", quoted_identifier(&savepoint.name)));
            before = Arc::clone(&savepoint.settings.settings);
        }
        sql.extend(before.statements_towards(settings));
        for statement in local {
            sql.push_str(statement);
            sql.push(';');
        }
        sql
    }
}

impl Session {
    /// Sees to it that the server of `links[at]` is in the client's transaction, if there is one.
    pub(super) async fn enter_transaction(&mut self, at: usize) -> Result<(), Failure> {
        let Some(link) = self.links.get(at) else { return Ok(()) };
        if !self.transaction.is_open() || link.server.status != TransactionStatus::Idle || !link.server.expected.is_empty() {
            return Ok(());
        }
        let begin = self.transaction.begin.clone();
        let joining = self.transaction.joining_statements(&self.settings.current);
        if joining.is_empty() && matches!(begin.as_str(), "BEGIN") {
            // A plain BEGIN cannot fail but with its connection: it goes out with the statement.
            self.queue_query(at, b"BEGIN", false, false);
            return Ok(());
        }
        self.ask_link(at, &begin).await?;
        // Not in one query with BEGIN: SAVEPOINT wants the block to be open.
        for statement in split_joined(&joining) {
            self.ask_link(at, statement).await?;
        }
        Ok(())
    }

    /// A link of its own to the home shard, in a transaction that may write, with the settings of the client's. It is the last of the
    /// links, and is to be left by `leave_side`.
    pub(super) async fn take_side(&mut self, snapshot: Option<&str>) -> Result<usize, Failure> {
        let home = self.pools.map.home;
        let at = self.take(home, crate::routing::Access::Write).await?;
        let result = self.open_side(at, snapshot).await;
        if result.is_err() {
            self.leave_side(false).await;
        }
        result.map(|()| at)
    }

    async fn open_side(&mut self, at: usize, snapshot: Option<&str>) -> Result<(), Failure> {
        match snapshot {
            Some(snapshot) => {
                self.ask_link(at, "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE").await?;
                self.ask_link(at, &format!("SET TRANSACTION SNAPSHOT '{snapshot}'")).await?;
            }
            None => self.ask_link(at, "BEGIN READ WRITE").await?,
        }
        let joining = self.transaction.joining_beside(&self.settings.current);
        for statement in split_joined(&joining) {
            self.ask_link(at, statement).await?;
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, text: &str) {
        let tag =
            if text.trim_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case("start")) { "START TRANSACTION" } else { "BEGIN" };
        if self.transaction.is_explicit() {
            self.warn(SqlState::ACTIVE_SQL_TRANSACTION, "there is already a transaction in progress");
        } else {
            let plain =
                ["begin", "begin transaction", "begin work", "start transaction"].iter().any(|form| text.trim().eq_ignore_ascii_case(form));
            self.transaction.open_explicit(if plain { "BEGIN" } else { text }, self.settings.snapshot());
        }
        to_client::command_complete(&mut self.client.output, tag);
    }

    fn warn(&mut self, code: SqlState, message: &str) {
        to_client::notice(&mut self.client.output, "WARNING", &PlainError::new(code, message));
    }

    /// COMMIT: tells the client its outcome, but not ReadyForQuery.
    pub(super) async fn commit(&mut self, chain: bool) -> Result<(), Failure> {
        if !self.transaction.is_explicit() {
            if chain {
                return Err(no_block("COMMIT AND CHAIN"));
            }
            self.warn(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
            to_client::command_complete(&mut self.client.output, "COMMIT");
            return Ok(());
        }
        let begin = self.transaction.begin.clone();
        let mut open =
            (0..self.links.len()).filter(|at| self.links.get(*at).is_some_and(|link| link.server.status != TransactionStatus::Idle));
        let result = match (open.next(), open.next()) {
            (Some(only), None) if self.transaction.declares.is_empty() && !(self.transaction.failed && self.server_is_well(only)) => {
                self.commit_only(only).await
            }
            _ => self.commit_links().await.map(|committed| {
                to_client::command_complete(&mut self.client.output, if committed { "COMMIT" } else { "ROLLBACK" });
            }),
        };
        if chain {
            self.transaction.open_explicit(&begin, self.settings.snapshot());
        }
        result
    }

    fn server_is_well(&self, at: usize) -> bool {
        self.links.get(at).is_some_and(|link| link.server.status == TransactionStatus::InTransaction)
    }

    /// COMMIT of a transaction on one server: its reply is the client's.
    async fn commit_only(&mut self, at: usize) -> Result<(), Failure> {
        if let Err(failure) = self.prepare_listening().await {
            self.roll_back_links().await;
            return Err(failure);
        }
        self.queue_query(at, b"COMMIT", true, false);
        let outcome = self.relay_link(at).await.inspect_err(|_| self.transaction.close())?;
        if outcome.error.is_some() || outcome.rolled_back {
            self.roll_back_links().await;
        } else {
            self.finish_commit().await?;
        }
        if outcome.error.is_some() { Err(Failure::Relayed) } else { Ok(()) }
    }

    /// After the servers have committed: they have the client's settings, and go back to their pools.
    async fn finish_commit(&mut self) -> Result<(), Failure> {
        let current = Arc::clone(&self.settings.current);
        for link in &mut self.links {
            link.server.settings = Arc::clone(&current);
        }
        let changes_schema = self.transaction.changes_schema;
        self.transaction.close();
        self.finish_listening();
        self.settings.end_local();
        self.give_back_all().await;
        if changes_schema {
            Box::pin(self.shared.view.changed()).await;
        }
        Ok(())
    }

    /// Ends the transaction on all its servers; false if it had failed and was rolled back. On an error it is rolled back too.
    pub(super) async fn commit_links(&mut self) -> Result<bool, Failure> {
        let failed = self.transaction.has_failed() || self.links.iter().any(|link| link.server.status == TransactionStatus::Failed);
        if failed {
            self.roll_back_links().await;
            return Ok(false);
        }
        let prepared = match self.prepare_listening().await {
            Ok(()) => Box::pin(self.declare_tables()).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = prepared {
            self.roll_back_links().await;
            return Err(failure);
        }
        let outcome = match self.links.iter().filter(|link| link.wrote && link.server.status != TransactionStatus::Idle).count() {
            0 | 1 => self.commit_in_turn().await,
            _ => self.commit_in_two_phases().await,
        };
        match outcome {
            Ok(()) => {
                self.finish_commit().await?;
                Ok(true)
            }
            Err(failure) => {
                self.roll_back_links().await;
                Err(failure)
            }
        }
    }

    /// At most one server has written: those that only read end first.
    async fn commit_in_turn(&mut self) -> Result<(), Failure> {
        for writers in [false, true] {
            for at in 0..self.links.len() {
                let due = self.links.get(at).is_some_and(|link| link.wrote == writers && link.server.status != TransactionStatus::Idle);
                if due {
                    // The outcome of a COMMIT whose server is lost is unknown, and the error says so.
                    self.ask_link(at, "COMMIT").await?;
                }
            }
        }
        Ok(())
    }

    async fn commit_in_two_phases(&mut self) -> Result<(), Failure> {
        for at in 0..self.links.len() {
            if self.links.get(at).is_some_and(|link| !link.wrote && link.server.status != TransactionStatus::Idle) {
                self.ask_link(at, "COMMIT").await?;
            }
        }
        self.shared.counters.two_phase.add(1);
        // A transaction that touched temporary tables cannot be prepared.
        if self.links.iter().any(|link| link.anchors) {
            self.links.sort_by_key(|link| !link.anchors);
            self.batch.current = None;
        }
        let mut writers = self.links.iter_mut().filter(|link| link.wrote && link.server.status != TransactionStatus::Idle);
        let Some(anchor) = writers.next() else { return Ok(()) };
        let gid = self.shared.two_phase.next(anchor.shard);
        let mut others: Vec<&mut ServerConnection> = writers.map(|link| &mut *link.server).collect();
        match two_phase::commit(&gid, &mut anchor.server, &mut others).await {
            Ok(()) => Ok(()),
            Err(error @ (CommitError::Aborted(_) | CommitError::Unknown(_))) => Err(Failure::report(error)),
        }
    }

    /// Rolls back on all servers; the settings are again as at the start.
    pub(super) async fn roll_back_links(&mut self) {
        if let Some(start) = self.transaction.start.take() {
            self.settings.restore(start);
        }
        self.transaction.close();
        self.discard_listening();
        self.give_back_all().await;
    }

    pub(super) async fn rollback(&mut self, chain: bool) -> Result<(), Failure> {
        if !self.transaction.is_explicit() {
            if chain {
                return Err(no_block("ROLLBACK AND CHAIN"));
            }
            self.warn(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
        }
        let begin = self.transaction.begin.clone();
        let explicit = self.transaction.is_explicit();
        self.roll_back_links().await;
        if chain && explicit {
            self.transaction.open_explicit(&begin, self.settings.snapshot());
        }
        to_client::command_complete(&mut self.client.output, "ROLLBACK");
        Ok(())
    }

    pub(super) async fn savepoint(&mut self, name: &str) -> Result<(), Failure> {
        self.need_block("SAVEPOINT")?;
        if self.transaction.savepoints.len() >= SAVEPOINTS_MAX {
            return Err(Failure::plain(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("more than {SAVEPOINTS_MAX} savepoints")));
        }
        self.on_all_links(&format!("SAVEPOINT {}", quoted_identifier(name))).await?;
        let savepoint = Savepoint {
            name: name.to_owned(),
            settings: self.settings.snapshot(),
            local: self.transaction.local.len(),
            listening: self.listening_changes(),
        };
        self.transaction.savepoints.push(savepoint);
        to_client::command_complete(&mut self.client.output, "SAVEPOINT");
        Ok(())
    }

    pub(super) async fn release(&mut self, name: &str) -> Result<(), Failure> {
        self.need_block("RELEASE SAVEPOINT")?;
        let at = self.savepoint_place(name)?;
        self.on_all_links(&format!("RELEASE SAVEPOINT {}", quoted_identifier(name))).await?;
        self.transaction.savepoints.truncate(at);
        to_client::command_complete(&mut self.client.output, "RELEASE");
        Ok(())
    }

    pub(super) async fn roll_back_to(&mut self, name: &str) -> Result<(), Failure> {
        self.need_block("ROLLBACK TO SAVEPOINT")?;
        let at = self.savepoint_place(name)?;
        self.on_all_links(&format!("ROLLBACK TO SAVEPOINT {}", quoted_identifier(name))).await?;
        // A bound that was set since is gone.
        self.links.iter_mut().for_each(|link| link.server.lock_bound = false);
        self.transaction.savepoints.truncate(at + 1);
        if let Some(savepoint) = self.transaction.savepoints.last() {
            self.transaction.local.truncate(savepoint.local);
            self.settings.restore(savepoint.settings.clone());
            let changes = savepoint.listening;
            self.truncate_listening(changes);
        }
        self.transaction.failed = false;
        to_client::command_complete(&mut self.client.output, "ROLLBACK");
        Ok(())
    }

    fn need_block(&self, command: &str) -> Result<(), Failure> {
        if self.transaction.is_explicit() { Ok(()) } else { Err(no_block(command)) }
    }

    fn savepoint_place(&self, name: &str) -> Result<usize, Failure> {
        let place = self.transaction.savepoints.iter().rposition(|savepoint| savepoint.name == name);
        place.ok_or_else(|| Failure::plain(SqlState::SAVEPOINT_INVALID, format!("savepoint \"{name}\" does not exist")))
    }

    async fn on_all_links(&mut self, sql: &str) -> Result<(), Failure> {
        for at in 0..self.links.len() {
            if self.links.get(at).is_some_and(|link| link.server.status != TransactionStatus::Idle) {
                self.ask_link(at, sql).await?;
            }
        }
        Ok(())
    }
}

fn no_block(command: &str) -> Failure {
    Failure::plain(SqlState::NO_ACTIVE_SQL_TRANSACTION, format!("{command} can only be used in transaction blocks"))
}

/// The statements of [`Transaction::joining_statements`]: a SAVEPOINT may not share a simple query with others before it.
fn split_joined(sql: &str) -> impl Iterator<Item = &str> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = match rest.get(1..).and_then(|tail| tail.find(";SAVEPOINT ")) {
            Some(at) => at + 2,
            None => rest.len(),
        };
        let (first, others) = rest.split_at_checked(next)?;
        rest = others;
        Some(first)
    })
}
