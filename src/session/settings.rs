//! The client's settings: tracked here, applied to a server connection only where it differs.

use std::hash::BuildHasher;
use std::sync::Arc;

use tokio::time::Instant;

use crate::backend::settings::{list_elements, statement};
use crate::backend::{PoolMode, ServerConnection, SettingSet, SettingValue};
use crate::execute::ask::{ask, ask_value};
use crate::routing::{Access, Hint, HintTarget};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::shared::{Greeting, Shared};
use crate::sql::command::Scope;
use crate::wire::{PlainError, SqlState, to_client};

/// Settings of ours, which no server hears of, start with this.
pub(super) const OWN_PREFIX: &str = "shardyard.";

const FLOAT_DIGITS: &str = "SHOW extra_float_digits";

fn is_above_zero(value: &str) -> bool {
    value.trim().parse::<i32>().is_ok_and(|digits| digits > 0)
}

/// What a transaction or savepoint restores.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) settings: Arc<SettingSet>,
    search_path: Option<SettingValue>,
    own: Own,
    outer_own: Option<Own>,
}

/// `shardyard.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) hint: Hint,
    /// As they were set, for SHOW.
    pub(super) texts: Vec<(String, String)>,
}

/// One client's settings.
#[derive(Debug)]
pub(super) struct ClientSettings {
    /// What RESET goes back to.
    startup: Arc<SettingSet>,
    pub(super) current: Arc<SettingSet>,
    /// A `SET LOCAL search_path` in force.
    local_search_path: Option<SettingValue>,
    /// `SHOW search_path` with the startup settings.
    default_search_path: String,
    /// `extra_float_digits` is above 0 with the startup settings.
    exact_floats: bool,
    pub(super) own: Own,
    /// What `own` goes back to when the transaction with a SET LOCAL of it ends.
    outer_own: Option<Own>,
    /// Schemas in which names are looked up, `$user` resolved.
    pub(super) search_path: Arc<[String]>,
    pub(super) standard_strings: bool,
    /// The client's encoding is not UTF-8.
    pub(super) other_encoding: bool,
    /// Tells this client's temporary tables from all others'; 0 without any.
    pub(super) context: u64,
    /// A hash of the settings that plans depend on.
    plan_settings: u64,
}

impl ClientSettings {
    pub(super) fn new(startup: Arc<SettingSet>) -> Self {
        Self {
            current: Arc::clone(&startup),
            startup,
            local_search_path: None,
            default_search_path: "\"$user\", public".to_owned(),
            exact_floats: false,
            own: Own::default(),
            outer_own: None,
            search_path: Arc::from([]),
            standard_strings: true,
            other_encoding: false,
            context: 0,
            plan_settings: 0,
        }
    }

    /// What plans depend on of this client.
    pub(super) fn plan_context(&self) -> u64 {
        self.context ^ self.plan_settings
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            settings: Arc::clone(&self.current),
            search_path: self.local_search_path.clone(),
            own: self.own.clone(),
            outer_own: self.outer_own.clone(),
        }
    }

    pub(super) fn restore(&mut self, snapshot: Snapshot) {
        self.own = snapshot.own;
        self.outer_own = snapshot.outer_own;
        if !Arc::ptr_eq(&self.current, &snapshot.settings) || self.local_search_path != snapshot.search_path {
            self.current = snapshot.settings;
            self.local_search_path = snapshot.search_path;
            self.derive();
        }
    }

    /// Brings a server's session to the wanted settings: those at the transaction's start, or the present ones.
    pub(super) async fn apply(&self, server: &mut ServerConnection, at_start: Option<&Arc<SettingSet>>) -> Result<(), Failure> {
        let wanted = at_start.unwrap_or(&self.current);
        if Arc::ptr_eq(wanted, &server.settings) {
            return Ok(());
        }
        if let Some(statements) = server.settings.statements_towards(wanted) {
            ask(server, &statements).await?;
        }
        server.settings = Arc::clone(wanted);
        Ok(())
    }

    fn set(&mut self, name: &str, value: Option<SettingValue>, shared: &Shared) {
        let mut settings = (*self.current).clone();
        settings.set(name, value.or_else(|| self.startup.get(name).cloned()));
        self.current = shared.intern(settings);
        self.derive();
    }

    /// Forgets SET LOCAL at the transaction's end.
    pub(super) fn end_local(&mut self) {
        if let Some(own) = self.outer_own.take() {
            self.own = own;
        }
        if self.local_search_path.take().is_some() {
            self.derive();
        }
    }

    fn derive(&mut self) {
        let path = self.local_search_path.as_ref().or_else(|| self.current.get("search_path"));
        let default = SettingValue::Raw(self.default_search_path.clone());
        let role = self.current.get("role").map(list_elements).and_then(|mut names| names.pop()).filter(|name| name != "none");
        let mut schemas = list_elements(path.unwrap_or(&default));
        for schema in &mut schemas {
            if schema == "$user"
                && let Some(role) = &role
            {
                schema.clone_from(role);
            }
        }
        self.search_path = schemas.into();
        let hasher = foldhash::quality::FixedState::default();
        let text = |name: &str| self.current.get(name).map(list_elements).and_then(|mut elements| elements.pop());
        self.standard_strings =
            !text("standard_conforming_strings").is_some_and(|value| matches!(value.as_str(), "off" | "false" | "no" | "0"));
        self.other_encoding = text("client_encoding").is_some_and(|value| {
            !matches!(value.replace(['-', '_'], "").to_ascii_lowercase().as_str(), "utf8" | "unicode" | "sqlascii" | "default")
        });
        self.plan_settings = hasher.hash_one((&self.search_path, self.standard_strings, self.other_encoding));
    }
}

