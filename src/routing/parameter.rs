//! Parameters of Bind as typed values, text or binary.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::routing::route::ParameterValues;
use crate::routing::value::{Cast, NoKeys, Typed, cast};
use crate::topology::KeyType;
use crate::topology::key::{Decimal, KeyFamily, parse_integer, parse_uuid};

/// Type oids of `pg_type`.
pub(crate) mod oid {
    pub(crate) const INT8: u32 = 20;
    pub(crate) const INT2: u32 = 21;
    pub(crate) const INT4: u32 = 23;
    pub(crate) const TEXT: u32 = 25;
    pub(crate) const FLOAT4: u32 = 700;
    pub(crate) const FLOAT8: u32 = 701;
    pub(crate) const UNKNOWN: u32 = 705;
    pub(crate) const BPCHAR: u32 = 1042;
    pub(crate) const VARCHAR: u32 = 1043;
    pub(crate) const NUMERIC: u32 = 1700;
    pub(crate) const UUID: u32 = 2950;
}

/// A parameter's bytes with its format and type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound<'a> {
    pub number: usize,
    pub bytes: Option<&'a [u8]>,
    pub binary: bool,
    /// 0 where Parse left it open.
    pub oid: u32,
}

impl<'a> Bound<'a> {
    /// Parameter `number`, from 1.
    ///
    /// # Errors
    /// When Bind has no such parameter: PostgreSQL refuses the Bind too, but not every caller sends one.
    pub(crate) fn of(number: usize, parameters: &ParameterValues<'a>) -> Result<Self, NoKeys> {
        let at = number.saturating_sub(1);
        let bytes = *parameters.values.get(at).ok_or(NoKeys::Unproven("the parameter has no value"))?;
        let format = match parameters.formats {
            [] => 0,
            [one] => *one,
            each => each.get(at).copied().unwrap_or(0),
        };
        let oid = parameters.types.get(at).copied().unwrap_or(0);
        Ok(Self { number, bytes, binary: format == 1, oid })
    }
}

/// The text of a parameter that is a number wherever it is made of few digits.
#[inline]
pub(crate) fn digits_of<'a>(number: usize, parameters: &ParameterValues<'a>) -> Option<&'a [u8]> {
    let bound = Bound::of(number, parameters).ok().filter(|bound| !bound.binary)?;
    matches!(bound.oid, 0 | oid::UNKNOWN | oid::INT8).then_some(bound.bytes).flatten()
}

/// Parameter `number` as a typed value; where its type is open, the cast's or the key column's counts, unless it is `shared` with another use.
pub(crate) fn typed<'a>(
    (number, shared): (usize, bool),
    to: Option<Cast>,
    key_type: KeyType,
    parameters: &ParameterValues<'a>,
) -> Result<Typed<'a>, NoKeys> {
    let bound = Bound::of(number, parameters)?;
    let Some(bytes) = bound.bytes else { return Ok(Typed::Null) };
    let oid = if bound.oid == 0 { open_type(to, key_type) } else { bound.oid };
    if oid == 0 && bound.binary && shared {
        return Ok(Typed::Unproven("the parameter has other uses, of which one may give it another type; name its type"));
    }
    if bound.binary { binary(bytes, oid) } else { Ok(text(bytes, oid)) }
}

/// The type PostgreSQL infers for a parameter from its cast or from the key it is compared with; any integer type is 0, its length tells.
pub(crate) fn open_type(to: Option<Cast>, key_type: KeyType) -> u32 {
    match (to, key_type.family()) {
        (Some(Cast::SmallInt), _) => oid::INT2,
        (Some(Cast::Integer), _) => oid::INT4,
        (Some(Cast::BigInt), _) => oid::INT8,
        (Some(Cast::Numeric), _) => oid::NUMERIC,
        (Some(Cast::Uuid), _) | (None, KeyFamily::Uuid) => oid::UUID,
        (Some(Cast::Text), _) | (None, KeyFamily::Text | KeyFamily::Char) => oid::TEXT,
        (None, KeyFamily::Integer) => 0,
    }
}

