//! A session's settings as the proxy tracks them: what the client has set, and what a server connection has applied.

use std::collections::BTreeMap;

/// One setting's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SettingValue {
    /// The value itself, as in the startup packet or `set_config`.
    Raw(String),
    /// What the client wrote behind `SET name =`.
    Sql(String),
}

/// All settings that differ from the server's defaults, by lower-case name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SettingSet {
    values: BTreeMap<String, SettingValue>,
}

impl SettingSet {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SettingValue> {
        self.values.get(name)
    }

    /// Sets `name`, or forgets it with `None`.
    pub fn set(&mut self, name: &str, value: Option<SettingValue>) {
        match value {
            Some(value) => self.values.insert(name.to_owned(), value),
            None => self.values.remove(name),
        };
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &SettingValue)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The statements that turn a session with these settings into one with `wanted`; `None` when there is no difference.
    #[must_use]
    pub fn statements_towards(&self, wanted: &Self) -> Option<String> {
        let mut sql = String::new();
        // A role may lack the right to set the rest: give it up first, take it on last.
        if self.values.contains_key("role") && self.values.get("role") != wanted.values.get("role") {
            sql.push_str("RESET role;");
        }
        for name in self.values.keys().filter(|name| *name != "role" && !wanted.values.contains_key(*name)) {
            sql.push_str("RESET ");
            sql.push_str(&quoted_name(name));
            sql.push(';');
        }
        let changed = wanted.values.iter().filter(|(name, value)| self.values.get(*name) != Some(value));
        let (roles, others): (Vec<_>, Vec<_>) = changed.partition(|(name, _)| *name == "role");
        for (name, value) in others.into_iter().chain(roles) {
            sql.push_str(&statement(name, value, false));
            sql.push(';');
        }
        (!sql.is_empty()).then_some(sql)
    }
}

/// The statement that gives `name` its value, for the session or (`local`) the transaction.
#[must_use]
pub fn statement(name: &str, value: &SettingValue, local: bool) -> String {
    match value {
        SettingValue::Sql(text) => format!("SET {} {} = {text}", if local { "LOCAL" } else { "SESSION" }, quoted_name(name)),
        SettingValue::Raw(text) => format!("SELECT pg_catalog.set_config({}, {}, {local})", quoted_literal(name), quoted_literal(text)),
    }
}

/// `name` as it may stand behind SET: each dotted part quoted. TIME ZONE and the like have plain names in `pg_settings`.
fn quoted_name(name: &str) -> String {
    name.split('.').map(quoted_identifier).collect::<Vec<_>>().join(".")
}

/// `text` as a quoted identifier.
#[must_use]
pub fn quoted_identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// `text` as a string literal, whatever `standard_conforming_strings` says.
#[must_use]
pub fn quoted_literal(text: &str) -> String {
    if text.contains('\\') {
        format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// The elements of a list setting such as `search_path`, as `SplitIdentifierString` reads it: folded to lower case unless quoted.
#[must_use]
pub fn list_elements(value: &SettingValue) -> Vec<String> {
    match value {
        SettingValue::Raw(text) => split_list(text, '"'),
        // Behind SET each element is an identifier or a string literal; a single literal stands for one element.
        SettingValue::Sql(text) => split_list(text, '\''),
    }
}

fn split_list(text: &str, second_quote: char) -> Vec<String> {
    let mut elements = Vec::new();
    let mut current = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '"' || character == second_quote {
            while let Some(inside) = characters.next() {
                if inside == character && characters.peek() != Some(&character) {
                    break;
                }
                if inside == character {
                    characters.next();
                }
                current.push(inside);
            }
        } else if character == ',' {
            elements.push(std::mem::take(&mut current));
        } else if !character.is_whitespace() {
            current.extend(character.to_lowercase());
        }
    }
    elements.push(current);
    elements.retain(|element| !element.is_empty());
    elements
}

#[cfg(test)]
mod tests;
