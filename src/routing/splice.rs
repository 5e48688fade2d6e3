//! Edits of a statement's text by its tokens: the client's own bytes stay, parts are copied, added or left out.

use std::ops::Range;

use crate::merge::Amount;
use crate::routing::route::Values;
use crate::sql::cursor::Tokens;
use crate::sql::lexer::TokenKind;
use crate::sql::outline::Span;
use crate::sql::splice::Replacement;

/// One edit. Edits of one text do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Adds a target behind the token before this place.
    Target { place: usize, parts: Vec<Part> },
    /// Leaves tokens out.
    Remove(Span),
    /// Puts another LIMIT there: as many rows as LIMIT and OFFSET together ask for.
    Limit(Span),
}

/// A part of an added target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(&'static str),
    /// The statement's own text of these tokens.
    Copy(Span),
}

/// The text with all edits, and with what is inserted beside them; `None` when it has no such tokens. `rows`: what [`Edit::Limit`] says.
pub(crate) fn edited(
    (text, tokens): (&[u8], &Tokens<'_>),
    edits: &[Edit],
    insertions: Vec<Replacement>,
    rows: Option<u64>,
) -> Option<Vec<u8>> {
    let mut changes: Vec<(Range<usize>, Vec<u8>)> = Vec::with_capacity(edits.len() + insertions.len());
    for (number, edit) in edits.iter().enumerate() {
        changes.push(edit.change(tokens, number, rows)?);
    }
    changes.extend(insertions.into_iter().map(|insertion| (insertion.place, insertion.by.into_bytes())));
    // Targets that are added at one place stay in their order.
    changes.sort_by_key(|(place, _)| place.start);
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut done = 0;
    for (place, by) in changes {
        out.extend_from_slice(text.get(done..place.start)?);
        out.extend_from_slice(&by);
        done = place.end;
    }
    out.extend_from_slice(text.get(done..)?);
    Some(out)
}

impl Edit {
    /// Which bytes of the text it changes, and to what.
    fn change(&self, tokens: &Tokens<'_>, number: usize, rows: Option<u64>) -> Option<(Range<usize>, Vec<u8>)> {
        match self {
            Self::Target { place, parts } => {
                let end = tokens.bounds(&(place.checked_sub(1)?..*place))?.end;
                let mut added = b", ".to_vec();
                for part in parts {
                    match part {
                        Part::Text(text) => added.extend_from_slice(text.as_bytes()),
                        Part::Copy(span) => added.extend_from_slice(tokens.source(span)?),
                    }
                }
                // A name that nothing else means: ORDER BY would take it for the client's column of the same name.
                added.extend_from_slice(format!(" AS shardyard_{number} ").as_bytes());
                Some((end..end, added))
            }
            Self::Remove(span) => Some((tokens.bounds(span)?, Vec::new())),
            Self::Limit(span) => {
                let limit = rows.map_or_else(String::new, |rows| format!("LIMIT {rows}"));
                Some((tokens.bounds(span)?, limit.into_bytes()))
            }
        }
    }
}

/// The number of rows that LIMIT or OFFSET says: `Ok(None)` for NULL; `Err` where it is none that can be read here.
pub(crate) fn rows(amount: Amount, values: &Values<'_>) -> Result<Option<u64>, ()> {
    let text = match amount {
        Amount::One => return Ok(Some(1)),
        Amount::Literal(index) => values.literals.get(index).and_then(|literal| literal.value(values.text)).ok_or(())?,
        Amount::Parameter(number) => {
            let parameters = &values.parameters;
            let Some(bytes) = parameters.values.get(number.saturating_sub(1)).copied().ok_or(())? else { return Ok(None) };
            let format = match parameters.formats {
                [] => 0,
                [one] => *one,
                each => each.get(number.saturating_sub(1)).copied().unwrap_or(0),
            };
            if format == 1 {
                let number = crate::merge::key::Kind::Integer.key(1, bytes);
                let Some(crate::merge::key::Key::Integer(number)) = number else { return Err(()) };
                return u64::try_from(number).map(Some).map_err(drop);
            }
            bytes.into()
        }
    };
    let number: i64 = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()).ok_or(())?;
    u64::try_from(number).map(Some).map_err(drop)
}

/// Whether the tokens are the same but for case, and hold no literal: those may differ from text to text.
pub(crate) fn are_alike(tokens: &Tokens<'_>, a: &Span, b: &Span) -> bool {
    let list = |span: &Span| tokens.list().get(span.clone()).unwrap_or_default();
    let (a, b) = (list(a), list(b));
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            let (left, right) = (tokens.bytes(*a), tokens.bytes(*b));
            let same = if a.kind == TokenKind::Word { left.eq_ignore_ascii_case(right) } else { left == right };
            a.kind == b.kind && same && !matches!(a.kind, TokenKind::Literal(_))
        })
}
