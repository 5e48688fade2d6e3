//! FROM: tables, subqueries and joins as ranges, with the conditions of their joins.

use crate::routing::analyze::{Analyzer, Output};
use crate::routing::facts::UseKey;
use crate::routing::filter::Appearance;
use crate::routing::refusal::Refusal;
use crate::routing::region::RegionId;
use crate::routing::scope::{Found, Range, Ranges, Scope};
use crate::sql::ast::{Alias, Expr, FromItem, Join, JoinCondition, JoinKind, Statement, TableRef};
use crate::sql::command::ObjectName;
use crate::sql::cursor::Tokens;
use crate::sql::parse::parse;
use crate::topology::Placement;
use crate::topology::key::KeyFamily;
use crate::topology::schema::{Relation, RelationKind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a table's name is.
pub(crate) enum Named {
    Relation(Arc<Relation>),
    /// A catalog, a temporary table, or nothing the schema knows.
    Home,
}

impl Analyzer<'_> {
    pub(crate) fn ranges_of_list(&mut self, items: &[FromItem], scope: &Scope<'_>, region: RegionId, padded: &mut Vec<RegionId>) -> Ranges {
        let mut ranges = Ranges::default();
        for item in items {
            let more = self.ranges_of(item, From { scope, before: &ranges, region }, padded);
            ranges.add(more);
        }
        ranges
    }

    pub(crate) fn ranges_of(&mut self, item: &FromItem, at: From<'_>, padded: &mut Vec<RegionId>) -> Ranges {
        match item {
            FromItem::Table(table) => self.table(table, at),
            FromItem::Derived { query, alias, lateral } => {
                let inside = at.scope.within(at.before);
                let output = self.query(query, if *lateral { &inside } else { at.scope }, at.region, true);
                one(range_of(output, alias, &[], String::new()))
            }
            FromItem::Functions { calls, alias } => {
                let inside = at.scope.within(at.before);
                self.inspect_all(calls, &inside, at.region);
                let first = calls.iter().find_map(|call| if let Expr::Call(call) = call { Some(call.name.clone()) } else { None });
                let name = alias.name.clone().or(first).unwrap_or_default();
                one(Range { name, schema: None, columns: Vec::new(), open: true, shifted: true })
            }
            FromItem::Join(join) => self.join(join, at, padded),
        }
    }

    fn join(&mut self, join: &Join, at: From<'_>, padded: &mut Vec<RegionId>) -> Ranges {
        let mut below = |analyzer: &mut Self| {
            let region = analyzer.regions.region(Some(at.region));
            padded.push(region);
            region
        };
        let (left_region, right_region) = match join.kind {
            JoinKind::Inner => (at.region, at.region),
            JoinKind::Left => (at.region, below(self)),
            JoinKind::Right => (below(self), at.region),
            JoinKind::Full => (below(self), below(self)),
        };
        let left = self.ranges_of(&join.left, From { region: left_region, ..at }, padded);
        let mut before = at.before.clone();
        before.add(left.clone());
        let right = self.ranges_of(&join.right, From { region: right_region, before: &before, ..at }, padded);
        // Where its ON holds: everywhere for an inner join, for the padded side of an outer one, nowhere else.
        let holds = match join.kind {
            JoinKind::Inner => Some(at.region),
            JoinKind::Left => Some(right_region),
            JoinKind::Right => Some(left_region),
            JoinKind::Full => None,
        };
        let joined = self.join_condition(join, (left, right), (at, holds));
        match &join.alias.name {
            Some(name) => one(Range { name: name.clone(), schema: None, columns: Vec::new(), open: true, shifted: true }),
            None => joined,
        }
    }

    fn join_condition(&mut self, join: &Join, (left, right): (Ranges, Ranges), (at, holds): (From<'_>, Option<RegionId>)) -> Ranges {
        let columns = match &join.condition {
            JoinCondition::Using(columns) => columns.clone(),
            JoinCondition::Natural => common_columns(&left, &right),
            JoinCondition::None | JoinCondition::On(_) => Vec::new(),
        };
        let mut merged = Vec::new();
        for column in columns {
            let (left, right) = (term(&left, &column), term(&right, &column));
            if let (Some(region), Some(left), Some(right)) = (holds, left, right) {
                self.regions.equate(region, left, right);
            }
            let whole = match join.kind {
                JoinKind::Inner | JoinKind::Left => left,
                JoinKind::Right => right,
                JoinKind::Full => None,
            };
            merged.push((column, whole));
        }
        let unclear = join.condition == JoinCondition::Natural && (is_open(&left) || is_open(&right));
        let mut joined = left;
        joined.add(right);
        joined.merged.retain(|(name, _)| !merged.iter().any(|(newer, _)| newer == name));
        joined.merged.extend(merged);
        joined.unclear |= unclear;
        if let JoinCondition::On(condition) = &join.condition {
            let scope = at.scope.within(&joined);
            match holds {
                Some(region) => self.condition(condition, &scope, region),
                None => self.inspect(condition, &scope, at.region),
            }
        }
        joined
    }

    fn table(&mut self, table: &TableRef, at: From<'_>) -> Ranges {
        if let Some(arguments) = &table.sample {
            self.inspect_all(arguments, at.scope, at.region);
            self.facts.differs("TABLESAMPLE");
            self.facts.varies("TABLESAMPLE");
        }
        if table.name.schema.is_none()
            && let Some((common, defined)) = at.scope.common(&table.name.name)
        {
            if let Some(assumed) = common.itself.borrow().as_deref() {
                common.uses.set(common.uses.get() + 1);
                let itself = self.itself(assumed, at.region);
                return one(range_of(itself, &table.alias, &[], table.name.name.clone()));
            }
            let output = self.expand(common, defined, at.region);
            return one(range_of(output, &table.alias, &common.table.columns, table.name.name.clone()));
        }
        let name = table.alias.name.clone().unwrap_or_else(|| table.name.name.clone());
        match self.resolve(&table.name) {
            Named::Relation(relation) => {
                let known = self.appearances.len();
                let mut range = self.relation(&relation, at.region);
                if table.sample.is_some() {
                    // Of which rows the sample is drawn counts.
                    self.appearances.truncate(known);
                }
                rename(&mut range, &table.alias.columns);
                range.schema = Some(relation.schema.clone()).filter(|_| table.alias.name.is_none());
                range.name = name;
                one(range)
            }
            Named::Home => one(Range { name, schema: table.name.schema.clone(), columns: Vec::new(), open: true, shifted: true }),
        }
    }

    /// Looks a name up and counts it among the statement's tables, sharded ones excepted.
    pub(crate) fn resolve(&mut self, name: &ObjectName) -> Named {
        if is_temporary(name, self.planner.temporary) || is_catalog(name.schema.as_deref()) {
            if is_catalog(name.schema.as_deref()) {
                self.facts.catalogs.push(name.name.clone());
            }
            self.facts.home.push(name.name.clone());
            return Named::Home;
        }
        let Some(relation) = self.planner.schema.relation(name.schema.as_deref(), &name.name, &self.search_path) else {
            let catalog = name.schema.is_none() && name.name.starts_with("pg_");
            self.facts.unknown_relations |= !catalog;
            self.facts.catalogs.extend(catalog.then(|| name.name.clone()));
            self.facts.home.push(name.name.clone());
            return Named::Home;
        };
        if self.views == 0 && !self.facts.relations.contains(relation) {
            self.facts.relations.push(Arc::clone(relation));
        }
        match relation.placement {
            Placement::Reference => self.facts.reference.push(relation.name.clone()),
            Placement::Single => self.facts.single.push(relation.name.clone()),
            Placement::Sharded { .. } => {}
        }
        Named::Relation(Arc::clone(relation))
    }

    /// A relation that is read: its columns as terms of `region`.
    fn relation(&mut self, relation: &Arc<Relation>, region: RegionId) -> Range {
        if relation.kind == RelationKind::View && matches!(relation.placement, Placement::Sharded { .. }) {
            return self.view(relation, region);
        }
        self.base_table(relation, region)
    }

    /// A table of its own rows, read or written.
    pub(crate) fn base_table(&mut self, relation: &Relation, region: RegionId) -> Range {
        let mut columns = Vec::with_capacity(relation.columns.len());
        for column in &relation.columns {
            columns.push((column.name.clone(), self.regions.term(family_of(column.type_oid), region)));
        }
        if let Placement::Sharded { key_column, .. } = &relation.placement {
            let key = columns.iter().find(|(name, _)| name == key_column).map(|(_, term)| *term);
            self.anchors.extend(key);
            if let Some((_, first)) = columns.first() {
                self.appearances.push(Appearance::of(relation, self.facts.sharded.len(), region, *first));
            }
            self.sharded_use(relation, key.map_or(UseKey::Unknown, |term| UseKey::Term { term, region }));
        }
        Range { name: relation.name.clone(), schema: Some(relation.schema.clone()), columns, open: false, shifted: false }
    }

    /// A view over sharded tables is the query it stands for.
    fn view(&mut self, relation: &Relation, region: RegionId) -> Range {
        let parsed = relation.view_query.as_ref().and_then(|text| {
            let tokens = Tokens::new(text.as_bytes(), true).ok()?;
            parse(tokens.cursor()).ok()
        });
        let Some(Statement::Query(query)) = parsed else {
            self.facts.unclear_view.get_or_insert_with(|| Refusal::unclear(&relation.name, "Its definition is not understood"));
            return Range { name: relation.name.clone(), schema: None, columns: Vec::new(), open: true, shifted: true };
        };
        self.views += 1;
        let path = std::mem::replace(&mut self.search_path, vec![relation.schema.clone(), "public".to_owned()]);
        let output = self.query(&query, &Scope::EMPTY, region, true);
        self.search_path = path;
        self.views -= 1;
        let names: Vec<String> = relation.columns.iter().map(|column| column.name.clone()).collect();
        range_of(output, &Alias::default(), &names, relation.name.clone())
    }
}

/// Where an item of a FROM stands.
#[derive(Clone, Copy)]
pub(crate) struct From<'s> {
    /// Around the block.
    pub scope: &'s Scope<'s>,
    /// What stands before it in the block's FROM: seen by LATERAL and functions.
    pub before: &'s Ranges,
    pub region: RegionId,
}

