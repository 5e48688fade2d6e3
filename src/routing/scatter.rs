//! Reads whose answer is the merged answers of the shards: which ones are provably so, and how they are merged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::merge::emit::Execution;
use crate::merge::{Amount, ColumnRef, MergePlan};
use crate::routing::each::names_clock;
use crate::routing::gather::GatherPlan;
use crate::routing::merging::Merging;
use crate::routing::owned::Ownership;
use crate::routing::refusal::Refusal;
use crate::routing::route::Values;
use crate::routing::splice::{Edit, edited, rows};
use crate::routing::spread::Sought;
use crate::sql::ast::{Body, Query};
use crate::sql::classify::Form;
use crate::sql::clock::CLOCK;
use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::outline::Outline;
use crate::topology::ShardMap;
use crate::wire::SqlState;

/// How a read runs on every shard and how the answers become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScatterPlan {
    pub merge: MergePlan,
    edits: Vec<Edit>,
    /// The statement is explained: each shard's plan is shown.
    pub explained: bool,
    /// What is done where the answers' types turn out to be none that the proxy merges.
    pub fallback: Option<Arc<GatherPlan>>,
    unmergeable: Remembered,
    /// How each shard leaves out rows that another one owns; `None`: the statement cannot say it.
    owned: Option<Ownership>,
    /// Rows are locked, no more than LIMIT says.
    picks: Option<Picking>,
}

/// How as many rows as LIMIT says are locked, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picking {
    /// Any rows: one shard is asked after another until there are enough.
    InTurn {
        /// No lock is waited for, so that the shards may be asked in any order.
        skips: bool,
    },
    /// The first of all shards.
    First,
}

/// That the answers were found not to be mergeable. No part of what a plan is.
#[derive(Debug, Default)]
struct Remembered(AtomicBool);

impl Clone for Remembered {
    fn clone(&self) -> Self {
        Self(AtomicBool::new(self.0.load(Ordering::Relaxed)))
    }
}

impl PartialEq for Remembered {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Remembered {}

impl ScatterPlan {
    /// The text for the shards, and what the execution adds to the merge.
    ///
    /// # Errors
    /// When LIMIT or OFFSET is no number that can be read here.
    pub fn execution(&self, values: &Values<'_>, standard_conforming_strings: bool) -> Result<(Option<Vec<u8>>, Execution), Refusal> {
        let unread = || {
            Refusal::unsupported(
                "LIMIT or OFFSET of a query over several shards is not understood".to_owned(),
                "It is negative, too large, or no whole number.".to_owned(),
                None,
            )
        };
        let amount = |amount: Option<Amount>| amount.map_or(Ok(None), |amount| rows(amount, values).map_err(|()| unread()));
        let limit = amount(self.merge.limit)?;
        let offset = amount(self.merge.offset)?.unwrap_or(0);
        let rows = shards_rows(limit, offset);
        let text = match self.edits.as_slice() {
            [] => None,
            edits => {
                let tokens = Tokens::new(values.text, standard_conforming_strings).map_err(|_| unread())?;
                Some(edited((values.text, &tokens), edits, Vec::new(), rows).ok_or_else(unread)?)
            }
        };
        let groups = self.merge.combine.iter().flat_map(|combine| &combine.groups);
        let columns = self.merge.order.iter().map(|item| &item.column).chain(groups);
        let mut positions = Vec::new();
        for column in columns {
            if let ColumnRef::Position(index) = column {
                let literal = values.literals.get(*index).and_then(|literal| literal.value(values.text));
                let number = literal.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
                positions.push((*index, number.unwrap_or(0)));
            }
        }
        Ok((text, Execution { limit, offset, positions, iso_dates: false, exact_floats: false, other_encoding: values.other_encoding }))
    }

    /// The text for a shard where these buckets do not count (see [`crate::topology::Moving::left_out`]); of an execution that is possible
    /// ([`ScatterPlan::execution`]). `None`: the statement cannot say it.
    #[must_use]
    pub fn text_of(&self, values: &Values<'_>, execution: &Execution, left_out: Option<&str>, standard_strings: bool) -> Option<Vec<u8>> {
        let tokens = Tokens::new(values.text, standard_strings).ok()?;
        let insertions = left_out.map_or(Some(Vec::new()), |left_out| self.owned.as_ref()?.insertions(&tokens, left_out))?;
        edited((values.text, &tokens), &self.edits, insertions, shards_rows(execution.limit, execution.offset))
    }

