//! PostgreSQL's lexical rules: bytes to tokens, as `scan.l` of PostgreSQL 16 and later reads them.

use std::ops::Range;

use crate::sql::literal::LiteralKind;
use crate::sql::template::ScanError;

/// What a token is. Words are not yet keywords or names: that depends on where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An unquoted identifier or a keyword.
    Word,
    /// `"…"`.
    Quoted,
    /// `U&"…"`.
    UnicodeQuoted,
    Literal(LiteralKind),
    /// `$1`.
    Parameter,
    /// Anything made of operator characters, single ones included.
    Operator,
    /// One of `( ) [ ] , ; . :`.
    Mark(u8),
    /// `::`
    TypeCast,
    /// `:=`
    ColonEquals,
    /// `=>`
    Arrow,
    /// `..`
    DotDot,
}

/// One token: the bytes `start..end` of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub start: u32,
    pub end: u32,
}

/// Reads one token after another. Bytes of 0x80 and above are letters, as in PostgreSQL.
#[derive(Debug)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    standard_conforming_strings: bool,
}

impl<'a> Lexer<'a> {
    #[must_use]
    pub fn new(text: &'a [u8], standard_conforming_strings: bool) -> Self {
        Self { text, at: 0, standard_conforming_strings }
    }

    /// The next token, or `None` at the end.
    ///
    /// # Errors
    /// What PostgreSQL's lexer refuses, or its grammar refuses wherever it stands.
    #[inline]
    pub fn next_token(&mut self) -> Result<Option<Token>, ScanError> {
        let Some(first) = self.skip_gap()? else { return Ok(None) };
        let start = self.at;
        let kind = match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => self.word(first)?,
            b'0'..=b'9' => TokenKind::Literal(self.number()?),
            b'\'' => {
                self.at += 1;
                if self.standard_conforming_strings { self.plain(LiteralKind::Plain)? } else { self.escaped()? }
            }
            b'"' => {
                self.at += 1;
                self.quoted_identifier()?;
                TokenKind::Quoted
            }
            b'$' => self.dollar()?,
            b'.' => self.dot()?,
            b':' => self.colon(),
            b'(' | b')' | b'[' | b']' | b',' | b';' => {
                self.at += 1;
                TokenKind::Mark(first)
            }
            _ if is_operator(first) => self.operator(),
            _ => return Err(ScanError::InvalidCharacter),
        };
        Ok(Some(Token { kind, start: offset(start)?, end: offset(self.at)? }))
    }

    /// Behind a token: steps over words, marks and operators with single blanks between them, which are most of a statement, up to whatever
    /// needs a closer look: a literal, a parameter, a quoted name, a comment, a semicolon, `set_config`. Counts the parentheses; answers the
    /// end of the last token.
    pub fn skim(&mut self, parentheses: &mut u32) -> usize {
        let mut at = self.at;
        while let Some(&byte) = self.text.get(at) {
            let start = at;
            at += 1;
            match Class::of(byte) {
                Class::Letter => {
                    while self.text.get(at).is_some_and(|byte| is_word(*byte)) {
                        at += 1;
                    }
                    let prefix = matches!(self.text.get(at), Some(b'\'' | b'"' | b'&'));
                    if prefix || (byte | 0x20 == b's' && self.is_set_config(start..at)) {
                        break;
                    }
                }
                Class::Mark => match byte {
                    b'(' => *parentheses += 1,
                    b')' => *parentheses = parentheses.saturating_sub(1),
                    b'.' if matches!(self.text.get(at), Some(b'.' | b'0'..=b'9')) => break,
                    _ => {}
                },
                Class::Blank if start == self.at => continue,
                Class::Blank | Class::Other => break,
            }
            self.at = at;
        }
        self.at
    }

    fn is_set_config(&self, word: Range<usize>) -> bool {
        self.text.get(word).is_some_and(|word| word.eq_ignore_ascii_case(b"set_config"))
    }

    #[inline]
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Skips blanks and comments; the byte behind them.
    #[inline]
    fn skip_gap(&mut self) -> Result<Option<u8>, ScanError> {
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'-' if self.peek(1) == b'-' => self.line_comment(),
                b'/' if self.peek(1) == b'*' => self.block_comment()?,
                _ => return Ok(Some(byte)),
            }
        }
        Ok(None)
    }

    fn line_comment(&mut self) {
        while !matches!(self.peek(0), b'\n' | b'\r') && self.at < self.text.len() {
            self.at += 1;
        }
    }

    fn block_comment(&mut self) -> Result<(), ScanError> {
        self.at += 2;
        let mut depth = 1_u32;
        while depth > 0 {
            match (self.peek(0), self.peek(1)) {
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                }
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                _ if self.at >= self.text.len() => return Err(ScanError::UnterminatedComment),
                _ => self.at += 1,
            }
        }
        Ok(())
    }

    #[inline]
    fn word(&mut self, first: u8) -> Result<TokenKind, ScanError> {
        let second = self.peek(1);
        if (second == b'\'' || (second == b'&' && matches!(first, b'u' | b'U')))
            && let Some(kind) = self.prefixed(first)?
        {
            return Ok(kind);
        }
        self.at += 1;
        while self.text.get(self.at).is_some_and(|byte| is_word(*byte)) {
            self.at += 1;
        }
        Ok(TokenKind::Word)
    }

    /// A quoted token with a letter before the quote; `None` when the letter means nothing.
    fn prefixed(&mut self, first: u8) -> Result<Option<TokenKind>, ScanError> {
        let (skip, kind) = match (first | 0x20, self.peek(1), self.peek(2)) {
            (b'e', b'\'', _) => {
                self.at += 2;
                return self.escaped().map(Some);
            }
            (b'u', b'&', b'"') => {
                self.at += 3;
                self.quoted_identifier()?;
                return Ok(Some(TokenKind::UnicodeQuoted));
            }
            (b'u', b'&', b'\'') => (3, LiteralKind::Unicode),
            (b'b' | b'x', b'\'', _) => (2, LiteralKind::Bits),
            (b'n', b'\'', _) => (2, LiteralKind::National),
            _ => return Ok(None),
        };
        self.at += skip;
        self.plain(kind).map(Some)
    }

    /// The rest of a string without escapes, continuation lines included.
    fn plain(&mut self, kind: LiteralKind) -> Result<TokenKind, ScanError> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(quote) = memchr::memchr(b'\'', rest) else { return Err(ScanError::UnterminatedString) };
            self.at += quote + 1;
            if self.peek(0) == b'\'' {
                self.at += 1;
            } else if !self.continues() {
                return Ok(TokenKind::Literal(kind));
            }
        }
    }

    /// The rest of a string with escapes, continuation lines included.
    fn escaped(&mut self) -> Result<TokenKind, ScanError> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(stop) = memchr::memchr2(b'\'', b'\\', rest) else { return Err(ScanError::UnterminatedString) };
            self.at += stop;
            if self.peek(0) == b'\\' || self.peek(1) == b'\'' {
                self.at += 2;
                continue;
            }
            self.at += 1;
            if !self.continues() {
                return Ok(TokenKind::Literal(LiteralKind::Escape));
            }
        }
    }

    /// Behind a closing quote: whether another part of the string follows on a later line. If so, steps behind its opening quote.
    fn continues(&mut self) -> bool {
        match continuation(self.text, self.at) {
            Some(next) => {
                self.at = next;
                true
            }
            None => false,
        }
    }

    fn quoted_identifier(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(quote) = memchr::memchr(b'"', rest) else { return Err(ScanError::UnterminatedIdentifier) };
            self.at += quote + 1;
            if self.peek(0) != b'"' {
                // `""` is refused by PostgreSQL as a zero-length delimited identifier.
                return if self.at == start + 1 { Err(ScanError::InvalidCharacter) } else { Ok(()) };
            }
            self.at += 1;
        }
    }

    /// `$1`, or a dollar-quoted string.
    fn dollar(&mut self) -> Result<TokenKind, ScanError> {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            self.digits();
            return if is_word_start(self.peek(0)) { Err(ScanError::InvalidCharacter) } else { Ok(TokenKind::Parameter) };
        }
        if is_word_start(self.peek(0)) {
            while is_word(self.peek(0)) && self.peek(0) != b'$' {
                self.at += 1;
            }
        }
        if self.peek(0) != b'$' {
            return Err(ScanError::InvalidCharacter);
        }
        self.at += 1;
        let tag = self.text.get(start..self.at).unwrap_or_default();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(end) = memchr::memmem::find(rest, tag) else { return Err(ScanError::UnterminatedString) };
        self.at += end + tag.len();
        Ok(TokenKind::Literal(LiteralKind::Dollar))
    }

    fn dot(&mut self) -> Result<TokenKind, ScanError> {
        match self.peek(1) {
            b'0'..=b'9' => Ok(TokenKind::Literal(self.number()?)),
            b'.' => {
                self.at += 2;
                Ok(TokenKind::DotDot)
            }
            _ => {
                self.at += 1;
                Ok(TokenKind::Mark(b'.'))
            }
        }
    }

    fn colon(&mut self) -> TokenKind {
        self.at += 1;
        match self.peek(0) {
            b':' => {
                self.at += 1;
                TokenKind::TypeCast
            }
            b'=' => {
                self.at += 1;
                TokenKind::ColonEquals
            }
            _ => TokenKind::Mark(b':'),
        }
    }

    fn number(&mut self) -> Result<LiteralKind, ScanError> {
        if self.peek(0) == b'0' && matches!(self.peek(1) | 0x20, b'x' | b'o' | b'b') {
            self.at += 2;
            while self.peek(0).is_ascii_hexdigit() || self.peek(0) == b'_' {
                self.at += 1;
            }
            return self.number_end(LiteralKind::Integer);
        }
        let mut kind = LiteralKind::Integer;
        self.digits();
        // `1..2` is 1, `..`, 2.
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            kind = LiteralKind::Numeric;
            self.at += 1;
            self.digits();
        }
        if self.peek(0) | 0x20 == b'e' {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                kind = LiteralKind::Numeric;
                self.at += 1 + sign;
                self.digits();
            }
        }
        self.number_end(kind)
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() || (self.peek(0) == b'_' && self.peek(1).is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// Since PostgreSQL 15 letters right behind a number are an error ("trailing junk").
    fn number_end(&self, kind: LiteralKind) -> Result<LiteralKind, ScanError> {
        if is_word_start(self.peek(0)) { Err(ScanError::InvalidCharacter) } else { Ok(kind) }
    }

    /// The longest run of operator characters before a comment, less trailing `+` and `-` unless the operator has a character that no SQL operator has.
    fn operator(&mut self) -> TokenKind {
        let start = self.at;
        while is_operator(self.peek(0)) {
            if self.at > start && matches!((self.peek(0), self.peek(1)), (b'-', b'-') | (b'/', b'*')) {
                break;
            }
            self.at += 1;
        }
        let run = self.text.get(start..self.at).unwrap_or_default();
        if run.len() > 1 && matches!(run.last(), Some(b'+' | b'-')) && !run.iter().any(|byte| b"~!@#^&|`?%".contains(byte)) {
            let kept = run.iter().rposition(|byte| !matches!(byte, b'+' | b'-')).map_or(1, |last| last + 1);
            self.at = start + kept;
        }
        if self.text.get(start..self.at) == Some(b"=>") { TokenKind::Arrow } else { TokenKind::Operator }
    }
}

