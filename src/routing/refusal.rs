//! Why a statement is not run: named table and clause, and what to do instead.

use crate::wire::error::{ClientError, SqlState};

/// A statement that is not run, in PostgreSQL's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub sqlstate: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl ClientError for Refusal {
    fn sqlstate(&self) -> SqlState {
        self.sqlstate
    }

    fn detail(&self) -> Option<String> {
        self.detail.clone()
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}
