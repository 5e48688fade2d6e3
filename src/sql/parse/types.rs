//! Type names, as they stand behind `::` and AS, or before a literal.

use crate::sql::ast::TypeName;
use crate::sql::command::ObjectName;
use crate::sql::keyword::is_reserved;
use crate::sql::parse::{ParseError, Parsed, Parser};

impl Parser<'_> {
    pub(super) fn type_name(&mut self) -> Parsed<TypeName> {
        self.cursor.accept_word("setof");
        let mut to = self.base_type()?;
        while self.cursor.is_mark(b'[') {
            self.cursor.advance();
            if self.cursor.is_literal() {
                self.cursor.advance();
            }
            self.expect_mark(b']')?;
            to.array = true;
        }
        if self.cursor.is_word("array") {
            self.cursor.advance();
            if self.cursor.accept_mark(b'[') {
                self.cursor.advance();
                self.expect_mark(b']')?;
            }
            to.array = true;
        }
        Ok(to)
    }

    fn base_type(&mut self) -> Parsed<TypeName> {
        let word = self.cursor.word();
        if word.as_deref().is_some_and(is_reserved) {
            return Err(ParseError::NotUnderstood);
        }
        let name = self.any_qualified_name()?;
        let mut builtin = name.schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
        let short = match (word.as_deref(), &name.schema) {
            (Some(word), None) => self.short_name(word)?,
            _ => None,
        };
        // `"char"` is a type of its own.
        if word.is_none() && name.name == "char" {
            builtin = false;
        }
        let mut modified = false;
        if self.cursor.accept_mark(b'(') {
            self.list(Self::expression)?;
            self.expect_mark(b')')?;
            modified = true;
        }
        let mut name = short.unwrap_or(name.name);
        if matches!(name.as_str(), "time" | "timestamp") {
            if self.cursor.accept_words(&["with", "time", "zone"]) {
                name.push_str("tz");
            } else {
                self.cursor.accept_words(&["without", "time", "zone"]);
            }
        }
        if name == "interval" && !self.cursor.is_literal() {
            self.interval_fields()?;
        }
        Ok(TypeName { name, builtin, modified, array: false })
    }

    /// The one name of a type that SQL spells in several words, or that has several names.
    fn short_name(&mut self, word: &str) -> Parsed<Option<String>> {
        let short = match word {
            "int" | "integer" => "int4",
            "bigint" => "int8",
            "smallint" => "int2",
            "boolean" => "bool",
            "real" => "float4",
            "float" => "float8",
            "decimal" | "dec" => "numeric",
            "double" => {
                self.expect_word("precision")?;
                "float8"
            }
            "character" | "char" | "nchar" => self.varying("varchar", "bpchar"),
            "bit" => self.varying("varbit", "bit"),
            "national" => {
                if !self.cursor.accept_one_of(&["character", "char"]) {
                    return Err(ParseError::NotUnderstood);
                }
                self.varying("varchar", "bpchar")
            }
            _ => return Ok(None),
        };
        Ok(Some(short.to_owned()))
    }

    fn varying(&mut self, varying: &'static str, fixed: &'static str) -> &'static str {
        if self.cursor.accept_word("varying") { varying } else { fixed }
    }

    /// `YEAR TO MONTH`, `SECOND(3)` behind interval.
    pub(super) fn interval_fields(&mut self) -> Parsed<()> {
        const FIELDS: [&str; 6] = ["year", "month", "day", "hour", "minute", "second"];
        if !self.cursor.accept_one_of(&FIELDS) {
            return Ok(());
        }
        if self.cursor.accept_word("to") && !self.cursor.accept_one_of(&FIELDS) {
            return Err(ParseError::NotUnderstood);
        }
        if self.cursor.accept_mark(b'(') {
            self.cursor.advance();
            self.expect_mark(b')')?;
        }
        Ok(())
    }

    /// `name`, `schema.name` or `database.schema.name`.
    pub(super) fn any_qualified_name(&mut self) -> Parsed<ObjectName> {
        let mut schema = None;
        let mut name = self.label()?;
        while self.cursor.accept_mark(b'.') {
            schema = Some(std::mem::replace(&mut name, self.label()?));
        }
        Ok(ObjectName { schema, name })
    }
}
