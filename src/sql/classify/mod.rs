//! What a statement asks of the session, told by its first words.

mod ddl;
mod settings;

use crate::sql::command::{Command, DiscardTarget, Listen, Scope};
use crate::sql::cursor::Cursor;

/// A statement's command, and where its rows' part begins.
#[derive(Debug)]
pub struct Classified<'a> {
    pub command: Command,
    /// The SELECT, INSERT, … inside: the statement itself, what EXPLAIN, DECLARE or COPY (…) runs.
    pub data: Option<Cursor<'a>>,
    pub form: Form,
}

/// How the rows' part is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It is the statement.
    Plain,
    /// It is explained; `analyze`: and run.
    Explain {
        analyze: bool,
    },
    Cursor,
    CopyQuery,
    /// CREATE TABLE AS, CREATE MATERIALIZED VIEW, SELECT INTO: its rows are stored.
    Stored,
    /// It is kept as a view's query.
    View,
    /// There is none.
    Other,
}

/// Tells the command of the one statement from `cursor` on.
#[must_use]
pub fn classify(cursor: Cursor<'_>) -> Classified<'_> {
    let Some(first) = cursor.peek() else { return only(Command::Empty) };
    let _ = first;
    let word = cursor.word().unwrap_or_else(|| "(".to_owned());
    let mut rest = cursor;
    rest.advance();
    match word.as_str() {
        "(" if cursor.is_mark(b'(') => data(Command::Query, cursor),
        "select" => select(cursor),
        "insert" | "update" | "delete" | "values" | "table" | "with" | "merge" => data(Command::Query, cursor),
        "explain" => explain(rest),
        "declare" => declare(rest),
        "copy" => copy(rest),
        "set" => only(settings::set(rest)),
        "reset" => only(settings::reset(rest)),
        "show" => only(settings::show(rest)),
        "prepare" => only(prepare(rest)),
        "execute" => only(execute(rest)),
        "create" => ddl::create(cursor),
        "alter" | "drop" | "truncate" | "comment" | "grant" | "revoke" | "reindex" | "vacuum" | "analyze" | "analyse" | "cluster"
        | "refresh" | "security" | "lock" | "import" | "reassign" => only(ddl::other(&word, rest)),
        _ => only(plain(&word, rest).unwrap_or(Command::Query)),
    }
}

fn only(command: Command) -> Classified<'static> {
    Classified { command, data: None, form: Form::Other }
}