/// Whether `byte` can stand in a word behind its first.
#[inline]
#[must_use]
pub fn is_word(byte: u8) -> bool {
    WORD.get(usize::from(byte)).copied().unwrap_or(false)
}

#[expect(clippy::indexing_slicing, reason = "the loop ends with the table")]
static WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | 0x80..);
        byte += 1;
    }
    table
};

/// What a byte behind a token is to [`Lexer::skim`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A word begins.
    Letter,
    /// A mark or a character of operators that begins nothing else.
    Mark,
    Blank,
    Other,
}

#[expect(clippy::indexing_slicing, reason = "the loop ends with the table")]
static CLASSES: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Letter,
            b'(' | b')' | b'[' | b']' | b',' | b'.' => Class::Mark,
            b'+' | b'*' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'|' | b'?' => Class::Mark,
            b' ' => Class::Blank,
            _ => Class::Other,
        };
        byte += 1;
    }
    table
};

impl Class {
    fn of(byte: u8) -> Self {
        CLASSES.get(usize::from(byte)).copied().unwrap_or(Self::Other)
    }
}

fn is_word_start(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..)
}

fn is_operator(byte: u8) -> bool {
    matches!(byte, b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'`' | b'?')
}

/// The place behind the opening quote of a string's next part: blanks and `--` comments with a newline among them, then a quote.
#[must_use]
pub fn continuation(text: &[u8], closed: usize) -> Option<usize> {
    let mut at = closed;
    let mut newline = false;
    loop {
        match text.get(at)? {
            b'\n' | b'\r' => newline = true,
            b' ' | b'\t' | 0x0b | 0x0c => {}
            b'-' if text.get(at + 1) == Some(&b'-') => {
                at += memchr::memchr2(b'\n', b'\r', text.get(at..)?)?;
                continue;
            }
            b'\'' if newline => return Some(at + 1),
            _ => return None,
        }
        at += 1;
    }
}

fn offset(at: usize) -> Result<u32, ScanError> {
    u32::try_from(at).map_err(|_| ScanError::TooLong)
}
