//! Literals: where they stand in the text, and their values.

use std::borrow::Cow;

use crate::sql::lexer::continuation;

/// How a literal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteralKind {
    /// `42`, `0x2A`, `4_2`.
    Integer,
    /// `42.0`, `.5`, `1e3`.
    Numeric,
    /// `'…'` without escapes.
    Plain,
    /// `E'…'`, or `'…'` where `standard_conforming_strings` is off.
    Escape,
    /// `U&'…'`.
    Unicode,
    /// `$tag$…$tag$`.
    Dollar,
    /// `B'…'` or `X'…'`.
    Bits,
    /// `N'…'`.
    National,
}

/// One literal: the bytes `start..end` of the text, quotes and prefix included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    pub start: u32,
    pub end: u32,
    pub kind: LiteralKind,
}

impl Literal {
    /// The literal as it is written.
    #[must_use]
    pub fn source<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The value: a number as it is written, a string's content. `None` for the kinds that are not text
    /// (bit strings, `N'…'`), for `U&'…'`, whose escape character may be changed by what follows it, and for escapes PostgreSQL refuses.
    #[must_use]
    pub fn value<'a>(&self, text: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let source = self.source(text);
        match self.kind {
            LiteralKind::Integer | LiteralKind::Numeric => Some(Cow::Borrowed(source)),
            LiteralKind::Plain => plain(source),
            LiteralKind::Escape => escaped(source).map(Cow::Owned),
            LiteralKind::Dollar => dollar(source).map(Cow::Borrowed),
            LiteralKind::Unicode | LiteralKind::Bits | LiteralKind::National => None,
        }
    }

    #[must_use]
    pub fn is_number(&self) -> bool {
        matches!(self.kind, LiteralKind::Integer | LiteralKind::Numeric)
    }
}

fn plain(source: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = source.get(1..source.len().checked_sub(1)?)?;
    if memchr::memchr(b'\'', inner).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let mut value = Vec::with_capacity(inner.len());
    let mut at = 1;
    while let Some(&byte) = source.get(at) {
        at += 1;
        if byte != b'\'' {
            value.push(byte);
        } else if source.get(at) == Some(&b'\'') {
            value.push(b'\'');
            at += 1;
        } else {
            match continuation(source, at) {
                Some(next) => at = next,
                None => break,
            }
        }
    }
    Some(Cow::Owned(value))
}

fn dollar(source: &[u8]) -> Option<&[u8]> {
    let tag = memchr::memchr(b'$', source.get(1..)?)? + 2;
    source.get(tag..source.len().checked_sub(tag)?)
}

fn escaped(source: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(source.len());
    let mut at = memchr::memchr(b'\'', source)? + 1;
    while let Some(&byte) = source.get(at) {
        at += 1;
        match byte {
            b'\\' => at = escape(source, at, &mut value)?,
            b'\'' if source.get(at) == Some(&b'\'') => {
                value.push(b'\'');
                at += 1;
            }
            b'\'' => match continuation(source, at) {
                Some(next) => at = next,
                None => break,
            },
            _ => value.push(byte),
        }
    }
    // As PostgreSQL, which checks the encoding behind `\x` and octal escapes and refuses a zero byte.
    (!value.contains(&0)).then_some(value)
}

/// One escape whose backslash stands before `at`; answers the place behind it.
fn escape(source: &[u8], at: usize, value: &mut Vec<u8>) -> Option<usize> {
    let byte = *source.get(at)?;
    let next = at + 1;
    match byte {
        b'b' => value.push(8),
        b'f' => value.push(12),
        b'n' => value.push(b'\n'),
        b'r' => value.push(b'\r'),
        b't' => value.push(b'\t'),
        b'v' => value.push(11),
        b'0'..=b'7' => {
            let (number, end) = digits(source, at, 8, 3);
            value.push(u8::try_from(number & 0xff).ok()?);
            return Some(end);
        }
        b'x' if source.get(next).is_some_and(u8::is_ascii_hexdigit) => {
            let (number, end) = digits(source, next, 16, 2);
            value.push(u8::try_from(number).ok()?);
            return Some(end);
        }
        b'u' | b'U' => return unicode_escape(source, at, value),
        _ => value.push(byte),
    }
    Some(next)
}

/// `uXXXX` or `UXXXXXXXX`, or two of them that are a surrogate pair.
fn unicode_escape(source: &[u8], at: usize, value: &mut Vec<u8>) -> Option<usize> {
    let (first, end) = code_point(source, at)?;
    let (number, end) = if (0xd800..0xdc00).contains(&first) {
        if source.get(end) != Some(&b'\\') {
            return None;
        }
        let (second, end) = code_point(source, end + 1)?;
        if !(0xdc00..0xe000).contains(&second) {
            return None;
        }
        (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), end)
    } else {
        (first, end)
    };
    let character = char::from_u32(number)?;
    value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(end)
}

fn code_point(source: &[u8], at: usize) -> Option<(u32, usize)> {
    let wanted = match source.get(at)? {
        b'u' => 4,
        b'U' => 8,
        _ => return None,
    };
    let (number, end) = digits(source, at + 1, 16, wanted);
    (end == at + 1 + wanted).then_some((number, end))
}

/// Up to `most` digits of `base` from `at` on: their value and the place behind them.
fn digits(source: &[u8], at: usize, base: u32, most: usize) -> (u32, usize) {
    let mut number = 0_u32;
    let mut end = at;
    while end < at + most {
        let Some(digit) = source.get(end).and_then(|byte| char::from(*byte).to_digit(base)) else { break };
        number = number.wrapping_mul(base).wrapping_add(digit);
        end += 1;
    }
    (number, end)
}
