//! Canonical text of shard keys: what is hashed, whatever way a value was written.

use smallvec::SmallVec;

use crate::topology::KeyType;

/// A key's canonical text. Most fit without a heap allocation.
pub type KeyText = SmallVec<[u8; 36]>;

/// What can be said of a value that is compared with a key column, or assigned to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValue {
    Key(KeyText),
    /// Equal to no row's key (NULL, overflow, a fraction), or such that PostgreSQL raises an error wherever it runs.
    Nothing,
    /// It cannot be told here. The reason, for a refusal.
    Unproven(&'static str),
}

/// Types whose equal values have one canonical text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyFamily {
    Integer,
    Text,
    /// `char(n)`: apart from `Text` because its equality ignores trailing blanks.
    Char,
    Uuid,
}

impl KeyType {
    #[must_use]
    pub fn family(self) -> KeyFamily {
        match self {
            Self::SmallInt | Self::Integer | Self::BigInt => KeyFamily::Integer,
            Self::Text | Self::Varchar => KeyFamily::Text,
            Self::Char => KeyFamily::Char,
            Self::Uuid => KeyFamily::Uuid,
        }
    }

    /// The range of an integer type.
    fn holds(self, number: i64) -> bool {
        match self {
            Self::SmallInt => i16::try_from(number).is_ok(),
            Self::Integer => i32::try_from(number).is_ok(),
            _ => true,
        }
    }

    /// Whether `text` is a number of this type in few digits, and their canonical text.
    #[must_use]
    pub fn is_canonical(self, text: &[u8]) -> bool {
        let digits_max = match self {
            Self::SmallInt => 4,
            Self::Integer => 9,
            Self::BigInt => 18,
            _ => 0,
        };
        let zero = text.len() > 1 && text.starts_with(b"0");
        !text.is_empty() && text.len() <= digits_max && !zero && text.iter().all(u8::is_ascii_digit)
    }

    /// The canonical text of a number compared with or assigned to a column of this type.
    #[must_use]
    pub fn integer(self, number: i64) -> KeyValue {
        match self.family() {
            KeyFamily::Integer if self.holds(number) => KeyValue::Key(integer_text(number)),
            // Compared: no operator of text and integer. Assigned: see `assigned_number`.
            _ => KeyValue::Nothing,
        }
    }

    /// The canonical text of a string, as PostgreSQL's input function of this type reads it.
    #[must_use]
    pub fn string(self, value: &[u8]) -> KeyValue {
        match self.family() {
            KeyFamily::Integer => match parse_integer(value) {
                Some(number) => self.integer(number),
                // An error to PostgreSQL, unless it is the text of a parameter whose type another use has made numeric.
                None => Decimal::parse(value.trim_ascii()).map_or(KeyValue::Nothing, |decimal| self.compared_decimal(&decimal)),
            },
            KeyFamily::Text => KeyValue::Key(KeyText::from_slice(value)),
            KeyFamily::Char => KeyValue::Key(KeyText::from_slice(trim_blanks(value))),
            KeyFamily::Uuid => parse_uuid(value).map_or(KeyValue::Nothing, |uuid| KeyValue::Key(uuid_text(&uuid))),
        }
    }

    /// The canonical text of a decimal number that is compared with a column of this type: a fraction equals nothing.
    #[must_use]
    pub fn compared_decimal(self, decimal: &Decimal) -> KeyValue {
        match decimal.round() {
            Some(number) if decimal.is_whole() => self.integer(number),
            _ => KeyValue::Nothing,
        }
    }

    /// The canonical text of a decimal number that is assigned to a column of this type: a fraction is rounded away from zero at one half.
    #[must_use]
    pub fn assigned_decimal(self, decimal: &Decimal) -> KeyValue {
        match self.family() {
            KeyFamily::Integer => decimal.round().map_or(KeyValue::Nothing, |number| self.integer(number)),
            KeyFamily::Uuid => KeyValue::Nothing,
            KeyFamily::Text | KeyFamily::Char => KeyValue::Unproven("a number is assigned to a text key"),
        }
    }

    /// The canonical text of a string that is assigned to a column of this type.
    #[must_use]
    pub fn assigned_string(self, value: &[u8]) -> KeyValue {
        // varchar(n) silently drops blanks behind its length, which the proxy does not know.
        if self == Self::Varchar && value.ends_with(b" ") {
            return KeyValue::Unproven("a varchar key ends with blanks");
        }
        self.string(value)
    }
}

/// A number as text: decimal, no sign for zero and positive ones.
#[must_use]
pub fn integer_text(number: i64) -> KeyText {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        at -= 1;
        if rest == 0 {
            break;
        }
    }
    let mut text = KeyText::new();
    if number < 0 {
        text.push(b'-');
    }
    text.extend_from_slice(digits.get(at..).unwrap_or_default());
    text
}

/// Lower case, with hyphens.
#[must_use]
pub fn uuid_text(uuid: &[u8; 16]) -> KeyText {
    let mut text = KeyText::new();
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
    }
    text
}

/// As `uuid_in`: hexadecimal digits of either case, optional braces, optional hyphens behind each group of four.
#[must_use]
pub fn parse_uuid(value: &[u8]) -> Option<[u8; 16]> {
    let inner = match value.strip_prefix(b"{") {
        Some(rest) => rest.strip_suffix(b"}")?,
        None => value,
    };
    let mut rest = inner.iter().copied().peekable();
    let mut uuid = [0_u8; 16];
    for (at, byte) in uuid.iter_mut().enumerate() {
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
        if at % 2 == 1 && at < 15 {
            rest.next_if_eq(&b'-');
        }
    }
    rest.next().is_none().then_some(uuid)
}