fn data(command: Command, cursor: Cursor<'_>) -> Classified<'_> {
    Classified { command, data: Some(cursor), form: Form::Plain }
}

fn select(cursor: Cursor<'_>) -> Classified<'_> {
    let command = settings::set_config(cursor).unwrap_or(Command::Query);
    data(command, cursor)
}

/// Commands of one word or a few; `None` for forms not known to be valid.
fn plain(word: &str, mut rest: Cursor<'_>) -> Option<Command> {
    match word {
        "begin" => begin(rest, true),
        "start" => rest.accept_word("transaction").then(|| begin(rest, false)).flatten(),
        "commit" | "end" if rest.is_word("prepared") => Some(Command::TwoPhase),
        "commit" | "end" => chain(rest).map(|chain| Command::Commit { chain }),
        "rollback" if rest.is_word("prepared") => Some(Command::TwoPhase),
        "rollback" | "abort" => rollback(rest),
        "savepoint" => last_name(rest).map(Command::Savepoint),
        "release" => {
            rest.accept_word("savepoint");
            last_name(rest).map(Command::Release)
        }
        "discard" => discard(rest),
        "deallocate" => deallocate(rest),
        "fetch" | "move" => Some(Command::Cursor { name: fetched(rest), close: false }),
        "close" if rest.is_word("all") && alone(after(rest)) => Some(Command::Cursor { name: None, close: true }),
        "close" => last_name(rest).map(|name| Command::Cursor { name: Some(name), close: true }),
        "listen" => Some(Command::Listen(last_name(rest).map_or(Listen::Unclear, Listen::To))),
        "unlisten" if rest.is_operator(b"*") && alone(after(rest)) => Some(Command::Listen(Listen::NotAny)),
        "unlisten" => Some(Command::Listen(last_name(rest).map_or(Listen::Unclear, Listen::Not))),
        "notify" => Some(Command::Notify),
        "load" => Some(Command::Pinning { temporary_tables: Vec::new(), ddl: None }),
        _ => None,
    }
}

/// Whether nothing but `;` follows.
fn alone(mut rest: Cursor<'_>) -> bool {
    while rest.accept_mark(b';') {}
    rest.at_end()
}

fn after(mut rest: Cursor<'_>) -> Cursor<'_> {
    rest.advance();
    rest
}

/// A name that ends the statement.
fn last_name(mut rest: Cursor<'_>) -> Option<String> {
    let name = rest.any_name()?;
    alone(rest).then_some(name)
}

/// `[WORK | TRANSACTION] modes`.
fn begin(mut rest: Cursor<'_>, words: bool) -> Option<Command> {
    if words {
        rest.accept_one_of(&["work", "transaction"]);
    }
    let mut read_only = None;
    while !alone(rest) {
        if rest.accept_words(&["isolation", "level"]) {
            let known = rest.accept_word("serializable")
                || rest.accept_words(&["repeatable", "read"])
                || rest.accept_words(&["read", "committed"])
                || rest.accept_words(&["read", "uncommitted"]);
            if !known {
                return None;
            }
        } else if rest.accept_words(&["read", "only"]) {
            read_only = Some(true);
        } else if rest.accept_words(&["read", "write"]) {
            read_only = Some(false);
        } else {
            rest.accept_word("not");
            if !rest.accept_word("deferrable") {
                return None;
            }
        }
        if rest.accept_mark(b',') && alone(rest) {
            return None;
        }
    }
    Some(Command::Begin { read_only })
}

/// `[WORK | TRANSACTION] [AND [NO] CHAIN]`: whether it chains.
fn chain(mut rest: Cursor<'_>) -> Option<bool> {
    rest.accept_one_of(&["work", "transaction"]);
    let mut chain = false;
    if rest.accept_word("and") {
        chain = !rest.accept_word("no");
        if !rest.accept_word("chain") {
            return None;
        }
    }
    alone(rest).then_some(chain)
}

fn rollback(mut rest: Cursor<'_>) -> Option<Command> {
    let before = rest;
    rest.accept_one_of(&["work", "transaction"]);
    if rest.accept_word("to") {
        rest.accept_word("savepoint");
        return last_name(rest).map(Command::RollbackTo);
    }
    chain(before).map(|chain| Command::Rollback { chain })
}

fn discard(rest: Cursor<'_>) -> Option<Command> {
    let target = match rest.word()?.as_str() {
        "all" => DiscardTarget::All,
        "plans" => DiscardTarget::Plans,
        "temp" | "temporary" => DiscardTarget::Temporary,
        "sequences" => DiscardTarget::Sequences,
        _ => return None,
    };
    alone(after(rest)).then_some(Command::Discard(target))
}

fn deallocate(mut rest: Cursor<'_>) -> Option<Command> {
    rest.accept_word("prepare");
    if rest.is_word("all") {
        return alone(after(rest)).then_some(Command::Deallocate { name: None });
    }
    last_name(rest).map(|name| Command::Deallocate { name: Some(name) })
}

/// The cursor's name is the last one.
fn fetched(mut rest: Cursor<'_>) -> Option<String> {
    let mut name = None;
    while !alone(rest) {
        match rest.any_name() {
            Some(found) => name = Some(found),
            None => rest.advance(),
        }
    }
    name
}

/// `name [(types)] AS statement`; PREPARE TRANSACTION is two-phase commit.
fn prepare(mut rest: Cursor<'_>) -> Command {
    if rest.is_word("transaction") && rest.is_literal_at(1) {
        return Command::TwoPhase;
    }
    let Some(name) = rest.any_name() else { return Command::Query };
    let mut types = None;
    if rest.accept_mark(b'(') {
        let start = rest.offset();
        if rest.skip_to_close().is_none() {
            return Command::Query;
        }
        types = Some(start..rest.end_of_previous().saturating_sub(1));
    }
    if !rest.accept_word("as") {
        return Command::Query;
    }
    match rest.rest() {
        Some(statement) => Command::Prepare { name, types, statement },
        None => Command::Query,
    }
}

fn execute(mut rest: Cursor<'_>) -> Command {
    let start = rest.offset();
    let Some(name) = rest.any_name() else { return Command::Query };
    let name_span = start..rest.end_of_previous();
    let mut arguments = None;
    if rest.accept_mark(b'(') {
        let start = rest.offset();
        if rest.skip_to_close().is_none() {
            return Command::Query;
        }
        arguments = Some(start..rest.end_of_previous().saturating_sub(1));
    }
    if alone(rest) { Command::Execute { name, name_span, arguments } } else { Command::Query }
}

/// `EXPLAIN [ANALYZE] [VERBOSE] statement` or `EXPLAIN (options) statement`; the option ROUTE is ours.
fn explain(mut rest: Cursor<'_>) -> Classified<'_> {
    let mut analyze = false;
    let mut route = false;
    if rest.is_mark(b'(') && is_options(rest) {
        let mut inside = rest;
        inside.advance();
        while !inside.at_end() && !inside.is_mark(b')') {
            let off = ["off", "false", "0"].iter().any(|word| inside.is_word_at(1, word));
            analyze |= inside.is_one_of(&["analyze", "analyse"]) && !off;
            route |= inside.is_word("route") && !off;
            inside.advance();
        }
        rest.advance();
        if rest.skip_to_close().is_none() {
            return only(Command::Query);
        }
    } else {
        while rest.is_one_of(&["analyze", "analyse", "verbose"]) {
            analyze |= !rest.is_word("verbose");
            rest.advance();
        }
    }
    if route {
        return match rest.rest() {
            Some(statement) => only(Command::ExplainRoute { statement }),
            None => only(Command::Query),
        };
    }
    let inner = classify(rest);
    // EXPLAIN ANALYZE of CREATE TABLE AS makes the table.
    let form = match inner.form {
        Form::Plain | Form::Cursor | Form::CopyQuery => Form::Explain { analyze },
        form => form,
    };
    Classified { command: Command::Query, data: inner.data, form }
}

/// `EXPLAIN (SELECT …)` has no options.
fn is_options(rest: Cursor<'_>) -> bool {
    let inner = after(rest);
    !(inner.is_mark(b'(') || inner.is_one_of(&["select", "values", "with", "table"]))
}

/// `name [options] CURSOR [WITH|WITHOUT HOLD] FOR query`.
fn declare(mut rest: Cursor<'_>) -> Classified<'_> {
    let Some(name) = rest.any_name() else { return only(Command::Query) };
    let mut hold = false;
    while !rest.at_end() && !rest.accept_word("for") {
        hold |= rest.is_words(&["with", "hold"]);
        rest.advance();
    }
    Classified { command: Command::DeclareCursor { name, hold }, data: Some(rest), form: Form::Cursor }
}

fn copy(mut rest: Cursor<'_>) -> Classified<'_> {
    rest.accept_word("binary");
    let mut inside = rest;
    if rest.accept_mark(b'(') {
        let query = rest;
        if rest.skip_to_close().is_none() {
            return only(Command::Query);
        }
        inside.advance();
        let command = copy_direction(rest).unwrap_or(Command::Query);
        return Classified { command, data: Some(query), form: Form::CopyQuery };
    }
    while rest.any_name().is_some() && rest.accept_mark(b'.') {}
    if rest.accept_mark(b'(') && rest.skip_to_close().is_none() {
        return only(Command::Query);
    }
    only(copy_direction(rest).unwrap_or(Command::Query))
}

/// Only STDIN and STDOUT reach the client; files and programs are the server's.
fn copy_direction(rest: Cursor<'_>) -> Option<Command> {
    if rest.is_words(&["from", "stdin"]) {
        return Some(Command::CopyFrom);
    }
    rest.is_words(&["to", "stdout"]).then_some(Command::CopyTo)
}

/// The scope that LOCAL and SESSION give.
fn scope(rest: &mut Cursor<'_>) -> Scope {
    if rest.accept_word("local") {
        return Scope::Transaction;
    }
    rest.accept_word("session");
    Scope::Session
}

#[cfg(test)]
mod tests;
