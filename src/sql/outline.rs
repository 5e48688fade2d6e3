//! Where the parts of a SELECT stand in its text: targets, GROUP BY, ORDER BY, LIMIT. For edits of the text; what the parts mean is `parse`'s.

use std::ops::Range;

use crate::sql::cursor::Cursor;
use crate::sql::lexer::TokenKind;

/// Places of tokens, counted from the text's first.
pub type Span = Range<usize>;

/// The parts of one SELECT without set operation, by their tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    pub targets: Vec<Span>,
    /// The token before which another target may be added.
    pub targets_end: usize,
    /// The token before which WHERE may be added.
    pub from_end: usize,
    pub group_by: Vec<Span>,
    pub order_by: Vec<Span>,
    /// The whole clauses, keywords included.
    pub where_clause: Option<Span>,
    pub having: Option<Span>,
    pub order_clause: Option<Span>,
    /// LIMIT or FETCH.
    pub limit_clause: Option<Span>,
    pub offset_clause: Option<Span>,
    /// The SELECT's end: behind its last token.
    pub end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clause {
    Targets,
    From,
    Where,
    Group,
    Having,
    Window,
    Order,
    Limit,
    Offset,
    /// FOR UPDATE and the like.
    Locking,
}

impl Outline {
    /// The outline of the SELECT that begins at `cursor`; `None` for other statements and for clauses it does not know (INTO, set
    /// operations).
    #[must_use]
    pub fn of(mut cursor: Cursor<'_>) -> Option<Self> {
        if !cursor.accept_word("select") {
            return None;
        }
        if cursor.accept_word("distinct") {
            if cursor.accept_word("on") {
                cursor.accept_mark(b'(');
                cursor.skip_to_close()?;
            }
        } else {
            cursor.accept_word("all");
        }
        let mut found = Reader { outline: Self::default(), clause: Clause::Targets, clause_start: cursor.place(), item: cursor.place() };
        let mut depth = 0_usize;
        let mut label = false;
        while let Some(token) = cursor.peek() {
            if depth == 0 && token.kind == TokenKind::Mark(b';') {
                break;
            }
            if depth == 0 && !label && token.kind == TokenKind::Word {
                match clause(&cursor) {
                    Next::Same => {}
                    Next::Unknown => return None,
                    Next::Clause(clause, words) => {
                        found.close(cursor.place());
                        found.clause_start = cursor.place();
                        (0..words).for_each(|_| cursor.advance());
                        found.clause = clause;
                        found.item = cursor.place();
                        continue;
                    }
                }
            }
            match token.kind {
                TokenKind::Mark(b'(' | b'[') => depth += 1,
                TokenKind::Mark(b')' | b']') => depth = depth.checked_sub(1)?,
                TokenKind::Mark(b',') if depth == 0 => found.comma(cursor.place()),
                _ => {}
            }
            // Behind AS and a dot any word is a name; IS DISTINCT FROM is no FROM.
            label = token.kind == TokenKind::Mark(b'.') || cursor.is_word("as") || cursor.is_words(&["distinct", "from"]);
            cursor.advance();
        }
        found.close(cursor.place());
        found.outline.end = cursor.place();
        Some(found.outline)
    }
}

struct Reader {
    outline: Outline,
    clause: Clause,
    clause_start: usize,
    item: usize,
}

impl Reader {
    /// An item of a list ends before the token at `place`.
    fn comma(&mut self, place: usize) {
        self.item_ends(place);
        self.item = place + 1;
    }

    fn item_ends(&mut self, place: usize) {
        let item = self.item..place;
        if item.is_empty() {
            return;
        }
        match self.clause {
            Clause::Targets => self.outline.targets.push(item),
            Clause::Group => self.outline.group_by.push(item),
            Clause::Order => self.outline.order_by.push(item),
            _ => {}
        }
    }

    fn close(&mut self, place: usize) {
        self.item_ends(place);
        let whole = Some(self.clause_start..place);
        match self.clause {
            Clause::Targets => self.outline.targets_end = place,
            Clause::Having => self.outline.having = whole,
            Clause::Order => self.outline.order_clause = whole,
            Clause::Limit => self.outline.limit_clause = whole,
            Clause::Offset => self.outline.offset_clause = whole,
            Clause::From => self.outline.from_end = place,
            Clause::Where => self.outline.where_clause = whole,
            Clause::Group | Clause::Window | Clause::Locking => {}
        }
    }
}

enum Next {
    Same,
    /// A clause of this many keywords.
    Clause(Clause, usize),
    Unknown,
}

fn clause(cursor: &Cursor<'_>) -> Next {
    if cursor.is_words(&["group", "by"]) {
        return Next::Clause(Clause::Group, 2);
    }
    if cursor.is_words(&["order", "by"]) {
        return Next::Clause(Clause::Order, 2);
    }
    let Some(word) = cursor.word() else { return Next::Same };
    match word.as_str() {
        "from" => Next::Clause(Clause::From, 1),
        "where" => Next::Clause(Clause::Where, 1),
        "having" => Next::Clause(Clause::Having, 1),
        "window" => Next::Clause(Clause::Window, 1),
        "limit" | "fetch" => Next::Clause(Clause::Limit, 1),
        "offset" => Next::Clause(Clause::Offset, 1),
        "for" => Next::Clause(Clause::Locking, 1),
        "into" | "union" | "intersect" | "except" => Next::Unknown,
        _ => Next::Same,
    }
}

#[cfg(test)]
mod tests;
