//! Two sessions, one on the plain server and one on the cluster, that are told the same.

use std::fmt;

use anyhow::{Context, Result};

use crate::connection::Connection;
use crate::differential::compare::difference;
use crate::differential::outcome::{Manner, Outcome, run};
use crate::differential::script::Statement;
use crate::dsn::Dsn;
use crate::reply::ServerError;

/// What became of one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    /// The same, and it is an error: its SQLSTATE.
    SameError(String),
    /// The cluster refused it: message and detail.
    Refused(String),
    /// The rest of a transaction of which a statement was refused.
    Skipped,
    Different(Difference),
}

/// A wrong answer, and both answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) what: String,
    pub(crate) expected: String,
    pub(crate) actual: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "    {}\n    plain server:\n{}\n    cluster:\n{}", self.what, self.expected, self.actual)
    }
}

pub(crate) struct Pair {
    pub(crate) plain: Connection,
    pub(crate) subject: Connection,
    /// Asks for routes: in the subject's own session that could fail its transaction.
    observer: Connection,
    /// A transaction was given up; what is left of it in the script is passed over.
    skipping: bool,
}

impl Pair {
    pub(crate) fn connect(plain: &Dsn, subject: &Dsn) -> Result<Self> {
        Ok(Self {
            plain: Connection::connect(plain).context("to the plain server")?,
            subject: Connection::connect(subject).context("to the cluster")?,
            observer: Connection::connect(subject).context("to the cluster")?,
            skipping: false,
        })
    }

    /// Runs a statement on both. An error of this function is the end of the pair: a connection is lost or out of step.
    pub(crate) fn run(&mut self, statement: &Statement, manner: &Manner) -> Result<Verdict> {
        if self.skipping {
            self.skipping = !ends_transaction(&statement.sql);
            return Ok(Verdict::Skipped);
        }
        let input = statement.input.as_bytes();
        let actual = run(&mut self.subject, &statement.sql, manner, input).context("on the cluster")?;
        let refusal = actual.error.as_ref().filter(|error| error.sqlstate() == "0A000");
        // What was refused is not there; it must not be there on the plain server either.
        if let Some(error) = refusal.filter(|_| !only_reads(&statement.sql)) {
            return match !error.field("F").is_empty() && self.plain_refuses(statement, &actual)? {
                true => Ok(Verdict::SameError(error.sqlstate().to_owned())),
                false => self.refused(&actual, error),
            };
        }
        let expected = run(&mut self.plain, &statement.sql, manner, input).context("on the plain server")?;
        if let Some(error) = refusal.filter(|_| expected.sqlstate() != Some("0A000")) {
            return self.refused(&actual, error);
        }
        let Some(what) = difference(&expected, &actual, &statement.order) else {
            return Ok(expected.sqlstate().map_or(Verdict::Same, |state| Verdict::SameError(state.to_owned())));
        };
        self.give_up(expected.in_transaction() || actual.in_transaction())?;
        Ok(Verdict::Different(Difference { what, expected: expected.to_string(), actual: actual.to_string() }))
    }

    /// Whether a refusal that names its place in PostgreSQL's source is the plain server's too. What it does instead is undone.
    fn plain_refuses(&mut self, statement: &Statement, actual: &Outcome) -> Result<bool> {
        if !actual.in_transaction() {
            self.plain.query("begin")?;
        }
        let expected = run(&mut self.plain, &statement.sql, &Manner::Simple, statement.input.as_bytes()).context("on the plain server")?;
        if !actual.in_transaction() {
            self.plain.query("rollback")?;
        }
        Ok(expected.sqlstate() == Some("0A000"))
    }

    fn refused(&mut self, actual: &Outcome, error: &ServerError) -> Result<Verdict> {
        let reason = match error.field("D") {
            "" => error.message().to_owned(),
            detail => format!("{}: {detail}", error.message()),
        };
        self.give_up(actual.in_transaction())?;
        Ok(Verdict::Refused(reason))
    }

    /// Rolls back on both, so that they are in step again.
    fn give_up(&mut self, in_transaction: bool) -> Result<()> {
        if in_transaction {
            self.skipping = true;
            self.plain.query("rollback")?;
            self.subject.query("rollback")?;
        }
        Ok(())
    }

    /// The path that EXPLAIN (ROUTE) tells of a statement; `None` where there is nothing to tell.
    pub(crate) fn path(&mut self, sql: &str) -> Option<String> {
        // Of several statements only the first would be explained, and the others run.
        (!sql.contains("; ")).then_some(())?;
        let plannable = ["select", "with", "values", "table", "insert", "update", "delete", "merge", "("];
        plannable.contains(&first_word(sql).as_str()).then_some(())?;
        let rows = self.observer.query(&format!("explain (route) {sql}")).ok()?;
        let route = rows.into_iter().find(|row| row.first().is_some_and(|name| name.as_deref() == Some("route")))?;
        route.into_iter().nth(1).flatten()
    }
}

fn first_word(sql: &str) -> String {
    let text = sql.trim_start();
    let word: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    if word.is_empty() { text.chars().take(1).collect() } else { word.to_lowercase() }
}

/// Whether running a statement on one server only leaves both the same.
fn only_reads(sql: &str) -> bool {
    let text = sql.to_lowercase().replace("for update", "").replace("for no key update", "");
    let writes = ["insert", "update", "delete", "merge", " into ", "nextval", "setval"];
    let reads = ["select", "with", "values", "table", "(", "show", "fetch"];
    reads.contains(&first_word(&text).as_str()) && !writes.iter().any(|word| text.contains(word))
}

/// Whether it may be run twice in one script.
pub(crate) fn repeatable(sql: &str) -> bool {
    only_reads(sql) && first_word(sql) != "fetch"
}

fn ends_transaction(sql: &str) -> bool {
    let text = sql.trim().to_lowercase();
    matches!(first_word(&text).as_str(), "commit" | "rollback" | "end" | "abort") && !text.contains(" to ") && !text.contains("prepared")
}