/// As `int8in` of PostgreSQL 16: blanks around, a sign, decimal or `0x` `0o` `0b` digits, `_` between digits.
#[must_use]
pub fn parse_integer(value: &[u8]) -> Option<i64> {
    if let Some(number) = short_integer(value) {
        return Some(number);
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let start = value.iter().position(|byte| !is_blank(byte))?;
    let end = value.iter().rposition(|byte| !is_blank(byte))? + 1;
    let trimmed = value.get(start..end)?;
    match trimmed.split_first()? {
        (b'-', digits) => unsigned(digits).and_then(|number| i64::try_from(-number).ok()),
        (b'+', digits) => unsigned(digits).and_then(|number| i64::try_from(number).ok()),
        _ => unsigned(trimmed).and_then(|number| i64::try_from(number).ok()),
    }
}

/// What most keys are: up to 18 digits and nothing else.
#[inline]
fn short_integer(value: &[u8]) -> Option<i64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0_i64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// The digits of an integer literal. Up to 2^64: more fits no key.
fn unsigned(digits: &[u8]) -> Option<i128> {
    let (base, digits, prefixed) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest, true),
        [b'0', b'o' | b'O', rest @ ..] => (8, rest, true),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest, true),
        _ => (10, digits, false),
    };
    let mut number = 0_i128;
    let mut after_digit = prefixed;
    for byte in digits {
        if *byte == b'_' && after_digit {
            after_digit = false;
            continue;
        }
        number = number * base + i128::from(char::from(*byte).to_digit(u32::try_from(base).ok()?)?);
        if number > i128::from(u64::MAX) {
            return None;
        }
        after_digit = true;
    }
    (after_digit && !digits.is_empty()).then_some(number)
}

/// Without trailing blanks, as `char(n)` compares.
#[must_use]
pub fn trim_blanks(value: &[u8]) -> &[u8] {
    let kept = value.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    value.get(..kept).unwrap_or_default()
}

/// A decimal number: `digits` × 10^`exponent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// 0 to 9 each, no leading and no trailing zeros; empty for zero.
    digits: SmallVec<[u8; 32]>,
    exponent: i64,
}

impl Decimal {
    /// Reads `[+-] digits [. digits] [e [+-] digits]` with `_` between digits.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, unsigned) = match text.split_first()? {
            (b'-', rest) => (true, rest),
            (b'+', rest) => (false, rest),
            _ => (false, text),
        };
        let (mantissa, power) = match unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (unsigned.get(..at)?, std::str::from_utf8(unsigned.get(at + 1..)?).ok()?.replace('_', "").parse::<i32>().ok()?),
            None => (unsigned, 0),
        };
        let mut digits = SmallVec::new();
        let mut behind_point = None;
        for byte in mantissa {
            match byte {
                b'0'..=b'9' => {
                    digits.push(byte - b'0');
                    behind_point = behind_point.map(|count: i64| count + 1);
                }
                b'.' if behind_point.is_none() => behind_point = Some(0),
                b'_' => {}
                _ => return None,
            }
        }
        if digits.is_empty() {
            return None;
        }
        Some(Self::new(negative, digits, i64::from(power) - behind_point.unwrap_or(0)))
    }

    /// A number of these digits; zeros at both ends are dropped.
    #[must_use]
    pub fn new(negative: bool, mut digits: SmallVec<[u8; 32]>, mut exponent: i64) -> Self {
        while digits.last() == Some(&0) {
            digits.pop();
            exponent += 1;
        }
        let leading = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..leading);
        Self { negative, digits, exponent }
    }

    /// Whether it has no fraction.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.digits.is_empty() || self.exponent >= 0
    }

    /// The nearest integer, halves away from zero; `None` outside of i64.
    #[must_use]
    pub fn round(&self) -> Option<i64> {
        let count = i64::try_from(self.digits.len()).ok()?;
        if self.digits.is_empty() || count + self.exponent < 0 {
            return Some(0);
        }
        if count + self.exponent > 19 {
            return None;
        }
        let whole = usize::try_from(count + self.exponent.min(0)).ok()?;
        let mut number = self.digits.iter().take(whole).fold(0_i128, |number, digit| number * 10 + i128::from(*digit));
        if self.exponent > 0 {
            number *= 10_i128.checked_pow(u32::try_from(self.exponent).ok()?)?;
        } else if self.digits.get(whole).is_some_and(|digit| *digit >= 5) {
            number += 1;
        }
        i64::try_from(if self.negative { -number } else { number }).ok()
    }
}

/// A key that is a binary float: equal to an integer column's value only where floats are exact.
#[must_use]
pub fn compared_float(key_type: KeyType, value: f64) -> KeyValue {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if key_type.family() != KeyFamily::Integer || value.is_nan() || value.is_infinite() || value.fract() != 0.0 {
        return KeyValue::Nothing;
    }
    if value.abs() >= EXACT {
        return KeyValue::Unproven("the key is compared with a float beyond 2^53");
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    key_type.integer(value as i64)
}

#[cfg(test)]
mod tests;
