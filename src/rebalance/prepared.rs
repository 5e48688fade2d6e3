//! Statements that a worker's connection keeps prepared: inside a fence each round trip is a writer's, and so is each plan.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_postgres::{Statement, Transaction};

/// More than a move of any schema needs; then all are forgotten.
const STATEMENTS_MAX: usize = 2_000;

/// Of one connection, by their text and the settings that their plans depend on.
#[derive(Clone, Default)]
pub(crate) struct Statements(Arc<Mutex<HashMap<(bool, String), Statement>>>);

/// A transaction whose statements are kept. `few`: their plans look rows up one by one.
pub(crate) struct Side<'a> {
    pub(crate) transaction: &'a Transaction<'a>,
    pub(crate) statements: Statements,
    pub(crate) few: bool,
}

impl Side<'_> {
    pub(crate) async fn prepare(&self, sql: String) -> Result<Statement, tokio_postgres::Error> {
        let key = (self.few, sql);
        let known = self.statements.0.lock().get(&key).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.transaction.prepare(&key.1).await?;
        let mut statements = self.statements.0.lock();
        if statements.len() >= STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(key, statement.clone());
        Ok(statement)
    }
}
