//! Decides where a relation's rows live, from its columns, its parents and what the operator says.

use std::collections::HashMap;

use crate::catalog::{TableRuleKind, TableRules};
use crate::topology::schema::RelationKind;
use crate::topology::{KeyType, Placement};

/// What is known of a relation before its placement.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    /// Name, and type if it may be a shard key.
    pub columns: Vec<(String, Result<KeyType, UnfitKey>)>,
    /// The partitioned table or inheritance parent, if there is one.
    pub parent: Option<u32>,
    /// What a view reads: relations outside the system catalogs.
    pub reads: Vec<u32>,
}

/// Why a column cannot be a shard key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitKey {
    #[error("its type is {0}")]
    Type(String),
    /// Equal texts need not be identical, so they would have different buckets.
    #[error("its collation is nondeterministic")]
    Collation,
}

/// A table that would be sharded by its column but cannot be: it is single.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table \"{schema}\".\"{table}\" is kept on the home shard: column \"{column}\" cannot be a shard key ({reason})")]
pub struct Doubt {
    pub schema: String,
    pub table: String,
    pub column: String,
    pub reason: String,
}

/// The type as a shard key. `base_oid` is the type's oid, a domain's base type's; `deterministic` is the collation's.
///
/// # Errors
/// When rows under equal keys could have different buckets.
pub fn key_type(base_oid: u32, type_name: &str, deterministic: bool) -> Result<KeyType, UnfitKey> {
    let key_type = match base_oid {
        21 => KeyType::SmallInt,
        23 => KeyType::Integer,
        20 => KeyType::BigInt,
        25 => KeyType::Text,
        1043 => KeyType::Varchar,
        1042 => KeyType::Char,
        2950 => KeyType::Uuid,
        _ => return Err(UnfitKey::Type(type_name.to_owned())),
    };
    if deterministic { Ok(key_type) } else { Err(UnfitKey::Collation) }
}

/// The placement of every candidate by oid, and the tables that are single against their column.
#[must_use]
pub fn place(candidates: &[Candidate], rules: &TableRules) -> (HashMap<u32, Placement>, Vec<Doubt>) {
    let by_oid = candidates.iter().map(|candidate| (candidate.oid, candidate)).collect();
    let mut placing = Placing { by_oid, rules, placed: HashMap::new(), doubts: Vec::new() };
    for candidate in candidates {
        placing.relation(candidate.oid, 0);
    }
    (placing.placed, placing.doubts)
}

struct Placing<'a> {
    by_oid: HashMap<u32, &'a Candidate>,
    rules: &'a TableRules,
    placed: HashMap<u32, Placement>,
    doubts: Vec<Doubt>,
}

impl Placing<'_> {
    /// `depth` stops a chain of views or parents that PostgreSQL would not allow to be this long.
    fn relation(&mut self, oid: u32, depth: u32) -> Placement {
        if let Some(placement) = self.placed.get(&oid) {
            return placement.clone();
        }
        let placement = match self.by_oid.get(&oid).copied() {
            Some(candidate) if depth < 200 => self.candidate(candidate, depth),
            _ => Placement::Single,
        };
        self.placed.insert(oid, placement.clone());
        placement
    }

    fn candidate(&mut self, candidate: &Candidate, depth: u32) -> Placement {
        match candidate.kind {
            RelationKind::View | RelationKind::MaterializedView => self.view(candidate, depth),
            RelationKind::ForeignTable | RelationKind::Sequence => Placement::Single,
            RelationKind::Table | RelationKind::PartitionedTable => match candidate.parent {
                Some(parent) => self.relation(parent, depth + 1),
                None => self.table(candidate),
            },
        }
    }

    fn table(&mut self, candidate: &Candidate) -> Placement {
        let rule = self.rules.rule(&candidate.schema, &candidate.name).map(|rule| &rule.kind);
        let key_column = match rule {
            Some(TableRuleKind::Reference) => return Placement::Reference,
            Some(TableRuleKind::Single) => return Placement::Single,
            Some(TableRuleKind::Sharded { key_column }) => key_column,
            None => &self.rules.key_column,
        };
        let doubt = match candidate.columns.iter().find(|(name, _)| name == key_column) {
            Some((_, Ok(key_type))) => return Placement::Sharded { key_column: key_column.clone(), key_type: *key_type },
            Some((_, Err(unfit))) => Some(unfit.to_string()),
            None => rule.is_some().then(|| "there is no such column".to_owned()),
        };
        if let Some(reason) = doubt {
            let (schema, table) = (candidate.schema.clone(), candidate.name.clone());
            self.doubts.push(Doubt { schema, table, column: key_column.clone(), reason });
        }
        Placement::Single
    }

    /// Sharded if anything it reads is, single if anything is, else reference. A view of nothing but the system catalogs is single.
    fn view(&mut self, candidate: &Candidate, depth: u32) -> Placement {
        let mut placement = None;
        for read in &candidate.reads {
            match (self.relation(*read, depth + 1), &placement) {
                (sharded @ Placement::Sharded { .. }, _) => return sharded,
                (Placement::Reference, Some(_)) => {}
                (other, _) => placement = Some(other),
            }
        }
        placement.unwrap_or(Placement::Single)
    }
}