    /// How an execution locks the rows that it answers, where it may answer fewer than there are.
    #[must_use]
    pub fn picking(&self, execution: &Execution) -> Option<Picking> {
        self.picks.filter(|_| execution.limit.is_some())
    }

    /// Whether it may have to run in a transaction of its own.
    #[must_use]
    pub fn locks_some(&self) -> bool {
        self.picks.is_some()
    }

    /// Whether each shard can be told which rows count there.
    #[must_use]
    pub fn can_leave_out(&self) -> bool {
        self.owned.is_some()
    }

    /// Parameters that the shards' texts do not name any more; they are bigint.
    pub fn dropped_parameters(&self) -> impl Iterator<Item = usize> {
        let amounts = if self.edits.is_empty() { [None, None] } else { [self.merge.limit, self.merge.offset] };
        amounts.into_iter().flatten().filter_map(|amount| match amount {
            Amount::Parameter(number) => Some(number),
            Amount::Literal(_) | Amount::One => None,
        })
    }

    /// The answers' types are none that the proxy merges: from now on the statement goes the other way.
    pub fn note_unmergeable(&self) {
        self.unmergeable.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_unmergeable(&self) -> bool {
        self.unmergeable.0.load(Ordering::Relaxed)
    }

    /// What is done with the rows, in words, for EXPLAIN (ROUTE).
    pub(crate) fn steps(&self, values: &Values<'_>) -> Vec<String> {
        let mut steps = Vec::new();
        let merge = &self.merge;
        match &merge.combine {
            Some(combine) if combine.groups.is_empty() => steps.push("aggregates combined".to_owned()),
            Some(combine) => steps.push(format!("groups of {} columns combined", combine.groups.len())),
            None => {}
        }
        match (merge.order.len(), &merge.combine) {
            (0, _) => {}
            (keys, Some(_)) => steps.push(format!("sorted by {keys} keys")),
            (keys, None) => steps.push(format!("merged in order of {keys} keys")),
        }
        if merge.limit.is_some() || merge.offset.is_some() {
            steps.push("LIMIT and OFFSET applied".to_owned());
        }
        match self.picks {
            Some(Picking::InTurn { .. }) => steps.push("one shard after another until there are enough rows".to_owned()),
            Some(Picking::First) => steps.push("rows beyond LIMIT are unlocked again".to_owned()),
            None => {}
        }
        if steps.is_empty() {
            steps.push("rows as they come".to_owned());
        }
        if let Ok((Some(text), _)) = self.execution(values, true) {
            steps.push(format!("each shard runs {}", String::from_utf8_lossy(&text).trim()));
        }
        steps
    }
}

/// How many rows of each shard are needed.
fn shards_rows(limit: Option<u64>, offset: u64) -> Option<u64> {
    limit.and_then(|limit| limit.checked_add(offset)).filter(|rows| i64::try_from(*rows).is_ok())
}

/// The plan of a query that is provably mergeable; else why it is not.
pub(crate) fn plan(sought: &Sought<'_>, query: &Query) -> Result<ScatterPlan, String> {
    let explained = matches!(sought.form, Form::Explain { .. });
    if sought.form != Form::Plain && !explained {
        return Err("the rows are not the client's".to_owned());
    }
    let analyzer = sought.analyzer;
    let facts = &analyzer.facts;
    if let Some(other) = facts.single.first().or(facts.home.first()) {
        return Err(format!("\"{other}\" is on the home shard only"));
    }
    if facts.writes || facts.locking_inside {
        return Err("rows are written, or locked inside of the query".to_owned());
    }
    if let Some(what) = facts.volatile.as_ref().or(facts.varying.as_ref()) {
        return Err(format!("{what} may differ from shard to shard"));
    }
    if facts.soft.is_some() || facts.session_state {
        return Err("a function reads tables unseen, or leaves state behind".to_owned());
    }
    let (Body::Select(select), Some(top)) = (&query.body, &analyzer.top) else {
        return Err("a set operation, or a query in parentheses".to_owned());
    };
    if select.into.is_some() {
        return Err("SELECT INTO".to_owned());
    }
    let anchor = analyzer.anchor(top)?;
    let mut cursor = sought.cursor;
    if cursor.is_word("with") {
        cursor = behind_with(cursor).ok_or_else(|| "its WITH is not told apart".to_owned())?;
    }
    let outline = Outline::of(cursor).ok_or_else(|| "a clause that is not merged here".to_owned())?;
    let tokens: &Tokens<'_> = cursor.tokens();
    let merging = Merging { schema: analyzer.planner.schema, tokens, outline: &outline, anchor: &anchor, select, query };
    let (mut merge, mut edits) = merging.plan()?;
    if explained {
        // The shards' plans are shown one after another, of what the shards would run.
        merge = MergePlan::default();
        if edits.iter().any(|edit| matches!(edit, Edit::Limit(_))) {
            edits.clear();
        }
    }
    let fallback = if explained { None } else { crate::routing::gather::plan(sought, query).ok().map(Arc::new) };
    let owned = anchor.sql().map(|key| Ownership::of_select(&outline, key));
    let picks = (query.locking && merge.limit.is_some()).then(|| {
        let skips = has_words(cursor, &["skip", "locked"]);
        if merge.order.is_empty() { Picking::InTurn { skips } } else { Picking::First }
    });
    Ok(ScatterPlan { merge, edits, explained, fallback, unmergeable: Remembered::default(), owned, picks })
}

/// Whether a query that locks rows may be a scatter once a moment stands in the place of each use of the clock.
pub(crate) fn waits_for_clock(sought: &Sought<'_>, query: &Query) -> bool {
    let Body::Select(select) = &query.body else { return false };
    let clock = sought.analyzer.facts.calls.iter().any(|(name, _)| CLOCK.contains(&name.as_str()));
    // A column without a name of its own is called as its function.
    let named = select.targets.iter().all(|target| target.alias.is_some() || !names_clock(&target.expr));
    sought.form == Form::Plain && query.locking && clock && named
}

fn has_words(mut cursor: Cursor<'_>, words: &[&str]) -> bool {
    while !cursor.at_end() && !cursor.is_words(words) {
        cursor.advance();
    }
    !cursor.at_end()
}

/// The main SELECT behind WITH.
fn behind_with(mut cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    while !cursor.at_end() {
        if cursor.is_word("select") {
            return Some(cursor);
        }
        if cursor.accept_mark(b'(') {
            cursor.skip_to_close()?;
        } else {
            cursor.advance();
        }
    }
    None
}

/// Whether values such as 'now' stand in the statement, which each server reads at its own time.
pub(crate) fn asks_the_clock(values: &Values<'_>) -> bool {
    let literal = values
        .literals
        .iter()
        .filter(|literal| !literal.is_number())
        .any(|literal| literal.value(values.text).is_none_or(|value| crate::routing::plan::is_clock(&value)));
    literal || values.parameters.values.iter().flatten().any(|value| crate::routing::plan::is_clock(value))
}

/// The shards that a scatter concerns: all, or those of its keys.
pub(crate) fn shards(bound: Option<&crate::routing::decide::Bound>, values: &Values<'_>, map: &ShardMap) -> Vec<crate::topology::ShardId> {
    let every = || map.shards.iter().map(|shard| shard.id).collect();
    let Some(bound) = bound else { return every() };
    let named = bound.bindings.iter().filter_map(|binding| binding.shards(values, map).ok()).filter(|shards| !shards.is_empty());
    named.min_by_key(Vec::len).unwrap_or_else(every)
}

/// What a client reads when the answers cannot be merged and there is no other way.
#[must_use]
pub fn unmergeable(reason: &str) -> Refusal {
    Refusal {
        sqlstate: SqlState::FEATURE_NOT_SUPPORTED,
        message: "rows of several shards cannot be merged".to_owned(),
        detail: Some(format!("The answer's types: {reason}.")),
        hint: Some("Bind every table to one key.".to_owned()),
        maybe_syntax_error: false,
    }
}
