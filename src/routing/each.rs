//! Writes that run as they are on every shard: each row they touch, and all that they read for it, is on one shard.

use crate::routing::call::depends_on_order;
use crate::routing::decide::{Binding, Decision};
use crate::routing::facts::{ShardedUse, UseKey};
use crate::routing::refusal::Refusal;
use crate::routing::route::Values;
use crate::routing::spread::Sought;
use crate::sql::ast::{Expr, Source, Statement, Target, With};
use crate::sql::clock::{CLOCK, is_moment};
use crate::topology::hash::bucket;
use crate::topology::schema::Volatility;
use crate::topology::{Placement, ShardId, ShardMap};
use crate::wire::SqlState;

/// A write that runs on every shard as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct EachPlan {
    /// The keys of the rows it touches, where the statement gives them.
    binding: Option<Binding>,
    /// It names the clock, which has to be one moment for all shards.
    pub clock: bool,
    pub returning: bool,
}

impl Eq for EachPlan {}

/// Volatile functions of which any value is as good as another, for each row anew.
pub(crate) const FREE: &[&str] =
    &["random", "random_normal", "gen_random_uuid", "uuid_generate_v4", "uuidv4", "uuidv7", "clock_timestamp", "timeofday"];

/// The plan, or why the shards' answers could not be one server's.
pub(crate) fn plan(sought: &Sought<'_>) -> Result<EachPlan, String> {
    let facts = &sought.analyzer.facts;
    let (with, returning) = match sought.statement {
        Statement::Update(update) => (&update.with, &update.returning),
        Statement::Delete(delete) => (&delete.with, &delete.returning),
        Statement::Insert(insert) if matches!(insert.source, Source::Query(_)) => (&insert.with, &insert.returning),
        _ => return Err("it is no UPDATE, DELETE or INSERT … SELECT".to_owned()),
    };
    let clock = vet(sought, with, returning)?;
    if !facts.key_updates.is_empty() {
        return Err("it sets the shard key".to_owned());
    }
    match sought.statement {
        Statement::Insert(_) => stored_with_its_source(sought)?,
        _ => read_with_target(sought)?,
    }
    let binding = match sought.decision {
        Decision::Bound(bound) => bound.bindings.iter().find(|binding| !binding.assigned).cloned(),
        _ => None,
    };
    Ok(EachPlan { binding, clock, returning: !returning.is_empty() })
}

/// What must hold of any write on several shards; whether it names the clock.
pub(crate) fn vet(sought: &Sought<'_>, with: &With, returning: &[Target]) -> Result<bool, String> {
    let facts = &sought.analyzer.facts;
    if let Some(refusal) = facts.soft.as_ref().or(facts.hard.as_ref()) {
        return Err(refusal.message.clone());
    }
    if let Some(table) = facts.reference_writes.first().or(facts.single.first()).or(facts.home.first()) {
        return Err(format!("\"{table}\" is not sharded"));
    }
    if with.tables.iter().any(|table| !matches!(table.statement, Statement::Query(_))) {
        return Err("a table of WITH writes".to_owned());
    }
    let mut clock = false;
    for (name, volatility) in &facts.calls {
        if CLOCK.contains(&name.as_str()) {
            clock = true;
        } else if matches!(name.as_str(), "current_time" | "age") {
            return Err(format!("{name} may differ between shards"));
        } else if volatility.is_none_or(|volatility| volatility == Volatility::Volatile)
            && !(FREE.contains(&name.as_str()) && sought.analyzer.blocks == 0)
        {
            return Err(format!("function \"{name}\" is volatile"));
        } else if *volatility == Some(Volatility::Immutable) && depends_on_order(name) && !facts.reference.is_empty() {
            return Err(format!("{name}() depends on the order of rows"));
        }
    }
    if returning.iter().any(|target| target.alias.is_none() && names_clock(&target.expr)) {
        return Err("RETURNING names the clock without AS".to_owned());
    }
    let differs = facts.differences.iter().find(|what| match what.as_str() {
        "UPDATE … FROM" | "ON CONFLICT DO NOTHING" | "FOR UPDATE" => false,
        "LIMIT" | "DISTINCT ON" => !facts.reference.is_empty(),
        "DEFAULT" => matches!(sought.statement, Statement::Update(_)) && has_volatile_default(sought),
        what => !what.ends_with("()") && !what.starts_with("the default of"),
    });
    differs.map_or(Ok(clock), |what| Err(format!("it uses {what}")))
}

