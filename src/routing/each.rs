//! Writes that run as they are on every shard: each row they touch, and all that they read for it, is on one shard.

use crate::routing::call::depends_on_order;
use crate::routing::colocation::column_sql;
use crate::routing::decide::{Binding, Decision};
use crate::routing::facts::{ShardedUse, UseKey};
use crate::routing::feed::source_of;
use crate::routing::matching::{self, Matching};
use crate::routing::owned::Ownership;
use crate::routing::refusal::Refusal;
use crate::routing::respell::quoted;
use crate::routing::route::Values;
use crate::routing::spread::Sought;
use crate::routing::written;
use crate::sql::ast::{Expr, Source, Statement, Target, With};
use crate::sql::clock::{CLOCK, is_moment};
use crate::sql::command::ObjectName;
use crate::sql::cursor::Tokens;
use crate::sql::outline::Outline;
use crate::sql::splice::Replacement;
use crate::topology::hash::bucket;
use crate::topology::schema::{Relation, RelationKind, Volatility};
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
    /// Relations of which it may need rows of other shards: every shard is sent all of their rows. Schema and name.
    pub sent: Vec<(String, String)>,
    pub target: EachTarget,
    /// How each shard leaves out rows that another one owns; `None`: the statement cannot say it.
    owned: Option<Ownership>,
    /// Of a MERGE, instead.
    matching: Option<Matching>,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EachTarget {
    /// Rows of every shard: counts are added.
    Sharded,
    /// A table of the home shard, where it runs.
    Single,
    /// The same rows on every shard: one shard's answer is all of it.
    Reference,
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
        Statement::Merge(merge) => (&merge.with, &merge.returning),
        Statement::Insert(insert) if matches!(insert.source, Source::Query(_)) => (&insert.with, &insert.returning),
        _ => return Err("it is no UPDATE, DELETE or INSERT … SELECT".to_owned()),
    };
    let target = target(sought)?;
    let clock = vet(sought, with, returning, target)?;
    if !facts.key_updates.is_empty() {
        return Err("it sets the shard key".to_owned());
    }
    let written = written::has_written(with);
    let sent = match (sought.statement, target) {
        // Each part has been looked at.
        _ if written => Vec::new(),
        (Statement::Insert(_), EachTarget::Sharded) => {
            stored_with_its_source(sought)?;
            Vec::new()
        }
        (Statement::Insert(_), _) => return Err("its rows are those of a query".to_owned()),
        (Statement::Merge(_), EachTarget::Reference) => return Err("it is a MERGE".to_owned()),
        (Statement::Merge(_), EachTarget::Sharded) => Vec::new(),
        (_, EachTarget::Sharded) => sent(sought, with)?,
        (_, target) => all_sent(sought, with, target)?,
    };
    let matching = match sought.statement {
        Statement::Merge(merge) if target == EachTarget::Sharded => Some(matching::plan(sought, merge)?),
        _ => None,
    };
    let binding = match sought.decision {
        // A MERGE's conditions are not those of the rows that it inserts.
        _ if matching.is_some() || written => None,
        Decision::Bound(bound) => bound.bindings.iter().find(|binding| !binding.assigned).cloned(),
        _ => None,
    };
    // One condition does not do for several parts that write.
    let owned = if target == EachTarget::Sharded && !written { ownership(sought) } else { None };
    Ok(EachPlan { binding, clock, returning: !returning.is_empty(), sent, target, owned, matching })
}

/// What must hold of any write on several shards; whether it names the clock.
pub(crate) fn vet(sought: &Sought<'_>, with: &With, returning: &[Target], target: EachTarget) -> Result<bool, String> {
    let facts = &sought.analyzer.facts;
    if let Some(refusal) = facts.soft.as_ref().or(facts.hard.as_ref()) {
        return Err(refusal.message.clone());
    }
    let single = facts.single.first().filter(|_| matches!(sought.statement, Statement::Insert(_)));
    let reference = facts.reference_writes.first().filter(|_| target != EachTarget::Reference);
    if let Some(table) = reference.or(single).or(facts.home.first().filter(|_| target != EachTarget::Single)) {
        return Err(format!("\"{table}\" is not sharded"));
    }
    if target == EachTarget::Single && facts.locking {
        return Err("rows are locked where they are".to_owned());
    }
    if written::has_written(with) {
        written::check(sought, with)?;
    }
    if target == EachTarget::Single {
        // It runs once.
        return Ok(false);
    }
    let clock = vet_calls(sought, target)?;
    if returning.iter().any(|target| target.alias.is_none() && names_clock(&target.expr)) {
        return Err("RETURNING names the clock without AS".to_owned());
    }
    let differs = facts.differences.iter().find(|what| match what.as_str() {
        // Of several rows that match, any one's values are taken.
        "UPDATE … FROM" | "MERGE" => target == EachTarget::Reference,
        "ON CONFLICT DO NOTHING" | "FOR UPDATE" => false,
        "LIMIT" | "DISTINCT ON" => !facts.reference.is_empty() || target == EachTarget::Reference,
        "DEFAULT" => matches!(sought.statement, Statement::Update(_)) && has_volatile_default(sought),
        what => !what.ends_with("()") && !what.starts_with("the default of"),
    });
    differs.map_or(Ok(clock), |what| Err(format!("it uses {what}")))
}

