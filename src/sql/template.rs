//! Replaces a statement's literals by markers, so that statements of one shape share one plan.
//!
//! A statement of data (SELECT, INSERT, …) becomes its tokens with one blank where blanks or comments stood, words folded, each literal one byte
//! that tells its kind. Any other statement keeps its text behind a zero byte: its plan holds values and places of the text.

use std::ops::Range;

use crate::sql::lexer::{Lexer, Token, TokenKind};
use crate::sql::literal::{Literal, LiteralKind};

/// A text that has no tokens. PostgreSQL refuses it too: it is sent home so that PostgreSQL says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("unterminated quoted string")]
    UnterminatedString,
    #[error("unterminated comment")]
    UnterminatedComment,
    #[error("unterminated quoted identifier")]
    UnterminatedIdentifier,
    #[error("invalid character")]
    InvalidCharacter,
    #[error("text too long")]
    TooLong,
}

/// Reusable buffers for tokenizing one text after another.
#[derive(Debug, Default)]
pub struct Scan {
    template: Vec<u8>,
    literals: Vec<Literal>,
    statements: Vec<Range<usize>>,
    standard_conforming_strings: bool,
}

impl Scan {
    #[must_use]
    pub fn new() -> Self {
        Self { standard_conforming_strings: true, ..Self::default() }
    }

    /// Tokenizes `text`. Fills template, literals and statement ranges.
    ///
    /// # Errors
    /// When the text has no tokens; the buffers then hold nothing of use.
    pub fn scan(&mut self, text: &[u8], standard_conforming_strings: bool) -> Result<(), ScanError> {
        self.template.clear();
        self.literals.clear();
        self.statements.clear();
        self.standard_conforming_strings = standard_conforming_strings;
        let mut lexer = Lexer::new(text, standard_conforming_strings);
        let mut splitter = Splitter::default();
        let mut shape = Shape::Unknown;
        let mut end = 0;
        while let Some(token) = lexer.next_token()? {
            let start = token.start as usize;
            if let TokenKind::Literal(kind) = token.kind {
                self.literals.push(Literal { start: token.start, end: token.end, kind });
            }
            if token.kind == TokenKind::Mark(b';') && splitter.ends() {
                splitter.close(end, &mut self.statements);
                splitter = Splitter { start: token.end as usize, ..Splitter::default() };
                end = splitter.start;
                continue;
            }
            splitter.see(text, token);
            if shape != Shape::Kept {
                self.gap(text, end..start, token, shape == Shape::Unknown);
                let word = self.push(text, token);
                shape = shape.after(self.template.get(word..).unwrap_or_default());
            }
            end = token.end as usize;
        }
        splitter.close(end, &mut self.statements);
        if shape == Shape::Kept || self.statements.len() > 1 {
            self.keep(text);
        }
        Ok(())
    }

    /// The text with literals replaced by markers. Two texts with one template have one plan.
    #[must_use]
    pub fn template(&self) -> &[u8] {
        &self.template
    }

    /// The literals in order.
    #[must_use]
    pub fn literals(&self) -> &[Literal] {
        &self.literals
    }

    /// Byte ranges of the non-empty top-level statements, comments before them included, without the `;`.
    #[must_use]
    pub fn statements(&self) -> &[Range<usize>] {
        &self.statements
    }

    /// The setting by which the text was scanned.
    #[must_use]
    pub fn standard_conforming_strings(&self) -> bool {
        self.standard_conforming_strings
    }

    /// Writes what stood between two tokens: nothing, a blank, or the text itself when it holds a routing hint.
    #[inline]
    fn gap(&mut self, text: &[u8], gap: Range<usize>, token: Token, first: bool) {
        if gap.is_empty() {
            return;
        }
        if gap.len() >= HINT.len() && memchr::memmem::find(text.get(gap.clone()).unwrap_or_default(), HINT).is_some() {
            self.template.extend_from_slice(text.get(gap).unwrap_or_default());
        } else if !first && token.kind != TokenKind::Mark(b';') {
            self.template.push(b' ');
        }
    }

    /// Writes one token; answers where it begins in the template.
    #[inline]
    fn push(&mut self, text: &[u8], token: Token) -> usize {
        let at = self.template.len();
        let bytes = text.get(token.start as usize..token.end as usize).unwrap_or_default();
        match token.kind {
            TokenKind::Word => self.template.extend(bytes.iter().map(u8::to_ascii_lowercase)),
            TokenKind::Literal(kind) => self.template.push(marker(kind)),
            _ => self.template.extend_from_slice(bytes),
        }
        at
    }

    /// Keeps the text as the template, behind a zero byte, which no other template has.
    fn keep(&mut self, text: &[u8]) {
        self.template.clear();
        self.template.push(0);
        self.template.extend_from_slice(text.trim_ascii_end());
    }
}

/// What stands in a comment that is a routing hint.
pub const HINT: &[u8] = b"shardyard:";

/// Whether the template drops literals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Unknown,
    Folded,
    Kept,
}

impl Shape {
    #[inline]
    fn after(self, word: &[u8]) -> Self {
        match self {
            Self::Unknown => match word {
                b"(" | b"select" | b"insert" | b"update" | b"delete" | b"with" | b"values" | b"table" | b"merge" => Self::Folded,
                _ => Self::Kept,
            },
            // Its plan tells the session the setting's new value. The other spellings could be the function's name too.
            Self::Folded
                if word == b"set_config" || word.starts_with(b"\"set_config") || word.starts_with(b"u&\"") || word.starts_with(b"U&\"") =>
            {
                Self::Kept
            }
            other => other,
        }
    }
}

/// Control characters: outside of quotes they are in no text that has tokens.
fn marker(kind: LiteralKind) -> u8 {
    match kind {
        LiteralKind::Integer => 1,
        LiteralKind::Numeric => 2,
        LiteralKind::Plain | LiteralKind::Escape | LiteralKind::Dollar => 3,
        LiteralKind::Unicode => 4,
        LiteralKind::Bits => 5,
        LiteralKind::National => 6,
    }
}

/// Finds the semicolons that end statements: not those in parentheses (CREATE RULE) or in a BEGIN ATOMIC body.
#[derive(Debug, Default)]
struct Splitter {
    start: usize,
    seen: bool,
    parentheses: u32,
    words: u32,
    creates: bool,
    begin: bool,
    bodies: u32,
}

impl Splitter {
    fn ends(&self) -> bool {
        self.parentheses == 0 && self.bodies == 0
    }

    fn close(&self, end: usize, statements: &mut Vec<Range<usize>>) {
        if self.seen {
            statements.push(self.start..end);
        }
    }

    #[inline]
    fn see(&mut self, text: &[u8], token: Token) {
        self.seen = true;
        match token.kind {
            TokenKind::Mark(b'(') => self.parentheses += 1,
            TokenKind::Mark(b')') => self.parentheses = self.parentheses.saturating_sub(1),
            TokenKind::Word if self.words == 0 || self.creates => {
                self.word(text.get(token.start as usize..token.end as usize).unwrap_or_default());
            }
            _ => {}
        }
    }

    fn word(&mut self, word: &[u8]) {
        if self.words == 0 {
            self.creates = word.eq_ignore_ascii_case(b"create");
        }
        self.words += 1;
        if self.bodies == 0 {
            if self.begin && word.eq_ignore_ascii_case(b"atomic") {
                self.bodies = 1;
            }
            self.begin = word.eq_ignore_ascii_case(b"begin");
        } else if word.eq_ignore_ascii_case(b"case") {
            self.bodies += 1;
        } else if word.eq_ignore_ascii_case(b"end") {
            self.bodies -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