impl Session {
    /// Sends what a server says at login: ParameterStatus, the cancel key, ReadyForQuery.
    pub(super) async fn greet(&mut self) -> Result<(), Failure> {
        let mut settings = (*self.settings.current).clone();
        let application_name = settings.get("application_name").cloned();
        settings.set("application_name", None);
        let greeting = match self.shared.greeting(&self.server_user, &settings) {
            Some(greeting) => greeting,
            None => self.learn_greeting(&settings).await?,
        };
        let application_name = match application_name {
            Some(SettingValue::Raw(name) | SettingValue::Sql(name)) => name,
            None => String::new(),
        };
        let out = &mut self.client.output;
        self.reported.greet(Arc::clone(&greeting), application_name, out);
        to_client::backend_key(out, self.cancel.process_id, &self.cancel.secret);
        to_client::ready_for_query(out, self.transaction.status());
        self.settings.default_search_path =
            greeting.search_path.replace("\"$user\"", &crate::backend::settings::quoted_identifier(&self.server_user.name));
        self.settings.exact_floats = greeting.exact_floats;
        self.settings.derive();
        self.shared.counters.clients.add(1);
        Ok(())
    }

    async fn learn_greeting(&mut self, settings: &SettingSet) -> Result<Arc<Greeting>, Failure> {
        let at = self.link_home().await?;
        let Some(link) = self.links.get_mut(at) else { return Err(Failure::Relayed) };
        let search_path = ask_value(&mut link.server, "SHOW search_path").await?.unwrap_or_default();
        let digits = ask_value(&mut link.server, FLOAT_DIGITS).await?.unwrap_or_default();
        let mut parameters = link.server.parameters.clone();
        // The client can write, whichever server answered here.
        parameters.insert("in_hot_standby".to_owned(), "off".to_owned());
        self.settle(at).await?;
        let greeting = Greeting { parameters, search_path, exact_floats: is_above_zero(&digits), made_at: Instant::now() };
        Ok(self.shared.keep_greeting(&self.server_user, settings, greeting))
    }

    /// Whether servers write this client's floats with all their digits, so that their text is the value. In doubt not.
    pub(super) fn has_exact_floats(&self) -> bool {
        const NAME: &str = "extra_float_digits";
        let unseen = self.pinned && self.account.user.pool_mode == PoolMode::Transaction || self.transaction.has_local(NAME);
        let value = self.settings.current.get(NAME).map(|value| list_elements(value).pop().unwrap_or_default());
        !unseen && value.map_or(self.settings.exact_floats, |value| is_above_zero(&value))
    }

