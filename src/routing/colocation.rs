//! Which rows of a query live together: proves that every shard can compute its part of an answer by itself.
//!
//! A term is an *anchor* when it is never null and every row of its table or subquery stands on the one shard that owns the term's value:
//! the key of a sharded table, and what a subquery makes of it column for column. A query with an anchor in its own FROM, not on the padded
//! side of an outer join, whose every other sharded table has a key equal to that anchor, reads for each value of the anchor only rows of
//! that value. So its answer is the answers of the shards put together.

use std::collections::BTreeSet;

use crate::routing::analyze::{Analyzer, Output};
use crate::routing::facts::UseKey;
use crate::routing::region::{RegionId, Term};
use crate::routing::respell::quoted;
use crate::routing::scope::{Found, Range, Ranges, Scope};
use crate::sql::ast::{Call, Expr, walk};

/// The outermost SELECT: its conditions and what its FROM makes visible.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    pub region: RegionId,
    pub ranges: Ranges,
}

impl Analyzer<'_> {
    /// An output column that is an anchor within its query is one outside.
    pub(crate) fn carry_anchor(&mut self, inner: Term, outer: Term, region: RegionId) {
        if self.is_anchor(inner, region) {
            self.anchors.insert(outer);
        }
    }

    /// A column of a set operation is an anchor when it is one in all arms.
    pub(crate) fn arms_anchor(&mut self, arms: &[(RegionId, Output)], at: usize, whole: Term) {
        let carried = |(_, output): &(RegionId, Output)| output.at(at).is_some_and(|part| self.anchors.contains(&part.term));
        if arms.iter().all(carried) {
            self.anchors.insert(whole);
        }
    }

    /// Whether the term is an anchor of the block of `region`, and not of a side that may be padded.
    pub(crate) fn is_anchor(&self, term: Term, region: RegionId) -> bool {
        self.anchors.contains(&term) && self.regions.region_of(term) == Some(region)
    }

    /// As check_agglevels_and_constraints: an aggregate whose arguments hold only columns of a query around it belongs to that query. Where
    /// it may, what the outer query is is not known.
    pub(crate) fn outer_aggregate(&mut self, call: &Call, scope: &Scope<'_>) {
        if !self.planner.schema.is_aggregate(&call.name) || call.arguments.is_empty() {
            return;
        }
        let mut layers = scope.layers();
        let (Some(own), Some(_)) = (layers.next(), layers.next()) else { return };
        let (mut columns, mut owned) = (false, false);
        for argument in &call.arguments {
            walk(argument, &mut |part| match part {
                Expr::Column { .. } => {
                    columns = true;
                    owned |= own.term(part).is_some();
                }
                Expr::Star { .. } | Expr::Subquery { .. } | Expr::InQuery { .. } => columns = true,
                _ => {}
            });
        }
        if columns && !owned {
            self.facts.varies("an aggregate that may belong to an outer query");
        }
    }

    /// The anchor of the outermost SELECT to which every sharded table's key is equal; else the table that has none.
    pub(crate) fn anchor(&self, top: &Top) -> Result<Anchor<'_>, String> {
        let columns = top.ranges.list.iter().flat_map(|range| range.columns.iter().map(|(_, term)| *term));
        let merged = top.ranges.merged.iter().filter_map(|(_, term)| *term);
        let candidates: BTreeSet<Term> = columns.chain(merged).filter(|term| self.is_anchor(*term, top.region)).collect();
        let mut apart = None;
        for anchor in candidates {
            let elsewhere = self.facts.sharded.iter().find(|sharded| match &sharded.by {
                UseKey::Term { term, region } => !self.regions.are_equal(*region, *term, anchor),
                UseKey::Rows(_) | UseKey::Sets(_) | UseKey::Unknown => true,
            });
            match elsewhere {
                None => return Ok(Anchor { analyzer: self, term: anchor, region: top.region, ranges: top.ranges.clone() }),
                Some(sharded) => apart = Some(sharded),
            }
        }
        let of = |table: &str, key: &str| format!("rows of \"{table}\" are joined by something else than \"{key}\"");
        Err(apart.map_or_else(
            || "no sharded table in FROM whose every row is in the answer once".to_owned(),
            |sharded| of(&sharded.table, &sharded.key_column),
        ))
    }
}

/// What all keys of a query are equal to.
pub(crate) struct Anchor<'a> {
    analyzer: &'a Analyzer<'a>,
    term: Term,
    region: RegionId,
    ranges: Ranges,
}

impl Anchor<'_> {
    /// Whether the expression is a column that is equal to the anchor.
    pub(crate) fn is(&self, expr: &Expr) -> bool {
        let term = Scope::EMPTY.within(&self.ranges).term(expr);
        term.is_some_and(|term| self.analyzer.regions.are_equal(self.region, term, self.term))
    }

    /// The anchor as an SQL expression of the query's own block; `None` where no name means it for certain.
    pub(crate) fn sql(&self) -> Option<String> {
        column_sql(&self.ranges, self.term)
    }

    /// Whether its table or subquery is all of FROM.
    pub(crate) fn is_alone(&self) -> bool {
        self.ranges.list.len() == 1 && !self.ranges.unclear
    }

    /// What a bare name is in the query's FROM.
    pub(crate) fn column(&self, name: &str) -> Found {
        self.ranges.column(name)
    }
}

/// A column of these ranges by its term, as SQL.
pub(crate) fn column_sql(ranges: &Ranges, term: Term) -> Option<String> {
    let is_alone = |range: &Range| ranges.list.iter().filter(|other| other.name == range.name).count() == 1;
    ranges.list.iter().find_map(|range| {
        let (name, _) = range.columns.iter().find(|(_, other)| *other == term)?;
        let named = range.columns.iter().filter(|(other, _)| other == name).count() == 1;
        if !named || range.name.is_empty() || !is_alone(range) {
            return None;
        }
        Some(format!("{}.{}", quoted(&range.name), quoted(name)))
    })
}
