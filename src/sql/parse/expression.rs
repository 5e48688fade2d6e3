//! Expressions: operators by the precedence of `gram.y`.

use crate::sql::ast::{Expr, Test};
use crate::sql::lexer::TokenKind;
use crate::sql::parse::{ParseError, Parsed, Parser};

/// How tightly an operator binds, loosest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Or,
    And,
    Not,
    Is,
    Comparison,
    Between,
    Operator,
    Sum,
    Product,
    Power,
    At,
    Collate,
    Sign,
    Postfix,
}

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.expression_at(Level::Or)
    }

    /// An expression of operators that bind at least as tightly as `level`.
    pub(super) fn expression_at(&mut self, level: Level) -> Parsed<Expr> {
        self.nested(|parser| {
            let mut left = parser.prefix()?;
            let mut highest = Level::Postfix;
            loop {
                let Some(operator) = parser.infix_level().filter(|operator| *operator >= level) else { return Ok(left) };
                // `a = b = c` and `a IN (1) IN (2)`: not associative.
                if operator == highest && matches!(operator, Level::Comparison | Level::Between) {
                    return Err(ParseError::NotUnderstood);
                }
                // What binds more tightly than the operator before has been taken by that operator's right side.
                if operator > highest {
                    return Err(ParseError::NotUnderstood);
                }
                parser.closed = false;
                left = parser.infix(left, operator)?;
                // `a IS NULL`, `a IN (1)`, `a = ANY (b)` end by themselves: any operator may follow.
                highest = if std::mem::take(&mut parser.closed) { Level::Postfix } else { operator };
                if highest == Level::Postfix {
                    left = parser.postfix(left)?;
                }
            }
        })
    }

    fn prefix(&mut self) -> Parsed<Expr> {
        if self.cursor.accept_word("not") {
            return Ok(Expr::Test { test: Test::Not, parts: vec![self.expression_at(Level::Not)?] });
        }
        if self.cursor.accept_operator(b"-") {
            return Ok(Expr::Negative(Box::new(self.expression_at(Level::Sign)?)));
        }
        if self.cursor.accept_operator(b"+") {
            return self.expression_at(Level::Sign);
        }
        if self.cursor.operator().is_some_and(|operator| !is_infix_only(operator)) {
            self.cursor.advance();
            return Ok(Expr::Other(vec![self.expression_at(Level::Sum)?]));
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    /// The level of the operator that comes next.
    fn infix_level(&self) -> Option<Level> {
        let token = self.cursor.peek()?;
        match token.kind {
            TokenKind::Operator => Some(match self.cursor.bytes(token) {
                b"=" | b"<" | b">" | b"<=" | b">=" | b"<>" | b"!=" => Level::Comparison,
                b"+" | b"-" => Level::Sum,
                b"*" | b"/" | b"%" => Level::Product,
                b"^" => Level::Power,
                _ => Level::Operator,
            }),
            TokenKind::Word => Some(match self.cursor.word()?.as_str() {
                "or" => Level::Or,
                "and" => Level::And,
                "is" | "isnull" | "notnull" => Level::Is,
                "between" | "in" | "like" | "ilike" | "similar" | "overlaps" => Level::Between,
                "not" if ["between", "in", "like", "ilike", "similar"].iter().any(|word| self.cursor.is_word_at(1, word)) => Level::Between,
                "operator" if self.cursor.is_mark_at(1, b'(') => Level::Operator,
                "at" if self.cursor.is_word_at(1, "time") || self.cursor.is_word_at(1, "local") => Level::At,
                "collate" => Level::Collate,
                _ => return None,
            }),
            _ => None,
        }
    }

    /// One operator with its right side; a run of AND stays one list, so that no tree is deep.
    fn infix(&mut self, left: Expr, level: Level) -> Parsed<Expr> {
        match level {
            Level::And => {
                self.cursor.advance();
                let right = self.expression_at(Level::Not)?;
                Ok(match left {
                    Expr::And(mut list) => {
                        list.push(right);
                        Expr::And(list)
                    }
                    left => Expr::And(vec![left, right]),
                })
            }
            Level::Or => {
                self.cursor.advance();
                let right = self.expression_at(Level::And)?;
                Ok(either(left, right))
            }
            Level::Is => self.is(left),
            Level::Between => self.between(left),
            Level::At => {
                self.cursor.advance();
                if self.cursor.accept_word("local") {
                    self.closed = true;
                    return Ok(joined(left, Expr::Null));
                }
                accepted_time_zone(self)?;
                let zone = self.expression_at(Level::Collate)?;
                Ok(joined(left, zone))
            }
            Level::Collate => {
                self.cursor.advance();
                self.any_qualified_name()?;
                self.closed = true;
                Ok(joined(left, Expr::Null))
            }
            _ => self.operator(left, level),
        }
    }

    fn operator(&mut self, left: Expr, level: Level) -> Parsed<Expr> {
        let equal = self.cursor.is_operator(b"=");
        let comparison = self.comparison();
        self.operator_name()?;
        if self.cursor.is_one_of(&["any", "some", "all"]) && self.cursor.is_mark_at(1, b'(') {
            let any = equal && !self.cursor.is_word("all");
            self.cursor.advance();
            self.cursor.advance();
            return self.any_operand(left, any);
        }
        let right = self.expression_at(above(level))?;
        if equal {
            return Ok(Expr::Equal { left: Box::new(left), right: Box::new(right), null_safe: false });
        }
        Ok(match comparison {
            Some(operator) => Expr::Test { test: Test::Compare(operator), parts: vec![left, right] },
            None => joined(left, right),
        })
    }

    /// The comparison that comes next, `=` excepted.
    fn comparison(&self) -> Option<&'static str> {
        Some(match self.cursor.operator()? {
            b"<" => "<",
            b"<=" => "<=",
            b">" => ">",
            b">=" => ">=",
            b"<>" | b"!=" => "<>",
            _ => return None,
        })
    }

    /// An operator's own name, `OPERATOR(schema.op)` included.
    fn operator_name(&mut self) -> Parsed<()> {
        if !self.cursor.accept_word("operator") {
            self.cursor.advance();
            return Ok(());
        }
        self.expect_mark(b'(')?;
        while self.cursor.operator().is_none() {
            self.label()?;
            self.expect_mark(b'.')?;
        }
        self.cursor.advance();
        self.expect_mark(b')')
    }

    /// Behind `ANY (`: a query or an array. `equal`: the operator is `=`, and it is not ALL.
    fn any_operand(&mut self, left: Expr, equal: bool) -> Parsed<Expr> {
        if self.is_query() {
            let query = Box::new(self.nested(Self::query)?);
            self.expect_mark(b')')?;
            self.closed = true;
            return Ok(if equal {
                Expr::InQuery { value: Box::new(left), query }
            } else {
                joined(left, Expr::Subquery { query, scalar: false })
            });
        }
        let array = self.expression()?;
        self.expect_mark(b')')?;
        self.closed = true;
        Ok(if equal { Expr::AnyOf { value: Box::new(left), array: Box::new(array) } } else { joined(left, array) })
    }

    fn is(&mut self, left: Expr) -> Parsed<Expr> {
        for (word, meaning) in [("isnull", "IS NULL"), ("notnull", "IS NOT NULL")] {
            if self.cursor.accept_word(word) {
                self.closed = true;
                return Ok(Expr::Test { test: Test::Is(meaning), parts: vec![left] });
            }
        }
        self.cursor.advance();
        let negated = self.cursor.accept_word("not");
        if self.cursor.accept_words(&["distinct", "from"]) {
            let right = self.expression_at(Level::Between)?;
            return Ok(if negated {
                Expr::Equal { left: Box::new(left), right: Box::new(right), null_safe: true }
            } else {
                Expr::Test { test: Test::Compare("IS DISTINCT FROM"), parts: vec![left, right] }
            });
        }
        self.closed = true;
        self.cursor.accept_one_of(&["nfc", "nfd", "nfkc", "nfkd"]);
        if self.cursor.accept_word("json") {
            self.cursor.accept_one_of(&["value", "array", "object", "scalar"]);
            if self.cursor.accept_one_of(&["with", "without"]) {
                self.expect_word("unique")?;
                self.cursor.accept_one_of(&["key", "keys"]);
            }
            return Ok(Expr::Other(vec![left]));
        }
        for (word, meaning, opposite) in PREDICATES {
            if self.cursor.accept_word(word) {
                return Ok(Expr::Test { test: Test::Is(if negated { opposite } else { meaning }), parts: vec![left] });
            }
        }
        if self.cursor.accept_one_of(&["document", "normalized"]) {
            return Ok(Expr::Other(vec![left]));
        }
        Err(ParseError::NotUnderstood)
    }

    /// BETWEEN, IN, LIKE, ILIKE, SIMILAR TO, OVERLAPS and their negations.
    fn between(&mut self, left: Expr) -> Parsed<Expr> {
        let negated = self.cursor.accept_word("not");
        if self.cursor.accept_word("between") {
            let symmetric = self.cursor.accept_word("symmetric");
            self.cursor.accept_word("asymmetric");
            let low = self.expression_at(Level::Operator)?;
            self.expect_word("and")?;
            let high = self.expression_at(Level::Operator)?;
            let parts = vec![left, low, high];
            return Ok(if symmetric { Expr::Other(parts) } else { Expr::Test { test: Test::Between { negated }, parts } });
        }
        if self.cursor.accept_word("in") {
            return self.in_list(left, negated);
        }
        let like = self.cursor.is_word("like");
        if self.cursor.accept_word("similar") {
            self.expect_word("to")?;
        } else {
            self.cursor.advance();
        }
        if self.cursor.is_one_of(&["any", "some", "all"]) && self.cursor.is_mark_at(1, b'(') {
            self.cursor.advance();
            self.cursor.advance();
            return self.any_operand(left, false);
        }
        let mut parts = vec![left, self.expression_at(Level::Operator)?];
        if self.cursor.accept_word("escape") {
            parts.push(self.expression_at(Level::Operator)?);
        }
        Ok(if like && parts.len() == 2 { Expr::Test { test: Test::Like { negated }, parts } } else { Expr::Other(parts) })
    }

    fn in_list(&mut self, left: Expr, negated: bool) -> Parsed<Expr> {
        self.expect_mark(b'(')?;
        if self.is_query() {
            let query = Box::new(self.nested(Self::query)?);
            self.expect_mark(b')')?;
            self.closed = true;
            return Ok(if negated {
                joined(left, Expr::Subquery { query, scalar: false })
            } else {
                Expr::InQuery { value: Box::new(left), query }
            });
        }
        let mut list = self.list(Self::expression)?;
        self.expect_mark(b')')?;
        self.closed = true;
        if negated {
            list.push(left);
            return Ok(Expr::Test { test: Test::NotIn, parts: list });
        }
        Ok(Expr::InList { value: Box::new(left), list })
    }

    /// Whether a query begins here, in parentheses or not. A parenthesis may also begin an expression.
    pub(super) fn is_query(&self) -> bool {
        let mut ahead = self.cursor;
        while ahead.accept_mark(b'(') {}
        ahead.is_one_of(&["select", "values", "table", "with"]) && self.is_whole_query()
    }

    /// `((SELECT …) + 1)` begins like a query: what follows the inner query tells.
    fn is_whole_query(&self) -> bool {
        let mut ahead = self.cursor;
        if !ahead.accept_mark(b'(') {
            return true;
        }
        if ahead.skip_to_close().is_none() {
            return false;
        }
        ahead.is_mark(b')') || ahead.is_one_of(&["union", "intersect", "except", "order", "limit", "offset", "fetch", "for"])
    }
}

