//! Constants that a table's columns are compared with, as SQL that means on a shard what the statement's own text means.

use std::fmt::Write;

use crate::routing::parameter::{Bound, oid};
use crate::routing::plan::is_clock;
use crate::routing::route::Values;
use crate::routing::value::Constant;
use crate::sql::ast::TypeName;
use crate::topology::key::uuid_text;

/// Built-in types that are compared with one another without an error and alike on all servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Boolean,
    Number,
    Float,
    Text,
    Time,
    Uuid,
}

/// Oids and names in `pg_type`, those of arrays last.
const TYPES: [(Family, u32, &str, u32); 13] = [
    (Family::Boolean, 16, "bool", 1000),
    (Family::Number, oid::INT2, "int2", 1005),
    (Family::Number, oid::INT4, "int4", 1007),
    (Family::Number, oid::INT8, "int8", 1016),
    (Family::Number, oid::NUMERIC, "numeric", 1231),
    (Family::Float, oid::FLOAT4, "float4", 1021),
    (Family::Float, oid::FLOAT8, "float8", 1022),
    (Family::Text, oid::TEXT, "text", 1009),
    (Family::Text, oid::VARCHAR, "varchar", 1015),
    (Family::Time, 1082, "date", 1182),
    (Family::Time, 1114, "timestamp", 1115),
    (Family::Time, 1184, "timestamptz", 1185),
    (Family::Uuid, oid::UUID, "uuid", 2951),
];

impl Family {
    pub(crate) fn of(type_oid: u32) -> Option<Self> {
        if type_oid == oid::BPCHAR {
            return Some(Self::Text);
        }
        TYPES.iter().find(|(_, known, ..)| *known == type_oid).map(|(family, ..)| *family)
    }

    /// The type of a cast that a value compared with this family may have.
    pub(crate) fn type_name(self, to: &TypeName) -> Option<&'static str> {
        if !to.builtin || to.modified {
            return None;
        }
        TYPES.iter().find(|(family, _, name, _)| *family == self && *name == to.name).map(|(_, _, name, _)| *name)
    }
}

/// How a value is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Compared,
    /// Of LIKE.
    Pattern,
    /// In `= ANY (…)`.
    Array,
}

/// A constant that is compared with a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowValue {
    pub of: Constant,
    pub negative: bool,
    pub cast: Option<&'static str>,
    /// A parameter that has other uses, of which one may decide its type.
    pub shared: bool,
    /// The column's type.
    pub column: u32,
    pub usage: Usage,
}

/// Numbers of more characters, or with an exponent, may be none that a float can be.
const FLOAT_CHARACTERS_MAX: usize = 40;

impl RowValue {
    pub(crate) fn of(of: Constant, column: u32, usage: Usage) -> Self {
        Self { of, negative: false, cast: None, shared: false, column, usage }
    }

    /// `None` where what it means here is not certain.
    pub(crate) fn write(&self, values: &Values<'_>, sql: &mut String) -> Option<()> {
        match self.of {
            Constant::Null => sql.push_str("NULL"),
            Constant::Literal(index) => {
                let literal = values.literals.get(index)?;
                let value = literal.value(values.text)?;
                if literal.is_number() {
                    let number = std::str::from_utf8(&value).ok()?;
                    let plain = number.len() <= FLOAT_CHARACTERS_MAX && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                    if Family::of(self.column) == Some(Family::Float) && !plain {
                        return None;
                    }
                    let _ = if self.negative { write!(sql, "(-{number})") } else { write!(sql, "{number}") };
                } else {
                    self.write_string(&value, values, sql)?;
                    self.write_type(self.cast, sql);
                }
            }
            Constant::Parameter(number) => self.write_parameter(number, values, sql)?,
        }
        Some(())
    }

    fn write_type(&self, name: Option<&str>, sql: &mut String) {
        if let Some(name) = name {
            let _ = write!(sql, "::pg_catalog.{name}{}", if self.usage == Usage::Array { "[]" } else { "" });
        }
    }

    fn write_string(&self, value: &[u8], values: &Values<'_>, sql: &mut String) -> Option<()> {
        let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii() || !values.other_encoding)?;
        let time = Family::of(self.column) == Some(Family::Time);
        let clock = time && (is_clock(value) || self.usage == Usage::Array);
        // A pattern that ends with its escape character is an error where a row is compared with it, and only there.
        if clock || text.contains('\0') || self.usage == Usage::Pattern && text.contains('\\') {
            return None;
        }
        sql.push_str(&string_literal(text));
        Some(())
    }

    fn write_parameter(&self, number: usize, values: &Values<'_>, sql: &mut String) -> Option<()> {
        let bound = Bound::of(number, &values.parameters).ok()?;
        let declared = !matches!(bound.oid, 0 | oid::UNKNOWN);
        if !declared && (self.shared || values.parameters.types_unknown) {
            return None;
        }
        let name = if declared { Some(self.declared(bound.oid)?) } else { self.cast };
        if self.cast.is_some() && self.cast != name {
            return None;
        }
        match bound.bytes {
            None => sql.push_str("NULL"),
            Some(bytes) if bound.binary => {
                let name = match name {
                    Some(name) => name,
                    None => TYPES.iter().find(|(_, known, ..)| *known == self.column).map_or("text", |(_, _, name, _)| *name),
                };
                let text = if self.usage == Usage::Array { None } else { decoded(bytes, name) };
                self.write_string(&text?, values, sql)?;
            }
            Some(bytes) => self.write_string(bytes, values, sql)?,
        }
        self.write_type(name, sql);
        Some(())
    }

    /// The name of the type that Parse gives a parameter, of an array its elements'.
    fn declared(&self, type_oid: u32) -> Option<&'static str> {
        let family = Family::of(self.column)?;
        let fits = |(other, plain, _, array): &&(Family, u32, &'static str, u32)| {
            *other == family && type_oid == if self.usage == Usage::Array { *array } else { *plain }
        };
        TYPES.iter().find(fits).map(|(_, _, name, _)| *name)
    }
}

/// A binary value as its type's input function reads it.
fn decoded(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    Some(match name {
        "int2" => i16::from_be_bytes(bytes.try_into().ok()?).to_string().into_bytes(),
        "int4" => i32::from_be_bytes(bytes.try_into().ok()?).to_string().into_bytes(),
        "int8" => i64::from_be_bytes(bytes.try_into().ok()?).to_string().into_bytes(),
        "bool" => match bytes {
            [0] => b"f".to_vec(),
            [1] => b"t".to_vec(),
            _ => return None,
        },
        "text" | "varchar" => bytes.to_vec(),
        "uuid" => uuid_text(bytes.try_into().ok()?).to_vec(),
        _ => return None,
    })
}

/// A string that is read alike whatever `standard_conforming_strings` says.
pub(crate) fn string_literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
