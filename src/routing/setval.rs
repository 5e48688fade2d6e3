//! setval of a sequence or value that is computed: what is computed, and where, before any sequence is set.

use crate::sql::ast::{Body, Distinct, Expr, Query, Select, Statement, walk};
use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::lexer::TokenKind;
use crate::sql::outline::{Outline, Span};
use crate::sql::splice::{Replacement, Spliced};

use crate::routing::sequence::is_setval;

/// `SELECT setval(sequence, value [, called])` with whatever else a SELECT may have, but no other target. Places are numbers of tokens,
/// which all texts of a template have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetvalPlan {
    /// Two or three.
    arguments: Vec<Span>,
    /// Before the call, and behind it and its alias.
    head: Span,
    rest: Span,
    /// The name of the column.
    pub label: String,
}

impl SetvalPlan {
    /// `None`: the statement has another form, or its sequence depends on rows.
    pub(crate) fn find(statement: &Statement, cursor: Cursor<'_>) -> Option<Self> {
        let Statement::Query(Query { body: Body::Select(select), locking: false, with, .. }) = statement else { return None };
        let Select { distinct: Distinct::No, targets, into: None, .. } = select.as_ref() else { return None };
        let ([target], true) = (targets.as_slice(), with.tables.is_empty()) else { return None };
        let Expr::Call(call) = &target.expr else { return None };
        if !is_setval(call) || call.window || call.ordered || !call.arguments.first().is_some_and(is_constant) {
            return None;
        }
        let outline = Outline::of(cursor)?;
        let [whole] = outline.targets.as_slice() else { return None };
        let mut call_span = whole.clone();
        let tokens = cursor.tokens();
        let list = tokens.list();
        if target.alias.is_some() {
            call_span.end -= 1;
            let before = list.get(call_span.end.checked_sub(1)?)?;
            if before.kind == TokenKind::Word && tokens.bytes(*before).eq_ignore_ascii_case(b"as") {
                call_span.end -= 1;
            }
        }
        let arguments = arguments(tokens, &call_span)?;
        if arguments.len() != call.arguments.len() || !(2..=3).contains(&arguments.len()) {
            return None;
        }
        let label = target.alias.clone().unwrap_or_else(|| call.name.clone());
        Some(Self { arguments, head: cursor.place()..whole.start, rest: whole.end..outline.end, label })
    }

    /// The query of the sequence's name, of the home shard's catalog alone. `None`, here and below: the text is not of this template.
    #[must_use]
    pub fn name_query(&self, text: &[u8], tokens: &Tokens<'_>, replacements: &[Replacement]) -> Option<Vec<u8>> {
        let mut query = Spliced::default();
        query.insert(b"SELECT (");
        query.keep(text, tokens.span(self.arguments.first()?.clone())?, replacements);
        query.insert(b")::pg_catalog.regclass::pg_catalog.text");
        Some(query.text)
    }

    /// The query of the value, and whether it counts as given.
    #[must_use]
    pub fn value_query(&self, text: &[u8], tokens: &Tokens<'_>, replacements: &[Replacement]) -> Option<Vec<u8>> {
        let mut query = Spliced::default();
        query.keep(text, tokens.span(self.head.clone())?, replacements);
        for (order, argument) in self.arguments.iter().skip(1).enumerate() {
            query.insert(if order == 0 { b" " } else { b", (" });
            query.keep(text, tokens.span(argument.clone())?, replacements);
            query.insert(if order == 0 { b" AS value" } else { b")::pg_catalog.bool AS called" });
        }
        if !self.rest.is_empty() {
            query.insert(b" ");
            query.keep(text, tokens.span(self.rest.clone())?, replacements);
        }
        Some(query.text)
    }
}

/// Whether it has one value, whatever rows there are.
fn is_constant(expr: &Expr) -> bool {
    let mut constant = true;
    walk(expr, &mut |part| {
        constant &= !matches!(part, Expr::Column { .. } | Expr::Star { .. } | Expr::Subquery { .. } | Expr::InQuery { .. });
    });
    constant
}

/// The tokens of each argument of the call that these tokens are.
fn arguments(tokens: &Tokens<'_>, call: &Span) -> Option<Vec<Span>> {
    let list = tokens.list();
    let open = (call.start..call.end).find(|at| list.get(*at).is_some_and(|token| token.kind == TokenKind::Mark(b'(')))?;
    let mut arguments = Vec::new();
    let mut start = open + 1;
    let mut depth = 0_usize;
    for at in open..call.end {
        match list.get(at)?.kind {
            TokenKind::Mark(b'(' | b'[') => depth += 1,
            TokenKind::Mark(b',') if depth == 1 => {
                arguments.push(start..at);
                start = at + 1;
            }
            TokenKind::Mark(b')' | b']') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    arguments.push(start..at);
                    return (at + 1 == call.end).then_some(arguments);
                }
            }
            _ => {}
        }
    }
    None
}
