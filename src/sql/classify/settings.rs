//! SET, RESET, SHOW and set_config.

use crate::sql::classify::{after, alone, scope};
use crate::sql::command::{Command, Scope};
use crate::sql::cursor::Cursor;
use crate::sql::lexer::TokenKind;

pub(super) fn set(mut rest: Cursor<'_>) -> Command {
    if rest.is_words(&["session", "characteristics"]) {
        return Command::SetTransaction { session: true };
    }
    let local = rest.is_word("local");
    if rest.is_word("constraints") {
        return Command::SetTransaction { session: false };
    }
    // SESSION may also be the beginning of SESSION AUTHORIZATION.
    let scope = if rest.is_words(&["session", "authorization"]) { Scope::Session } else { scope(&mut rest) };
    if rest.is_word("transaction") && !is_assignment(after(rest)) {
        return if local { Command::Query } else { Command::SetTransaction { session: false } };
    }
    setting(rest, scope).unwrap_or(Command::Query)
}

fn setting(mut rest: Cursor<'_>, scope: Scope) -> Option<Command> {
    let make = |name: &str, value: Option<String>| Some(Command::Set { name: name.to_owned(), value, scope });
    if rest.accept_words(&["time", "zone"]) {
        return match one_value(rest, true)?.as_str() {
            "local" | "default" => make("timezone", None),
            value => make("timezone", Some(value.to_owned())),
        };
    }
    if rest.accept_words(&["session", "authorization"]) {
        return make("session_authorization", value_or_default(rest)?);
    }
    if !is_assignment(after(rest)) {
        if rest.accept_word("role") {
            return make("role", value_or_default(rest)?);
        }
        if rest.accept_word("names") {
            return make("client_encoding", if alone(rest) { None } else { value_or_default(rest)? });
        }
        if rest.accept_word("schema") {
            return make("search_path", value_or_default(rest)?);
        }
        if rest.accept_words(&["xml", "option"]) {
            return make("xmloption", value_or_default(rest)?);
        }
    }
    let name = setting_name(&mut rest)?;
    if !(rest.accept_word("to") || rest.accept_operator(b"=")) {
        return None;
    }
    make(&name, list_or_default(rest)?)
}

/// `name` or `extension.name`, in lower case as `pg_settings` finds it.
fn setting_name(rest: &mut Cursor<'_>) -> Option<String> {
    let mut name = rest.any_name()?;
    while rest.accept_mark(b'.') {
        name.push('.');
        name.push_str(&rest.any_name()?);
    }
    Some(name.to_ascii_lowercase())
}

fn is_assignment(rest: Cursor<'_>) -> bool {
    rest.is_word("to") || rest.is_operator(b"=") || rest.is_mark(b'.')
}

fn value_or_default(rest: Cursor<'_>) -> Option<Option<String>> {
    let value = one_value(rest, false)?;
    Some((value != "default").then_some(value))
}

/// One value to the statement's end, as SQL: a literal, a word, a signed number, `interval '…'`.
fn one_value(mut rest: Cursor<'_>, interval: bool) -> Option<String> {
    let word = rest.word();
    if interval && word.as_deref() == Some("interval") {
        let start = rest;
        while !alone(rest) {
            rest.advance();
        }
        return source(start, rest);
    }
    let start = rest;
    value(&mut rest)?;
    if !alone(rest) {
        return None;
    }
    match word {
        Some(word) if word == "default" || word == "local" => Some(word),
        _ => source(start, rest),
    }
}

/// `DEFAULT`, or values between commas.
fn list_or_default(mut rest: Cursor<'_>) -> Option<Option<String>> {
    if rest.is_word("default") && alone(after(rest)) {
        return Some(None);
    }
    let start = rest;
    value(&mut rest)?;
    while rest.accept_mark(b',') {
        value(&mut rest)?;
    }
    if alone(rest) { Some(Some(source(start, rest)?)) } else { None }
}

fn value(rest: &mut Cursor<'_>) -> Option<()> {
    if rest.operator().is_some_and(|sign| matches!(sign, b"-" | b"+")) {
        rest.advance();
        return rest.is_literal().then(|| rest.advance());
    }
    match rest.peek()?.kind {
        TokenKind::Literal(_) | TokenKind::Word | TokenKind::Quoted => {
            rest.advance();
            Some(())
        }
        _ => None,
    }
}

/// The text from one place to the token before another.
fn source(start: Cursor<'_>, end: Cursor<'_>) -> Option<String> {
    start.text_until(end).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

pub(super) fn reset(mut rest: Cursor<'_>) -> Command {
    if rest.is_word("all") && alone(after(rest)) {
        return Command::ResetAll;
    }
    let name = if rest.accept_words(&["time", "zone"]) {
        Some("timezone".to_owned())
    } else if rest.accept_words(&["session", "authorization"]) {
        Some("session_authorization".to_owned())
    } else if rest.accept_words(&["transaction", "isolation", "level"]) {
        Some("transaction_isolation".to_owned())
    } else {
        setting_name(&mut rest)
    };
    match name {
        Some(name) if alone(rest) => Command::Reset { name },
        _ => Command::Query,
    }
}

pub(super) fn show(mut rest: Cursor<'_>) -> Command {
    match setting_name(&mut rest) {
        Some(name) if alone(rest) && name.starts_with("shardyard.") => Command::ShowOwn { name },
        _ => Command::Query,
    }
}

/// `SELECT set_config('name', value, is_local)` and nothing else.
pub(super) fn set_config(mut rest: Cursor<'_>) -> Option<Command> {
    rest.advance();
    if rest.is_word("pg_catalog") && rest.is_mark_at(1, b'.') {
        rest.advance();
        rest.advance();
    }
    if !(rest.accept_word("set_config") && rest.accept_mark(b'(')) {
        return None;
    }
    let name = literal(&mut rest)?;
    rest.accept_mark(b',').then_some(())?;
    let start = rest;
    literal(&mut rest)?;
    let value = source(start, rest)?;
    rest.accept_mark(b',').then_some(())?;
    let scope = match rest.word()?.as_str() {
        "true" => Scope::Transaction,
        "false" => Scope::Session,
        _ => return None,
    };
    rest.advance();
    rest.accept_mark(b')').then_some(())?;
    if rest.accept_word("as") {
        rest.any_name()?;
    }
    alone(rest).then(|| Command::SetConfig { name: name.to_ascii_lowercase(), value, scope })
}

/// A string's value.
fn literal(rest: &mut Cursor<'_>) -> Option<String> {
    let value = rest.literal_value()?;
    rest.advance();
    Some(value)
}
