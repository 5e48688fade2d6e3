//! Walks a statement's blocks and collects its facts.

use std::collections::HashSet;

use crate::routing::colocation::Top;
use crate::routing::facts::{Facts, ShardedUse, UseKey};
use crate::routing::filter::{Appearance, RowCondition};
use crate::routing::plan::Planner;
use crate::routing::refusal::Refusal;
use crate::routing::region::{RegionId, Regions, Term, ValueSet};
use crate::routing::scope::{Ranges, Scope};
use crate::routing::value::{Constant, Value};
use crate::sql::ast::{Body, Distinct, Expr, Query, Select, Statement, Target, walk};
use crate::sql::literal::Literal;
use crate::topology::key::KeyFamily;

/// Collects the facts of one statement.
pub(crate) struct Analyzer<'a> {
    pub planner: &'a Planner<'a>,
    pub search_path: Vec<String>,
    pub literals: &'a [Literal],
    pub regions: Regions,
    pub facts: Facts,
    /// Within the text of a view, whose literals are not the statement's.
    pub views: usize,
    /// Parameters, once for each use as the value of a column of a key's type.
    pub key_parameters: Vec<usize>,
    /// Queries within the statement, an INSERT's plain VALUES excepted.
    pub blocks: usize,
    /// Where rows live: see `colocation`.
    pub anchors: HashSet<Term>,
    /// The keys of tables that are written.
    pub written_keys: HashSet<Term>,
    /// Columns of RETURNING that are such a key, and nothing else.
    pub returned_keys: HashSet<Term>,
    /// Of sharded tables that are read.
    pub appearances: Vec<Appearance>,
    /// Conditions on the rows of appearances, by their places among [`Facts::sharded`]: only rows for which they hold matter.
    pub filters: Vec<(usize, RowCondition)>,
    /// The outermost SELECT, when it is all of the statement.
    pub top: Option<Top>,
    depth: usize,
}

/// What a query gives to the one around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    pub columns: Vec<OutputColumn>,
    /// Some of its columns have names that are not known here.
    pub open: bool,
    /// It has columns that are not in the list, so that positions mean nothing.
    pub shifted: bool,
}

impl Output {
    /// The column at a position.
    pub(crate) fn at(&self, position: usize) -> Option<&OutputColumn> {
        if self.shifted { None } else { self.columns.get(position) }
    }

