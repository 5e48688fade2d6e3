//! Generated tables with their rows: sharded by each type of key, reference, single; and views over them.

use crate::differential::generate::random::Random;
use crate::differential::generate::types::{ALL, Type, quoted};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sharded,
    Reference,
    Single,
    View,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) declared: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) columns: Vec<Column>,
    /// The primary key's columns; none for a view.
    pub(crate) key: Vec<String>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    pub(crate) relations: Vec<Relation>,
}

/// The types that a shard key may have here, and how its family is written.
const KEYS: &[(Type, &str)] = &[
    (Type::Int, "bigint"),
    (Type::Int, "bigint"),
    (Type::Int, "int"),
    (Type::Int, "smallint"),
    (Type::Text, "text"),
    (Type::Text, "varchar(20)"),
    (Type::Text, "char(4)"),
    (Type::Uuid, "uuid"),
];

impl Schema {
    /// Three to five sharded tables, most of them with keys of one family, a reference and a single one.
    pub(crate) fn generate(seed: u64, random: &mut Random) -> Self {
        let usual = *random.pick(KEYS);
        let mut relations = Vec::new();
        let sharded = 3 + random.below(3);
        for at in 0..sharded {
            let mut key = if random.chance(75) { usual } else { *random.pick(KEYS) };
            if key.0 == Type::Int && usual.0 == Type::Int && random.chance(30) {
                key.1 = *random.pick(&["bigint", "int", "smallint"]);
            }
            relations.push(relation(format!("g{seed}_s{at}"), Kind::Sharded, Some(key), random));
        }
        relations.push(relation(format!("g{seed}_ref"), Kind::Reference, None, random));
        relations.push(relation(format!("g{seed}_one"), Kind::Single, None, random));
        let mut schema = Self { relations };
        for relation in 0..schema.relations.len() {
            schema.fill(relation, random);
        }
        schema
    }

    fn fill(&mut self, at: usize, random: &mut Random) {
        let Some(relation) = self.relations.get_mut(at) else { return };
        let count = match (relation.kind, random.below(10)) {
            (Kind::Sharded, 0) => 0,
            (Kind::Sharded, 1) => 3,
            (Kind::Sharded, _) => 10 + random.below(12),
            _ => 5 + random.below(4),
        };
        let lone = random.chance(10);
        for number in 0..count {
            let row = relation.random_row(number, lone, random);
            relation.rows.push(row);
        }
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Relation> {
        self.relations.iter().filter(|relation| relation.kind != Kind::View)
    }
}

impl Relation {
    /// A row whose primary key no other row with another number has. `lone`: all rows of one key.
    pub(crate) fn random_row(&self, number: usize, lone: bool, random: &mut Random) -> Vec<Option<String>> {
        let value = |column: &Column| match column.name.as_str() {
            "id" => Some(number.to_string()),
            // A third of the rows has one of two keys, the others have any of ten.
            "user_id" => {
                let choice = if lone || random.chance(20) { 3 } else { random.below(10) };
                Some(key_value(column.kind, choice))
            }
            _ if random.chance(20) => None,
            _ => Some(column.kind.value(random)),
        };
        self.columns.iter().map(value).collect()
    }

    pub(crate) fn create(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| format!("{} {}", column.name, column.declared)).collect();
        let hint = if self.kind == Kind::Reference { "/* shardyard: reference */ " } else { "" };
        format!("{hint}create table {} ({}, primary key ({}))", self.name, columns.join(", "), self.key.join(", "))
    }

    pub(crate) fn row_text(row: &[Option<String>]) -> String {
        let values: Vec<String> = row.iter().map(|value| value.as_deref().map_or_else(|| "null".to_owned(), quoted)).collect();
        format!("({})", values.join(", "))
    }

    /// INSERTs of all rows, some at a time.
    pub(crate) fn inserts(&self) -> Vec<String> {
        let chunk = |rows: &[Vec<Option<String>>]| {
            let rows: Vec<String> = rows.iter().map(|row| Self::row_text(row)).collect();
            format!("insert into {} values {}", self.name, rows.join(", "))
        };
        self.rows.chunks(15).map(chunk).collect()
    }
}

/// The `choice`th key of a family.
pub(crate) fn key_value(kind: Type, choice: usize) -> String {
    match kind {
        Type::Text => (*["a", "b", "B", "ab", "É", "zz", "42", "k7", "k8", "k9"].get(choice).unwrap_or(&"x")).to_owned(),
        Type::Uuid => format!("0000000{choice}-0000-4000-8000-000000000000"),
        _ => choice.to_string(),
    }
}

fn relation(name: String, kind: Kind, key: Option<(Type, &'static str)>, random: &mut Random) -> Relation {
    let mut columns = Vec::new();
    let mut primary = Vec::new();
    if let Some((kind, declared)) = key {
        columns.push(Column { name: "user_id".to_owned(), kind, declared });
        primary.push("user_id".to_owned());
    }
    columns.push(Column { name: "id".to_owned(), kind: Type::Int, declared: "int" });
    primary.push("id".to_owned());
    for at in 0..3 + random.below(5) {
        let kind = *random.pick(ALL);
        let declared = kind.columns()[random.below(kind.columns().len())];
        columns.push(Column { name: format!("v{at}"), kind, declared });
    }
    Relation { name, kind, columns, key: primary, rows: Vec::new() }
}
