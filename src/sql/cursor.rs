//! A place among a statement's tokens, with the questions that a hand-written parser asks.

use std::ops::Range;

use crate::sql::lexer::{Lexer, Token, TokenKind};
use crate::sql::literal::Literal;
use crate::sql::template::ScanError;

/// A statement's tokens.
#[derive(Debug)]
pub struct Tokens<'a> {
    text: &'a [u8],
    list: Vec<Token>,
}

impl<'a> Tokens<'a> {
    /// # Errors
    /// As `Lexer::next_token`.
    pub fn new(text: &'a [u8], standard_conforming_strings: bool) -> Result<Self, ScanError> {
        let mut lexer = Lexer::new(text, standard_conforming_strings);
        let mut list = Vec::new();
        while let Some(token) = lexer.next_token()? {
            list.push(token);
        }
        Ok(Self { text, list })
    }

    /// At the first token.
    #[must_use]
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { tokens: self, at: 0, end: self.list.len(), literals: 0 }
    }

    /// The bytes of the text from the first to the last of these tokens.
    #[must_use]
    pub fn span(&self, tokens: Range<usize>) -> Option<Range<usize>> {
        let list = self.list.get(tokens)?;
        Some(list.first()?.start as usize..list.last()?.end as usize)
    }

    /// The text of the tokens `span`, with what stands between them.
    #[must_use]
    pub fn source(&self, span: &Range<usize>) -> Option<&'a [u8]> {
        self.text.get(self.bounds(span)?)
    }

    /// The bytes of the tokens `span`: from the first one's start to the last one's end.
    #[must_use]
    pub fn bounds(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let first = self.list.get(span.start)?;
        let last = self.list.get(span.end.checked_sub(1)?)?;
        Some(first.start as usize..last.end as usize)
    }

    /// The tokens in order.
    #[must_use]
    pub fn list(&self) -> &[Token] {
        &self.list
    }

    #[must_use]
    pub fn bytes(&self, token: Token) -> &'a [u8] {
        self.text.get(token.start as usize..token.end as usize).unwrap_or_default()
    }
}

/// A place among tokens. Copied to come back.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    tokens: &'a Tokens<'a>,
    at: usize,
    /// Tokens from here on are not seen.
    end: usize,
    literals: usize,
}

impl<'a> Cursor<'a> {
    #[must_use]
    pub fn peek(&self) -> Option<Token> {
        self.peek_at(0)
    }

    #[must_use]
    pub fn peek_at(&self, ahead: usize) -> Option<Token> {
        let at = self.at + ahead;
        self.tokens.list.get(at).filter(|_| at < self.end).copied()
    }

    /// How many tokens of the text stand before this place.
    #[must_use]
    pub fn place(&self) -> usize {
        self.at
    }

    /// At the token of this number, and blind to those from `end` on.
    #[must_use]
    pub fn within(self, span: Range<usize>) -> Self {
        Self { at: span.start, end: span.end.min(self.end), ..self }
    }

    /// All tokens of the text.
    #[must_use]
    pub fn tokens(&self) -> &'a Tokens<'a> {
        self.tokens
    }

    /// The literals before this place.
    #[must_use]
    pub fn literals(&self) -> usize {
        self.literals
    }

    pub fn advance(&mut self) {
        if let Some(token) = self.peek() {
            self.literals += usize::from(matches!(token.kind, TokenKind::Literal(_)));
            self.at += 1;
        }
    }

    #[must_use]
    pub fn at_end(&self) -> bool {
        self.peek().is_none()
    }