fn names_clock(expr: &Expr) -> bool {
    let mut found = false;
    crate::sql::ast::walk(expr, &mut |part| found |= matches!(part, Expr::Call(call) if CLOCK.contains(&call.name.as_str())));
    found
}

/// Whether a sharded table of the statement has a default that differs from row to row or shard to shard.
fn has_volatile_default(sought: &Sought<'_>) -> bool {
    let names: Vec<&String> = sought.analyzer.facts.sharded.iter().map(|sharded| &sharded.table).collect();
    sought.analyzer.planner.schema.relations().any(|relation| {
        matches!(relation.placement, Placement::Sharded { .. })
            && names.contains(&&relation.name)
            && relation.columns.iter().any(|column| column.volatile_default)
    })
}

/// Every sharded table is read only where its key is the written row's.
fn read_with_target(sought: &Sought<'_>) -> Result<(), String> {
    let mut uses = sought.analyzer.facts.sharded.iter();
    let Some(ShardedUse { table, by: UseKey::Term { term: target, .. }, .. }) = uses.next() else {
        return Err("the written table is not understood".to_owned());
    };
    let apart = uses.find(|other| match other.by {
        UseKey::Term { term, region } => !sought.regions().are_equal(region, term, *target),
        _ => true,
    });
    apart.map_or(Ok(()), |other| Err(format!("\"{}\" is not joined to \"{table}\" by their keys", other.table)))
}

/// INSERT … SELECT: each row's key is the key of the row that it is made of, in a table of the SELECT's own FROM.
fn stored_with_its_source(sought: &Sought<'_>) -> Result<(), String> {
    let facts = &sought.analyzer.facts;
    let Some((stored, block)) = facts.stored else { return Err("the key is no column of the query".to_owned()) };
    let read = || {
        facts.sharded.iter().filter_map(|sharded| if let UseKey::Term { term, region } = sharded.by { Some((term, region)) } else { None })
    };
    let written = facts.sharded.len() - read().count();
    if written != 1 {
        return Err("what is written is not understood".to_owned());
    }
    let regions = sought.regions();
    let source = read().find(|(term, region)| *region == block && regions.are_equal(*region, *term, stored));
    let Some((source, _)) = source else { return Err("the key is not that of a sharded table the query reads".to_owned()) };
    let apart = read().any(|(term, region)| !regions.are_equal(region, term, source));
    if apart { Err("tables are not joined by their keys".to_owned()) } else { Ok(()) }
}

impl EachPlan {
    /// The shards that have rows it may touch.
    pub(crate) fn shards(&self, values: &Values<'_>, map: &ShardMap) -> Result<Vec<ShardId>, Refusal> {
        refuse_moments(values)?;
        let every = || map.shards.iter().map(|shard| shard.id).collect();
        let Some(binding) = &self.binding else { return Ok(every()) };
        let keys = match binding.keys(values) {
            Ok(keys) => keys,
            Err(refusal) if refusal.sqlstate == SqlState::FEATURE_NOT_SUPPORTED => return Ok(every()),
            Err(refusal) => return Err(refusal),
        };
        let mut shards: Vec<ShardId> = keys.iter().map(|key| map.owner(bucket(key, map.buckets()))).collect();
        shards.sort_unstable();
        shards.dedup();
        Ok(if shards.is_empty() { vec![map.home] } else { shards })
    }
}

/// `'now'` and the like are read by each server at its own time.
pub(crate) fn refuse_moments(values: &Values<'_>) -> Result<(), Refusal> {
    let literal = values
        .literals
        .iter()
        .filter(|literal| !literal.is_number())
        .any(|literal| literal.value(values.text).is_some_and(|value| is_moment(&value)));
    let parameter = values.parameters.values.iter().flatten().any(|value| is_moment(value));
    if literal || parameter {
        return Err(Refusal::unsupported(
            "write over several shards may differ between them".to_owned(),
            "A value such as 'now' is read by each server at its own time.".to_owned(),
            "Write now() or current_date, or give the time as a constant.".to_owned(),
        ));
    }
    Ok(())
}
