//! Edits of a statement's text by its tokens: the client's own bytes stay, parts are copied, added or left out.

use crate::merge::Amount;
use crate::routing::route::Values;
use crate::sql::cursor::Tokens;
use crate::sql::lexer::TokenKind;
use crate::sql::outline::Span;

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

impl Edit {
    fn start(&self) -> usize {
        match self {
            Self::Target { place, .. } => *place,
            Self::Remove(span) | Self::Limit(span) => span.start,
        }
    }
}

/// The text with all edits; `None` when it has no such tokens. `rows`: what [`Edit::Limit`] says.
pub(crate) fn edited(text: &[u8], edits: &[Edit], rows: Option<u64>, standard_conforming_strings: bool) -> Option<Vec<u8>> {
    let tokens = Tokens::new(text, standard_conforming_strings).ok()?;
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut done = 0;
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|edit| edit.start());
    for edit in sorted {
        match edit {
            Edit::Target { place, parts } => {
                let end = tokens.bounds(&(place.checked_sub(1)?..*place))?.end;
                out.extend_from_slice(text.get(done..end)?);
                out.extend_from_slice(b", ");
                for part in parts {
                    match part {
                        Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                        Part::Copy(span) => out.extend_from_slice(tokens.source(span)?),
                    }
                }
                // A name that nothing else means: ORDER BY would take it for the client's column of the same name.
                out.extend_from_slice(format!(" AS shardyard_{} ", done + out.len()).as_bytes());
                done = end;
            }
            Edit::Remove(span) | Edit::Limit(span) => {
                let bounds = tokens.bounds(span)?;
                out.extend_from_slice(text.get(done..bounds.start)?);
                if let (Edit::Limit(_), Some(rows)) = (edit, rows) {
                    out.extend_from_slice(format!("LIMIT {rows}").as_bytes());
                }
                done = bounds.end;
            }
        }
    }
    out.extend_from_slice(text.get(done..)?);
    Some(out)
}

/// The number of rows that LIMIT or OFFSET says: `Ok(None)` for NULL; `Err` where it is none that can be read here.
pub(crate) fn rows(amount: Amount, values: &Values<'_>) -> Result<Option<u64>, ()> {
    let text = match amount {
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
