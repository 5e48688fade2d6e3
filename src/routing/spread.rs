//! Statements that one shard cannot run: the ways over several shards, cheapest first.

use std::sync::Arc;

use crate::routing::analyze::Analyzer;
use crate::routing::copy::CopyPlan;
use crate::routing::decide::{Bound, Decision};
use crate::routing::each::EachPlan;
use crate::routing::feed::FeedPlan;
use crate::routing::gather::GatherPlan;
use crate::routing::locked::{self, LockedPlan};
use crate::routing::plan::Planner;
use crate::routing::refusal::Refusal;
use crate::routing::region::Regions;
use crate::routing::route::{Route, Values};
use crate::routing::scatter::{self, ScatterPlan};
use crate::routing::split::SplitPlan;
use crate::sql::ast::Statement;
use crate::sql::classify::Form;
use crate::sql::cursor::Cursor;
use crate::topology::ShardMap;
use crate::wire::SqlState;

/// How a statement runs on several shards, found when it is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Read on every shard, merged in the proxy.
    Scatter(Arc<ScatterPlan>),
    /// Its tables are brought to the home shard, which computes.
    Gather(Arc<GatherPlan>),
    /// The same on every shard, their counts added: UPDATE and DELETE without a key.
    Each(Arc<EachPlan>),
    /// Its rows are shared out over shards.
    Split(Arc<SplitPlan>),
    /// The rows of its query are shared out over shards.
    Feed(Arc<FeedPlan>),
    /// Queries in it that lock rows run first.
    Locked(Arc<LockedPlan>),
    /// It locks rows and names the clock: planned again with a moment in the clock's place.
    Timed,
    /// COPY of a table on several shards.
    Copy(Arc<CopyPlan>),
}

/// The spread of a statement, with what cheaper ways it was not provable for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spreading {
    pub spread: Option<Spread>,
    /// Way and reason, for EXPLAIN (ROUTE).
    pub not_provable: Vec<(&'static str, String)>,
}

/// A statement that may have to run on several shards.
#[derive(Clone, Copy)]
pub(crate) struct Sought<'a> {
    /// All tokens of the text.
    pub whole: Cursor<'a>,
    /// At the query's first token.
    pub cursor: Cursor<'a>,
    pub statement: &'a Statement,
    pub form: Form,
    /// With the facts, the regions and the schema.
    pub analyzer: &'a Analyzer<'a>,
    pub decision: &'a Decision,
}

impl<'a> Sought<'a> {
    pub(crate) fn regions(&self) -> &'a Regions {
        &self.analyzer.regions
    }
}

impl Spreading {
    /// Finds the cheapest way that is provably right. Which statements get here: those that are refused, and those whose keys
    /// may turn out to be of several shards when they run.
    pub(crate) fn find(sought: &Sought<'_>) -> Self {
        let mut found = Self::default();
        let is_open = match sought.decision {
            Decision::Refused(refusal) => refusal.sqlstate == SqlState::FEATURE_NOT_SUPPORTED,
            Decision::Bound(_) => true,
            Decision::Home(_) | Decision::Any | Decision::Everywhere => false,
        };
        if !is_open || sought.analyzer.facts.hard.is_some() {
            return found;
        }
        if let Statement::Query(query) = sought.statement {
            match scatter::plan(sought, query) {
                Ok(plan) => found.spread = Some(Spread::Scatter(Arc::new(plan))),
                Err(reason) => found.not_provable.push(("scatter", reason)),
            }
            if found.spread.is_none() {
                match crate::routing::gather::plan(sought, query) {
                    Ok(plan) => found.spread = Some(Spread::Gather(Arc::new(plan))),
                    Err(_) if scatter::waits_for_clock(sought, query) => found.spread = Some(Spread::Timed),
                    Err(reason) => found.not_provable.push(("gather", reason)),
                }
            }
        } else {
            match crate::routing::split::plan(sought) {
                Ok(spread) => found.spread = Some(spread),
                Err(reason) => {
                    found.not_provable.push(("split", reason));
                    match locked::plan(sought) {
                        Ok(plan) => found.spread = Some(Spread::Locked(Arc::new(plan))),
                        Err(reason) if sought.analyzer.facts.locking => found.not_provable.push(("locked", reason)),
                        Err(_) => {}
                    }
                }
            }
        }
        found
    }

    /// The refusal, with why the last way was none.
    fn explained(&self, refusal: Refusal) -> Refusal {
        let last = |(way, reason): &&(&str, String)| matches!(*way, "gather" | "split" | "locked") && *reason != refusal.message;
        let Some((way, reason)) = self.not_provable.iter().rev().find(last) else { return refusal };
        let impossible = if *way == "gather" { "be computed over all shards" } else { "run on several shards" };
        let detail = refusal.detail.as_deref().map_or_else(String::new, |detail| format!("{detail} "));
        Refusal { detail: Some(format!("{detail}It cannot {impossible}: {reason}.")), ..refusal }
    }

    /// For a text that the parser does not understand.
    pub(crate) fn unparsed(planner: &Planner<'_>, whole: Cursor<'_>, form: Form) -> Self {
        match crate::routing::gather::plan_unparsed(planner, whole, form) {
            Ok(plan) => Self { spread: Some(Spread::Gather(Arc::new(plan))), ..Self::default() },
            Err(reason) => Self { not_provable: vec![("gather", reason)], ..Self::default() },
        }
    }

    /// The route of one execution that is not on one shard; `refusal` says why it is not.
    pub(crate) fn route(&self, refusal: Refusal, values: &Values<'_>, (map, bound): (&ShardMap, Option<&Bound>)) -> Result<Route, Refusal> {
        if refusal.sqlstate != SqlState::FEATURE_NOT_SUPPORTED {
            return Err(refusal);
        }
        match &self.spread {
            None => Err(self.explained(refusal)),
            Some(Spread::Scatter(plan)) if plan.is_unmergeable() || scatter::asks_the_clock(values) => {
                plan.fallback.as_ref().map(|gather| Route::Gather(gather.narrowed(values, map))).ok_or(refusal)
            }
            Some(Spread::Scatter(plan)) => Ok(Route::Scatter { plan: Arc::clone(plan), shards: scatter::shards(bound, values, map) }),
            Some(Spread::Gather(plan)) => Ok(Route::Gather(plan.narrowed(values, map))),
            Some(Spread::Each(plan)) => Ok(Route::Each { plan: Arc::clone(plan), shards: plan.shards(values, map)? }),
            Some(Spread::Split(plan)) => plan.split(values, map).map(|split| Route::Split(Arc::new(split))),
            Some(Spread::Feed(plan)) => Ok(Route::Feed(Arc::clone(plan))),
            Some(Spread::Locked(plan)) => Ok(Route::Locked(Arc::clone(plan))),
            Some(Spread::Timed) => Ok(Route::Timed),
            Some(Spread::Copy(plan)) => Ok(Route::Copy(Arc::clone(plan))),
        }
    }
}
