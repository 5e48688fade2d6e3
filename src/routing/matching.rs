//! MERGE on every shard: each row of the source meets its partners where it is, and is inserted where it belongs.

use crate::routing::colocation::column_sql;
use crate::routing::facts::{Merged, ShardedUse, UseKey};
use crate::routing::region::Term;
use crate::routing::respell::quoted;
use crate::routing::spread::Sought;
use crate::sql::ast::{Merge, MergeAction};
use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::lexer::TokenKind;
use crate::sql::splice::Replacement;
use crate::topology::moving::owned;

/// Where a MERGE that runs on every shard says which rows count there. Keys are SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matching {
    target_key: String,
    source_key: Option<String>,
    /// The source is whole on every shard, and its rows without partners are inserted: each only on the shard of its key.
    pub shares: bool,
    clauses: Vec<Clause>,
}

/// A WHEN clause. Places are numbers of tokens, which all texts of a template have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    /// WHEN NOT MATCHED.
    lonely: bool,
    /// Behind MATCHED, or behind the AND that follows it.
    condition: usize,
    /// AND is there.
    has_condition: bool,
    then: usize,
}

/// How a MERGE into a sharded table runs on every shard; else why it cannot.
pub(crate) fn plan(sought: &Sought<'_>, merge: &Merge) -> Result<Matching, String> {
    let facts = &sought.analyzer.facts;
    let (Some(merged), Some(target)) = (&facts.merged, facts.merged.as_ref().and_then(|merged| merged.key)) else {
        return Err("it is no MERGE into a sharded table".to_owned());
    };
    if let Some(single) = facts.single.first() {
        return Err(format!("\"{single}\" is on the home shard only"));
    }
    let source = facts.sharded.get(merged.source_uses.clone()).unwrap_or_default();
    let key = source_key(sought, merged, (source, target))?;
    check_others(sought, merged, target)?;
    let inserts = merge.clauses.iter().any(|clause| matches!(clause.action, MergeAction::Insert { .. }));
    let source_sql = key.and_then(|key| column_sql(&merged.source, key));
    let shares = source.is_empty() && inserts;
    if shares && source_sql.is_none() {
        return Err("its source's key has no name that is clear".to_owned());
    }
    let clauses = clauses(sought.whole).filter(|clauses| clauses.len() == merge.clauses.len());
    let key_column = sought.analyzer.planner.relation(&merge.table).map(crate::routing::gather::key_column);
    let name = quoted(merge.alias.as_ref().unwrap_or(&merge.table.name));
    Ok(Matching {
        target_key: format!("{name}.{}", quoted(&key_column.unwrap_or_default())),
        source_key: source_sql,
        shares,
        clauses: clauses.ok_or("its clauses are not told apart")?,
    })
}

/// The source's column by which its rows are on their shard or belong there; `None`: it is whole on every shard, and inserts nothing.
fn source_key(sought: &Sought<'_>, merged: &Merged, (uses, target): (&[ShardedUse], Term)) -> Result<Option<Term>, String> {
    let regions = sought.regions();
    let apart = || "ON does not say that the shard keys are equal".to_owned();
    let misplaced = || "a row would be inserted with another key than its source's".to_owned();
    if uses.is_empty() {
        let Some(inserted) = merged.inserted.first() else { return Ok(None) };
        let key = inserted.ok_or_else(misplaced)?;
        if merged.inserted.iter().any(|other| *other != Some(key)) {
            return Err(misplaced());
        }
        return if regions.are_equal(merged.matched, key, target) { Ok(Some(key)) } else { Err(apart()) };
    }
    let of = |sharded: &ShardedUse, key: Term| match sharded.by {
        UseKey::Term { term, region } => regions.are_equal(region, term, key),
        _ => false,
    };
    let columns = merged.source.list.iter().flat_map(|range| range.columns.iter().map(|(_, term)| *term));
    let mut anchors = columns.filter(|term| sought.analyzer.is_anchor(*term, merged.region));
    let key = anchors.find(|key| uses.iter().all(|sharded| of(sharded, *key)));
    let key = key.ok_or("its source's rows are not each of one shard's key")?;
    if !regions.are_equal(merged.matched, key, target) {
        return Err(apart());
    }
    let kept = |inserted: &Option<Term>| inserted.is_some_and(|inserted| regions.are_equal(merged.region, inserted, key));
    if merged.inserted.iter().all(kept) { Ok(Some(key)) } else { Err(misplaced()) }
}

