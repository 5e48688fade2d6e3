//! What a gather can do without: columns that the statement does not name, rows whose keys cannot matter, shards that hold none of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::routing::decide::{Binding, Bound};
use crate::routing::facts::UseKey;
use crate::routing::filter::RowCondition;
use crate::routing::gather::{GatherPlan, GatherTable};
use crate::routing::planner::unclear;
use crate::routing::respell::quoted;
use crate::routing::route::Values;
use crate::routing::row_value::string_literal;
use crate::routing::spread::Sought;
use crate::sql::ast::{Alias, Body, Distinct, Expr, FromItem, JoinCondition, Query, Select, Statement, walk};
use crate::sql::cursor::Cursor;
use crate::topology::hash::bucket;
use crate::topology::{ShardId, ShardMap};

/// More keys than these are not listed in a condition.
const KEYS_MAX: usize = 1000;

/// Of a table with more appearances all rows are brought.
const APPEARANCES_MAX: usize = 32;

/// Leaves out of a plan what its parsed statement does not need.
pub(crate) fn narrow(plan: &mut GatherPlan, sought: &Sought<'_>, query: &Query) {
    bind(plan, sought);
    filter(plan, sought);
    let mut uses = Uses::default();
    uses.query(query);
    // A view's definition may name columns otherwise than its tables do.
    if uses.all || !plan.views.is_empty() || !uses.columns.is_disjoint(&uses.ranges) {
        return;
    }
    let named = names_of(sought.whole);
    for table in &mut plan.tables {
        let groups = plan.groups;
        for column in &mut table.columns {
            // What is not null may be of the primary key, by which columns beside GROUP BY are known.
            column.needed = named.contains(&column.name) || groups && column.not_null;
        }
        if !table.columns.iter().any(|column| column.needed)
            && let Some(first) = table.columns.first_mut()
        {
            first.needed = true;
        }
    }
}

/// The keys of each table, where every appearance of it has some.
fn bind(plan: &mut GatherPlan, sought: &Sought<'_>) {
    let facts = &sought.analyzer.facts;
    if facts.unclear_view.is_some() {
        return;
    }
    for table in &mut plan.tables {
        let mut bindings: Vec<Binding> = Vec::new();
        let mut all = true;
        for sharded in facts.sharded.iter().filter(|sharded| sharded.table == table.name) {
            let sets = match &sharded.by {
                UseKey::Term { term, region } => sought.regions().sets(*term, *region, None),
                _ => Vec::new(),
            };
            all &= !sets.is_empty();
            let (table, key_column) = (sharded.table.clone(), sharded.key_column.clone());
            let binding = Binding { table, key_column, key_type: sharded.key_type, sets, assigned: false };
            if !bindings.contains(&binding) {
                bindings.push(binding);
            }
        }
        if !all {
            continue;
        }
        let mut bound = Bound { bindings, updates: Vec::new() };
        bound.mark_shared(&unclear(sought.whole, &sought.analyzer.key_parameters));
        table.bindings = bound.bindings;
    }
}

/// The conditions on each table's rows, where every appearance of it has some.
fn filter(plan: &mut GatherPlan, sought: &Sought<'_>) {
    let analyzer = sought.analyzer;
    if analyzer.facts.unclear_view.is_some() {
        return;
    }
    let uses = parameter_uses(sought.whole);
    let is_shared = |number: usize| uses.iter().filter(|used| **used == number).count() > 1;
    for table in &mut plan.tables {
        let places = analyzer.facts.sharded.iter().enumerate().filter(|(_, sharded)| sharded.table == table.name).map(|(place, _)| place);
        let mut filters: Vec<Vec<RowCondition>> = Vec::new();
        for place in places {
            let mut filter: Vec<RowCondition> = Vec::new();
            for (_, condition) in analyzer.filters.iter().filter(|(other, _)| *other == place) {
                if !filter.contains(condition) {
                    filter.push(condition.clone());
                }
            }
            if filter.is_empty() || filters.len() >= APPEARANCES_MAX {
                filters.clear();
                break;
            }
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        filters.iter_mut().flatten().for_each(|condition| condition.mark_shared(&is_shared));
        table.filters = filters;
    }
}

/// The numbers of the parameters that a text names.
fn parameter_uses(mut cursor: Cursor<'_>) -> Vec<usize> {
    let mut uses = Vec::new();
    while !cursor.at_end() {
        uses.extend(cursor.parameter());
        cursor.advance();
    }
    uses
}

impl GatherPlan {
    /// The plan of one execution: only the rows, and only the shards, of the keys that its values give.
    #[must_use]
    pub(crate) fn narrowed(self: &Arc<Self>, values: &Values<'_>, map: &ShardMap) -> Arc<Self> {
        if self.tables.iter().all(|table| table.bindings.is_empty() && table.filters.is_empty()) {
            return Arc::clone(self);
        }
        let mut plan = Self::clone(self);
        let mut shards: Option<BTreeSet<ShardId>> = Some(BTreeSet::new());
        for table in &mut plan.tables {
            match keys_of(table, values) {
                Some(keys) => {
                    table.condition = Some(key_condition(table, &keys));
                    if let Some(shards) = &mut shards {
                        shards.extend(keys.iter().map(|key| map.owner(bucket(key.as_bytes(), map.buckets()))));
                    }
                }
                None => shards = None,
            }
            if let Some(rows) = row_condition(table, values) {
                table.condition = Some(table.condition.take().map_or_else(|| rows.clone(), |keys| format!("{keys} AND {rows}")));
            }
        }
        plan.shards = shards.map(|shards| shards.into_iter().collect());
        Arc::new(plan)
    }
}

fn keys_of(table: &GatherTable, values: &Values<'_>) -> Option<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for binding in &table.bindings {
        for key in &binding.keys(values).ok()? {
            keys.insert(std::str::from_utf8(key).ok()?.to_owned());
        }
    }
    (!table.bindings.is_empty() && keys.len() <= KEYS_MAX).then_some(keys)
}

