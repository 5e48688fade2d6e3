//! A TOML file as a tree whose every value knows its line, with the environment laid over it.

use std::collections::BTreeMap;

use config::Source;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{Environment, Mistakes};

/// The prefix of the variables that override `proxy.toml`.
const PREFIX: &str = "SHARDYARD";

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: String,
    pub(crate) value: Value,
}

/// What stands there.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// From the environment: may be a text, a number or a flag.
    Variable(String),
    /// Of a kind that no option has.
    Other(&'static str),
}

/// Parses a file. What has no sense is a mistake; the rest is in the tree.
pub(crate) fn parse(file: &str, text: &str, mistakes: &Mistakes) -> Node {
    let parsing = Parsing { file, text };
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        mistakes.add(&parsing.place(error.span().map_or(0, |span| span.start)), error.message());
    }
    Node { place: file.to_owned(), value: parsing.table(root.get_ref()) }
}

/// Puts the variables `SHARDYARD__A__B` over the values `b` of the tables `[a]`.
pub(crate) fn overlay(root: &mut Node, environment: Environment, mistakes: &Mistakes) {
    let source = config::Environment::with_prefix(PREFIX).separator("__").source(environment);
    let variables = match source.collect() {
        Ok(variables) => variables,
        Err(error) => return mistakes.add("the environment", error.to_string()),
    };
    for (path, value) in variables {
        let variable = format!("{PREFIX}__{}", path.to_uppercase().replace('.', "__"));
        let Ok(text) = value.into_string() else { continue };
        let mut at = &mut *root;
        for key in path.split('.') {
            if !matches!(at.value, Value::Table(_)) {
                at.value = Value::Table(BTreeMap::new());
            }
            let Value::Table(entries) = &mut at.value else { return };
            at = entries.entry(key.to_owned()).or_insert_with(|| Node { place: variable.clone(), value: Value::Table(BTreeMap::new()) });
        }
        *at = Node { place: variable, value: Value::Variable(text) };
    }
}

struct Parsing<'a> {
    file: &'a str,
    text: &'a str,
}

impl Parsing<'_> {
    fn table(&self, table: &DeTable<'_>) -> Value {
        Value::Table(table.iter().map(|(key, value)| (key.get_ref().to_string(), self.node(key.span().start, value))).collect())
    }

    fn node(&self, at: usize, value: &Spanned<DeValue<'_>>) -> Node {
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()) {
                Ok(number) => Value::Number(number),
                Err(_) => Value::Other("a number beyond 64 bits"),
            },
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item.span().start, item)).collect()),
            DeValue::Table(table) => self.table(table),
            DeValue::Float(_) => Value::Other("a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
        };
        Node { place: self.place(at), value }
    }

    /// `file:line:column` of a byte offset, both from 1.
    fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}", self.file)
    }
}