fn one(range: Range) -> Ranges {
    Ranges { list: vec![range], ..Ranges::default() }
}

/// A query's output as a range, its columns renamed first by the WITH table's or view's names, then by the alias's.
fn range_of(output: Output, alias: &Alias, names: &[String], name: String) -> Range {
    let shifted = output.shifted;
    let columns = output.columns.into_iter().map(|column| (column.name, column.term)).collect();
    let mut range = Range { name: alias.name.clone().unwrap_or(name), schema: None, columns, open: output.open, shifted };
    if shifted && !(names.is_empty() && alias.columns.is_empty()) {
        range.columns.clear();
        return range;
    }
    rename(&mut range, names);
    rename(&mut range, &alias.columns);
    range
}

fn rename(range: &mut Range, names: &[String]) {
    for ((column, _), name) in range.columns.iter_mut().zip(names) {
        column.clone_from(name);
    }
}

fn term(ranges: &Ranges, name: &str) -> Option<usize> {
    match ranges.column(name) {
        Found::Term(term) => Some(term),
        Found::Unclear | Found::No => None,
    }
}

fn is_open(ranges: &Ranges) -> bool {
    ranges.unclear || ranges.list.iter().any(|range| range.open)
}

fn common_columns(left: &Ranges, right: &Ranges) -> Vec<String> {
    if is_open(left) || is_open(right) {
        return Vec::new();
    }
    let names =
        |ranges: &Ranges| ranges.list.iter().flat_map(|range| range.columns.iter().map(|(name, _)| name.clone())).collect::<BTreeSet<_>>();
    names(left).intersection(&names(right)).cloned().collect()
}

/// Types of keys by their `pg_type` oid.
pub(crate) fn family_of(type_oid: u32) -> Option<KeyFamily> {
    match type_oid {
        20 | 21 | 23 => Some(KeyFamily::Integer),
        25 | 1043 => Some(KeyFamily::Text),
        1042 => Some(KeyFamily::Char),
        2950 => Some(KeyFamily::Uuid),
        _ => None,
    }
}

fn is_temporary(name: &ObjectName, temporary: &[String]) -> bool {
    match name.schema.as_deref() {
        None => temporary.contains(&name.name),
        Some(schema) => schema == "pg_temp" || schema.starts_with("pg_temp_"),
    }
}

fn is_catalog(schema: Option<&str>) -> bool {
    matches!(schema, Some("pg_catalog" | "information_schema" | "pg_toast"))
}
