//! Which functions an expression calls, from the text that `pg_get_expr` prints.

use std::collections::HashMap;

use crate::topology::schema::{FunctionFacts, Volatility};

/// Words without parentheses that PostgreSQL evaluates anew at each statement.
const STABLE_WORDS: &[&str] = &[
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "system_user",
    "user",
];

/// Constants that some casts read as the clock.
const CLOCK_CONSTANTS: &[&str] = &["'now'", "'today'", "'tomorrow'", "'yesterday'"];

/// Whether two evaluations of this default, on two shards, could differ. In doubt yes.
#[must_use]
pub fn may_vary(expression: &str, functions: &HashMap<String, FunctionFacts>) -> bool {
    CLOCK_CONSTANTS.iter().any(|constant| expression.contains(constant))
        || words(expression).any(|word| match word {
            Word::Plain(name) => STABLE_WORDS.contains(&name.to_ascii_lowercase().as_str()),
            Word::Called(name) => functions.get(&name).is_none_or(|facts| facts.volatility != Volatility::Immutable),
        })
}

/// Whether this default is one value for all rows of a statement on one server, and may be another on another server. In doubt yes.
#[must_use]
pub fn is_of_moment(expression: &str, functions: &HashMap<String, FunctionFacts>) -> bool {
    CLOCK_CONSTANTS.iter().any(|constant| expression.contains(constant))
        || words(expression).any(|word| match word {
            Word::Plain(name) => STABLE_WORDS.contains(&name.to_ascii_lowercase().as_str()),
            Word::Called(name) => functions.get(&name).is_none_or(|facts| facts.volatility == Volatility::Stable),
        })
}

enum Word {
    Plain(String),
    /// Followed by a parenthesis, and not a type behind `::`.
    Called(String),
}

/// Words that may stand before a parenthesis without being functions.
const SYNTAX: &[&str] = &[
    "and", "any", "array", "as", "case", "cast", "coalesce", "else", "greatest", "in", "is", "least", "not", "nullif", "or", "row",
    "second", "then", "varying", "when",
];

fn words(text: &str) -> impl Iterator<Item = Word> {
    let mut rest = text;
    let mut after_cast = false;
    std::iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            if first == '\'' || first == '"' {
                let (quoted, left) = quoted(rest, first);
                rest = left;
                if first == '"' {
                    return Some(word(quoted, rest, std::mem::take(&mut after_cast)));
                }
            } else if first.is_alphabetic() || first == '_' {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
                let (name, left) = rest.split_at(end);
                rest = left;
                return Some(word(name.to_owned(), rest, std::mem::take(&mut after_cast)));
            } else {
                after_cast = rest.starts_with("::") || (after_cast && first == ':');
                rest = rest.get(first.len_utf8()..)?;
            }
        }
    })
}

fn word(name: String, rest: &str, is_type: bool) -> Word {
    let called = rest.trim_start().starts_with('(') && !is_type && !SYNTAX.contains(&name.to_ascii_lowercase().as_str());
    if called { Word::Called(name) } else { Word::Plain(name) }
}

/// A quoted string or identifier at the start of `text`: its content, and what follows. Doubled quotes are one.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character != quote {
            content.push(character);
        } else if characters.peek().is_some_and(|(_, next)| *next == quote) {
            content.push(quote);
            characters.next();
        } else {
            return (content, text.get(at + quote.len_utf8()..).unwrap_or_default());
        }
    }
    (content, "")
}

#[cfg(test)]
mod tests;