pub(crate) fn text(bytes: &[u8], oid: u32) -> Typed<'_> {
    let value = Cow::Borrowed(bytes);
    match oid {
        0 | oid::UNKNOWN => Typed::Unknown(value),
        oid::INT2 => cast(Typed::Unknown(value), Some(Cast::SmallInt)),
        oid::INT4 => cast(Typed::Unknown(value), Some(Cast::Integer)),
        oid::INT8 => parse_integer(bytes).map_or(Typed::Invalid, Typed::Integer),
        oid::NUMERIC => cast(Typed::Unknown(value), Some(Cast::Numeric)),
        oid::TEXT | oid::VARCHAR => Typed::Text(value),
        oid::UUID => parse_uuid(bytes).map_or(Typed::Invalid, Typed::Uuid),
        oid::FLOAT4 | oid::FLOAT8 => {
            let number = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse::<f64>().ok());
            // A float4 is widened from its own precision, which the text does not show.
            if oid == oid::FLOAT4 { float4(number) } else { number.map_or(Typed::Invalid, Typed::Float) }
        }
        _ => Typed::Unproven("the parameter's type is none that keys are compared with"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "as float4in does")]
fn float4(number: Option<f64>) -> Typed<'static> {
    number.map_or(Typed::Invalid, |number| Typed::Float(f64::from(number as f32)))
}

fn binary<'a>(bytes: &'a [u8], oid: u32) -> Result<Typed<'a>, NoKeys> {
    let typed = match (oid, bytes) {
        (oid::INT2 | 0, [a, b]) => Some(Typed::Integer(i64::from(i16::from_be_bytes([*a, *b])))),
        (oid::INT4 | 0, [a, b, c, d]) => Some(Typed::Integer(i64::from(i32::from_be_bytes([*a, *b, *c, *d])))),
        (oid::INT8 | 0, bytes) => bytes.try_into().ok().map(|bytes| Typed::Integer(i64::from_be_bytes(bytes))),
        (oid::TEXT | oid::VARCHAR, bytes) => Some(Typed::Text(Cow::Borrowed(bytes))),
        (oid::UNKNOWN, bytes) => Some(Typed::Unknown(Cow::Borrowed(bytes))),
        (oid::BPCHAR, _) => return Ok(Typed::Unproven("the parameter is of type char")),
        (oid::UUID, bytes) => bytes.try_into().ok().map(Typed::Uuid),
        (oid::FLOAT8, bytes) => bytes.try_into().ok().map(|bytes| Typed::Float(f64::from_be_bytes(bytes))),
        (oid::FLOAT4, bytes) => bytes.try_into().ok().map(|bytes| Typed::Float(f64::from(f32::from_be_bytes(bytes)))),
        (oid::NUMERIC, bytes) => numeric(bytes),
        (oid::INT2 | oid::INT4, _) => None,
        _ => return Ok(Typed::Unproven("the parameter's type is none that keys are compared with")),
    };
    // Of a length that its type cannot have: whichever server gets it says so.
    Ok(typed.unwrap_or(Typed::Invalid))
}

/// An element of an array, in the array's format.
pub(crate) fn element<'a>(bound: Bound<'_>, bytes: &'a [u8], oid: u32) -> Result<Typed<'a>, NoKeys> {
    if bound.binary { binary(bytes, oid) } else { Ok(text(bytes, oid)) }
}

/// As `numeric_recv`: digits, weight, sign, scale, then digits of base 10,000.
fn numeric(bytes: &[u8]) -> Option<Typed<'static>> {
    let mut words = bytes.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)));
    let count = usize::from(words.next()?);
    #[expect(clippy::cast_possible_wrap, reason = "the wire's own sign")]
    let weight = i64::from(words.next()? as i16);
    let negative = match words.next()? {
        0 => false,
        0x4000 => true,
        _ => return Some(Typed::Unproven("the number is not finite")),
    };
    words.next()?;
    if bytes.len() != 8 + 2 * count {
        return None;
    }
    let mut digits: SmallVec<[u8; 32]> = SmallVec::new();
    for word in words {
        for power in [1_000, 100, 10, 1] {
            digits.push(u8::try_from(word / power % 10).ok()?);
        }
        if word > 9_999 {
            return None;
        }
    }
    let exponent = 4 * (weight - i64::try_from(count).ok()? + 1);
    Some(Typed::Decimal(Decimal::new(negative, digits, exponent)))
}

#[cfg(test)]
mod tests;
