//! UPDATE and DELETE of rows that a query within them has locked, as job queues send them. The query runs first, over all shards; then the
//! statement is planned anew with the rows that it gave in the query's place.

use crate::routing::spread::Sought;
use crate::sql::ast::{Expr, FromItem, Query, Statement, walk};
use crate::sql::classify::Form;
use crate::sql::clock::CLOCK;
use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::lexer::TokenKind;
use crate::sql::outline::Span;

/// What runs first. Places are numbers of tokens, which all texts of a template have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPlan {
    pub queries: Vec<LockedQuery>,
    /// It names the clock, which has to be one moment for all that runs.
    pub clock: bool,
    pub returning: bool,
}

/// A query that locks the rows it gives, and depends on nothing around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedQuery {
    /// Its tokens, without the parentheses around it.
    pub span: Span,
    pub stands: Stands,
}

/// What may stand in a query's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// Another query.
    Query,
    /// A list, behind IN.
    List,
    /// One value.
    Value,
}

/// The plan, or why the statement is no such.
pub(crate) fn plan(sought: &Sought<'_>) -> Result<LockedPlan, String> {
    let (with, from, filter, returning) = match sought.statement {
        Statement::Update(update) => (&update.with, &update.from, &update.filter, &update.returning),
        Statement::Delete(delete) => (&delete.with, &delete.using, &delete.filter, &delete.returning),
        _ => return Err("it is no UPDATE or DELETE".to_owned()),
    };
    if sought.form != Form::Plain || !sought.analyzer.facts.locking {
        return Err("no query in it locks rows".to_owned());
    }
    let mut found: Vec<Stands> = Vec::new();
    for table in &with.tables {
        match &table.statement {
            Statement::Query(query) => found.extend(query.locking.then_some(Stands::Query)),
            _ => return Err("a table of WITH writes".to_owned()),
        }
    }
    let of_with = found.len();
    from.iter().for_each(|item| in_from(item, &mut found));
    if let Some(filter) = filter {
        in_filter(filter, &mut found);
    }
    let spans = spans(sought.whole).filter(|spans| spans.len() == found.len());
    let spans = spans.ok_or_else(|| "rows are locked by a query within a query".to_owned())?;
    let names: Vec<&String> = with.tables.iter().map(|table| &table.name).collect();
    let mut queries = Vec::with_capacity(spans.len());
    for (order, (span, stands)) in spans.into_iter().zip(found).enumerate() {
        let inside = sought.whole.within(span.clone());
        let own = with.tables.iter().filter(|table| matches!(&table.statement, Statement::Query(query) if query.locking)).nth(order);
        let known = match own.filter(|_| order < of_with && !with.recursive) {
            // The tables of WITH before it.
            Some(own) => names.iter().position(|name| **name == own.name).and_then(|at| names.get(..at)).unwrap_or(&names),
            None => &names,
        };
        if let Some(name) = known.iter().find(|name| names_it(inside, name)) {
            return Err(format!("the query that locks rows names \"{name}\" of WITH"));
        }
        let stands = if stands == Stands::List && !is_behind_in(sought.whole.tokens(), &span) { Stands::Query } else { stands };
        queries.push(LockedQuery { span, stands });
    }
    let clock = sought.analyzer.facts.calls.iter().any(|(name, _)| CLOCK.contains(&name.as_str()));
    Ok(LockedPlan { queries, clock, returning: !returning.is_empty() })
}

fn in_from(item: &FromItem, found: &mut Vec<Stands>) {
    match item {
        FromItem::Derived { query, lateral: false, .. } => found.extend(query.locking.then_some(Stands::Query)),
        FromItem::Join(join) => {
            in_from(&join.left, found);
            in_from(&join.right, found);
        }
        FromItem::Table(_) | FromItem::Derived { .. } | FromItem::Functions { .. } => {}
    }
}

fn in_filter(filter: &Expr, found: &mut Vec<Stands>) {
    let locks = |query: &Query, stands: Stands| query.locking.then_some(stands);
    walk(filter, &mut |part| match part {
        Expr::InQuery { query, .. } => found.extend(locks(query, Stands::List)),
        Expr::Subquery { query, scalar } => found.extend(locks(query, if *scalar { Stands::Value } else { Stands::Query })),
        _ => {}
    });
}

/// The queries in parentheses that lock rows themselves, in the text's order. `None`: one of them is something else.
fn spans(mut cursor: Cursor<'_>) -> Option<Vec<Span>> {
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut spans: Vec<Span> = Vec::new();
    let mut label = false;
    while let Some(token) = cursor.peek() {
        if !label && locks(cursor) {
            open.last_mut()?.1 = true;
        }
        match token.kind {
            TokenKind::Mark(b'(' | b'[') => open.push((cursor.place(), false)),
            TokenKind::Mark(b')' | b']') => {
                let (start, locked) = open.pop()?;
                if locked {
                    spans.push(start + 1..cursor.place());
                }
            }
            _ => {}
        }
        // Behind AS and a dot any word is a name.
        label = token.kind == TokenKind::Mark(b'.') || cursor.is_word("as");
        cursor.advance();
    }
    spans.sort_by_key(|span| span.start);
    spans.iter().all(|span| cursor.within(span.clone()).is_one_of(&["select"])).then_some(spans)
}

fn locks(cursor: Cursor<'_>) -> bool {
    [&["for", "update"][..], &["for", "share"], &["for", "no", "key", "update"], &["for", "key", "share"]]
        .iter()
        .any(|words| cursor.is_words(words))
}

fn names_it(mut cursor: Cursor<'_>, name: &str) -> bool {
    while !cursor.at_end() {
        let mut ahead = cursor;
        if ahead.any_name().is_some_and(|found| found == name) {
            return true;
        }
        cursor.advance();
    }
    false
}

/// Whether IN stands before the query's parenthesis.
fn is_behind_in(tokens: &Tokens<'_>, span: &Span) -> bool {
    let before = span.start.checked_sub(2).and_then(|at| tokens.list().get(at));
    before.is_some_and(|token| token.kind == TokenKind::Word && tokens.bytes(*token).eq_ignore_ascii_case(b"in"))
}