    fn unknown() -> Self {
        Self { columns: Vec::new(), open: true, shifted: true }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct OutputColumn {
    pub name: String,
    pub term: Term,
    pub sets: Vec<ValueSet>,
    /// Never null, so that it may be stored as a key.
    pub strict: bool,
}

/// Blocks of one statement, those of views and of each naming of a WITH table included.
const BLOCKS_MAX: usize = 400;

/// Queries within each other, by text or by the names of WITH tables and views.
const DEPTH_MAX: usize = 60;

impl<'a> Analyzer<'a> {
    pub(crate) fn new(planner: &'a Planner<'a>, literals: &'a [Literal]) -> Self {
        Self {
            planner,
            search_path: planner.search_path.to_vec(),
            literals,
            regions: Regions::default(),
            facts: Facts::default(),
            views: 0,
            key_parameters: Vec::new(),
            anchors: HashSet::new(),
            written_keys: HashSet::new(),
            returned_keys: HashSet::new(),
            appearances: Vec::new(),
            filters: Vec::new(),
            top: None,
            blocks: 0,
            depth: 0,
        }
    }

    /// The whole statement.
    pub(crate) fn statement(&mut self, statement: &Statement) {
        let root = self.regions.region(None);
        self.nested_statement(statement, &Scope::EMPTY, root);
    }

    /// A statement alone or in WITH; its output is RETURNING's or the query's.
    pub(crate) fn nested_statement(&mut self, statement: &Statement, scope: &Scope<'_>, parent: RegionId) -> Output {
        match statement {
            Statement::Query(query) => self.query(query, scope, parent, false),
            Statement::Insert(insert) => self.insert(insert, scope, parent),
            Statement::Update(update) => self.update(update, scope, parent),
            Statement::Delete(delete) => self.delete(delete, scope, parent),
            Statement::Merge(merge) => self.merge(merge, scope, parent),
        }
    }

    /// A query read in region `parent`. `link`: rows whose output columns break the conditions of `parent` may be left out.
    pub(crate) fn query(&mut self, query: &Query, scope: &Scope<'_>, parent: RegionId, link: bool) -> Output {
        self.blocks += 1;
        if self.blocks > BLOCKS_MAX || self.depth > DEPTH_MAX {
            self.facts.too_complex = true;
            return Output::unknown();
        }
        self.depth += 1;
        let mut output = Output::default();
        self.with(&query.with, scope, parent, &mut |analyzer, scope| {
            output = analyzer.body(query, scope, parent, link);
        });
        self.depth -= 1;
        self.facts.locking |= query.locking;
        self.facts.locking_inside |= query.locking && self.depth > 0;
        if query.limited {
            self.facts.differs("LIMIT");
        }
        if query.locking {
            self.facts.differs("FOR UPDATE");
        }
        output
    }

    fn body(&mut self, query: &Query, scope: &Scope<'_>, parent: RegionId, link: bool) -> Output {
        let link = link && !query.limited && !query.locking;
        if let Body::Select(select) = &query.body {
            return self.select((select, query), scope, parent, link);
        }
        self.inspect_all(query.order_by.iter().chain(&query.limits), scope, parent);
        match &query.body {
            Body::Arms(arms) => self.arms(arms, scope, parent, link),
            Body::Nested(inner) => self.query(inner, scope, parent, link),
            Body::Values(rows) => self.values(rows, scope, parent),
            Body::Select(_) => Output::default(),
        }
    }

    fn select(&mut self, (select, query): (&Select, &Query), scope: &Scope<'_>, parent: RegionId, link: bool) -> Output {
        let region = self.regions.region(Some(parent));
        let mut padded = Vec::new();
        let ranges = self.ranges_of_list(&select.from, scope, region, &mut padded);
        let scope = scope.within(&ranges);
        if let Some(filter) = &select.filter {
            self.condition(filter, &scope, region);
        }
        self.inspect_all(select.targets.iter().map(|target| &target.expr), &scope, region);
        self.inspect_all(select.group_by.iter().chain(&select.having).chain(&select.windows), &scope, region);
        self.inspect_all(query.order_by.iter().chain(&query.limits), &scope, region);
        let mut link = link && !select.grouping_sets && !has_window(select, query);
        if let Distinct::On(exprs) = &select.distinct {
            self.inspect_all(exprs, &scope, region);
            self.facts.differs("DISTINCT ON");
            link = false;
        }
        self.regions.reduce(&padded);
        if self.depth == 1 && self.views == 0 {
            self.top = Some(Top { region, ranges: ranges.clone() });
        }
        self.outputs(&select.targets, &ranges, &scope, Place { region, parent, link })
    }

    /// The arms of a set operation. Each gets a region of its own, in which its columns are the whole's.
    fn arms(&mut self, arms: &[Query], scope: &Scope<'_>, parent: RegionId, link: bool) -> Output {
        let mut outputs = Vec::with_capacity(arms.len());
        for arm in arms {
            let region = self.regions.region(Some(parent));
            outputs.push((region, self.query(arm, scope, region, link)));
        }
        let Some((_, first)) = outputs.first() else { return Output::default() };
        let mut whole = Output { open: first.open, ..Output::default() };
        for (at, column) in first.columns.iter().enumerate() {
            let parts: Vec<_> = outputs.iter().filter_map(|(region, output)| Some((*region, output.at(at)?))).collect();
            if parts.len() < outputs.len() {
                return Output::unknown();
            }
            let family = self
                .regions
                .family(column.term)
                .filter(|family| parts.iter().all(|(_, part)| self.regions.family(part.term) == Some(*family)));
            let term = self.regions.term(family, parent);
            let mut set: Option<ValueSet> = Some(Vec::new());
            for (region, part) in parts {
                self.regions.link(region, term, part.term);
                set = set.zip(part.sets.first()).map(|(set, more)| [set, more.clone()].concat());
            }
            let sets: Vec<_> = set.filter(|_| family.is_some()).into_iter().collect();
            let strict = outputs.iter().all(|(_, output)| output.at(at).is_some_and(|part| part.strict));
            self.arms_anchor(&outputs, at, term);
            self.export(parent, term, &sets, strict);
            whole.columns.push(OutputColumn { name: column.name.clone(), term, sets, strict });
        }
        whole
    }

    fn values(&mut self, rows: &[Vec<Expr>], scope: &Scope<'_>, parent: RegionId) -> Output {
        self.inspect_all(rows.iter().flatten(), scope, parent);
        let width = rows.first().map_or(0, Vec::len);
        let mut output = Output::default();
        for at in 0..width {
            let set: Option<ValueSet> = rows.iter().map(|row| self.value(row.get(at)?)).collect();
            let family = set.as_ref().and_then(|set| self.common_family(set));
            let term = self.regions.term(family, parent);
            let sets: Vec<_> = set.filter(|_| family.is_some()).into_iter().collect();
            let strict = !sets.is_empty();
            self.export(parent, term, &sets, strict);
            output.columns.push(OutputColumn { name: format!("column{}", at + 1), term, sets, strict });
        }
        output
    }

    fn common_family(&self, set: &[Value]) -> Option<KeyFamily> {
        let family = self.value_family(*set.first()?)?;
        set.iter().all(|value| self.value_family(*value) == Some(family)).then_some(family)
    }

    fn value_family(&self, value: Value) -> Option<KeyFamily> {
        value.family(|index| self.literals.get(index).map(|literal| literal.kind))
    }

    /// The output columns of a target list.
    pub(crate) fn outputs(&mut self, targets: &[Target], ranges: &Ranges, scope: &Scope<'_>, place: Place) -> Output {
        let mut output = Output::default();
        for target in targets {
            match &target.expr {
                Expr::Star { qualifier } => self.star(&mut output, qualifier, ranges, place),
                expr => {
                    let column = if let Expr::Column { name, .. } = expr { Some(name) } else { None };
                    match target.alias.as_ref().or(column) {
                        Some(name) => {
                            let term = scope.term(expr);
                            let value = self.value(expr);
                            self.output(&mut output, name, (term, value), place);
                        }
                        None => {
                            let value = self.value(expr);
                            self.output(&mut output, UNNAMED, (None, value), place);
                            output.open = true;
                        }
                    }
                }
            }
        }
        output
    }

    /// `*` or `table.*`. Columns of USING stand once and first, in an order that is not followed here.
    fn star(&mut self, output: &mut Output, qualifier: &[String], ranges: &Ranges, place: Place) {
        let merged: &[(String, Option<Term>)] = if qualifier.is_empty() { &ranges.merged } else { &[] };
        output.open |= ranges.unclear;
        output.shifted |= ranges.unclear || !merged.is_empty();
        for (name, term) in merged {
            self.output(output, name, (*term, None), place);
        }
        let wanted = |name: &str| qualifier.last().is_none_or(|qualifier| qualifier == name);
        for range in ranges.list.iter().filter(|range| wanted(&range.name)) {
            output.open |= range.open;
            output.shifted |= range.open || range.shifted;
            for (name, term) in range.columns.iter().filter(|(name, _)| !merged.iter().any(|(other, _)| other == name)) {
                self.output(output, name, (Some(*term), None), place);
            }
        }
    }

    fn output(&mut self, output: &mut Output, name: &str, (inner, value): (Option<Term>, Option<Value>), place: Place) {
        let family = match (inner, value) {
            (Some(inner), _) => self.regions.family(inner),
            (None, Some(value)) => self.value_family(value),
            (None, None) => None,
        };
        let term = self.regions.term(family, place.parent);
        let mut sets = Vec::new();
        // A constant that is null is none of a set's values.
        let strict = inner.map_or(value.is_some(), |inner| self.regions.is_never_null(inner, place.region));
        if let Some(inner) = inner {
            if self.written_keys.contains(&inner) {
                self.returned_keys.insert(term);
            }
            if place.link {
                self.regions.link(place.region, term, inner);
                self.carry_anchor(inner, term, place.region);
            }
            sets = self.regions.own_sets(inner, place.region);
        } else if let Some(value) = value.filter(|_| family.is_some()) {
            sets.push(vec![value]);
        }
        self.export(place.parent, term, &sets, strict);
        output.columns.push(OutputColumn { name: name.to_owned(), term, sets, strict });
    }

    /// Tells the region around a query what is known of its output. Unless it is strict, a null is not excluded.
    pub(crate) fn export(&mut self, parent: RegionId, term: Term, sets: &[ValueSet], strict: bool) {
        for set in sets {
            self.regions.bind(parent, term, set.clone(), strict);
        }
    }

    /// The constant that `expr` is. In a view's text there are none: its literals are not the statement's.
    pub(crate) fn value(&self, expr: &Expr) -> Option<Value> {
        if self.views > 0 { None } else { Value::of(expr) }
    }

    /// These values are compared with, or stored in, a column of this family.
    pub(crate) fn typed_use(&mut self, family: Option<KeyFamily>, values: &[Value]) {
        if family.is_some() {
            self.key_parameters.extend(values.iter().filter_map(|value| match value.of {
                Constant::Parameter(number) => Some(number),
                Constant::Literal(_) | Constant::Null => None,
            }));
        }
    }

    /// Looks through expressions for queries and calls.
    pub(crate) fn inspect_all<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>, scope: &Scope<'_>, region: RegionId) {
        for expr in exprs {
            self.inspect(expr, scope, region);
        }
    }

    pub(crate) fn inspect(&mut self, expr: &Expr, scope: &Scope<'_>, region: RegionId) {
        walk(expr, &mut |part| match part {
            Expr::Subquery { query, .. } | Expr::InQuery { query, .. } => {
                self.query(query, scope, region, false);
            }
            Expr::Call(call) => {
                self.call(call);
                self.outer_aggregate(call, scope);
            }
            Expr::Column { name, .. } if is_system_column(name) => {
                self.facts.differs(name);
                self.facts.varies(name);
            }
            _ => {}
        });
    }

    /// One more appearance of a sharded table.
    pub(crate) fn sharded_use(&mut self, relation: &crate::topology::schema::Relation, by: UseKey) {
        if let crate::topology::Placement::Sharded { key_column, key_type } = &relation.placement {
            let table = relation.name.clone();
            self.facts.sharded.push(ShardedUse { table, key_column: key_column.clone(), key_type: *key_type, by });
        }
    }

    pub(crate) fn not_provable(&mut self, table: &str, what: &str) {
        self.facts.refuse_unless_hinted(Refusal::unclear(table, what));
    }
}

/// Where a target list stands.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The block's own conditions.
    pub region: RegionId,
    /// Where its output is read.
    pub parent: RegionId,
    pub link: bool,
}

const UNNAMED: &str = "?column?";

fn has_window(select: &Select, query: &Query) -> bool {
    let mut found = !select.windows.is_empty();
    for expr in select.targets.iter().map(|target| &target.expr).chain(&query.order_by) {
        walk(expr, &mut |part| found |= matches!(part, Expr::Call(call) if call.window));
    }
    found
}

/// Columns that PostgreSQL gives every table; their values are each server's own.
fn is_system_column(name: &str) -> bool {
    matches!(name, "ctid" | "xmin" | "xmax" | "cmin" | "cmax" | "tableoid")
}