/// What is read besides, in conditions and values, is of the target's row's key.
fn check_others(sought: &Sought<'_>, merged: &Merged, target: Term) -> Result<(), String> {
    for (at, sharded) in sought.analyzer.facts.sharded.iter().enumerate() {
        let UseKey::Term { term, region } = sharded.by else { return Err("a row of one certain key is inserted".to_owned()) };
        let inserted = region == merged.region && merged.inserted.contains(&Some(term));
        if !merged.source_uses.contains(&at) && !inserted && !sought.regions().are_equal(region, term, target) {
            return Err(format!("rows of \"{}\" are read by something else than the key", sharded.table));
        }
    }
    Ok(())
}

/// The WHEN clauses of the text; `None` where they are not found.
fn clauses(mut cursor: Cursor<'_>) -> Option<Vec<Clause>> {
    let mut clauses = Vec::new();
    let (mut depth, mut cases) = (0_usize, 0_usize);
    let mut label = false;
    while let Some(token) = cursor.peek() {
        if depth == 0 && cases == 0 && !label && (cursor.is_words(&["when", "matched"]) || cursor.is_words(&["when", "not", "matched"])) {
            cursor.advance();
            let lonely = cursor.accept_word("not");
            cursor.advance();
            cursor.accept_words(&["by", "target"]);
            let has_condition = cursor.accept_word("and");
            clauses.push(Clause { lonely, condition: cursor.place(), has_condition, then: 0 });
            continue;
        }
        if depth == 0 && cases == 0 && !label && cursor.is_word("then") {
            let open = clauses.last_mut().filter(|clause| clause.then == 0)?;
            open.then = cursor.place();
        }
        match token.kind {
            TokenKind::Mark(b'(' | b'[') => depth += 1,
            TokenKind::Mark(b')' | b']') => depth = depth.checked_sub(1)?,
            TokenKind::Word if depth == 0 && !label && cursor.is_word("case") => cases += 1,
            TokenKind::Word if depth == 0 && !label && cursor.is_word("end") => cases = cases.checked_sub(1)?,
            _ => {}
        }
        label = token.kind == TokenKind::Mark(b'.') || cursor.is_word("as");
        cursor.advance();
    }
    clauses.iter().all(|clause| clause.then > 0).then_some(clauses)
}

impl Matching {
    /// What a shard's text has besides. `left_out`: buckets of which rows are there that another shard owns. `others`: all that are not its
    /// own. `None`: the statement cannot say which rows count.
    pub(crate) fn insertions(&self, tokens: &Tokens<'_>, left_out: Option<&str>, others: &str) -> Option<Vec<Replacement>> {
        let mut insertions = Vec::new();
        for clause in &self.clauses {
            let (key, buckets) = match (clause.lonely, left_out) {
                (true, _) if self.shares => (self.source_key.as_ref()?, others),
                // Nothing of a source that is whole everywhere is inserted.
                (true, Some(_)) if self.source_key.is_none() => continue,
                (true, Some(left_out)) => (self.source_key.as_ref()?, left_out),
                (false, Some(left_out)) => (&self.target_key, left_out),
                (_, None) => continue,
            };
            let insert = |at: usize, by: String| Replacement { place: at..at, by };
            let end = |place: usize| Some(tokens.bounds(&(place.checked_sub(1)?..place))?.end);
            let condition = owned(key, buckets);
            if clause.has_condition {
                insertions.push(insert(end(clause.condition)?, " (".to_owned()));
                insertions.push(insert(end(clause.then)?, format!(") AND {condition}")));
            } else {
                insertions.push(insert(end(clause.condition)?, format!(" AND {condition}")));
            }
        }
        Some(insertions)
    }
}
