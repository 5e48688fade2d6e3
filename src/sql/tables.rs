//! The names in a text that nothing parses: function bodies, statements the parser does not know.

use crate::sql::command::ObjectName;
use crate::sql::cursor::{Cursor, Tokens};

/// Every identifier of `text`, qualified or not, in order. Text without tokens is taken apart at every byte that no name has.
#[must_use]
pub fn names_in(text: &str) -> Vec<ObjectName> {
    match Tokens::new(text.as_bytes(), true) {
        Ok(tokens) => names_from(tokens.cursor()),
        Err(_) => loose_names(text),
    }
}

/// Every identifier from `cursor` on; strings are looked into as well, they may be run by EXECUTE.
#[must_use]
pub fn names_from(cursor: Cursor<'_>) -> Vec<ObjectName> {
    names(cursor, true)
}

/// Every identifier from `cursor` on, those in strings left out: for statements whose template has no strings.
#[must_use]
pub fn names_outside_strings(cursor: Cursor<'_>) -> Vec<ObjectName> {
    names(cursor, false)
}

fn names(mut cursor: Cursor<'_>, strings: bool) -> Vec<ObjectName> {
    let mut names = Vec::new();
    while !cursor.at_end() {
        if let Some(value) = cursor.literal_value() {
            if strings {
                names.extend(loose_names(&value));
            }
            cursor.advance();
            continue;
        }
        let Some(mut name) = cursor.any_name() else {
            cursor.advance();
            continue;
        };
        let mut schema = None;
        while cursor.is_mark(b'.') {
            let mut ahead = cursor;
            ahead.advance();
            let Some(next) = ahead.any_name() else { break };
            cursor = ahead;
            // `a.b.c` may be schema.table.column as well as database.schema.table.
            names.push(ObjectName { schema: schema.take(), name: name.clone() });
            schema = Some(std::mem::replace(&mut name, next));
        }
        names.push(ObjectName { schema, name });
    }
    names
}

fn loose_names(text: &str) -> Vec<ObjectName> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let words = text.split(|c| !is_name(c)).filter(|word| !word.is_empty());
    words
        .flat_map(|word| {
            let folded = word.to_ascii_lowercase();
            // Quoted names keep their case.
            let exact = (folded != word).then(|| ObjectName { schema: None, name: word.to_owned() });
            exact.into_iter().chain([ObjectName { schema: None, name: folded }])
        })
        .collect()
}
