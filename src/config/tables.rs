//! `tables.toml`: the shard key's column, and the tables that are not what their columns say.

use std::collections::HashSet;

use crate::catalog::{TableRule, TableRuleKind, TableRules};
use crate::config::Source;
use crate::config::reader::Reader;
use crate::config::tree::Node;

#[derive(Clone, Copy)]
enum Kind {
    Sharded,
    Reference,
    Single,
}

pub(crate) fn read(source: &Source<'_>, node: Option<&Node>) -> TableRules {
    let mut tables = TableRules { key_column: "user_id".to_owned(), rules: Vec::new() };
    let Some(node) = node else { return tables };
    let file = source.reader(node, "");
    if let Some(key_column) = file.text("key_column") {
        tables.key_column = key_column;
    }
    if tables.key_column.is_empty() {
        file.wrong("key_column", "must not be empty");
    }
    let mut names = HashSet::new();
    for reader in file.sections("tables") {
        if let Some(rule) = rule(&reader) {
            if !names.insert((rule.schema.clone(), rule.name.clone())) {
                reader.wrong("name", &format!("\"{}.{}\" is there twice", rule.schema, rule.name));
            }
            tables.rules.push(rule);
        }
        reader.finish();
    }
    file.finish();
    tables
}

fn rule(reader: &Reader<'_>) -> Option<TableRule> {
    let kind = reader.choice("kind", &[("sharded", Kind::Sharded), ("reference", Kind::Reference), ("single", Kind::Single)]);
    let key_column = reader.text("key_column");
    let local_unique = reader.flag("local_unique").unwrap_or(false);
    let schema = reader.text("schema").unwrap_or_else(|| "public".to_owned());
    let name = reader.required_text("name");
    if reader.place_of("kind") == reader.place() {
        reader.wrong("kind", "is missing: \"sharded\", \"reference\" or \"single\"");
    }
    let kind = match (kind?, key_column) {
        (Kind::Sharded, Some(key_column)) if !key_column.is_empty() => TableRuleKind::Sharded { key_column },
        (Kind::Sharded, _) => {
            reader.wrong("key_column", "is missing: a sharded table that is listed names its key");
            return None;
        }
        (_, Some(_)) => {
            reader.wrong("key_column", "is for tables of the kind \"sharded\"");
            return None;
        }
        (Kind::Reference, None) => TableRuleKind::Reference,
        (Kind::Single, None) => TableRuleKind::Single,
    };
    Some(TableRule { schema, name: name?, kind, local_unique })
}