/// Whether the clock is among the functions; else why one of them may answer otherwise on each shard.
fn vet_calls(sought: &Sought<'_>, target: EachTarget) -> Result<bool, String> {
    let facts = &sought.analyzer.facts;
    // A reference table's rows stand in another order on each shard; the written one counts once.
    let own = usize::from(target == EachTarget::Reference);
    let mut clock = false;
    for (name, volatility) in &facts.calls {
        let free = FREE.contains(&name.as_str()) && sought.analyzer.blocks == 0 && target == EachTarget::Sharded;
        if CLOCK.contains(&name.as_str()) {
            clock = true;
            continue;
        }
        match volatility {
            Some(Volatility::Immutable) if depends_on_order(name) && facts.reference.len() > own => {
                return Err(format!("{name}() depends on the order of rows"));
            }
            Some(Volatility::Immutable) => {}
            Some(Volatility::Stable) if target == EachTarget::Sharded && !tells_of_server(name) => {}
            Some(Volatility::Stable) => return Err(format!("{name} may differ between shards")),
            _ if free => {}
            _ => return Err(format!("function \"{name}\" is volatile")),
        }
    }
    Ok(clock)
}

/// Stable functions of which each server has its own answer.
fn tells_of_server(name: &str) -> bool {
    matches!(name, "current_time" | "age" | "version")
        || ["pg_", "inet_", "txid_"].iter().any(|prefix| name.starts_with(prefix)) && name != "pg_typeof"
}

pub(crate) fn names_clock(expr: &Expr) -> bool {
    let mut found = false;
    crate::sql::ast::walk(expr, &mut |part| found |= matches!(part, Expr::Call(call) if CLOCK.contains(&call.name.as_str())));
    found
}

/// Whether a table of the statement has a default that differs from row to row or shard to shard.
fn has_volatile_default(sought: &Sought<'_>) -> bool {
    sought.analyzer.facts.relations.iter().any(|relation| relation.columns.iter().any(|column| column.volatile_default))
}

/// The relations whose rows are needed wherever they are; all others are read only where their key is the written row's.
fn sent(sought: &Sought<'_>, with: &With) -> Result<Vec<(String, String)>, String> {
    let facts = &sought.analyzer.facts;
    let mut uses = facts.sharded.iter();
    let Some(ShardedUse { table: written, by: UseKey::Term { term: target, .. }, .. }) = uses.next() else {
        return Err("the written table is not understood".to_owned());
    };
    if facts.single.contains(written) {
        return Err(format!("\"{written}\" is the name of two tables"));
    }
    let apart: Vec<&String> = uses
        .filter(|other| match other.by {
            UseKey::Term { term, region } => !sought.regions().are_equal(region, term, *target),
            _ => true,
        })
        .map(|other| &other.table)
        .collect();
    // What is read apart and not named is read by a view.
    let by_view = apart.iter().any(|table| !facts.relations.iter().any(|relation| is_table(relation) && relation.name == **table));
    let mut sent = Vec::new();
    for relation in &facts.relations {
        let needed = match relation.placement {
            Placement::Single => true,
            Placement::Reference => false,
            Placement::Sharded { .. } if is_table(relation) => apart.contains(&&relation.name),
            Placement::Sharded { .. } => by_view,
        };
        if needed {
            can_be_sent(sought, with, relation)?;
            sent.push((relation.schema.clone(), relation.name.clone()));
        }
    }
    if sent.is_empty() && !(apart.is_empty() && facts.single.is_empty()) {
        return Err("what it reads of other shards is not understood".to_owned());
    }
    let picks = facts.differences.iter().find(|what| matches!(what.as_str(), "LIMIT" | "DISTINCT ON"));
    let local = facts.sharded.len() > 1 + apart.len() || !facts.reference.is_empty();
    if let Some(what) = picks.filter(|_| !sent.is_empty() && local) {
        return Err(format!("{what} may choose other rows on each shard"));
    }
    Ok(sent)
}

/// Everything that is not on every shard, or for a table of the home shard, not there.
fn all_sent(sought: &Sought<'_>, with: &With, target: EachTarget) -> Result<Vec<(String, String)>, String> {
    let mut sent = Vec::new();
    for relation in &sought.analyzer.facts.relations {
        let needed = match relation.placement {
            Placement::Sharded { .. } => true,
            Placement::Single => target == EachTarget::Reference,
            Placement::Reference => false,
        };
        if needed {
            can_be_sent(sought, with, relation)?;
            sent.push((relation.schema.clone(), relation.name.clone()));
        }
    }
    if sent.is_empty() && target == EachTarget::Single { Err("it is on the home shard".to_owned()) } else { Ok(sent) }
}

