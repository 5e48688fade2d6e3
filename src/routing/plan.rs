//! The plan of a statement's template: everything about its route that its values do not decide.

use crate::routing::refusal::Refusal;
use crate::routing::route::{Hint, Route, Values};
use crate::sql::command::Command;
use crate::sql::template::Scan;
use crate::topology::{Schema, ShardMap};

/// Whether a replica may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// What the planner may ask about one client.
pub struct Planner<'a> {
    pub schema: &'a Schema,
    pub search_path: &'a [String],
    /// This client's temporary tables: they live on its pinned home connection.
    pub temporary: &'a [String],
}

impl Planner<'_> {
    /// Plans one statement. Never fails: a statement that cannot be run has a plan whose `route` refuses.
    #[must_use]
    pub fn plan(&self, _text: &str, _scan: &Scan, _parameter_types: &[u32]) -> Plan {
        Plan { command: Command::Query, access: Access::Write }
    }
}

/// One template's plan. Immutable, shared by all statements of the template.
#[derive(Debug)]
pub struct Plan {
    pub command: Command,
    pub access: Access,
}

impl Plan {
    /// Where this execution goes.
    ///
    /// # Errors
    /// When it is not provably right on one shard (or alike on all).
    pub fn route(&self, _values: &Values<'_>, _hint: &Hint, _map: &ShardMap) -> Result<Route, Refusal> {
        Ok(Route::Home)
    }

    /// Whether a replica may answer, with the hints of the session and of the text.
    #[must_use]
    pub fn access(&self, _hint: &Hint) -> Access {
        self.access
    }

    /// Whether the route depends on parameters of Bind; `false`: it is known at Parse.
    #[must_use]
    pub fn needs_parameters(&self) -> bool {
        false
    }

    /// Whether the statement names a relation that the schema does not know: the session learns the schema anew.
    #[must_use]
    pub fn unknown_relations(&self) -> bool {
        false
    }

    /// Rows (name, value) for EXPLAIN (ROUTE).
    #[must_use]
    pub fn explain(&self, _values: &Values<'_>, _hint: &Hint, _map: &ShardMap) -> Vec<(String, String)> {
        Vec::new()
    }
}
