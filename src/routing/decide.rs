//! From a statement's facts to a decision that only values are missing from.

use std::collections::BTreeSet;

use crate::routing::facts::{Facts, UseKey};
use crate::routing::refusal::Refusal;
use crate::routing::region::{Regions, ValueSet};
use crate::routing::value::{Constant, Value};
use crate::topology::KeyType;

/// Where executions of a statement go, as far as its text decides.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    /// The home shard; the reason, for EXPLAIN (ROUTE).
    Home(&'static str),
    /// Any shard.
    Any,
    /// The one shard of all these keys.
    Bound(Bound),
    /// Every shard alike.
    Everywhere,
    Refused(Refusal),
}

/// The keys of all sharded tables in a statement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bound {
    pub bindings: Vec<Binding>,
    /// Constants that the key column is set to: they have to be the binding's key.
    pub updates: Vec<Binding>,
}

/// One table's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub table: String,
    pub key_column: String,
    pub key_type: KeyType,
    /// Each set holds all keys of the table's rows that matter.
    pub sets: Vec<ValueSet>,
    /// The keys are stored, not compared.
    pub assigned: bool,
}

pub(crate) fn decide(facts: &Facts, regions: &Regions) -> Decision {
    if facts.too_complex {
        return Decision::Refused(Refusal::too_complex());
    }
    if let Some(refusal) = facts.hard.clone() {
        return Decision::Refused(refusal);
    }
    if let Some(table) = facts.reference_writes.first() {
        return everywhere(facts, table);
    }
    if let Some(refusal) = facts.soft.clone().or_else(|| facts.unclear_view.clone()) {
        return Decision::Refused(refusal);
    }
    if facts.sharded.is_empty() {
        return unsharded(facts);
    }
    if let (Some(sharded), Some(single)) = (facts.sharded.first(), facts.single.first().or(facts.home.first())) {
        return Decision::Refused(Refusal::sharded_with_single(&sharded.table, single));
    }
    bound(facts, regions).map_or_else(Decision::Refused, Decision::Bound)
}

fn unsharded(facts: &Facts) -> Decision {
    if !facts.single.is_empty() {
        return Decision::Home("single tables");
    }
    if !facts.home.is_empty() {
        return Decision::Home("catalogs, temporary or unknown tables");
    }
    if facts.reference.is_empty() {
        return Decision::Home("no table");
    }
    // A volatile function next to a reference table, or a lock: where they always ran.
    if facts.volatile.is_some() || facts.locking { Decision::Home("reference tables with effects") } else { Decision::Any }
}

/// A write to a reference table runs on every shard if it does the same on each.
fn everywhere(facts: &Facts, table: &str) -> Decision {
    let other = facts.sharded.first().map(|sharded| &sharded.table).or(facts.single.first()).or(facts.home.first());
    let refuse = |detail: String| {
        let message = format!("write to reference table \"{table}\" may differ between shards");
        Decision::Refused(Refusal::unsupported(message, detail, "Give the values as constants, in a statement of their own.".to_owned()))
    };
    if let Some(other) = other {
        return refuse(format!("Table \"{other}\" is not whole on every shard."));
    }
    if let Some(what) = &facts.differing {
        return refuse(format!("The statement uses {what}."));
    }
    Decision::Everywhere
}

fn bound(facts: &Facts, regions: &Regions) -> Result<Bound, Refusal> {
    let mut bound = Bound::default();
    for sharded in &facts.sharded {
        let (sets, assigned) = match &sharded.by {
            UseKey::Term { term, region } => (regions.sets(*term, *region, None), false),
            UseKey::Rows(set) => (vec![set.clone()], true),
            UseKey::Sets(sets) => (sets.clone(), true),
            UseKey::Unknown => (Vec::new(), false),
        };
        if sets.is_empty() {
            return Err(Refusal::unbound(&sharded.table, &sharded.key_column));
        }
        let binding =
            Binding { table: sharded.table.clone(), key_column: sharded.key_column.clone(), key_type: sharded.key_type, sets, assigned };
        let known = |other: &Binding| other.table == binding.table && other.sets == binding.sets && other.assigned == binding.assigned;
        if !bound.bindings.iter().any(known) {
            bound.bindings.push(binding);
        }
    }
    bound.updates = facts
        .key_updates
        .iter()
        .map(|update| Binding {
            table: update.table.clone(),
            key_column: update.key_column.clone(),
            key_type: update.key_type,
            sets: vec![vec![update.value]],
            assigned: true,
        })
        .collect();
    Ok(bound)
}

impl Bound {
    /// Marks the parameters whose type may be decided by another use than as a key.
    pub(crate) fn mark_shared(&mut self, parameters: &BTreeSet<usize>) {
        let sets = self.bindings.iter_mut().chain(&mut self.updates).flat_map(|binding| &mut binding.sets);
        for value in sets.flatten() {
            value.shared = matches!(value.of, Constant::Parameter(number) if parameters.contains(&number));
        }
    }

    /// Every value whose key decides.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.bindings.iter().chain(&self.updates).flat_map(|binding| binding.sets.iter().flatten())
    }
}
