//! Statements that are about the session itself: transactions, settings, prepared statements, cursors.

use crate::backend::SettingValue;
use crate::routing::Access;
use crate::routing::Plan;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::query::Ready;
use crate::session::settings::OWN_PREFIX;
use crate::sql::command::{Command, DiscardTarget, Scope};
use crate::wire::{PlainError, SqlState, to_client};

impl Session {
    /// Runs a command; the client gets everything but ReadyForQuery. The session's `scan` holds the literals of `text`.
    pub(super) async fn command(&mut self, text: &[u8], plan: &Plan) -> Result<(), Failure> {
        let command = &plan.command;
        if !matches!(command, Command::Commit { .. } | Command::Rollback { .. } | Command::RollbackTo(_) | Command::Empty) {
            self.refuse_in_failed()?;
        }
        self.follow_map();
        match command {
            Command::Empty => {
                to_client::empty_query(&mut self.client.output);
                Ok(())
            }
            Command::Query | Command::CopyFrom | Command::CopyTo => self.single(text, plan, Ready::Ours).await.map(drop),
            Command::Begin { .. } => {
                self.begin(&String::from_utf8_lossy(text));
                Ok(())
            }
            Command::Commit { chain } => self.commit(*chain).await,
            Command::Rollback { chain } => self.rollback(*chain).await,
            Command::Savepoint(name) => self.savepoint(name).await,
            Command::Release(name) => self.release(name).await,
            Command::RollbackTo(name) => self.roll_back_to(name).await,
            Command::TwoPhase => Err(two_phase_refused()),
            Command::Set { name, value, scope } => {
                let result = self.set(text, name, value.clone().map(SettingValue::Sql), *scope).await;
                self.give_back_idle().await.and(result)
            }
            Command::SetConfig { name, value, scope } => self.set_config(text, plan, (name, value, *scope)).await,
            Command::SetTransaction { session } => self.set_transaction(text, *session).await,
            Command::Reset { name } => {
                let result = self.reset(text, name).await;
                self.give_back_idle().await.and(result)
            }
            Command::ResetAll => {
                let result = self.reset_all().await;
                self.give_back_idle().await.and(result)
            }
            Command::ShowOwn { name } => self.show_own(name),
            Command::Discard(target) => self.discard_state(text, *target).await,
            Command::Prepare { name, types, statement } => self.prepare(text, name, types.clone(), statement.clone()).await,
            Command::Execute { name, arguments, .. } => self.execute_prepared(text, name, arguments.clone()).await,
            Command::Deallocate { name } => self.deallocate(name.as_deref()),
            Command::DeclareCursor { name, hold } => self.declare_cursor(text, plan, (name, *hold)).await,
            Command::Cursor { name, close } => self.cursor(text, name.as_deref(), *close).await,
            Command::Listen(change) => self.listen(text, change).await,
            Command::Notify => self.notify(text).await,
            Command::Ddl(ddl) => self.ddl(text, ddl).await,
            Command::ExplainRoute { statement } => self.explain_route(text, statement.clone()).await,
            Command::Pinning { temporary_tables, .. } => self.pin(text, plan, temporary_tables).await,
        }
    }

    /// Runs the text on the home shard's primary.
    pub(super) async fn on_home(&mut self, text: &[u8]) -> Result<(), Failure> {
        let home = self.pools.map.home;
        let at = self.link(home, Access::Write).await?;
        self.queue_query(at, text, true, false);
        let result = self.relay_or_fail(at).await;
        self.settle_if_held(at).await?;
        result
    }

    async fn notify(&mut self, text: &[u8]) -> Result<(), Failure> {
        let home = self.pools.map.home;
        let at = self.link(home, Access::Write).await?;
        if let Some(link) = self.links.get_mut(at) {
            // Nor can a transaction with NOTIFY be prepared.
            link.anchors = true;
        }
        self.on_home(text).await
    }

    async fn settle_if_held(&mut self, at: usize) -> Result<(), Failure> {
        if at < self.links.len() { self.settle(at).await } else { Ok(()) }
    }

    /// A SELECT of set_config: run where it belongs, and on every other server of the transaction.
    async fn set_config(&mut self, text: &[u8], plan: &Plan, (name, value, scope): (&str, &str, Scope)) -> Result<(), Failure> {
        if name.starts_with(OWN_PREFIX) {
            return Err(not_yet("set_config() of shardyard's own settings", "Use SET."));
        }
        // The connection is held until its changed settings are noted: given back before, it would bring them to the next client.
        let pinned = std::mem::replace(&mut self.pinned, true);
        let result = self.single(text, plan, Ready::Ours).await;
        self.pinned = pinned;
        if result.is_ok() && (scope == Scope::Session || self.transaction.is_open()) {
            self.note_set(name, Some(SettingValue::Raw(self.value_of(value))), scope);
        }
        self.give_back_idle().await?;
        result?;
        let sql = crate::backend::settings::statement(name, &SettingValue::Raw(self.value_of(value)), scope == Scope::Transaction);
        if self.transaction.is_open() {
            for at in 1..self.links.len() {
                self.ask_link(at, &sql).await?;
            }
        }
        Ok(())
    }