/// What holds for the rows that matter to one of its appearances.
fn row_condition(table: &GatherTable, values: &Values<'_>) -> Option<String> {
    let mut either = Vec::with_capacity(table.filters.len());
    for filter in &table.filters {
        let all: Vec<String> = filter.iter().filter_map(|condition| condition.sql(values)).collect();
        if all.is_empty() {
            return None;
        }
        either.push(all.join(" AND "));
    }
    match either.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(format!("({})", several.join(" OR "))),
    }
}

fn key_condition(table: &GatherTable, keys: &BTreeSet<String>) -> String {
    let Some(binding) = table.bindings.first().filter(|_| !keys.is_empty()) else { return "false".to_owned() };
    let keys: Vec<String> = keys.iter().map(|key| string_literal(key)).collect();
    format!("t.{} IN ({})", quoted(&binding.key_column), keys.join(", "))
}

fn names_of(mut cursor: Cursor<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    while !cursor.at_end() {
        let mut ahead = cursor;
        names.extend(ahead.any_name());
        cursor.advance();
    }
    names
}

/// Which of its ranges' columns a query uses.
#[derive(Default)]
struct Uses {
    /// Columns named alone; one that is also a range's name may be its whole row.
    columns: BTreeSet<String>,
    ranges: BTreeSet<String>,
    /// All columns, or columns by their places.
    all: bool,
}

impl Uses {
    fn query(&mut self, query: &Query) {
        for table in &query.with.tables {
            match &table.statement {
                Statement::Query(inner) => self.query(inner),
                _ => self.all = true,
            }
        }
        match &query.body {
            Body::Select(select) => self.select(select),
            Body::Values(rows) => rows.iter().flatten().for_each(|expr| self.expr(expr)),
            Body::Arms(arms) => arms.iter().for_each(|arm| self.query(arm)),
            Body::Nested(inner) => self.query(inner),
        }
        query.order_by.iter().chain(&query.limits).for_each(|expr| self.expr(expr));
    }

    fn select(&mut self, select: &Select) {
        select.from.iter().for_each(|item| self.item(item));
        let targets = select.targets.iter().map(|target| &target.expr);
        let rest = select.filter.iter().chain(&select.group_by).chain(&select.having).chain(&select.windows);
        targets.chain(rest).for_each(|expr| self.expr(expr));
        if let Distinct::On(exprs) = &select.distinct {
            exprs.iter().for_each(|expr| self.expr(expr));
        }
    }

    fn item(&mut self, item: &FromItem) {
        match item {
            FromItem::Table(table) => {
                self.ranges.insert(table.name.name.clone());
                self.alias(&table.alias);
                table.sample.iter().flatten().for_each(|expr| self.expr(expr));
            }
            FromItem::Derived { query, alias, .. } => {
                self.alias(alias);
                self.query(query);
            }
            FromItem::Functions { calls, alias } => {
                self.alias(alias);
                calls.iter().for_each(|expr| self.expr(expr));
            }
            FromItem::Join(join) => {
                self.alias(&join.alias);
                self.item(&join.left);
                self.item(&join.right);
                match &join.condition {
                    JoinCondition::On(condition) => self.expr(condition),
                    JoinCondition::Natural => self.all = true,
                    JoinCondition::None | JoinCondition::Using(_) => {}
                }
            }
        }
    }

    fn alias(&mut self, alias: &Alias) {
        self.ranges.extend(alias.name.clone());
        self.all |= !alias.columns.is_empty();
    }

    fn expr(&mut self, expr: &Expr) {
        walk(expr, &mut |part| match part {
            Expr::Star { .. } => self.all = true,
            // `o.o` may be a row of the table o, whatever its qualifier.
            Expr::Column { name, .. } => {
                self.columns.insert(name.clone());
            }
            Expr::Subquery { query, .. } | Expr::InQuery { query, .. } => self.query(query),
            _ => {}
        });
    }
}
