//! INSERT, UPDATE, DELETE and MERGE.

use crate::sql::ast::{
    Assignment, Body, Conflict, Delete, Expr, Insert, Merge, MergeAction, MergeClause, Query, Source, Statement, Target, Update, With,
};
use crate::sql::parse::{ParseError, Parsed, Parser};

impl Parser<'_> {
    /// What stands behind WITH, or alone.
    pub(super) fn after_with(&mut self, with: With) -> Parsed<Statement> {
        if self.cursor.accept_word("insert") {
            return self.insert(with).map(|insert| Statement::Insert(Box::new(insert)));
        }
        if self.cursor.accept_word("update") {
            return self.update(with).map(|update| Statement::Update(Box::new(update)));
        }
        if self.cursor.accept_word("delete") {
            return self.delete(with).map(|delete| Statement::Delete(Box::new(delete)));
        }
        if self.cursor.accept_word("merge") {
            return self.merge(with).map(|merge| Statement::Merge(Box::new(merge)));
        }
        self.nested(|parser| parser.query_after_with(with)).map(Statement::Query)
    }

    fn insert(&mut self, with: With) -> Parsed<Insert> {
        self.expect_word("into")?;
        let table = self.table_name()?;
        let alias = if self.cursor.accept_word("as") { Some(self.column_name()?) } else { None };
        let columns = if self.cursor.is_mark(b'(') && !self.begins_query() { Some(self.assigned_columns()?) } else { None };
        if self.cursor.accept_word("overriding") {
            self.cursor.accept_one_of(&["system", "user"]);
            self.expect_word("value")?;
        }
        let source = if self.cursor.accept_words(&["default", "values"]) { Source::DefaultValues } else { Source::Query(self.query()?) };
        let conflict = if self.cursor.accept_words(&["on", "conflict"]) { Some(self.conflict()?) } else { None };
        let returning = self.returning()?;
        Ok(Insert { with, table, alias, columns, source, conflict, returning })
    }

    /// Whether the parenthesis here holds a query, not a column list.
    fn begins_query(&self) -> bool {
        let mut ahead = self.cursor;
        while ahead.accept_mark(b'(') {}
        ahead.is_one_of(&["select", "with", "table"]) || (ahead.is_word("values") && ahead.is_mark_at(1, b'('))
    }

    /// `(column, column.field, column[1], …)`.
    fn assigned_columns(&mut self) -> Parsed<Vec<String>> {
        self.expect_mark(b'(')?;
        let columns = self.list(Self::assigned_column)?;
        self.expect_mark(b')')?;
        Ok(columns)
    }

    fn assigned_column(&mut self) -> Parsed<String> {
        let name = self.column_name()?;
        loop {
            if self.cursor.accept_mark(b'.') {
                self.label()?;
            } else if self.cursor.accept_mark(b'[') {
                if !self.cursor.is_mark(b':') {
                    self.expression()?;
                }
                if self.cursor.accept_mark(b':') && !self.cursor.is_mark(b']') {
                    self.expression()?;
                }
                self.expect_mark(b']')?;
            } else {
                return Ok(name);
            }
        }
    }

    fn conflict(&mut self) -> Parsed<Conflict> {
        let mut conflict = Conflict { target: Vec::new(), sets: Vec::new(), filter: None };
        if self.cursor.accept_words(&["on", "constraint"]) {
            self.column_name()?;
        } else if self.cursor.accept_mark(b'(') {
            conflict.target = self.list(|parser| {
                let expr = parser.expression()?;
                // An operator class; a collation has been read as part of the expression.
                if parser.is_column_name() {
                    parser.any_qualified_name()?;
                }
                parser.cursor.accept_one_of(&["asc", "desc"]);
                Ok(expr)
            })?;
            self.expect_mark(b')')?;
            if self.cursor.accept_word("where") {
                conflict.target.push(self.expression()?);
            }
        }
        self.expect_word("do")?;
        if self.cursor.accept_word("nothing") {
            return Ok(conflict);
        }
        self.expect_word("update")?;
        self.expect_word("set")?;
        conflict.sets = self.assignments()?;
        if self.cursor.accept_word("where") {
            conflict.filter = Some(self.expression()?);
        }
        Ok(conflict)
    }

    fn assignments(&mut self) -> Parsed<Vec<Assignment>> {
        self.list(|parser| {
            let columns = if parser.cursor.is_mark(b'(') { parser.assigned_columns()? } else { vec![parser.assigned_column()?] };
            if !parser.cursor.accept_operator(b"=") {
                return Err(ParseError::NotUnderstood);
            }
            Ok(Assignment { columns, value: parser.expression()? })
        })
    }

    fn returning(&mut self) -> Parsed<Vec<Target>> {
        if !self.cursor.accept_word("returning") {
            return Ok(Vec::new());
        }
        // `RETURNING WITH (OLD AS …)` is PostgreSQL 18's.
        self.targets()
    }

    /// `[ONLY] table [*] [[AS] alias]` of UPDATE, DELETE and MERGE.
    fn target_table(&mut self) -> Parsed<(crate::sql::command::ObjectName, Option<String>)> {
        let only = self.cursor.accept_word("only");
        let parentheses = only && self.cursor.accept_mark(b'(');
        let table = self.table_name()?;
        if parentheses {
            self.expect_mark(b')')?;
        }
        self.cursor.accept_operator(b"*");
        let alias = if self.cursor.accept_word("as") || (self.is_column_name() && !self.cursor.is_word("set")) {
            Some(self.column_name()?)
        } else {
            None
        };
        Ok((table, alias))
    }

    fn update(&mut self, with: With) -> Parsed<Update> {
        let (table, alias) = self.target_table()?;
        self.expect_word("set")?;
        let sets = self.assignments()?;
        let from = if self.cursor.accept_word("from") { self.list(Self::joined_item)? } else { Vec::new() };
        let (filter, current_of) = self.filter()?;
        let returning = self.returning()?;
        Ok(Update { with, table, alias, sets, from, filter, current_of, returning })
    }

    fn delete(&mut self, with: With) -> Parsed<Delete> {
        self.expect_word("from")?;
        let (table, alias) = self.target_table()?;
        let using = if self.cursor.accept_word("using") { self.list(Self::joined_item)? } else { Vec::new() };
        let (filter, current_of) = self.filter()?;
        let returning = self.returning()?;
        Ok(Delete { with, table, alias, using, filter, current_of, returning })
    }

    /// WHERE, and whether it is WHERE CURRENT OF.
    fn filter(&mut self) -> Parsed<(Option<Expr>, bool)> {
        if !self.cursor.accept_word("where") {
            return Ok((None, false));
        }
        if self.cursor.accept_words(&["current", "of"]) {
            self.column_name()?;
            return Ok((None, true));
        }
        Ok((Some(self.expression()?), false))
    }

    fn merge(&mut self, with: With) -> Parsed<Merge> {
        self.expect_word("into")?;
        let (table, alias) = self.target_table()?;
        self.expect_word("using")?;
        let source = self.joined_item()?;
        self.expect_word("on")?;
        let on = self.expression()?;
        let mut clauses = Vec::new();
        while self.cursor.accept_word("when") {
            clauses.push(self.merge_clause()?);
        }
        let returning = self.returning()?;
        Ok(Merge { with, table, alias, source, on, clauses, returning })
    }

    fn merge_clause(&mut self) -> Parsed<MergeClause> {
        self.cursor.accept_word("not");
        self.expect_word("matched")?;
        // BY SOURCE acts on every row of the target that has no partner: no condition binds those.
        if self.cursor.accept_word("by") && !self.cursor.accept_word("target") {
            return Err(ParseError::NotUnderstood);
        }
        let condition = if self.cursor.accept_word("and") { Some(self.expression()?) } else { None };
        self.expect_word("then")?;
        let action = if self.cursor.accept_words(&["do", "nothing"]) {
            MergeAction::Nothing
        } else if self.cursor.accept_word("delete") {
            MergeAction::Delete
        } else if self.cursor.accept_word("update") {
            self.expect_word("set")?;
            MergeAction::Update(self.assignments()?)
        } else {
            self.expect_word("insert")?;
            self.merge_insert()?
        };
        Ok(MergeClause { condition, action })
    }

    fn merge_insert(&mut self) -> Parsed<MergeAction> {
        let columns = if self.cursor.is_mark(b'(') { Some(self.assigned_columns()?) } else { None };
        if self.cursor.accept_word("overriding") {
            self.cursor.accept_one_of(&["system", "user"]);
            self.expect_word("value")?;
        }
        if self.cursor.accept_words(&["default", "values"]) {
            return Ok(MergeAction::Insert { columns: Some(Vec::new()), values: Vec::new() });
        }
        let Query { body: Body::Values(mut rows), .. } = self.query()? else { return Err(ParseError::NotUnderstood) };
        match (rows.len(), rows.pop()) {
            (1, Some(values)) => Ok(MergeAction::Insert { columns, values }),
            _ => Err(ParseError::NotUnderstood),
        }
    }
}
