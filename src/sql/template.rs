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
        let mut copying = Copying { text, run: 0..0, begun: false };
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
                copying.token(&mut self.template, end..start, token);
                shape = shape.after(text.get(start..token.end as usize).unwrap_or_default());
            }
            end = token.end as usize;
            if shape == Shape::Folded && splitter.is_done() {
                end = lexer.skim(&mut splitter.parentheses);
                copying.run.end = end;
            }
        }
        copying.flush(&mut self.template, copying.run.end);
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

    /// Keeps the text as the template, behind a zero byte, which no other template has.
    fn keep(&mut self, text: &[u8]) {
        self.template.clear();
        self.template.push(0);
        self.template.extend_from_slice(text.trim_ascii_end());
    }
}

/// From a statement's text to its template.
struct Copying<'a> {
    text: &'a [u8],
    /// What the template takes as it is, but for the case of letters, and has not got yet.
    run: Range<usize>,
    begun: bool,
}

impl Copying<'_> {
    /// Writes one token and the gap before it.
    #[inline]
    fn token(&mut self, template: &mut Vec<u8>, gap: Range<usize>, token: Token) {
        let (start, end) = (token.start as usize, token.end as usize);
        let blank = self.begun && token.kind != TokenKind::Mark(b';');
        let joins = gap.is_empty() || (blank && gap.len() == 1 && self.text.get(gap.start) == Some(&b' '));
        if !joins || self.run.end != gap.start {
            self.flush(template, self.run.end);
            self.gap(template, gap, blank);
            self.run = start..start;
        }
        self.begun = true;
        match token.kind {
            TokenKind::Literal(kind) => {
                self.flush(template, start);
                template.push(marker(kind));
            }
            TokenKind::Quoted | TokenKind::UnicodeQuoted => {
                self.flush(template, start);
                template.extend_from_slice(self.text.get(start..end).unwrap_or_default());
            }
            _ => {
                self.run.end = end;
                return;
            }
        }
        self.run = end..end;
    }

    /// Writes the run up to `end`.
    fn flush(&self, template: &mut Vec<u8>, end: usize) {
        let at = template.len();
        template.extend_from_slice(self.text.get(self.run.start..end).unwrap_or_default());
        template.get_mut(at..).unwrap_or_default().make_ascii_lowercase();
    }

    /// Writes what stood between two tokens: nothing, a blank, or the text itself when it holds a routing hint.
    fn gap(&self, template: &mut Vec<u8>, gap: Range<usize>, blank: bool) {
        if gap.is_empty() {
            return;
        }
        let text = self.text.get(gap).unwrap_or_default();
        if text.len() >= HINT.len() && memchr::memmem::find(text, HINT).is_some() {
            template.extend_from_slice(text);
        } else if blank {
            template.push(b' ');
        }
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
    /// Behind one more token.
    #[inline]
    fn after(self, token: &[u8]) -> Self {
        match (self, token.first()) {
            (Self::Unknown, _) => Self::of(token),
            // Its plan tells the session the setting's new value. The other spellings could be the function's name too.
            (Self::Folded, Some(b's' | b'S')) if token.eq_ignore_ascii_case(b"set_config") => Self::Kept,
            (Self::Folded, Some(b'"')) if token.starts_with(b"\"set_config") => Self::Kept,
            (Self::Folded, Some(b'u' | b'U')) if token.get(1..3) == Some(b"&\"") => Self::Kept,
            (other, _) => other,
        }
    }

    /// By the statement's first token.
    fn of(token: &[u8]) -> Self {
        const FOLDED: [&[u8]; 9] = [b"(", b"select", b"insert", b"update", b"delete", b"with", b"values", b"table", b"merge"];
        if FOLDED.iter().any(|word| token.eq_ignore_ascii_case(word)) { Self::Folded } else { Self::Kept }
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

    /// Whether no word of this statement can matter any more.
    fn is_done(&self) -> bool {
        self.words > 0 && !self.creates
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
