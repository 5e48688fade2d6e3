//! The worker's connection to a shard's primary: what it does there, it does as the leading worker or not at all.

use tokio_postgres::{Client, IsolationLevel, Transaction};

use crate::backend::ControlRole;
use crate::backend::probe::control_target;
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::prepared::Statements;
use crate::topology::Shard;

/// The workers' connections are known by the beginning of their `application_name`.
pub(crate) const APPLICATION_NAME: &str = "shardyard worker";

/// Rows are compared as text on both sides: the same text for the same value, whatever the servers' defaults.
const SETTINGS: &str = "set search_path = pg_catalog; set row_security = off; set timezone = 'UTC'; set datestyle = 'ISO, YMD';
     set intervalstyle = postgres; set bytea_output = hex; set extra_float_digits = 1; set xmloption = content;
     set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0; set jit = off;
     set synchronous_commit = on; set client_min_messages = warning; set standard_conforming_strings = on;
     set default_transaction_read_only = off; set default_transaction_isolation = 'read committed'";

/// A connection to one shard's primary.
pub(crate) struct Link {
    pub(crate) name: String,
    client: Client,
    token: i64,
    statements: Statements,
}

/// The leader's, to be compared in each of its transactions.
pub(crate) struct Token {
    token: i64,
    action: String,
}

impl Token {
    /// Whether the shard knows no newer leader; holds off those that come until the transaction ends.
    pub(crate) async fn check(&self, transaction: &Transaction<'_>) -> Result<(), StepError> {
        // One way to the server and back: a statement that is not prepared first.
        let seen = transaction.query_typed_one("select token from shardyard.worker_token for share", &[]).await;
        let seen: i64 = seen.map_err(doing(self.action.clone()))?.get(0);
        if seen == self.token { Ok(()) } else { Err(StepError::LeaseLost) }
    }
}

impl Link {
    pub(crate) async fn open(shard: &Shard, control: &ControlRole, token: i64) -> Result<Self, StepError> {
        let target = control_target(&shard.primary, control).named(&format!("{APPLICATION_NAME} {token}"));
        let client = target.connect().await?;
        let link = Self { name: shard.name.clone(), client, token, statements: Statements::default() };
        link.set_up().await?;
        let standby = link.client.query_one("select pg_catalog.pg_is_in_recovery()", &[]).await;
        if standby.map_err(doing(format!("asking shard {}", link.name)))?.get(0) {
            return Err(StepError::Later(format!("the primary of shard {} is a standby", link.name)));
        }
        Ok(link)
    }

    /// Its settings as they have to be, whatever a script has made of them.
    pub(crate) async fn set_up(&self) -> Result<(), StepError> {
        self.client.batch_execute(SETTINGS).await.map_err(doing(format!("setting up a connection to shard {}", self.name)))
    }

    /// For what needs no transaction and cannot harm: reads, and `CREATE INDEX CONCURRENTLY`.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Those that are prepared here.
    pub(crate) fn statements(&self) -> Statements {
        self.statements.clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Begins a transaction as the leader: it holds a share of the token's row, so that a new leader waits for its end or ends it.
    pub(crate) async fn begin(&mut self) -> Result<Transaction<'_>, StepError> {
        self.begin_with(IsolationLevel::ReadCommitted).await
    }

    /// The same with one snapshot for all its statements.
    pub(crate) async fn begin_snapshot(&mut self) -> Result<Transaction<'_>, StepError> {
        self.begin_with(IsolationLevel::RepeatableRead).await
    }

    async fn begin_with(&mut self, isolation: IsolationLevel) -> Result<Transaction<'_>, StepError> {
        let (transaction, token) = self.start(isolation).await?;
        token.check(&transaction).await?;
        Ok(transaction)
    }

    /// Begins a transaction whose token is still to be compared, before it commits: so that what is read meanwhile need not wait for that.
    pub(crate) async fn start(&mut self, isolation: IsolationLevel) -> Result<(Transaction<'_>, Token), StepError> {
        let action = format!("beginning a transaction on shard {}", self.name);
        let token = Token { token: self.token, action: action.clone() };
        let transaction = self.client.build_transaction().isolation_level(isolation).start().await.map_err(doing(action))?;
        Ok((transaction, token))
    }

    /// Writes the new leader's token, after which no former leader can do anything here. Ends their connections until it succeeds.
    pub(crate) async fn take_over(&self) -> Result<(), StepError> {
        let action = || doing(format!("taking over shard {}", self.name));
        let end_former = format!(
            "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
             where datname = pg_catalog.current_database()
               and case when application_name ~ '^{APPLICATION_NAME} [0-9]+$' then substr(application_name, {})::bigint < {} end",
            APPLICATION_NAME.len() + 2,
            self.token
        );
        self.client.batch_execute("set lock_timeout = '200ms'").await.map_err(action())?;
        for _ in 0..100 {
            self.client.batch_execute(&end_former).await.map_err(action())?;
            let update = "update shardyard.worker_token set token = $1 where token < $1";
            match self.client.execute(update, &[&self.token]).await {
                Ok(_) => break,
                Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE) => {}
                Err(error) => return Err(action()(error)),
            }
        }
        self.client.batch_execute("set lock_timeout = 0").await.map_err(action())?;
        let row = self.client.query_one("select token from shardyard.worker_token", &[]).await.map_err(action())?;
        match row.get::<_, i64>(0) {
            seen if seen == self.token => Ok(()),
            newer if newer > self.token => Err(StepError::LeaseLost),
            _ => Err(StepError::Later(format!("a former worker still holds shard {}", self.name))),
        }
    }
}
