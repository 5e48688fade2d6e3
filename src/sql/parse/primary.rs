//! What an expression is made of: values, columns, calls, queries in parentheses.

use crate::sql::ast::{Call, Expr};
use crate::sql::cursor::Cursor;
use crate::sql::keyword::{is_column_name, is_function_name};
use crate::sql::lexer::TokenKind;
use crate::sql::parse::expression::Level;
use crate::sql::parse::{ParseError, Parsed, Parser};

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Parsed<Expr> {
        let token = self.cursor.peek().ok_or(ParseError::NotUnderstood)?;
        match token.kind {
            TokenKind::Literal(_) => Ok(self.literal()),
            TokenKind::Parameter => self.parameter(),
            TokenKind::Mark(b'(') => self.parenthesis(),
            TokenKind::Word => self.word(),
            TokenKind::Quoted => self.name(),
            _ => Err(ParseError::NotUnderstood),
        }
    }

    /// `::type`, `[subscript]`, `.field`.
    pub(super) fn postfix(&mut self, mut value: Expr) -> Parsed<Expr> {
        let mut steps = 0;
        loop {
            steps += 1;
            if steps > POSTFIX_MAX {
                return Err(ParseError::TooComplex);
            }
            if self.cursor.accept_kind(TokenKind::TypeCast) {
                value = Expr::Cast { value: Box::new(value), to: self.type_name()? };
            } else if self.cursor.accept_mark(b'[') {
                let mut parts = vec![value];
                if !self.cursor.is_mark(b':') {
                    parts.push(self.expression()?);
                }
                if self.cursor.accept_mark(b':') && !self.cursor.is_mark(b']') {
                    parts.push(self.expression()?);
                }
                self.expect_mark(b']')?;
                value = Expr::Other(parts);
            } else if self.cursor.accept_mark(b'.') {
                if !self.cursor.accept_operator(b"*") {
                    self.label()?;
                }
                value = Expr::Other(vec![value]);
            } else {
                return Ok(value);
            }
        }
    }

    fn literal(&mut self) -> Expr {
        let index = self.cursor.literals();
        self.cursor.advance();
        Expr::Literal(index)
    }

    fn parameter(&mut self) -> Parsed<Expr> {
        let number = self.cursor.parameter();
        self.cursor.advance();
        match number {
            Some(number) if (1..=usize::from(u16::MAX)).contains(&number) => Ok(Expr::Parameter(number)),
            _ => Err(ParseError::NotUnderstood),
        }
    }

    /// A query, a row, or an expression in parentheses.
    fn parenthesis(&mut self) -> Parsed<Expr> {
        self.expect_mark(b'(')?;
        if self.is_query() {
            let query = Box::new(self.nested(Self::query)?);
            self.expect_mark(b')')?;
            return Ok(Expr::Subquery { query, scalar: true });
        }
        let mut items = self.list(Self::expression)?;
        self.expect_mark(b')')?;
        if items.len() > 1 {
            return Ok(Expr::Row(items));
        }
        items.pop().ok_or(ParseError::NotUnderstood)
    }

    fn word(&mut self) -> Parsed<Expr> {
        let word = self.cursor.word().ok_or(ParseError::NotUnderstood)?;
        let before_parenthesis = self.cursor.is_mark_at(1, b'(');
        match word.as_str() {
            "null" => Ok(self.keyword(Expr::Null)),
            "true" => Ok(self.keyword(Expr::Boolean(true))),
            "false" => Ok(self.keyword(Expr::Boolean(false))),
            "default" => Ok(self.keyword(Expr::Default)),
            "case" => self.case(),
            "cast" if before_parenthesis => self.cast(),
            "exists" if before_parenthesis => {
                self.cursor.advance();
                self.query_in_parentheses(false)
            }
            "array" => self.array(),
            "row" if before_parenthesis => self.row(),
            "current_date" | "current_time" | "current_timestamp" | "localtime" | "localtimestamp" => self.clock(word),
            "current_user" | "session_user" | "user" | "current_role" | "current_catalog" | "system_user" => {
                Ok(self.keyword(Expr::Call(Box::new(Call { name: word, ..Call::default() }))))
            }
            "current_schema" if !before_parenthesis => Ok(self.keyword(Expr::Call(Box::new(Call { name: word, ..Call::default() })))),
            "coalesce" | "greatest" | "least" | "nullif" | "grouping" if before_parenthesis => self.plain_list(),
            "json_object" | "json_array" if before_parenthesis => {
                self.cursor.advance();
                self.call(None, word)
            }
            "extract" | "overlay" | "position" | "substring" | "trim" | "normalize" if before_parenthesis => self.worded_call(word),
            _ => self.typed_literal()?.map_or_else(|| self.name(), Ok),
        }
    }

    fn keyword(&mut self, expr: Expr) -> Expr {
        self.cursor.advance();
        expr
    }

    fn case(&mut self) -> Parsed<Expr> {
        self.expect_word("case")?;
        let mut parts = Vec::new();
        if !self.cursor.is_word("when") {
            parts.push(self.expression()?);
        }
        while self.cursor.accept_word("when") {
            parts.push(self.expression()?);
            self.expect_word("then")?;
            parts.push(self.expression()?);
        }
        if self.cursor.accept_word("else") {
            parts.push(self.expression()?);
        }
        self.expect_word("end")?;
        Ok(Expr::Other(parts))
    }

    fn cast(&mut self) -> Parsed<Expr> {
        self.expect_word("cast")?;
        self.expect_mark(b'(')?;
        let value = Box::new(self.expression()?);
        self.expect_word("as")?;
        let to = self.type_name()?;
        self.expect_mark(b')')?;
        Ok(Expr::Cast { value, to })
    }

    fn query_in_parentheses(&mut self, scalar: bool) -> Parsed<Expr> {
        self.expect_mark(b'(')?;
        let query = Box::new(self.nested(Self::query)?);
        self.expect_mark(b')')?;
        Ok(Expr::Subquery { query, scalar })
    }

    /// `ARRAY[…]`, nested or not, or `ARRAY(query)`.
    fn array(&mut self) -> Parsed<Expr> {
        self.expect_word("array")?;
        if self.cursor.is_mark(b'(') {
            return self.query_in_parentheses(false);
        }
        self.brackets()
    }

    fn brackets(&mut self) -> Parsed<Expr> {
        self.nested(|parser| {
            parser.expect_mark(b'[')?;
            if parser.cursor.accept_mark(b']') {
                return Ok(Expr::Array(Vec::new()));
            }
            let items = parser.list(|parser| if parser.cursor.is_mark(b'[') { parser.brackets() } else { parser.expression() })?;
            parser.expect_mark(b']')?;
            Ok(Expr::Array(items))
        })
    }

    fn row(&mut self) -> Parsed<Expr> {
        self.expect_word("row")?;
        self.expect_mark(b'(')?;
        if self.cursor.accept_mark(b')') {
            return Ok(Expr::Row(Vec::new()));
        }
        let items = self.list(Self::expression)?;
        self.expect_mark(b')')?;
        Ok(Expr::Row(items))
    }

    /// `current_timestamp`, with a precision or not.
    fn clock(&mut self, name: String) -> Parsed<Expr> {
        self.cursor.advance();
        let mut arguments = Vec::new();
        if name != "current_date" && self.cursor.accept_mark(b'(') {
            arguments.push(self.expression()?);
            self.expect_mark(b')')?;
        }
        Ok(Expr::Call(Box::new(Call { name, arguments, ..Call::default() })))
    }

    fn plain_list(&mut self) -> Parsed<Expr> {
        self.cursor.advance();
        self.expect_mark(b'(')?;
        let items = self.list(Self::expression)?;
        self.expect_mark(b')')?;
        Ok(Expr::Other(items))
    }

    /// `extract(field FROM x)` and its like: arguments between words.
    fn worded_call(&mut self, name: String) -> Parsed<Expr> {
        self.cursor.advance();
        self.expect_mark(b'(')?;
        let mut arguments = Vec::new();
        let field = name == "extract" && self.cursor.is_word_at(1, "from") && !self.cursor.is_literal();
        let form = name == "normalize";
        if field {
            self.label()?;
        }
        if name == "trim" {
            self.cursor.accept_one_of(&["both", "leading", "trailing"]);
        }
        loop {
            if self.cursor.accept_mark(b')') {
                break;
            }
            let separated =
                self.cursor.accept_one_of(&["from", "for", "in", "placing", "similar", "escape"]) || self.cursor.accept_mark(b',');
            if separated == (arguments.is_empty() && !field) && !(separated && name == "trim") {
                return Err(ParseError::NotUnderstood);
            }
            if form && !arguments.is_empty() {
                self.label()?;
                continue;
            }
            arguments.push(self.expression_at(if name == "position" { Level::Operator } else { Level::Or })?);
        }
        Ok(Expr::Call(Box::new(Call { name, arguments, ..Call::default() })))
    }

    /// `date '2020-01-01'`, `numeric(10, 2) '1.5'`, `interval '1' day`; `None` when the words here are something else.
    fn typed_literal(&mut self) -> Parsed<Option<Expr>> {
        if !self.is_typed_literal() {
            return Ok(None);
        }
        let to = self.type_name()?;
        if !self.cursor.is_literal() || self.is_number() {
            return Err(ParseError::NotUnderstood);
        }
        let literal = self.literal();
        if to.name == "interval" {
            self.interval_fields()?;
        }
        Ok(Some(Expr::Cast { value: Box::new(literal), to }))
    }

    /// Looks ahead without parsing, so that calls within calls are parsed once: name, its further words, `(…)`, then a string.
    fn is_typed_literal(&self) -> bool {
        let mut ahead = self.cursor;
        ahead.advance();
        while ahead.accept_mark(b'.') {
            ahead.advance();
        }
        let zone = ["with", "without", "time", "zone"];
        while ahead.accept_one_of(&["precision", "varying", "character", "char"]) || ahead.accept_one_of(&zone) {}
        if ahead.accept_mark(b'(') && ahead.skip_to_close().is_none() {
            return false;
        }
        while ahead.accept_one_of(&zone) {}
        ahead.is_literal()
    }

    fn is_number(&self) -> bool {
        use crate::sql::literal::LiteralKind::{Integer, Numeric};
        self.cursor.is_kind(TokenKind::Literal(Integer)) || self.cursor.is_kind(TokenKind::Literal(Numeric))
    }

    /// A column, `table.*`, or a call.
    fn name(&mut self) -> Parsed<Expr> {
        let first = self.cursor.word();
        let mut path = vec![self.label()?];
        while self.cursor.is_mark(b'.') {
            self.cursor.advance();
            if self.cursor.accept_operator(b"*") {
                return if fits(first.as_deref(), is_column_name) {
                    Ok(Expr::Star { qualifier: path })
                } else {
                    Err(ParseError::NotUnderstood)
                };
            }
            path.push(self.label()?);
        }
        let qualified = path.len() > 1;
        let name = path.pop().ok_or(ParseError::NotUnderstood)?;
        if self.cursor.is_mark(b'(') {
            let allowed = if qualified { fits(first.as_deref(), is_column_name) } else { fits(first.as_deref(), is_function_name) };
            return if allowed { self.call(path.pop(), name) } else { Err(ParseError::NotUnderstood) };
        }
        if !fits(first.as_deref(), is_column_name) {
            return Err(ParseError::NotUnderstood);
        }
        Ok(Expr::Column { qualifier: path, name })
    }

    pub(super) fn call(&mut self, schema: Option<String>, name: String) -> Parsed<Expr> {
        self.expect_mark(b'(')?;
        let mut call = Call { schema, name, ..Call::default() };
        if self.cursor.accept_operator(b"*") {
            self.expect_mark(b')')?;
        } else if !self.cursor.accept_mark(b')') {
            call.ordered |= self.cursor.accept_word("distinct");
            self.cursor.accept_word("all");
            call.arguments = self.list(Self::argument)?;
            if self.cursor.accept_words(&["order", "by"]) {
                call.ordered = true;
                call.arguments.extend(self.order_list()?);
            }
            self.expect_mark(b')')?;
        }
        self.call_tail(&mut call)?;
        Ok(Expr::Call(Box::new(call)))
    }

    /// `value`, `name => value`, `VARIADIC array`.
    fn argument(&mut self) -> Parsed<Expr> {
        self.cursor.accept_word("variadic");
        let named = self.cursor.peek_at(1).is_some_and(|token| matches!(token.kind, TokenKind::Arrow | TokenKind::ColonEquals));
        if named {
            self.function_name()?;
            self.cursor.advance();
        }
        self.expression()
    }

    /// WITHIN GROUP, FILTER, OVER.
    fn call_tail(&mut self, call: &mut Call) -> Parsed<()> {
        if self.cursor.is_words(&["within", "group"]) {
            self.cursor.advance();
            self.cursor.advance();
            self.expect_mark(b'(')?;
            self.expect_word("order")?;
            self.expect_word("by")?;
            call.ordered = true;
            call.arguments.extend(self.order_list()?);
            self.expect_mark(b')')?;
        }
        if self.cursor.is_word("filter") && self.cursor.is_mark_at(1, b'(') {
            self.cursor.advance();
            self.cursor.advance();
            self.expect_word("where")?;
            call.arguments.push(self.expression()?);
            self.expect_mark(b')')?;
        }
        if self.cursor.accept_word("over") {
            call.window = true;
            if self.cursor.is_mark(b'(') {
                call.arguments.extend(self.window()?);
            } else {
                self.column_name()?;
            }
        }
        Ok(())
    }

    /// `(name PARTITION BY … ORDER BY … frame)`.
    pub(super) fn window(&mut self) -> Parsed<Vec<Expr>> {
        self.expect_mark(b'(')?;
        let mut parts = Vec::new();
        if self.is_column_name() && !self.cursor.is_one_of(&["partition", "range", "rows", "groups"]) {
            self.column_name()?;
        }
        if self.cursor.accept_words(&["partition", "by"]) {
            parts.extend(self.list(Self::expression)?);
        }
        if self.cursor.accept_words(&["order", "by"]) {
            parts.extend(self.order_list()?);
        }
        if self.cursor.is_one_of(&["range", "rows", "groups"]) {
            let frame = self.cursor;
            self.cursor.skip_to_close().ok_or(ParseError::NotUnderstood)?;
            if holds_query(frame, self.cursor.offset()) {
                return Err(ParseError::NotUnderstood);
            }
            return Ok(parts);
        }
        self.expect_mark(b')')?;
        Ok(parts)
    }
}

/// Casts, subscripts and fields behind one value.
const POSTFIX_MAX: usize = 60;

/// A quoted name fits anywhere.
fn fits(word: Option<&str>, fits: fn(&str) -> bool) -> bool {
    word.is_none_or(fits)
}

/// Whether a SELECT stands between `cursor` and the byte `end`, in a part that is skipped.
fn holds_query(mut cursor: Cursor<'_>, end: usize) -> bool {
    while !cursor.at_end() && cursor.offset() < end {
        if cursor.is_one_of(&["select", "values", "table", "with"]) || (cursor.is_mark_at(1, b'(') && cursor.word().is_some()) {
            return true;
        }
        cursor.advance();
    }
    false
}
