//! Writes that run on several shards: rows shared out by their keys, or the same on each shard.

use std::ops::Range;
use std::sync::Arc;

use crate::routing::decide::{Binding, Decision};
use crate::routing::each::{self, EachTarget, refuse_moments};
use crate::routing::feed;
use crate::routing::refusal::Refusal;
use crate::routing::route::Values;
use crate::routing::spread::{Sought, Spread};
use crate::sql::ast::{Insert, Source, Statement};
use crate::sql::classify::Form;
use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::lexer::TokenKind;
use crate::sql::splice::{Replacement, Spliced};
use crate::topology::{ShardId, ShardMap};

/// How the rows of an INSERT are shared out. Places are numbers of tokens, which all texts of a template have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitPlan {
    /// Its one set has the key of each row, in their order.
    binding: Binding,
    /// The tokens of each row, parentheses included.
    rows: Vec<Range<usize>>,
    pub clock: bool,
    pub returning: bool,
}

impl Eq for SplitPlan {}

/// The rows of one execution by their shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub plan: Arc<SplitPlan>,
    /// For each shard the numbers of its rows, in order.
    pub parts: Vec<(ShardId, Vec<usize>)>,
}

/// How a write runs on several shards (`Spread::Each` or `Spread::Split`); else why it cannot.
pub(crate) fn plan(sought: &Sought<'_>) -> Result<Spread, String> {
    if sought.form != Form::Plain {
        return Err("it is not the statement itself".to_owned());
    }
    if let Statement::Insert(_) = sought.statement
        && feed::leaves_defaults(sought)
        && let Ok(plan) = feed::plan(sought)
        && plan.defaults
    {
        return Ok(Spread::Feed(Arc::new(plan)));
    }
    if let (Statement::Insert(insert), Decision::Bound(bound)) = (sought.statement, sought.decision)
        && let [binding] = bound.bindings.as_slice()
        && binding.assigned
        && sought.analyzer.blocks == 0
    {
        return match rows(sought, insert, binding) {
            Ok(plan) => Ok(Spread::Split(Arc::new(plan))),
            Err(reason) => feed::plan(sought).map(|plan| Spread::Feed(Arc::new(plan))).map_err(|other| format!("{reason}; {other}")),
        };
    }
    match each::plan(sought) {
        Ok(plan) => Ok(Spread::Each(Arc::new(plan))),
        Err(reason) if !matches!(sought.statement, Statement::Insert(_)) => Err(reason),
        Err(each) => match feed::plan(sought) {
            Ok(plan) => Ok(Spread::Feed(Arc::new(plan))),
            Err(reason) => Err(format!("{each}; {reason}")),
        },
    }
}

fn rows(sought: &Sought<'_>, insert: &Insert, binding: &Binding) -> Result<SplitPlan, String> {
    let clock = each::vet(sought, &insert.with, &insert.returning, EachTarget::Sharded)?;
    let ([set], Source::Query(_), true) = (binding.sets.as_slice(), &insert.source, insert.with.tables.is_empty()) else {
        return Err("its rows are not plain VALUES".to_owned());
    };
    let rows = places(sought.whole).unwrap_or_default();
    if rows.len() != set.len() {
        return Err("its rows are not found in the text".to_owned());
    }
    Ok(SplitPlan { binding: binding.clone(), rows, clock, returning: !insert.returning.is_empty() })
}

/// The tokens of each row of VALUES.
fn places(mut cursor: Cursor<'_>) -> Option<Vec<Range<usize>>> {
    let mut at = 0;
    let mut step = |cursor: &mut Cursor<'_>| {
        cursor.advance();
        at += 1;
        at
    };
    while !(cursor.is_word("values") && cursor.is_mark_at(1, b'(')) {
        if cursor.at_end() {
            return None;
        }
        let opens = cursor.is_mark(b'(');
        step(&mut cursor);
        let mut depth = usize::from(opens);
        while depth > 0 {
            depth = deeper(&cursor, depth)?;
            step(&mut cursor);
        }
    }
    let mut start = step(&mut cursor);
    let mut rows = Vec::new();
    loop {
        let mut depth = 0;
        loop {
            depth = deeper(&cursor, depth)?;
            let end = step(&mut cursor);
            if depth == 0 {
                rows.push(start..end);
                break;
            }
        }
        if !cursor.is_mark(b',') {
            return Some(rows);
        }
        start = step(&mut cursor);
    }
}

/// The depth of parentheses behind the token here; `None` at the end.
fn deeper(cursor: &Cursor<'_>, depth: usize) -> Option<usize> {
    Some(match cursor.peek()?.kind {
        TokenKind::Mark(b'(') => depth + 1,
        TokenKind::Mark(b')') => depth.checked_sub(1)?,
        _ => depth,
    })
}

impl SplitPlan {
    pub(crate) fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The rows of one execution by their shards.
    pub(crate) fn split(self: &Arc<Self>, values: &Values<'_>, map: &ShardMap) -> Result<Split, Refusal> {
        refuse_moments(values)?;
        let mut parts: Vec<(ShardId, Vec<usize>)> = Vec::new();
        for (row, value) in self.binding.sets.iter().flatten().enumerate() {
            // A value that is no key is one that PostgreSQL refuses, wherever it comes.
            let shard = self.binding.row_shard(*value, values, map)?.unwrap_or(map.home);
            match parts.iter_mut().find(|(other, _)| *other == shard) {
                Some((_, rows)) => rows.push(row),
                None => parts.push((shard, vec![row])),
            }
        }
        parts.sort_by_key(|(shard, _)| *shard);
        Ok(Split { plan: Arc::clone(self), parts })
    }
}

impl Split {
    #[must_use]
    pub fn rows(&self) -> usize {
        self.plan.rows.len()
    }

    /// Each shard's text: the client's own with only that shard's rows; `None` where `text` is not of this template.
    #[must_use]
    pub fn texts(&self, text: &[u8], tokens: &Tokens<'_>, replacements: &[Replacement]) -> Option<Vec<(ShardId, Spliced)>> {
        let spans = self.plan.rows.iter().map(|row| tokens.span(row.clone())).collect::<Option<Vec<_>>>()?;
        let (first, last) = (spans.first()?, spans.last()?);
        let mut texts = Vec::with_capacity(self.parts.len());
        for (shard, rows) in &self.parts {
            let mut spliced = Spliced::default();
            spliced.keep(text, 0..first.start, replacements);
            for (order, row) in rows.iter().enumerate() {
                if order > 0 {
                    spliced.insert(b", ");
                }
                spliced.keep(text, spans.get(*row)?.clone(), replacements);
            }
            spliced.keep(text, last.end..text.len(), replacements);
            texts.push((*shard, spliced));
        }
        Some(texts)
    }
}