fn target(sought: &Sought<'_>) -> Result<EachTarget, String> {
    let name = match sought.statement {
        Statement::Update(update) => &update.table,
        Statement::Delete(delete) => &delete.table,
        Statement::Insert(insert) => &insert.table,
        Statement::Merge(merge) => &merge.table,
        Statement::Query(_) => return Err("it is a query".to_owned()),
    };
    let relation = sought.analyzer.planner.relation(name).filter(|relation| is_table(relation));
    match relation.map(|relation| &relation.placement) {
        Some(Placement::Sharded { .. }) => Ok(EachTarget::Sharded),
        Some(Placement::Single) => Ok(EachTarget::Single),
        Some(Placement::Reference) => Ok(EachTarget::Reference),
        None => Err(format!("\"{}\" is no table that the proxy knows", name.name)),
    }
}

fn is_table(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::Table | RelationKind::PartitionedTable)
}

/// A relation is sent as a table of WITH that has its name: nothing else may have it, and no schema may stand before it.
fn can_be_sent(sought: &Sought<'_>, with: &With, relation: &Relation) -> Result<(), String> {
    let facts = &sought.analyzer.facts;
    let name = &relation.name;
    if facts.locking {
        return Err(format!("rows of \"{name}\" are locked where they are"));
    }
    let twice = facts.relations.iter().filter(|other| other.name == *name).count() > 1;
    if twice || with.tables.iter().any(|table| table.name == *name) || relation.columns.is_empty() {
        return Err(format!("\"{name}\" is the name of two relations"));
    }
    let mut cursor = sought.whole;
    while !cursor.at_end() {
        let after_dot = cursor.accept_mark(b'.');
        let mut ahead = cursor;
        if after_dot && ahead.any_name().is_some_and(|found| found == *name) {
            return Err(format!("\"{name}\" is named with a schema"));
        }
        if !after_dot && cursor.is_word("only") {
            return Err("ONLY is used".to_owned());
        }
        cursor.advance();
    }
    Ok(())
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

/// The rows that are written count by their own key; those of INSERT … SELECT by the key that is stored.
fn ownership(sought: &Sought<'_>) -> Option<Ownership> {
    let key_of = |table: &ObjectName, alias: Option<&String>| {
        let relation = sought.analyzer.planner.relation(table)?;
        let Placement::Sharded { key_column, .. } = &relation.placement else { return None };
        Some(format!("{}.{}", quoted(alias.unwrap_or(&table.name)), quoted(key_column)))
    };
    match sought.statement {
        Statement::Update(update) => Ownership::of_change(sought.whole, key_of(&update.table, update.alias.as_ref())?),
        Statement::Delete(delete) => Ownership::of_change(sought.whole, key_of(&delete.table, delete.alias.as_ref())?),
        Statement::Insert(_) => {
            let top = sought.analyzer.top.as_ref()?;
            let (stored, block) = sought.analyzer.facts.stored?;
            let equal = |term: &usize| sought.regions().are_equal(block, *term, stored);
            let terms = top.ranges.list.iter().flat_map(|range| range.columns.iter().map(|(_, term)| *term));
            let key = terms.filter(|_| top.region == block).filter(equal).find_map(|term| column_sql(&top.ranges, term))?;
            Some(Ownership::of_select(&Outline::of(source_of(sought.whole)?)?, key))
        }
        Statement::Query(_) | Statement::Merge(_) => None,
    }
}

impl EachPlan {
    /// What a shard's text has besides, where these buckets do not count (see [`crate::topology::Moving::left_out`]), or where it has
    /// to know which are not its own; `None`: the statement cannot say it.
    #[must_use]
    pub fn insertions(&self, tokens: &Tokens<'_>, left_out: Option<&str>, others: &str) -> Option<Vec<Replacement>> {
        match (&self.matching, left_out) {
            (Some(matching), _) => matching.insertions(tokens, left_out, others),
            (None, Some(left_out)) => self.owned.as_ref()?.insertions(tokens, left_out),
            (None, None) => Some(Vec::new()),
        }
    }

    /// Whether each shard has to know which buckets are not its own.
    #[must_use]
    pub fn shares_rows(&self) -> bool {
        self.matching.as_ref().is_some_and(|matching| matching.shares)
    }

    pub(crate) fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
    }

    /// The shards that have rows it may touch.
    pub(crate) fn shards(&self, values: &Values<'_>, map: &ShardMap) -> Result<Vec<ShardId>, Refusal> {
        if self.target == EachTarget::Single {
            return Ok(vec![map.home]);
        }
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
