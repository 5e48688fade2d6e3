//! CREATE, ALTER, DROP and the utility statements: their object and the relations they name.

use crate::sql::classify::{Classified, Form, only};
use crate::sql::command::{Command, Ddl, DdlObject, DdlVerb, ObjectName};
use crate::sql::cursor::Cursor;

/// Server-wide things, which are not made through the proxy.
const SERVER: [&str; 6] = ["database", "tablespace", "subscription", "publication", "server", "system"];

pub(super) fn create(cursor: Cursor<'_>) -> Classified<'_> {
    let mut rest = cursor;
    rest.advance();
    if rest.accept_word("or") {
        rest.accept_word("replace");
    }
    rest.accept_one_of(&["global", "local"]);
    let temporary = rest.accept_one_of(&["temporary", "temp"]);
    rest.accept_one_of(&["unlogged", "recursive", "constraint", "unique", "foreign", "trusted", "procedural"]);
    let materialized = rest.accept_word("materialized");
    let word = rest.word().unwrap_or_default();
    rest.advance();
    let mut ddl = empty(DdlVerb::Create, DdlObject::Global);
    match word.as_str() {
        "table" => return create_table(rest, temporary),
        "view" => {
            ddl.object = if materialized { DdlObject::MaterializedView } else { DdlObject::View };
            return create_view(rest, temporary, ddl);
        }
        "index" => {
            ddl.object = DdlObject::Index;
            ddl.outside_transaction = rest.is_word("concurrently");
            ddl.relations = relation_after(rest, "on");
        }
        "sequence" => {
            ddl.object = DdlObject::Sequence;
            ddl.relations = name_list(&mut skipped_if(rest));
        }
        "trigger" | "rule" | "policy" => {
            ddl.object = DdlObject::Trigger;
            ddl.relations = relation_after(rest, if word == "rule" { "to" } else { "on" });
        }
        "statistics" => ddl.relations = relation_after(rest, "from"),
        word if SERVER.contains(&word) => {
            ddl.object = DdlObject::Server;
            ddl.outside_transaction = matches!(word, "database" | "tablespace" | "subscription");
        }
        _ => {}
    }
    if temporary {
        let temporary_tables = ddl.relations.iter().map(|relation| relation.name.clone()).collect();
        return only(Command::Pinning { temporary_tables, ddl: Some(ddl) });
    }
    only(Command::Ddl(ddl))
}

fn create_table(rest: Cursor<'_>, temporary: bool) -> Classified<'_> {
    let mut rest = skipped_if(rest);
    let Some(name) = name(&mut rest) else { return only(Command::Query) };
    let temporary = temporary || name.schema.as_deref() == Some("pg_temp");
    let mut ddl = empty(DdlVerb::Create, DdlObject::Table);
    ddl.relations = vec![name];
    let data = as_query(rest);
    if let Some(data) = data {
        ddl.object = DdlObject::TableAs;
        ddl.uses = crate::sql::tables::names_from(data);
    } else {
        ddl.uses = named_relations(rest);
    }
    let command = if temporary {
        Command::Pinning { temporary_tables: ddl.relations.iter().map(|relation| relation.name.clone()).collect(), ddl: Some(ddl) }
    } else {
        Command::Ddl(ddl)
    };
    Classified { command, data, form: if data.is_some() { Form::Stored } else { Form::Other } }
}

fn create_view(rest: Cursor<'_>, temporary: bool, mut ddl: Ddl) -> Classified<'_> {
    let mut rest = skipped_if(rest);
    let Some(name) = name(&mut rest) else { return only(Command::Query) };
    let temporary = temporary || name.schema.as_deref() == Some("pg_temp");
    ddl.relations = vec![name];
    let data = as_query(rest);
    ddl.uses = data.map_or_else(Vec::new, crate::sql::tables::names_from);
    let form = if ddl.object == DdlObject::View { Form::View } else { Form::Stored };
    let command = if temporary {
        Command::Pinning { temporary_tables: ddl.relations.iter().map(|relation| relation.name.clone()).collect(), ddl: Some(ddl) }
    } else {
        Command::Ddl(ddl)
    };
    Classified { command, data, form }
}

/// The query behind `AS`, outside of parentheses.
fn as_query(mut rest: Cursor<'_>) -> Option<Cursor<'_>> {
    while !rest.at_end() {
        if rest.accept_mark(b'(') {
            rest.skip_to_close()?;
        } else if rest.accept_word("as") {
            let mut ahead = rest;
            while ahead.accept_mark(b'(') {}
            if ahead.is_one_of(&["select", "with", "values", "table", "execute"]) {
                return Some(rest);
            }
        } else {
            rest.advance();
        }
    }
    None
}

/// Relations behind REFERENCES, LIKE, INHERITS, PARTITION OF.
fn named_relations(mut rest: Cursor<'_>) -> Vec<ObjectName> {
    let mut found = Vec::new();
    while !rest.at_end() {
        let before_name = rest.is_one_of(&["references", "like"]) || (rest.is_words(&["partition", "of"]));
        if rest.is_words(&["partition", "of"]) {
            rest.advance();
        }
        if before_name {
            rest.advance();
            found.extend(name(&mut rest));
        } else if rest.accept_word("inherits") {
            rest.accept_mark(b'(');
            found.extend(name_list(&mut rest));
        } else {
            rest.advance();
        }
    }
    found
}

pub(super) fn other(word: &str, rest: Cursor<'_>) -> Command {
    Command::Ddl(match word {
        "alter" => altered(rest, DdlVerb::Alter),
        "drop" => altered(rest, DdlVerb::Drop),
        "truncate" => truncate(rest),
        "comment" => {
            let mut rest = rest;
            rest.accept_word("on");
            let mut ddl = altered(rest, DdlVerb::Comment);
            // COMMENT ON COLUMN table.column.
            if rest.is_word("column") {
                rest.advance();
                ddl.object = DdlObject::Table;
                ddl.relations = column_owner(rest).into_iter().collect();
            }
            ddl
        }
        "grant" | "revoke" => grant(rest),
        "lock" => {
            let mut rest = rest;
            rest.accept_word("table");
            rest.accept_word("only");
            Ddl { relations: name_list(&mut rest), ..empty(DdlVerb::Lock, DdlObject::Table) }
        }
        "vacuum" | "analyze" | "analyse" | "cluster" | "reindex" | "refresh" => maintain(word, rest),
        _ => empty(DdlVerb::Other, DdlObject::Global),
    })
}

/// ALTER and DROP, by their object's word.
fn altered(rest: Cursor<'_>, verb: DdlVerb) -> Ddl {
    let mut rest = rest;
    rest.accept_one_of(&["foreign", "event"]);
    let materialized = rest.accept_word("materialized");
    let word = rest.word().unwrap_or_default();
    rest.advance();
    let mut ddl = empty(verb, DdlObject::Global);
    ddl.outside_transaction = rest.is_word("concurrently");
    let named = skipped_if(rest);
    match word.as_str() {
        "table" | "view" | "index" | "sequence" => {
            ddl.object = match word.as_str() {
                "table" => DdlObject::Table,
                "index" => DdlObject::Index,
                "sequence" => DdlObject::Sequence,
                _ if materialized => DdlObject::MaterializedView,
                _ => DdlObject::View,
            };
            let mut names = named;
            names.accept_word("only");
            ddl.relations = if verb == DdlVerb::Drop { name_list(&mut names) } else { name(&mut names).into_iter().collect() };
            ddl.uses = if verb == DdlVerb::Alter { altered_relations(names) } else { Vec::new() };
        }
        "trigger" | "rule" | "policy" => {
            ddl.object = DdlObject::Trigger;
            ddl.relations = relation_after(rest, "on");
        }
        word if SERVER.contains(&word) => {
            ddl.object = DdlObject::Server;
            ddl.outside_transaction = matches!(word, "database" | "tablespace" | "system");
        }
        _ => {}
    }
    ddl
}

/// ATTACH and DETACH PARTITION, INHERIT, REFERENCES.
fn altered_relations(mut rest: Cursor<'_>) -> Vec<ObjectName> {
    let mut found = Vec::new();
    while !rest.at_end() {
        if rest.accept_one_of(&["references", "inherit"])
            || rest.accept_words(&["attach", "partition"])
            || rest.accept_words(&["detach", "partition"])
        {
            found.extend(name(&mut rest));
        } else {
            rest.advance();
        }
    }
    found
}

fn truncate(mut rest: Cursor<'_>) -> Ddl {
    rest.accept_word("table");
    rest.accept_word("only");
    Ddl { relations: name_list(&mut rest), ..empty(DdlVerb::Truncate, DdlObject::Table) }
}

/// `GRANT … ON [TABLE] names TO …`; other objects are global.
fn grant(mut rest: Cursor<'_>) -> Ddl {
    let mut ddl = empty(DdlVerb::Grant, DdlObject::Global);
    while !rest.at_end() {
        if rest.accept_mark(b'(') {
            let _ = rest.skip_to_close();
        } else if rest.accept_word("on") {
            let object = rest.word();
            let global = [
                "schema",
                "database",
                "function",
                "procedure",
                "routine",
                "language",
                "type",
                "domain",
                "tablespace",
                "all",
                "large",
                "foreign",
                "parameter",
            ];
            if object.is_some_and(|word| global.contains(&word.as_str())) {
                return ddl;
            }
            ddl.object = if rest.accept_word("sequence") { DdlObject::Sequence } else { DdlObject::Table };
            rest.accept_word("table");
            ddl.relations = name_list(&mut rest);
            return ddl;
        } else {
            rest.advance();
        }
    }
    ddl
}

fn maintain(word: &str, mut rest: Cursor<'_>) -> Ddl {
    let mut ddl = empty(DdlVerb::Maintain, DdlObject::Table);
    ddl.outside_transaction = matches!(word, "vacuum" | "cluster");
    if rest.accept_mark(b'(') {
        let _ = rest.skip_to_close();
    }
    while rest.accept_one_of(&["full", "freeze", "verbose", "analyze", "analyse"]) {}
    match word {
        "reindex" => {
            ddl.object = match rest.word().as_deref() {
                Some("table") => DdlObject::Table,
                Some("index") => DdlObject::Index,
                _ => DdlObject::Global,
            };
            ddl.outside_transaction = ddl.object == DdlObject::Global;
            rest.advance();
        }
        "refresh" => {
            ddl.object = DdlObject::MaterializedView;
            rest.accept_words(&["materialized", "view"]);
        }
        _ => {}
    }
    if rest.accept_word("concurrently") {
        ddl.outside_transaction = word == "reindex";
    }
    rest.accept_word("only");
    ddl.relations = maintained(&mut rest);
    ddl
}

/// `table (columns), …`.
fn maintained(rest: &mut Cursor<'_>) -> Vec<ObjectName> {
    let mut names = Vec::new();
    while let Some(found) = name(rest) {
        names.push(found);
        if rest.accept_mark(b'(') && rest.skip_to_close().is_none() {
            break;
        }
        if !rest.accept_mark(b',') {
            break;
        }
        rest.accept_word("only");
    }
    names
}

fn empty(verb: DdlVerb, object: DdlObject) -> Ddl {
    Ddl { verb, object, relations: Vec::new(), uses: Vec::new(), outside_transaction: false, as_reference: false }
}

/// Behind CONCURRENTLY and IF [NOT] EXISTS.
fn skipped_if(mut rest: Cursor<'_>) -> Cursor<'_> {
    rest.accept_word("concurrently");
    if rest.is_word("if") && (rest.is_word_at(1, "not") || rest.is_word_at(1, "exists")) {
        rest.advance();
        rest.accept_word("not");
        rest.accept_word("exists");
    }
    rest
}

/// `[schema.]name`.
fn name(rest: &mut Cursor<'_>) -> Option<ObjectName> {
    let mut schema = None;
    let mut name = rest.any_name()?;
    while rest.accept_mark(b'.') {
        schema = Some(std::mem::replace(&mut name, rest.any_name()?));
    }
    Some(ObjectName { schema, name })
}

fn name_list(rest: &mut Cursor<'_>) -> Vec<ObjectName> {
    let mut names = Vec::new();
    while let Some(found) = name(rest) {
        names.push(found);
        rest.accept_operator(b"*");
        if !rest.accept_mark(b',') {
            break;
        }
        rest.accept_word("only");
    }
    names
}

/// The relation behind the word `word`, outside of parentheses.
fn relation_after(mut rest: Cursor<'_>, word: &str) -> Vec<ObjectName> {
    while !rest.at_end() {
        if rest.accept_mark(b'(') {
            if rest.skip_to_close().is_none() {
                break;
            }
        } else if rest.accept_word(word) {
            rest.accept_word("only");
            return name(&mut rest).into_iter().collect();
        } else {
            rest.advance();
        }
    }
    Vec::new()
}

/// `[schema.]table.column`.
fn column_owner(mut rest: Cursor<'_>) -> Option<ObjectName> {
    let mut path = vec![rest.any_name()?];
    while rest.accept_mark(b'.') {
        path.push(rest.any_name()?);
    }
    path.pop();
    let name = path.pop()?;
    Some(ObjectName { schema: path.pop(), name })
}
