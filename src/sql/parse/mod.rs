//! Text to facts: a parser of PostgreSQL's data statements, by hand, on the tokens the template is made of.
//!
//! It takes only what it understands wholly; the planner refuses or sends home the rest. It is stricter than PostgreSQL's grammar in rare
//! places and nowhere reads a text otherwise than PostgreSQL does: operator precedence and keyword classes are those of `gram.y`.

mod expression;
mod from;
mod modify;
mod primary;
mod query;
mod types;

use crate::sql::ast::Statement;
use crate::sql::cursor::Cursor;
use crate::sql::keyword::{is_column_name, is_function_name};
use crate::sql::lexer::TokenKind;

/// Why a text has no facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a statement of rows, or a form the parser does not know, or an error in the text.
    #[error("statement not understood")]
    NotUnderstood,
    /// Nested deeper, or of more tables, than a plan may be.
    #[error("statement too complex")]
    TooComplex,
}

pub type Parsed<T> = Result<T, ParseError>;

/// Parses the one statement from `cursor` to the end of its text; a `;` may close it.
///
/// # Errors
/// When the text is not wholly understood.
pub fn parse(cursor: Cursor<'_>) -> Parsed<Statement> {
    let mut parser = Parser { cursor, depth: 0, tables: 0, closed: false };
    let statement = parser.statement()?;
    while parser.cursor.accept_mark(b';') {}
    if parser.cursor.at_end() { Ok(statement) } else { Err(ParseError::NotUnderstood) }
}

/// Parentheses, subqueries and prefixes within each other. With 120, parsing needs less than 1 MiB of stack even unoptimised.
const DEPTH_MAX: usize = 120;

/// Tables, functions and subqueries in FROM of one statement.
const TABLES_MAX: usize = 500;

/// A place in the text and how deep it is.
struct Parser<'a> {
    cursor: Cursor<'a>,
    depth: usize,
    tables: usize,
    /// The operator read last has no right side that another operator could belong to.
    closed: bool,
}

impl Parser<'_> {
    /// A statement as it may stand alone, in WITH or behind EXPLAIN.
    fn statement(&mut self) -> Parsed<Statement> {
        let mut ahead = self.cursor;
        while ahead.accept_mark(b'(') {}
        if ahead.is_one_of(&["select", "values", "table"]) {
            return self.query().map(Statement::Query);
        }
        if ahead.is_word("with") {
            if self.cursor.is_mark(b'(') {
                return self.query().map(Statement::Query);
            }
            let with = self.with()?;
            return self.after_with(with);
        }
        self.after_with(crate::sql::ast::With::default())
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            return Err(ParseError::TooComplex);
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Items between commas.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.cursor.accept_mark(b',') {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn expect_mark(&mut self, mark: u8) -> Parsed<()> {
        accepted(self.cursor.accept_mark(mark))
    }

    fn expect_word(&mut self, word: &str) -> Parsed<()> {
        accepted(self.cursor.accept_word(word))
    }

    /// A name of a column, table or alias (`ColId`).
    fn column_name(&mut self) -> Parsed<String> {
        self.name_where(is_column_name)
    }

    /// A name of a function or type (`type_function_name`).
    fn function_name(&mut self) -> Parsed<String> {
        self.name_where(is_function_name)
    }

    /// A name behind a dot or AS (`ColLabel`): any word.
    fn label(&mut self) -> Parsed<String> {
        self.name_where(|_| true)
    }

    fn name_where(&mut self, fits: fn(&str) -> bool) -> Parsed<String> {
        if self.cursor.word().is_some_and(|word| !fits(&word)) {
            return Err(ParseError::NotUnderstood);
        }
        self.cursor.any_name().ok_or(ParseError::NotUnderstood)
    }

    /// Whether a name that is a column's, table's or alias's comes next.
    fn is_column_name(&self) -> bool {
        match self.cursor.word() {
            Some(word) => is_column_name(&word),
            None => self.cursor.is_kind(TokenKind::Quoted),
        }
    }

    /// `(name, …)`.
    fn name_list(&mut self) -> Parsed<Vec<String>> {
        self.expect_mark(b'(')?;
        let names = self.list(Self::column_name)?;
        self.expect_mark(b')')?;
        Ok(names)
    }
}

fn accepted(found: bool) -> Parsed<()> {
    if found { Ok(()) } else { Err(ParseError::NotUnderstood) }
}