    #[must_use]
    pub fn bytes(&self, token: Token) -> &'a [u8] {
        self.tokens.bytes(token)
    }

    /// Whether the next token is this keyword; `word` in lower case.
    #[must_use]
    pub fn is_word(&self, word: &str) -> bool {
        self.is_word_at(0, word)
    }

    #[must_use]
    pub fn is_word_at(&self, ahead: usize, word: &str) -> bool {
        self.peek_at(ahead).is_some_and(|token| token.kind == TokenKind::Word && self.bytes(token).eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether these keywords follow.
    #[must_use]
    pub fn is_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(ahead, word)| self.is_word_at(ahead, word))
    }

    #[must_use]
    pub fn is_one_of(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(word))
    }

    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    pub fn accept_words(&mut self, words: &[&str]) -> bool {
        let found = self.is_words(words);
        if found {
            words.iter().for_each(|_| self.advance());
        }
        found
    }

    pub fn accept_one_of(&mut self, words: &[&str]) -> bool {
        let found = self.is_one_of(words);
        if found {
            self.advance();
        }
        found
    }

    /// The next token as a folded word, quoted ones not.
    #[must_use]
    pub fn word(&self) -> Option<String> {
        self.word_at(0)
    }

    #[must_use]
    pub fn word_at(&self, ahead: usize) -> Option<String> {
        let token = self.peek_at(ahead).filter(|token| token.kind == TokenKind::Word)?;
        Some(String::from_utf8_lossy(self.bytes(token)).to_ascii_lowercase())
    }

    #[must_use]
    pub fn is_kind(&self, kind: TokenKind) -> bool {
        self.peek().is_some_and(|token| token.kind == kind)
    }

    pub fn accept_kind(&mut self, kind: TokenKind) -> bool {
        let found = self.is_kind(kind);
        if found {
            self.advance();
        }
        found
    }

    /// Whether the next token is this one of `( ) [ ] , ; . :`.
    #[must_use]
    pub fn is_mark(&self, mark: u8) -> bool {
        self.is_kind(TokenKind::Mark(mark))
    }

    #[must_use]
    pub fn is_mark_at(&self, ahead: usize, mark: u8) -> bool {
        self.peek_at(ahead).is_some_and(|token| token.kind == TokenKind::Mark(mark))
    }

    pub fn accept_mark(&mut self, mark: u8) -> bool {
        self.accept_kind(TokenKind::Mark(mark))
    }

    /// The next token's bytes if it is an operator.
    #[must_use]
    pub fn operator(&self) -> Option<&'a [u8]> {
        self.peek().filter(|token| token.kind == TokenKind::Operator).map(|token| self.bytes(token))
    }

    #[must_use]
    pub fn is_operator(&self, operator: &[u8]) -> bool {
        self.operator() == Some(operator)
    }

    pub fn accept_operator(&mut self, operator: &[u8]) -> bool {
        let found = self.is_operator(operator);
        if found {
            self.advance();
        }
        found
    }

    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.is_literal_at(0)
    }

    #[must_use]
    pub fn is_literal_at(&self, ahead: usize) -> bool {
        self.peek_at(ahead).is_some_and(|token| matches!(token.kind, TokenKind::Literal(_)))
    }

    /// Takes a name: a folded word or a quoted one, keyword or not.
    pub fn any_name(&mut self) -> Option<String> {
        let name = identifier(self.peek()?, self.bytes(self.peek()?))?;
        self.advance();
        Some(name)
    }

    /// The bytes of the text from the next token to its end.
    #[must_use]
    pub fn rest(&self) -> Option<Range<usize>> {
        let first = self.peek()?;
        let last = self.tokens.list.get(..self.end)?.last()?;
        Some(first.start as usize..last.end as usize)
    }

    /// The bytes from the next token to the one before `end`'s.
    #[must_use]
    pub fn text_until(&self, end: Self) -> Option<&'a [u8]> {
        let start = self.peek()?.start as usize;
        self.tokens.text.get(start..end.end_of_previous())
    }

    /// The number of the next token if it is a parameter.
    #[must_use]
    pub fn parameter(&self) -> Option<usize> {
        let token = self.peek().filter(|token| token.kind == TokenKind::Parameter)?;
        std::str::from_utf8(self.bytes(token).get(1..)?).ok()?.parse().ok()
    }

    /// The value of the next token if it is a literal that can be read.
    #[must_use]
    pub fn literal_value(&self) -> Option<String> {
        let token = self.peek()?;
        let TokenKind::Literal(kind) = token.kind else { return None };
        let value = Literal { start: token.start, end: token.end, kind }.value(self.tokens.text)?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// Where the next token begins, or the text ends.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.peek().map_or(self.tokens.text.len(), |token| token.start as usize)
    }

    /// Where the token before ends.
    #[must_use]
    pub fn end_of_previous(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.tokens.list.get(at)).map_or(0, |token| token.end as usize)
    }

    /// This place with its end before the mark that closes the one before it.
    #[must_use]
    pub fn until_close(self) -> Option<Self> {
        let mut close = self;
        close.skip_to_close()?;
        Some(Self { end: close.at.saturating_sub(1), ..self })
    }

    /// Whether a `U&"…"` is anywhere in the text.
    #[must_use]
    pub fn has_unicode_names(&self) -> bool {
        self.tokens.list.iter().any(|token| token.kind == TokenKind::UnicodeQuoted)
    }

    /// Steps behind the mark that closes the one before this place; `None` when there is none.
    pub fn skip_to_close(&mut self) -> Option<()> {
        let mut depth = 1_usize;
        while let Some(token) = self.peek() {
            self.advance();
            match token.kind {
                TokenKind::Mark(b'(' | b'[') => depth += 1,
                TokenKind::Mark(b')' | b']') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(());
            }
        }
        None
    }
}

/// A token as an identifier: folded or unquoted, cut to 63 bytes as PostgreSQL does. `None` for other tokens and `U&"…"`.
#[must_use]
pub fn identifier(token: Token, bytes: &[u8]) -> Option<String> {
    let mut name = match token.kind {
        TokenKind::Word => String::from_utf8_lossy(bytes).to_ascii_lowercase(),
        TokenKind::Quoted => String::from_utf8_lossy(bytes.get(1..bytes.len().checked_sub(1)?)?).replace("\"\"", "\""),
        _ => return None,
    };
    if name.len() > IDENTIFIER_MAX {
        let end = (0..=IDENTIFIER_MAX).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        name.truncate(end);
    }
    Some(name)
}

/// NAMEDATALEN less one.
const IDENTIFIER_MAX: usize = 63;
