//! The statement's clock in its text: `now()` and its like mean one moment on one server, and so must on several.

use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::lexer::TokenKind;
use crate::sql::splice::Replacement;

/// Functions that give a moment of the transaction or statement. `current_time` has no constant that all servers read alike.
pub const CLOCK: &[&str] =
    &["now", "transaction_timestamp", "statement_timestamp", "current_timestamp", "localtimestamp", "current_date", "localtime"];

/// What a server says of its clock: the answer to [`Moment::QUERY`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    transaction: String,
    statement: String,
    local: String,
    date: String,
    time: String,
}

impl Moment {
    /// In the session's own time zone, in the spelling that every DateStyle reads.
    pub const QUERY: &'static str = "select pg_catalog.concat_ws('|', \
        pg_catalog.to_char(pg_catalog.timezone('UTC', pg_catalog.transaction_timestamp()), 'YYYY-MM-DD HH24:MI:SS.US'), \
        pg_catalog.to_char(pg_catalog.timezone('UTC', pg_catalog.statement_timestamp()), 'YYYY-MM-DD HH24:MI:SS.US'), \
        pg_catalog.to_char(localtimestamp, 'YYYY-MM-DD HH24:MI:SS.US'), \
        pg_catalog.to_char(localtimestamp, 'YYYY-MM-DD'), \
        pg_catalog.to_char(localtimestamp, 'HH24:MI:SS.US'))";

    /// Reads the answer.
    #[must_use]
    pub fn read(answer: &str) -> Option<Self> {
        let mut parts = answer.split('|').map(str::to_owned);
        let mut next = || parts.next().filter(|part| !part.is_empty());
        Some(Self { transaction: next()?, statement: next()?, local: next()?, date: next()?, time: next()? })
    }

    /// The uses of the clock in a statement, with the constants that stand for them.
    #[must_use]
    pub fn replacements(&self, tokens: &Tokens<'_>) -> Vec<Replacement> {
        let mut found = Vec::new();
        let mut cursor = tokens.cursor();
        let mut qualified = false;
        while let Some(token) = cursor.peek() {
            if !qualified
                && token.kind == TokenKind::Word
                && let Some((by, length)) = self.constant(cursor)
            {
                let start = token.start as usize;
                (0..length).for_each(|_| cursor.advance());
                found.push(Replacement { place: start..cursor.end_of_previous(), by });
                continue;
            }
            qualified = token.kind == TokenKind::Mark(b'.');
            cursor.advance();
        }
        found
    }

    /// The constant for the word at `cursor`, and how many tokens it replaces.
    fn constant(&self, cursor: Cursor<'_>) -> Option<(String, usize)> {
        let word = cursor.word()?;
        let called = cursor.is_mark_at(1, b'(');
        let (value, of, call) = match word.as_str() {
            "now" | "transaction_timestamp" => (format!("{}+00", self.transaction), "timestamptz", true),
            "statement_timestamp" => (format!("{}+00", self.statement), "timestamptz", true),
            "current_timestamp" => (format!("{}+00", self.transaction), "timestamptz", false),
            "localtimestamp" => (self.local.clone(), "timestamp", false),
            "current_date" => (self.date.clone(), "date", false),
            "localtime" => (self.time.clone(), "time", false),
            _ => return None,
        };
        match (call, called) {
            (true, false) => None,
            (true, true) => Some((format!("('{value}'::pg_catalog.{of})"), 3)),
            // Its precision follows.
            (false, true) => Some((format!("'{value}'::pg_catalog.{of}"), 1)),
            (false, false) => Some((format!("('{value}'::pg_catalog.{of})"), 1)),
        }
    }
}

/// Whether a string means a moment of the server's clock to the types of date and time.
#[must_use]
pub fn is_moment(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let day = ["today", "tomorrow", "yesterday"].iter().find_map(|word| {
        let (start, rest) = value.split_at_checked(word.len())?;
        start.eq_ignore_ascii_case(word.as_bytes()).then_some(rest)
    });
    value.eq_ignore_ascii_case(b"now")
        || day.is_some_and(|rest| rest.is_empty() || rest.trim_ascii_start().first().is_some_and(u8::is_ascii_digit))
}
