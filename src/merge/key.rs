//! Values that are compared: what PostgreSQL's default operator class of each type says of their order and equality.

use std::cmp::Ordering;

use crate::merge::clock;
use crate::merge::number::Numeric;

/// A type whose order the proxy knows exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    /// smallint, integer, bigint, oid.
    Integer,
    Float4,
    Float8,
    Numeric,
    Date,
    Time,
    /// With or without time zone.
    Timestamp,
    Uuid,
    Bytea,
    /// text, varchar: by its bytes only under a collation that does.
    Text,
    /// char(n): blanks at the end do not count.
    BlankPadded,
    /// name, whose collation is always C.
    Name,
}

/// A value as it is compared with others of its kind. The variants of one kind are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Null,
    Integer(i64),
    Numeric(Numeric),
    Bytes(Vec<u8>),
}

/// ASC or DESC, NULLS FIRST or LAST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    pub descending: bool,
    pub nulls_first: bool,
}

impl Kind {
    /// By `pg_type.oid`; `None`: a type that the proxy does not compare.
    #[must_use]
    pub fn of(type_oid: u32) -> Option<Self> {
        Some(match type_oid {
            16 => Self::Bool,
            20 | 21 | 23 | 26 => Self::Integer,
            700 => Self::Float4,
            701 => Self::Float8,
            1700 => Self::Numeric,
            1082 => Self::Date,
            1083 => Self::Time,
            1114 | 1184 => Self::Timestamp,
            2950 => Self::Uuid,
            17 => Self::Bytea,
            25 | 1043 => Self::Text,
            1042 => Self::BlankPadded,
            19 => Self::Name,
            _ => return None,
        })
    }

    /// Whether its order is a collation's.
    #[must_use]
    pub fn is_collated(self) -> bool {
        matches!(self, Self::Text | Self::BlankPadded)
    }

    /// Whether its text depends on `extra_float_digits`.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float4 | Self::Float8)
    }

    /// Whether its text depends on `DateStyle`.
    #[must_use]
    pub fn is_dated(self) -> bool {
        matches!(self, Self::Date | Self::Timestamp)
    }

    /// The value in this format (0 text, 1 binary); `None` when it is not written as expected.
    #[must_use]
    pub fn key(self, format: i16, bytes: &[u8]) -> Option<Key> {
        if format == 1 { self.binary(bytes) } else { self.text(bytes) }
    }

    fn text(self, bytes: &[u8]) -> Option<Key> {
        let parsed = || std::str::from_utf8(bytes).ok();
        Some(match self {
            Self::Bool => Key::Integer(i64::from(bytes == b"t")),
            Self::Integer => Key::Integer(parsed()?.parse().ok()?),
            Self::Float4 => float(f64::from(parsed()?.parse::<f32>().ok()?)),
            Self::Float8 => float(parsed()?.parse().ok()?),
            Self::Numeric => Key::Numeric(Numeric::parse(bytes)?),
            Self::Date => Key::Integer(clock::date(bytes)?),
            Self::Time => Key::Integer(clock::time(bytes)?),
            Self::Timestamp => Key::Integer(clock::timestamp(bytes)?),
            // In hexadecimal digits, whose order is that of the bytes.
            Self::Uuid => Key::Bytes(bytes.to_vec()),
            Self::Bytea => Key::Bytes(bytea(bytes)?),
            Self::Text | Self::Name => Key::Bytes(bytes.to_vec()),
            Self::BlankPadded => Key::Bytes(without_blanks(bytes).to_vec()),
        })
    }

    fn binary(self, bytes: &[u8]) -> Option<Key> {
        Some(match self {
            Self::Bool => Key::Integer(i64::from(*bytes.first()?)),
            Self::Integer | Self::Date | Self::Time | Self::Timestamp => Key::Integer(integer(bytes)?),
            Self::Float4 => float(f64::from(f32::from_be_bytes(bytes.try_into().ok()?))),
            Self::Float8 => float(f64::from_be_bytes(bytes.try_into().ok()?)),
            Self::Numeric => Key::Numeric(Numeric::decode(bytes)?),
            Self::Uuid | Self::Bytea | Self::Text | Self::Name => Key::Bytes(bytes.to_vec()),
            Self::BlankPadded => Key::Bytes(without_blanks(bytes).to_vec()),
        })
    }
}

impl Key {
    /// By the type's order; a NULL where the direction says.
    #[must_use]
    pub fn compare(&self, other: &Self, direction: Direction) -> Ordering {
        let null_first = if direction.nulls_first { Ordering::Less } else { Ordering::Greater };
        match (self, other) {
            (Self::Null, Self::Null) => return Ordering::Equal,
            (Self::Null, _) => return null_first,
            (_, Self::Null) => return null_first.reverse(),
            _ => {}
        }
        let order = self.order(other);
        if direction.descending { order.reverse() } else { order }
    }

    /// By the type's order; neither is NULL.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Numeric(a), Self::Numeric(b)) => a.compare(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }

    /// Appends bytes that are the same for values that are not distinct, and for no others of the kind.
    pub fn identify(&self, out: &mut Vec<u8>) {
        let mut tagged = |tag: u8, bytes: &[u8]| {
            out.push(tag);
            out.extend_from_slice(&bytes.len().to_be_bytes());
            out.extend_from_slice(bytes);
        };
        match self {
            Self::Null => tagged(0, b""),
            Self::Integer(value) => tagged(1, &value.to_be_bytes()),
            Self::Numeric(value) => tagged(2, &value.identity()),
            Self::Bytes(bytes) => tagged(3, bytes),
        }
    }
}

/// Of two, four or eight bytes.
fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        2 => Some(i64::from(i16::from_be_bytes(bytes.try_into().ok()?))),
        4 => Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?))),
        _ => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
    }
}

/// As a number with the same order: NaN greatest, both zeros equal.
fn float(value: f64) -> Key {
    if value.is_nan() {
        return Key::Integer(i64::MAX);
    }
    let bits = (value + 0.0).to_bits().cast_signed();
    Key::Integer(if value == 0.0 {
        0
    } else if bits < 0 {
        bits ^ i64::MAX
    } else {
        bits
    })
}

fn without_blanks(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().rev().take_while(|byte| **byte == b' ').count();
    bytes.get(..bytes.len() - blanks).unwrap_or_default()
}

/// `\x…`, or as `bytea_output = 'escape'` writes it.
fn bytea(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if let Some(digits) = text.strip_prefix(b"\\x") {
        return digits.chunks(2).map(|pair| Some(digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?)).collect();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        if byte != b'\\' {
            out.push(byte);
        } else if let Some(after) = rest.strip_prefix(b"\\") {
            out.push(b'\\');
            rest = after;
        } else {
            let (octal, after) = rest.split_at_checked(3)?;
            out.push(u8::from_str_radix(std::str::from_utf8(octal).ok()?, 8).ok()?);
            rest = after;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests;
