//! SELECT, VALUES, TABLE, their set operations, WITH, ORDER BY, LIMIT, locking.

use crate::sql::ast::{Body, CommonTable, Distinct, Expr, FromItem, Into, Query, Select, TableRef, Target, With};
use crate::sql::keyword::is_bare_label;
use crate::sql::lexer::TokenKind;
use crate::sql::parse::{ParseError, Parsed, Parser};

impl Parser<'_> {
    pub(super) fn query(&mut self) -> Parsed<Query> {
        self.nested(|parser| {
            let with = if parser.cursor.is_word("with") { parser.with()? } else { With::default() };
            parser.query_after_with(with)
        })
    }

    pub(super) fn query_after_with(&mut self, with: With) -> Parsed<Query> {
        let mut arms = vec![self.arm()?];
        while self.cursor.accept_one_of(&["union", "intersect", "except"]) {
            self.cursor.accept_one_of(&["all", "distinct"]);
            arms.push(self.arm()?);
        }
        let body = match (arms.len(), arms.pop()) {
            (1, Some(only)) if is_bare(&only) => only.body,
            (1, Some(only)) => Body::Nested(Box::new(only)),
            (_, Some(last)) => {
                arms.push(last);
                Body::Arms(arms)
            }
            (_, None) => return Err(ParseError::NotUnderstood),
        };
        let mut query = Query { with, body, ..Query::default() };
        self.query_tail(&mut query)?;
        Ok(query)
    }

    /// One side of a set operation.
    fn arm(&mut self) -> Parsed<Query> {
        if self.cursor.is_mark(b'(') {
            return self.nested(|parser| {
                parser.expect_mark(b'(')?;
                let query = parser.query()?;
                parser.expect_mark(b')')?;
                Ok(query)
            });
        }
        let body = if self.cursor.accept_word("select") {
            Body::Select(Box::new(self.select()?))
        } else if self.cursor.accept_word("values") {
            Body::Values(self.values()?)
        } else if self.cursor.accept_word("table") {
            Body::Select(Box::new(self.whole_table()?))
        } else {
            return Err(ParseError::NotUnderstood);
        };
        Ok(Query { body, ..Query::default() })
    }

    fn values(&mut self) -> Parsed<Vec<Vec<Expr>>> {
        self.list(|parser| {
            parser.expect_mark(b'(')?;
            let row = parser.list(Self::expression)?;
            parser.expect_mark(b')')?;
            Ok(row)
        })
    }

    fn whole_table(&mut self) -> Parsed<Select> {
        self.cursor.accept_word("only");
        let name = self.table_name()?;
        self.cursor.accept_operator(b"*");
        let table = TableRef { name, alias: crate::sql::ast::Alias::default(), sample: None };
        let all = Target { expr: Expr::Star { qualifier: Vec::new() }, alias: None };
        Ok(Select { targets: vec![all], from: vec![FromItem::Table(table)], ..Select::default() })
    }

    fn select(&mut self) -> Parsed<Select> {
        let mut select = Select::default();
        if self.cursor.accept_word("distinct") {
            select.distinct = Distinct::Rows;
            if self.cursor.accept_word("on") {
                self.expect_mark(b'(')?;
                select.distinct = Distinct::On(self.list(Self::expression)?);
                self.expect_mark(b')')?;
            }
        } else {
            self.cursor.accept_word("all");
        }
        if !self.targets_are_missing() {
            select.targets = self.targets()?;
        }
        if self.cursor.accept_word("into") {
            select.into = Some(self.into()?);
        }
        if self.cursor.accept_word("from") {
            select.from = self.list(Self::joined_item)?;
        }
        if self.cursor.accept_word("where") {
            select.filter = Some(self.expression()?);
        }
        if self.cursor.accept_words(&["group", "by"]) {
            self.cursor.accept_one_of(&["all", "distinct"]);
            select.group_by = self.group_by(&mut select.grouping_sets)?;
        }
        if self.cursor.accept_word("having") {
            select.having = Some(self.expression()?);
        }
        if self.cursor.accept_word("window") {
            let windows = self.list(|parser| {
                parser.column_name()?;
                parser.expect_word("as")?;
                parser.window()
            })?;
            select.windows = windows.into_iter().flatten().collect();
        }
        Ok(select)
    }

    /// `SELECT FROM t` and `SELECT WHERE …` have no targets.
    fn targets_are_missing(&self) -> bool {
        self.cursor.at_end()
            || self.cursor.is_mark(b')')
            || self.cursor.is_mark(b';')
            || self.cursor.is_one_of(&["from", "into", "where", "group", "having", "window", "union", "intersect", "except"])
            || self.cursor.is_one_of(&["order", "limit", "offset", "fetch", "for"])
    }

    pub(super) fn targets(&mut self) -> Parsed<Vec<Target>> {
        self.list(|parser| {
            if parser.cursor.accept_operator(b"*") {
                return Ok(Target { expr: Expr::Star { qualifier: Vec::new() }, alias: None });
            }
            let expr = parser.expression()?;
            let alias = if parser.cursor.accept_word("as") {
                Some(parser.label()?)
            } else if parser.cursor.is_kind(TokenKind::Quoted) || parser.cursor.word().is_some_and(|word| is_target_label(&word)) {
                parser.cursor.any_name()
            } else {
                None
            };
            Ok(Target { expr, alias })
        })
    }

    fn into(&mut self) -> Parsed<Into> {
        self.cursor.accept_one_of(&["local", "global"]);
        let temporary = self.cursor.accept_one_of(&["temporary", "temp"]);
        self.cursor.accept_word("unlogged");
        self.cursor.accept_word("table");
        Ok(Into { name: self.table_name()?, temporary })
    }

    fn group_by(&mut self, sets: &mut bool) -> Parsed<Vec<Expr>> {
        let mut parts = Vec::new();
        loop {
            if self.cursor.is_words(&["grouping", "sets"]) || self.cursor.is_one_of(&["rollup", "cube"]) {
                *sets = true;
                while self.cursor.accept_one_of(&["grouping", "sets", "rollup", "cube"]) {}
                self.expect_mark(b'(')?;
                parts.extend(self.nested(|parser| parser.group_by(&mut false))?);
                self.expect_mark(b')')?;
            } else if self.cursor.is_mark(b'(') && self.cursor.is_mark_at(1, b')') {
                *sets = true;
                self.cursor.advance();
                self.cursor.advance();
            } else {
                parts.push(self.expression()?);
            }
            if !self.cursor.accept_mark(b',') {
                return Ok(parts);
            }
        }
    }

    /// ORDER BY, LIMIT, OFFSET, FETCH and FOR, in any order.
    fn query_tail(&mut self, query: &mut Query) -> Parsed<()> {
        loop {
            if self.cursor.accept_words(&["order", "by"]) {
                query.order_by.extend(self.order_list()?);
            } else if self.cursor.accept_word("limit") {
                query.limited = true;
                if !self.cursor.accept_word("all") {
                    query.limits.push(self.expression()?);
                }
            } else if self.cursor.accept_word("offset") {
                query.limited = true;
                query.limits.push(self.expression()?);
                self.cursor.accept_one_of(&["row", "rows"]);
            } else if self.cursor.accept_word("fetch") {
                query.limited = true;
                self.fetch(query)?;
            } else if self.cursor.accept_word("for") {
                query.locking = true;
                self.locking()?;
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn order_list(&mut self) -> Parsed<Vec<Expr>> {
        self.list(|parser| {
            let expr = parser.expression()?;
            if parser.cursor.accept_word("using") {
                accept_operator(parser)?;
            } else {
                parser.cursor.accept_one_of(&["asc", "desc"]);
            }
            if parser.cursor.accept_word("nulls") && !parser.cursor.accept_one_of(&["first", "last"]) {
                return Err(ParseError::NotUnderstood);
            }
            Ok(expr)
        })
    }

    fn fetch(&mut self, query: &mut Query) -> Parsed<()> {
        if !self.cursor.accept_one_of(&["first", "next"]) {
            return Err(ParseError::NotUnderstood);
        }
        if !self.cursor.is_one_of(&["row", "rows"]) {
            query.limits.push(self.expression()?);
        }
        if !self.cursor.accept_one_of(&["row", "rows"]) {
            return Err(ParseError::NotUnderstood);
        }
        if self.cursor.accept_word("only") || self.cursor.accept_words(&["with", "ties"]) { Ok(()) } else { Err(ParseError::NotUnderstood) }
    }

    fn locking(&mut self) -> Parsed<()> {
        let known = self.cursor.accept_words(&["no", "key", "update"])
            || self.cursor.accept_words(&["key", "share"])
            || self.cursor.accept_one_of(&["update", "share", "read"]);
        if !known {
            return Err(ParseError::NotUnderstood);
        }
        self.cursor.accept_word("only");
        if self.cursor.accept_word("of") {
            self.list(Self::table_name)?;
        }
        if !self.cursor.accept_word("nowait") && self.cursor.accept_word("skip") {
            self.expect_word("locked")?;
        }
        Ok(())
    }

    pub(super) fn with(&mut self) -> Parsed<With> {
        self.expect_word("with")?;
        let recursive = self.cursor.accept_word("recursive");
        let tables = self.list(|parser| {
            parser.tables += 1;
            if parser.tables > crate::sql::parse::TABLES_MAX {
                return Err(ParseError::TooComplex);
            }
            let name = parser.column_name()?;
            let columns = if parser.cursor.is_mark(b'(') { parser.name_list()? } else { Vec::new() };
            parser.expect_word("as")?;
            parser.cursor.accept_word("not");
            parser.cursor.accept_word("materialized");
            parser.expect_mark(b'(')?;
            let statement = parser.nested(Self::statement)?;
            parser.expect_mark(b')')?;
            if parser.cursor.is_one_of(&["search", "cycle"]) {
                return Err(ParseError::NotUnderstood);
            }
            Ok(CommonTable { name, columns, statement })
        })?;
        Ok(With { recursive, tables })
    }
}

/// Whether the query is its body and nothing else, so that parentheses around it mean nothing.
fn is_bare(query: &Query) -> bool {
    query.with.tables.is_empty() && query.order_by.is_empty() && !query.limited && !query.locking
}

/// A word that may name a target without AS. Words that go on with the statement are reserved or need AS.
fn is_target_label(word: &str) -> bool {
    is_bare_label(word)
}

fn accept_operator(parser: &mut Parser<'_>) -> Parsed<()> {
    let found = parser.cursor.operator().is_some();
    parser.cursor.advance();
    if found { Ok(()) } else { Err(ParseError::NotUnderstood) }
}
