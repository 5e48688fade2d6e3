//! The types of generated columns and values, and their literals.

use crate::differential::generate::random::Random;

/// Families of types between which no cast is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Int,
    Numeric,
    Float,
    Text,
    Bool,
    Date,
    Timestamp,
    Timestamptz,
    Uuid,
    Bytea,
    Jsonb,
    Array,
}

pub(crate) const ALL: &[Type] = &[
    Type::Int,
    Type::Int,
    Type::Int,
    Type::Text,
    Type::Text,
    Type::Numeric,
    Type::Float,
    Type::Bool,
    Type::Date,
    Type::Timestamp,
    Type::Timestamptz,
    Type::Uuid,
    Type::Bytea,
    Type::Jsonb,
    Type::Array,
];

impl Type {
    /// The types that a column of this family may have.
    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Int => &["int", "bigint", "smallint"],
            // One scale for all: equal numbers have one text only.
            Self::Numeric => &["numeric(12,2)"],
            Self::Float => &["float8", "real"],
            Self::Text => &["text", "varchar(20)", "char(4)"],
            Self::Bool => &["boolean"],
            Self::Date => &["date"],
            Self::Timestamp => &["timestamp"],
            Self::Timestamptz => &["timestamptz"],
            Self::Uuid => &["uuid"],
            Self::Bytea => &["bytea"],
            Self::Jsonb => &["jsonb"],
            Self::Array => &["int[]"],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Float => "float8",
            Self::Numeric => "numeric",
            other => other.columns().first().copied().unwrap_or("text"),
        }
    }

    pub(crate) fn oid(self) -> u32 {
        match self {
            Self::Int => 23,
            Self::Numeric => 1700,
            Self::Float => 701,
            Self::Text => 25,
            Self::Bool => 16,
            Self::Date => 1082,
            Self::Timestamp => 1114,
            Self::Timestamptz => 1184,
            Self::Uuid => 2950,
            Self::Bytea => 17,
            Self::Jsonb => 3802,
            Self::Array => 1007,
        }
    }

    /// Whether `min` and `max` are there for it in PostgreSQL 15.
    pub(crate) fn has_extremes(self) -> bool {
        !matches!(self, Self::Bool | Self::Uuid | Self::Bytea | Self::Jsonb)
    }

    /// A value, as its type writes it. Few different ones, so that duplicates and matches are many.
    pub(crate) fn value(self, random: &mut Random) -> String {
        let small = random.between(-4, 16);
        match self {
            Self::Int => small.to_string(),
            Self::Numeric => format!("{}{}.{:02}", if small < 0 { "-" } else { "" }, small.abs(), 25 * random.below(4)),
            // Sums of quarters are exact in any order.
            Self::Float => match random.below(24) {
                0 => "NaN".to_owned(),
                1 => "Infinity".to_owned(),
                _ => format!("{}.{:02}", small.abs(), 25 * random.below(4)),
            },
            Self::Text => (*random.pick(&["a", "b", "B", "ab", "", "a b", "É", "zz", "42", "a'b", "%"])).to_owned(),
            Self::Bool => (*random.pick(&["t", "f"])).to_owned(),
            Self::Date => format!("2024-0{}-{:02}", random.between(1, 3), random.between(27, 29)),
            Self::Timestamp => format!("2024-03-0{} {:02}:30:00", random.between(1, 4), random.below(24)),
            Self::Timestamptz => format!("2024-03-3{} 0{}:30:00+00", random.below(2), random.below(5)),
            Self::Uuid => format!("0000000{}-0000-4000-8000-00000000000{}", random.below(3), random.below(3)),
            Self::Bytea => format!("\\x0{}ff", random.below(5)),
            Self::Jsonb => match random.below(5) {
                0 => "[1, 2]".to_owned(),
                1 => "null".to_owned(),
                2 => format!("\"s{}\"", random.below(3)),
                _ => format!("{{\"a\": {}}}", random.below(4)),
            },
            Self::Array => (*random.pick(&["{1,2}", "{}", "{3,NULL}", "{1}"])).to_owned(),
        }
    }

    /// The literal of a value in SQL.
    pub(crate) fn literal(self, value: Option<&str>, bare: bool) -> String {
        let Some(value) = value else { return format!("null::{}", self.name()) };
        match self {
            Self::Int if value.starts_with('-') => format!("({value})"),
            Self::Int => value.to_owned(),
            Self::Numeric => format!("{value}::numeric"),
            Self::Text if bare => quoted(value),
            _ => format!("{}::{}", quoted(value), self.name()),
        }
    }
}

pub(crate) fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