    /// SET, for the session or the transaction. Told to the servers first: they know what is valid.
    pub(super) async fn set(&mut self, text: &[u8], name: &str, value: Option<SettingValue>, scope: Scope) -> Result<(), Failure> {
        if scope == Scope::Transaction && !self.transaction.is_explicit() && !self.transaction.is_internal() {
            let warning = PlainError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "SET LOCAL can only be used in transaction blocks");
            to_client::notice(&mut self.client.output, "WARNING", &warning);
            to_client::command_complete(&mut self.client.output, "SET");
            return Ok(());
        }
        if let Some(own) = name.strip_prefix(OWN_PREFIX) {
            self.set_own_within(own, value.as_ref(), scope)?;
            to_client::command_complete(&mut self.client.output, "SET");
            return Ok(());
        }
        self.run_on_links(text).await?;
        self.note_set(name, value, scope);
        Ok(())
    }

    /// Follows a SET that the servers have accepted.
    pub(super) fn note_set(&mut self, name: &str, value: Option<SettingValue>, scope: Scope) {
        match scope {
            Scope::Session => self.settings.set(name, value, &self.shared),
            Scope::Transaction => {
                let sql = value.as_ref().map_or_else(|| format!("SET LOCAL \"{name}\" TO DEFAULT"), |value| statement(name, value, true));
                self.transaction.note_local(sql);
                if name == "search_path" {
                    self.settings.local_search_path = value;
                    self.settings.derive();
                }
            }
        }
        self.adopt_settings();
    }

    /// Outside a transaction the servers that ran the statement now have the client's settings.
    fn adopt_settings(&mut self) {
        if !self.transaction.is_open() {
            for link in &mut self.links {
                link.server.settings = Arc::clone(&self.settings.current);
            }
        }
    }

    /// Runs a statement on every server of the transaction, or on the home shard; the client gets the first one's reply.
    pub(super) async fn run_on_links(&mut self, text: &[u8]) -> Result<(), Failure> {
        if self.links.iter().all(|link| !link.primary) {
            self.link_home().await?;
        }
        for at in 0..self.links.len() {
            self.enter_transaction(at).await?;
            // The client gets the last one's reply: an error of any before it must not come behind a success.
            self.queue_query(at, text, at + 1 == self.links.len(), false);
            self.relay_or_fail(at).await?;
        }
        Ok(())
    }

    pub(super) async fn reset(&mut self, text: &[u8], name: &str) -> Result<(), Failure> {
        if let Some(own) = name.strip_prefix(OWN_PREFIX) {
            self.set_own(own, None)?;
            to_client::command_complete(&mut self.client.output, "RESET");
            return Ok(());
        }
        match self.settings.startup.get(name).cloned() {
            None => self.run_on_links(text).await?,
            Some(value) => {
                // To the client RESET means what its startup packet said, of which the server's session knows nothing.
                self.run_own_on_links(&statement(name, &value, false)).await?;
                to_client::command_complete(&mut self.client.output, "RESET");
            }
        }
        self.note_set(name, None, Scope::Session);
        Ok(())
    }

    async fn run_own_on_links(&mut self, sql: &str) -> Result<(), Failure> {
        if self.links.is_empty() {
            self.link_home().await?;
        }
        for at in 0..self.links.len() {
            self.enter_transaction(at).await?;
            self.ask_link(at, sql).await?;
        }
        if let Some(link) = self.links.first() {
            self.reported.tell(&link.server.parameters);
        }
        Ok(())
    }

    pub(super) async fn reset_all(&mut self) -> Result<(), Failure> {
        let startup = Arc::clone(&self.settings.startup);
        if let Some(statements) = self.settings.current.statements_towards(&startup) {
            self.run_own_on_links(&statements).await?;
        }
        self.settings.current = startup;
        self.settings.own = Own::default();
        self.settings.derive();
        self.adopt_settings();
        to_client::command_complete(&mut self.client.output, "RESET");
        Ok(())
    }

    /// RESET ALL without a word to the client or to any server.
    pub(super) fn reset_all_quietly(&mut self) {
        self.settings.current = Arc::clone(&self.settings.startup);
        self.settings.own = Own::default();
        self.settings.derive();
        self.reported.tell_login();
    }

    /// SET LOCAL lasts to the transaction's end; SET also holds behind a SET LOCAL of before.
    fn set_own_within(&mut self, name: &str, value: Option<&SettingValue>, scope: Scope) -> Result<(), Failure> {
        if scope == Scope::Transaction {
            let before = self.settings.own.clone();
            self.set_own(name, value)?;
            self.settings.outer_own.get_or_insert(before);
            return Ok(());
        }
        if let Some(outer) = self.settings.outer_own.take() {
            let inner = std::mem::replace(&mut self.settings.own, outer);
            let set = self.set_own(name, value);
            self.settings.outer_own = Some(std::mem::replace(&mut self.settings.own, inner));
            set?;
        }
        self.set_own(name, value)
    }

    fn set_own(&mut self, name: &str, value: Option<&SettingValue>) -> Result<(), Failure> {
        let text = value.map(|value| list_elements(value).join(","));
        let own = &mut self.settings.own;
        let wrong = |text: &str, hint: &str| {
            Failure::report(
                PlainError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("invalid value for parameter \"{OWN_PREFIX}{name}\": \"{text}\""),
                )
                .hint(hint),
            )
        };
        match (name, text.as_deref()) {
            ("key" | "shard", None | Some("")) => own.hint.target = None,
            ("key", Some(key)) => own.hint.target = Some(HintTarget::Key(key.to_owned())),
            ("shard", Some(text)) => {
                let shard = text
                    .parse()
                    .map_err(|_| wrong(text, "The value is a shard's id, see SHOW shardyard.shards or the operator's shard list."))?;
                own.hint.target = Some(HintTarget::Shard(shard));
            }
            ("access" | "freshness", None | Some("" | "auto" | "session")) => own.hint.access = None,
            ("access" | "freshness", Some("primary")) => own.hint.access = Some(Access::Write),
            ("access", Some("replica")) => own.hint.access = Some(Access::Read),
            ("access", Some(text)) => return Err(wrong(text, "Available values: auto, primary, replica.")),
            ("freshness", Some(text)) => return Err(wrong(text, "Available values: session, primary.")),
            _ => {
                return Err(Failure::plain(SqlState(*b"42704"), format!("unrecognized configuration parameter \"{OWN_PREFIX}{name}\"")));
            }
        }
        own.texts.retain(|(known, _)| known != name);
        own.texts.extend(text.map(|text| (name.to_owned(), text)));
        Ok(())
    }
}
