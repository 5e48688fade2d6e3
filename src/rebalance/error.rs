//! Why a step of a move did not succeed, and whether it helps to try again.

use crate::catalog::migrate::MigrateError;
use crate::catalog::schema::LoadError;
use crate::catalog::{ConnectError, StoreError};

/// Why a step of a move did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Another worker leads: this one can do nothing more.
    #[error("another worker has taken over")]
    LeaseLost,
    /// A person must act; the text says what to do. The move waits for `move resume`.
    #[error("{0}")]
    Operator(String),
    /// It may work in a moment.
    #[error("{0}")]
    Later(String),
    #[error("{action}")]
    Database { action: String, source: tokio_postgres::Error },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Catalog(#[from] StoreError),
    #[error(transparent)]
    Schema(#[from] LoadError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
}

impl StepError {
    /// Whether nothing but a person's act will help.
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        match self {
            Self::Operator(_) => true,
            Self::Database { source, .. } => needs_operator(source),
            Self::Migrate(MigrateError::Newer { .. } | MigrateError::OtherBuckets { .. }) => true,
            _ => false,
        }
    }

    /// A server's refusal, with where it was met.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        match self {
            Self::Database { action, source } => Self::Database { action: format!("{place}: {action}"), source },
            other => other,
        }
    }

    /// The whole chain in one line, for the catalog and the log.
    #[must_use]
    pub fn line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            match error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::as_db_error) {
                Some(database) => {
                    text = format!("{text}: {} ({})", database.message(), database.code().code());
                    break;
                }
                None => text = format!("{text}: {error}"),
            }
            cause = error.source();
        }
        text
    }
}

/// Names the action of a database error.
pub fn doing(action: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> StepError {
    let action = action.into();
    move |source| StepError::Database { action, source }
}

/// By SQLSTATE: what a server refuses for what it is asked, it refuses again. Locks and lost connections may pass. A full disk is not filled
/// again and again: what a try has written stays there as dead rows for a while.
fn needs_operator(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| match code.code().get(..2) {
        // Data, constraints, privileges, syntax and missing objects, features.
        Some("22" | "23" | "28" | "42" | "0A" | "21" | "44") => true,
        _ => code == &tokio_postgres::error::SqlState::DISK_FULL,
    })
}