    /// The value of a literal that the planner has given as SQL text.
    fn value_of(&self, literal: &str) -> String {
        literal
            .strip_prefix('\'')
            .and_then(|text| text.strip_suffix('\''))
            .map_or_else(|| literal.to_owned(), |text| text.replace("''", "'"))
    }

    async fn set_transaction(&mut self, text: &[u8], session: bool) -> Result<(), Failure> {
        if session {
            return Err(not_yet(
                "SET SESSION CHARACTERISTICS",
                "Set default_transaction_isolation, default_transaction_read_only or default_transaction_deferrable instead.",
            ));
        }
        self.run_on_links(text).await?;
        self.transaction.note_local(String::from_utf8_lossy(text).into_owned());
        for at in (0..self.links.len()).rev() {
            self.settle(at).await?;
        }
        Ok(())
    }

    async fn discard_state(&mut self, text: &[u8], target: DiscardTarget) -> Result<(), Failure> {
        let tag = match target {
            DiscardTarget::All => "DISCARD ALL",
            DiscardTarget::Plans => "DISCARD PLANS",
            DiscardTarget::Temporary => "DISCARD TEMP",
            DiscardTarget::Sequences => "DISCARD SEQUENCES",
        };
        if target == DiscardTarget::All {
            if self.transaction.is_open() {
                return Err(Failure::plain(SqlState::ACTIVE_SQL_TRANSACTION, "DISCARD ALL cannot run inside a transaction block"));
            }
            self.statements.clear();
            self.reset_all_quietly();
            self.unlisten_all();
        }
        if self.pinned_state() {
            self.reenters = true;
            // Session state lives on the pinned connections: they throw it away themselves.
            for at in 0..self.links.len() {
                self.ask_link(at, std::str::from_utf8(text).unwrap_or(tag)).await?;
                if let Some(link) = self.links.get_mut(at).filter(|_| target == DiscardTarget::All) {
                    link.server.settings = std::sync::Arc::default();
                    link.server.prepared.clear();
                    link.server.unnamed = 0;
                }
            }
        }
        if matches!(target, DiscardTarget::All | DiscardTarget::Temporary) {
            self.temporary.clear();
            self.settings.context = 0;
        }
        if target == DiscardTarget::All {
            self.unpin().await;
        }
        to_client::command_complete(&mut self.client.output, tag);
        Ok(())
    }

    /// Whether a pinned connection holds state of this client's session.
    pub(super) fn pinned_state(&self) -> bool {
        self.pinned
    }

    async fn unpin(&mut self) {
        if self.account.user.pool_mode == crate::backend::PoolMode::Transaction {
            self.pinned = false;
            self.give_back_all().await;
        }
    }

    /// Runs a statement that leaves state in its server's session: from now on the client keeps its connections.
    async fn pin(&mut self, text: &[u8], plan: &Plan, tables: &[String]) -> Result<(), Failure> {
        let pinned = std::mem::replace(&mut self.pinned, true);
        let result = self.single(text, plan, Ready::Ours).await;
        self.reenters = true;
        if result.is_err() {
            self.pinned = pinned;
        } else if !tables.is_empty() {
            self.temporary.extend_from_slice(tables);
            // Plans made so far do not know these names.
            self.settings.context = rand::random();
        }
        result.map(drop)
    }

    async fn declare_cursor(&mut self, text: &[u8], plan: &Plan, (name, hold): (&str, bool)) -> Result<(), Failure> {
        if hold {
            self.pinned = true;
        } else if !self.transaction.is_explicit() {
            return Err(Failure::plain(SqlState::NO_ACTIVE_SQL_TRANSACTION, "DECLARE CURSOR can only be used in transaction blocks"));
        }
        let values = crate::routing::Values { text, literals: self.scan.literals(), ..Default::default() };
        let (route, _) = self.route(plan, &values)?;
        let shard = self.shard_of(&route).unwrap_or(self.pools.map.home);
        // By the same map: the cursor is where it is said to be.
        let map_kept = std::mem::replace(&mut self.map_kept, true);
        let declared = self.single(text, plan, Ready::Ours).await;
        self.map_kept = map_kept;
        declared?;
        self.statements.note_cursor(name, shard);
        Ok(())
    }

    /// FETCH, MOVE, CLOSE: where the cursor is.
    async fn cursor(&mut self, text: &[u8], name: Option<&str>, close: bool) -> Result<(), Failure> {
        let shard = name.and_then(|name| self.statements.cursor(name)).unwrap_or(self.pools.map.home);
        let at = self.link(shard, Access::Read).await?;
        self.queue_query(at, text, true, false);
        let result = self.relay_or_fail(at).await;
        self.settle_if_held(at).await?;
        if close && result.is_ok() {
            self.statements.close_cursor(name);
        }
        result
    }
}

fn two_phase_refused() -> Failure {
    Failure::report(
        PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, "two-phase commit by clients is not supported")
            .detail("The proxy uses PREPARE TRANSACTION itself to commit over several shards.")
            .hint("Use COMMIT."),
    )
}

pub(super) fn not_yet(what: &str, hint: &str) -> Failure {
    Failure::report(PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported")).hint(hint))
}