/// Operators that never stand in front of their only operand.
fn is_infix_only(operator: &[u8]) -> bool {
    matches!(operator, b"=" | b"<" | b">" | b"<=" | b">=" | b"<>" | b"!=" | b"*" | b"/" | b"%" | b"^")
}

/// The level of the right side of a left-associative operator.
fn above(level: Level) -> Level {
    match level {
        Level::Comparison => Level::Between,
        Level::Operator => Level::Sum,
        Level::Sum => Level::Product,
        Level::Product => Level::Power,
        _ => Level::At,
    }
}

/// What IS asks, with its negation.
const PREDICATES: [(&str, &str, &str); 4] = [
    ("null", "IS NULL", "IS NOT NULL"),
    ("true", "IS TRUE", "IS NOT TRUE"),
    ("false", "IS FALSE", "IS NOT FALSE"),
    ("unknown", "IS UNKNOWN", "IS NOT UNKNOWN"),
];

/// Both sides of OR, in one flat list.
fn either(left: Expr, right: Expr) -> Expr {
    match left {
        Expr::Test { test: Test::Or, mut parts } => {
            parts.push(right);
            Expr::Test { test: Test::Or, parts }
        }
        left => Expr::Test { test: Test::Or, parts: vec![left, right] },
    }
}

/// Both sides of something routing does not look into, in one flat list.
fn joined(left: Expr, right: Expr) -> Expr {
    match left {
        Expr::Other(mut parts) => {
            parts.push(right);
            Expr::Other(parts)
        }
        left => Expr::Other(vec![left, right]),
    }
}

fn accepted_time_zone(parser: &mut Parser<'_>) -> Parsed<()> {
    parser.expect_word("time")?;
    parser.expect_word("zone")
}
