//! FROM: tables, subqueries, functions, joins.

use crate::sql::ast::{Alias, Expr, FromItem, Join, JoinCondition, JoinKind, TableRef};
use crate::sql::command::ObjectName;
use crate::sql::keyword::is_column_name;
use crate::sql::parse::{ParseError, Parsed, Parser, TABLES_MAX};

impl Parser<'_> {
    /// One item between commas: a table with the joins behind it.
    pub(super) fn joined_item(&mut self) -> Parsed<FromItem> {
        self.nested(|parser| {
            let mut left = parser.table_item()?;
            let mut joins = 0;
            while let Some(join) = parser.join_words()? {
                joins += 1;
                if joins > JOINS_MAX {
                    return Err(ParseError::TooComplex);
                }
                left = parser.join(left, join)?;
            }
            Ok(left)
        })
    }

    fn join(&mut self, left: FromItem, (kind, form): (JoinKind, JoinForm)) -> Parsed<FromItem> {
        if form == JoinForm::Conditional {
            // `a JOIN b JOIN c ON … ON …`: the right side has joins of its own before this join's condition.
            let mut right = self.table_item()?;
            while !self.cursor.is_one_of(&["on", "using"]) {
                let Some(inner) = self.join_words()? else { return Err(ParseError::NotUnderstood) };
                right = self.nested(|parser| parser.join(right, inner))?;
            }
            let (condition, alias) = self.join_condition()?;
            return Ok(FromItem::Join(Box::new(Join { kind, left, right, condition, alias })));
        }
        let condition = if form == JoinForm::Natural { JoinCondition::Natural } else { JoinCondition::None };
        let right = self.table_item()?;
        Ok(FromItem::Join(Box::new(Join { kind, left, right, condition, alias: Alias::default() })))
    }

    fn join_words(&mut self) -> Parsed<Option<(JoinKind, JoinForm)>> {
        if self.cursor.accept_words(&["cross", "join"]) {
            return Ok(Some((JoinKind::Inner, JoinForm::Cross)));
        }
        let natural = self.cursor.accept_word("natural");
        let kind = if self.cursor.accept_word("join") || self.cursor.accept_words(&["inner", "join"]) {
            Some(JoinKind::Inner)
        } else {
            let sides = [("left", JoinKind::Left), ("right", JoinKind::Right), ("full", JoinKind::Full)];
            let side = sides.into_iter().find(|(word, _)| self.cursor.accept_word(word));
            if side.is_some() {
                self.cursor.accept_word("outer");
                self.expect_word("join")?;
            }
            side.map(|(_, kind)| kind)
        };
        if natural && kind.is_none() {
            return Err(ParseError::NotUnderstood);
        }
        let form = if natural { JoinForm::Natural } else { JoinForm::Conditional };
        Ok(kind.map(|kind| (kind, form)))
    }

    fn join_condition(&mut self) -> Parsed<(JoinCondition, Alias)> {
        if self.cursor.accept_word("on") {
            return Ok((JoinCondition::On(self.expression()?), Alias::default()));
        }
        self.expect_word("using")?;
        let columns = self.name_list()?;
        let name = if self.cursor.accept_word("as") { Some(self.column_name()?) } else { None };
        if name.is_some() {
            return Err(ParseError::NotUnderstood);
        }
        Ok((JoinCondition::Using(columns), Alias::default()))
    }

    fn table_item(&mut self) -> Parsed<FromItem> {
        self.tables += 1;
        if self.tables > TABLES_MAX {
            return Err(ParseError::TooComplex);
        }
        let lateral = self.cursor.accept_word("lateral");
        if self.cursor.is_mark(b'(') {
            return self.item_in_parentheses(lateral);
        }
        if self.cursor.is_words(&["rows", "from"]) && self.cursor.is_mark_at(2, b'(') {
            return self.rows_from();
        }
        if !lateral && let Some(table) = self.table()? {
            return Ok(FromItem::Table(table));
        }
        let call = self.table_function()?;
        let alias = self.function_alias()?;
        Ok(FromItem::Functions { calls: vec![call], alias })
    }

    fn item_in_parentheses(&mut self, lateral: bool) -> Parsed<FromItem> {
        if self.is_query_in_from() {
            self.expect_mark(b'(')?;
            let query = Box::new(self.nested(Self::query)?);
            self.expect_mark(b')')?;
            let alias = self.alias()?;
            return Ok(FromItem::Derived { query, alias, lateral });
        }
        if lateral {
            return Err(ParseError::NotUnderstood);
        }
        self.expect_mark(b'(')?;
        let item = self.joined_item()?;
        self.expect_mark(b')')?;
        let alias = self.alias()?;
        match item {
            FromItem::Join(mut join) => {
                if alias.name.is_some() {
                    join.alias = alias;
                }
                Ok(FromItem::Join(join))
            }
            _ => Err(ParseError::NotUnderstood),
        }
    }

    /// `((SELECT …) x JOIN …)` begins like a query in parentheses.
    fn is_query_in_from(&self) -> bool {
        let mut ahead = self.cursor;
        ahead.accept_mark(b'(') && {
            let inner = Parser { cursor: ahead, depth: 0, tables: 0, closed: false };
            inner.is_query()
        }
    }

    /// A table, unless the name is a function's.
    fn table(&mut self) -> Parsed<Option<TableRef>> {
        let before = self.cursor;
        let only = self.cursor.accept_word("only");
        let parentheses = only && self.cursor.accept_mark(b'(');
        if !self.is_column_name() {
            self.cursor = before;
            return Ok(None);
        }
        let name = self.table_name()?;
        if parentheses {
            self.expect_mark(b')')?;
        }
        if !only && self.cursor.is_mark(b'(') {
            self.cursor = before;
            return Ok(None);
        }
        self.cursor.accept_operator(b"*");
        let alias = self.alias()?;
        let sample = if self.cursor.accept_word("tablesample") { Some(self.sample()?) } else { None };
        Ok(Some(TableRef { name, alias, sample }))
    }

    /// `schema.table`: what stands before the schema is the database.
    pub(super) fn table_name(&mut self) -> Parsed<ObjectName> {
        if !self.is_column_name() {
            return Err(ParseError::NotUnderstood);
        }
        self.any_qualified_name()
    }

    fn sample(&mut self) -> Parsed<Vec<Expr>> {
        self.any_qualified_name()?;
        self.expect_mark(b'(')?;
        let mut arguments = self.list(Self::expression)?;
        self.expect_mark(b')')?;
        if self.cursor.accept_word("repeatable") {
            self.expect_mark(b'(')?;
            arguments.push(self.expression()?);
            self.expect_mark(b')')?;
        }
        Ok(arguments)
    }

    /// `[AS] name [(columns)]`.
    pub(super) fn alias(&mut self) -> Parsed<Alias> {
        let name = if self.cursor.accept_word("as") || self.is_column_name() { Some(self.column_name()?) } else { None };
        let columns = if name.is_some() && self.cursor.is_mark(b'(') { self.name_list()? } else { Vec::new() };
        Ok(Alias { name, columns })
    }

    fn table_function(&mut self) -> Parsed<Expr> {
        match self.primary()? {
            call @ Expr::Call(_) => Ok(call),
            _ => Err(ParseError::NotUnderstood),
        }
    }

    fn rows_from(&mut self) -> Parsed<FromItem> {
        self.expect_word("rows")?;
        self.expect_word("from")?;
        self.expect_mark(b'(')?;
        let calls = self.list(|parser| {
            let call = parser.table_function()?;
            if parser.cursor.accept_word("as") {
                parser.column_definitions()?;
            }
            Ok(call)
        })?;
        self.expect_mark(b')')?;
        let alias = self.function_alias()?;
        Ok(FromItem::Functions { calls, alias })
    }

    /// `[WITH ORDINALITY] [AS] name [(columns, with types or not)]`.
    fn function_alias(&mut self) -> Parsed<Alias> {
        self.cursor.accept_words(&["with", "ordinality"]);
        let has_as = self.cursor.accept_word("as");
        let name = if self.cursor.word().map_or_else(|| self.is_column_name(), |word| is_column_name(&word)) {
            Some(self.column_name()?)
        } else {
            None
        };
        if has_as && name.is_none() && !self.cursor.is_mark(b'(') {
            return Err(ParseError::NotUnderstood);
        }
        let columns = if self.cursor.is_mark(b'(') && (name.is_some() || has_as) { self.column_definitions()? } else { Vec::new() };
        Ok(Alias { name, columns })
    }

    fn column_definitions(&mut self) -> Parsed<Vec<String>> {
        self.expect_mark(b'(')?;
        let columns = self.list(|parser| {
            let name = parser.column_name()?;
            if !parser.cursor.is_mark(b',') && !parser.cursor.is_mark(b')') {
                parser.type_name()?;
                if parser.cursor.accept_word("collate") {
                    parser.any_qualified_name()?;
                }
            }
            Ok(name)
        })?;
        self.expect_mark(b')')?;
        Ok(columns)
    }
}

/// What a join's words say of its condition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JoinForm {
    Cross,
    Natural,
    /// ON or USING follows the right side.
    Conditional,
}

/// Joins in one item of FROM: they nest to the left.
const JOINS_MAX: usize = 200;
