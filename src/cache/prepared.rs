//! Prepared statements of all clients: the same text with the same types is one statement, prepared once per server connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::backend::connection::statement_name;
use crate::sql::literal::Literal;

/// One prepared statement: what Parse said, and the literals found in it.
#[derive(Debug)]
pub struct Statement {
    /// Never 0, never reused.
    pub id: u64,
    /// What servers know it by.
    pub name: String,
    pub text: Bytes,
    pub types: SmallVec<[u32; 8]>,
    pub literals: Vec<Literal>,
}

type Key = (Bytes, SmallVec<[u32; 8]>);

/// Gives out statements. Holds no statement that no client holds.
#[derive(Debug, Default)]
pub struct PreparedRegistry {
    last_id: AtomicU64,
    named: Mutex<Named>,
}

#[derive(Debug, Default)]
struct Named {
    statements: HashMap<Key, Weak<Statement>>,
    /// The length at which dead entries are swept out next.
    sweep_at: usize,
}

/// Dead entries are first looked for at this many.
const SWEEP_MIN: usize = 1024;

impl PreparedRegistry {
    /// A statement of its own, as for the unnamed one.
    #[must_use]
    pub fn fresh(&self, text: Bytes, types: SmallVec<[u32; 8]>, literals: &[Literal]) -> Arc<Statement> {
        let (id, name) = self.next_id();
        Arc::new(Statement { id, name, text, types, literals: literals.to_vec() })
    }

    /// An id that no other statement has, and what servers know its statement by.
    #[must_use]
    pub fn next_id(&self) -> (u64, String) {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        (id, statement_name(id))
    }

    /// The statement of this text and these types that other clients have too.
    #[must_use]
    pub fn shared(&self, text: Bytes, types: SmallVec<[u32; 8]>, literals: &[Literal]) -> Arc<Statement> {
        let key = (text.clone(), types.clone());
        let mut named = self.named.lock();
        if let Some(statement) = named.statements.get(&key).and_then(Weak::upgrade) {
            return statement;
        }
        let statement = self.fresh(text, types, literals);
        if named.statements.len() >= named.sweep_at.max(SWEEP_MIN) {
            named.statements.retain(|_, statement| statement.strong_count() > 0);
            named.sweep_at = named.statements.len() * 2;
        }
        named.statements.insert(key, Arc::downgrade(&statement));
        statement
    }
}
