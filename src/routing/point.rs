//! One row by the key alone: a statement that servers may keep prepared though its client sends it as text, each time with another key.
//!
//! It has one literal, so that a server which is told the literal's value and type plans what it would have planned: with a unique index on
//! the key there is nothing that the value could change.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::routing::plan::Planner;
use crate::routing::route::Values;
use crate::sql::ast::{Body, Distinct, Expr, FromItem, Query, Select, Statement};
use crate::sql::literal::{Literal, LiteralKind};
use crate::topology::key::parse_uuid;
use crate::topology::schema::{Relation, RelationKind};
use crate::topology::{KeyType, Placement};

/// Digits that always fit `bigint`.
const DIGITS_MAX: usize = 18;

/// `int8` for a whole number. A string has no type before its column gives it one, and neither has its parameter.
const INTEGER_TYPES: &[u32] = &[20];
const STRING_TYPES: &[u32] = &[0];

/// A read of columns of one table `WHERE key = literal`, the key being unique.
#[derive(Debug)]
pub struct PointRead {
    key_type: KeyType,
    seen: AtomicU32,
    /// Its id among prepared statements, and what servers know it by.
    prepared: OnceLock<(u64, String)>,
}

impl PointRead {
    pub(crate) fn find(planner: &Planner<'_>, statement: &Statement, literals: &[Literal]) -> Option<Self> {
        let Statement::Query(query) = statement else { return None };
        let select = plain(query)?;
        let [FromItem::Table(table)] = select.from.as_slice() else { return None };
        let relation = planner.relation(&table.name).filter(|_| table.sample.is_none() && table.alias.columns.is_empty())?;
        let Placement::Sharded { key_column, key_type } = &relation.placement else { return None };
        let is_key = |expr: &Expr| matches!(expr, Expr::Column { name, .. } if name == key_column);
        let Some(Expr::Equal { left, right, null_safe: false }) = &select.filter else { return None };
        let by_key = is_key(left) && **right == Expr::Literal(0) || is_key(right) && **left == Expr::Literal(0);
        let columns = select.targets.iter().all(|target| match &target.expr {
            Expr::Star { .. } => true,
            Expr::Column { name, .. } => relation.columns.iter().any(|column| column.name == *name),
            _ => false,
        });
        let found = by_key && columns && literals.len() == 1 && *key_type != KeyType::Char && is_unique(relation, key_column);
        found.then(|| Self { key_type: *key_type, seen: AtomicU32::new(0), prepared: OnceLock::new() })
    }

    /// Counts one execution: whether there have been `often` before it; never when that is 0.
    #[must_use]
    pub fn has_come(&self, often: u32) -> bool {
        // Whether it is one more or less does not matter.
        let seen = self.seen.load(Ordering::Relaxed);
        if seen < often {
            self.seen.store(seen + 1, Ordering::Relaxed);
        }
        often > 0 && seen >= often
    }

    /// The key as the parameter's text; `None` for what the text itself is asked for, as where the value is none of the type's. In another
    /// encoding the same bytes may be other names.
    #[must_use]
    pub fn key<'v>(&self, values: &Values<'v>) -> Option<&'v [u8]> {
        let literal = values.literals.first()?;
        let source = literal.source(values.text);
        if values.other_encoding {
            return None;
        }
        if self.is_integer() {
            let fits = literal.kind == LiteralKind::Integer && source.len() <= DIGITS_MAX && source.iter().all(u8::is_ascii_digit);
            return fits.then_some(source);
        }
        let inner = source.get(1..source.len().checked_sub(1)?)?;
        let is_value = self.key_type != KeyType::Uuid || parse_uuid(inner).is_some();
        (literal.kind == LiteralKind::Plain && memchr::memchr(b'\'', inner).is_none() && is_value).then_some(inner)
    }

    fn is_integer(&self) -> bool {
        matches!(self.key_type, KeyType::SmallInt | KeyType::Integer | KeyType::BigInt)
    }

    /// Its id and name among prepared statements; `next_id` gives it one.
    pub fn prepared(&self, next_id: impl FnOnce() -> (u64, String)) -> (u64, &str) {
        let (id, name) = self.prepared.get_or_init(next_id);
        (*id, name)
    }

    /// The text with a parameter in place of the literal, and the parameter's type.
    #[must_use]
    pub fn parse(&self, values: &Values<'_>) -> (Vec<u8>, &'static [u32]) {
        let (start, end) = values.literals.first().map_or((0, 0), |literal| (literal.start as usize, literal.end as usize));
        let part = |range| values.text.get(range).unwrap_or_default();
        let text = [part(0..start), b" $1 ", part(end..values.text.len())].concat();
        (text, if self.is_integer() { INTEGER_TYPES } else { STRING_TYPES })
    }
}

/// A SELECT … FROM … WHERE and nothing else.
fn plain(query: &Query) -> Option<&Select> {
    let Body::Select(select) = &query.body else { return None };
    let alone = query.with.tables.is_empty() && query.order_by.is_empty() && !query.limited && !query.locking;
    let rows = select.distinct == Distinct::No && select.group_by.is_empty() && !select.grouping_sets;
    (alone && rows && select.into.is_none() && select.having.is_none() && select.windows.is_empty()).then_some(select)
}

fn is_unique(relation: &Relation, key: &str) -> bool {
    // A prepared plan of a partitioned table locks all its partitions.
    relation.kind == RelationKind::Table && relation.columns.iter().any(|column| column.name == key && column.unique)
}
