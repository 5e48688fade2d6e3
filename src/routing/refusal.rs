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
    /// The text was not understood: it may be an error of which PostgreSQL's own message says more. Parsing it on a server, not running it, tells.
    pub maybe_syntax_error: bool,
}

/// How to say where a statement is to run.
const HINT_SYNTAX: &str = "Write /* shardyard: key=VALUE */ or /* shardyard: shard=N */ before the statement to run it on one shard.";

impl Refusal {
    /// `0A000`.
    pub(crate) fn unsupported(message: String, detail: impl Into<Option<String>>, hint: impl Into<Option<String>>) -> Self {
        Self { sqlstate: SqlState::FEATURE_NOT_SUPPORTED, message, detail: detail.into(), hint: hint.into(), maybe_syntax_error: false }
    }

    pub(crate) fn with_routing_hint(message: String, detail: String) -> Self {
        Self::unsupported(message, detail, HINT_SYNTAX.to_owned())
    }

    /// What it reads or writes of a relation is not known. `what`: a sentence without its end.
    pub(crate) fn unclear(relation: &str, what: &str) -> Self {
        let detail = format!("{what}, so what it reads of table \"{relation}\" cannot be proven to be on one shard.");
        Self::with_routing_hint(format!("statement on \"{relation}\" is not provably on one shard"), detail)
    }

    pub(crate) fn unbound(table: &str, key: &str) -> Self {
        Self::unsupported(
            format!("statement on \"{table}\" is not bound to one \"{key}\""),
            format!("Table \"{table}\" is sharded by \"{key}\", and no condition that always holds gives it a value."),
            format!("Add a condition \"{key}\" = … that is joined by AND, also for each joined table. {HINT_SYNTAX}"),
        )
    }

    pub(crate) fn unproven(table: &str, key: &str, reason: &str) -> Self {
        Self::unsupported(
            format!("statement on \"{table}\" is not provably bound to one \"{key}\""),
            format!("For the key \"{key}\" of table \"{table}\": {reason}."),
            HINT_SYNTAX.to_owned(),
        )
    }

    pub(crate) fn several_shards(table: &str, key: &str, shards: usize) -> Self {
        Self::unsupported(
            format!("statement on \"{table}\" concerns {shards} shards"),
            format!("Its values of \"{key}\" live on different shards."),
            "Send one statement for each key.".to_owned(),
        )
    }

    pub(crate) fn spans(first: &str, second: &str) -> Self {
        Self::unsupported(
            format!("statement on \"{first}\" and \"{second}\" spans shards"),
            "The keys they are bound to live on different shards.".to_owned(),
            "Send one statement for each key.".to_owned(),
        )
    }

    pub(crate) fn sharded_with_single(sharded: &str, single: &str) -> Self {
        Self::unsupported(
            format!("statement names \"{sharded}\" and \"{single}\", whose rows live apart"),
            format!("Table \"{sharded}\" is sharded, \"{single}\" is only on the home shard."),
            format!("Make \"{single}\" a reference table (shardyard table reference {single}), or send two statements."),
        )
    }

    pub(crate) fn key_update(table: &str, key: &str) -> Self {
        Self::unsupported(
            format!("column \"{key}\" of table \"{table}\" is its shard key and cannot be updated"),
            "The row would belong on another shard.".to_owned(),
            "Insert the row with its new key and delete the old one.".to_owned(),
        )
    }

    pub(crate) fn null_key(table: &str, key: &str) -> Self {
        Self {
            sqlstate: SqlState::NOT_NULL_VIOLATION,
            message: format!("null value in column \"{key}\" of relation \"{table}\" violates not-null constraint"),
            detail: Some(format!("Column \"{key}\" is the shard key of the table: a row without it belongs on no shard.")),
            hint: None,
            maybe_syntax_error: false,
        }
    }

    pub(crate) fn missing_key(table: &str, key: &str) -> Self {
        Self::unsupported(
            format!("INSERT into \"{table}\" gives no value for \"{key}\""),
            format!("Column \"{key}\" is the shard key of the table: its default would be known only on a shard."),
            format!("Name the column \"{key}\" and give its value."),
        )
    }

    pub(crate) fn malformed_parameter(number: usize) -> Self {
        Self {
            sqlstate: SqlState::INVALID_BINARY_REPRESENTATION,
            message: format!("incorrect binary data format in bind parameter {number}"),
            detail: None,
            hint: None,
            maybe_syntax_error: false,
        }
    }

    pub(crate) fn too_complex() -> Self {
        Self {
            sqlstate: SqlState::STATEMENT_TOO_COMPLEX,
            message: "statement too complex to plan".to_owned(),
            detail: Some("It is nested too deeply, or names too many tables.".to_owned()),
            hint: None,
            maybe_syntax_error: false,
        }
    }

    pub(crate) fn not_understood(table: &str) -> Self {
        let refusal = Self::with_routing_hint(
            format!("statement on \"{table}\" is not understood"),
            format!(
                "Table \"{table}\" is not on the home shard alone, and the proxy's parser does not know the statement's form, or it has an error."
            ),
        );
        Self { maybe_syntax_error: true, ..refusal }
    }
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
