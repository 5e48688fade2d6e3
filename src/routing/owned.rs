//! While rows are on two shards: where a statement on several of them says which rows count on each.
//!
//! One condition is enough: on the key to which the keys of all sharded tables in the statement are equal. A row with another shard's key
//! then meets no row that counts.

use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::lexer::TokenKind;
use crate::sql::outline::{Outline, Span};
use crate::sql::splice::Replacement;
use crate::topology::moving::owned;
use crate::wire::SqlState;

use crate::routing::refusal::Refusal;

/// The key of the rows that count, and the place of a condition on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ownership {
    /// As SQL.
    key: String,
    place: Place,
}

/// Places are numbers of tokens, which all texts of a template have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The WHERE clause.
    Where(Span),
    /// There is none: it would stand behind the token before this place.
    Behind(usize),
}

impl Ownership {
    pub(crate) fn of_select(outline: &Outline, key: String) -> Self {
        let place = outline.where_clause.clone().map_or(Place::Behind(outline.from_end), Place::Where);
        Self { key, place }
    }

    /// Of an UPDATE or DELETE.
    pub(crate) fn of_change(mut cursor: Cursor<'_>, key: String) -> Option<Self> {
        let mut depth = 0_usize;
        let mut label = false;
        let mut filter = None;
        while let Some(token) = cursor.peek() {
            let ends = cursor.is_word("returning") && !label || token.kind == TokenKind::Mark(b';');
            if depth == 0 && ends {
                break;
            }
            if depth == 0 && !label && cursor.is_word("where") {
                filter = Some(cursor.place());
            }
            match token.kind {
                TokenKind::Mark(b'(' | b'[') => depth += 1,
                TokenKind::Mark(b')' | b']') => depth = depth.checked_sub(1)?,
                _ => {}
            }
            // Behind AS and a dot any word is a name.
            label = token.kind == TokenKind::Mark(b'.') || cursor.is_word("as");
            cursor.advance();
        }
        let end = cursor.place();
        Some(Self { key, place: filter.map_or(Place::Behind(end), |start| Place::Where(start..end)) })
    }

    /// What is put into the text, in order. `left_out`: see [`crate::topology::Moving::left_out`].
    pub(crate) fn insertions(&self, tokens: &Tokens<'_>, left_out: &str) -> Option<Vec<Replacement>> {
        let insert = |at: usize, by: String| Replacement { place: at..at, by };
        let condition = owned(&self.key, left_out);
        match &self.place {
            Place::Where(span) => {
                let word = tokens.bounds(&(span.start..span.start + 1))?.end;
                let end = tokens.bounds(span)?.end;
                Some(vec![insert(word, " (".to_owned()), insert(end, format!(") AND {condition} "))])
            }
            Place::Behind(place) => {
                let end = tokens.bounds(&(place.checked_sub(1)?..*place))?.end;
                Some(vec![insert(end, format!(" WHERE {condition} "))])
            }
        }
    }
}

/// The statement cannot say which rows count, and waits for the end of the move.
#[must_use]
pub fn cannot_leave_out() -> Refusal {
    Refusal {
        sqlstate: SqlState(*b"55006"),
        message: "statement cannot run while rows are being moved between shards".to_owned(),
        detail: Some("Some rows are on two shards, and the proxy cannot tell this statement which of them count.".to_owned()),
        hint: Some("Bind it to one shard key, or repeat it when the move is done.".to_owned()),
        maybe_syntax_error: false,
    }
}
