//! The elements of `= ANY (array)`, from a literal or a parameter.

use std::borrow::Cow;

use crate::routing::parameter::{Bound, element, oid, open_type};
use crate::routing::route::Values;
use crate::routing::value::{Constant, Keys, NoKeys, Typed, Value, Wanted, cast};

/// Adds the keys that the array's elements are. NULL elements equal nothing.
pub(crate) fn keys(value: Value, wanted: Wanted, values: &Values<'_>, keys: &mut Keys) -> Result<(), NoKeys> {
    match value.of {
        Constant::Null => Ok(()),
        Constant::Literal(index) => {
            let literal = values.literals.get(index).filter(|literal| !literal.is_number());
            let text = literal
                .and_then(|literal| literal.value(values.text))
                .ok_or(NoKeys::Unproven("the array is written in a way the proxy does not read"))?;
            for item in elements(&text)?.into_iter().flatten() {
                wanted.push(cast(Typed::Unknown(Cow::Owned(item)), value.cast), values, keys)?;
            }
            Ok(())
        }
        Constant::Parameter(number) => {
            let bound = Bound::of(number, &values.parameters)?;
            let Some(bytes) = bound.bytes else { return Ok(()) };
            let inner = if bound.oid == 0 { open_type(value.cast, wanted.key_type) } else { element_type(bound.oid)? };
            if bound.binary {
                return binary(bound, bytes, inner, |typed| wanted.push(cast(typed, value.cast), values, keys));
            }
            for item in elements(bytes)?.into_iter().flatten() {
                let typed = element(bound, &item, inner)?;
                wanted.push(cast(typed, value.cast), values, keys)?;
            }
            Ok(())
        }
    }
}

/// The element type of an array type.
fn element_type(array: u32) -> Result<u32, NoKeys> {
    match array {
        1005 => Ok(oid::INT2),
        1007 => Ok(oid::INT4),
        1016 => Ok(oid::INT8),
        1009 => Ok(oid::TEXT),
        1015 => Ok(oid::VARCHAR),
        1231 => Ok(oid::NUMERIC),
        2951 => Ok(oid::UUID),
        oid::UNKNOWN => Ok(0),
        _ => Err(NoKeys::Unproven("the array's type is none that keys are compared with")),
    }
}

/// As `array_recv`: dimensions, flags, element type, each dimension's length and lower bound, then the elements with their lengths.
fn binary<'a>(bound: Bound<'a>, bytes: &'a [u8], open: u32, mut push: impl FnMut(Typed<'a>) -> Result<(), NoKeys>) -> Result<(), NoKeys> {
    let malformed = || NoKeys::Refused(crate::routing::refusal::Refusal::malformed_parameter(bound.number));
    let mut rest = bytes;
    let word = |rest: &mut &'a [u8]| -> Result<i32, NoKeys> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        *rest = tail;
        Ok(i32::from_be_bytes(*head))
    };
    let dimensions = word(&mut rest)?;
    word(&mut rest)?;
    let inner = word(&mut rest)?.unsigned_abs();
    if !(0..=6).contains(&dimensions) {
        return Err(malformed());
    }
    let mut count = i64::from(dimensions > 0);
    for _ in 0..dimensions {
        count = count.checked_mul(i64::from(word(&mut rest)?)).ok_or_else(malformed)?;
        word(&mut rest)?;
    }
    if open != 0 && open != inner && !(open == oid::TEXT && inner == oid::VARCHAR) {
        return Err(NoKeys::Unproven("the array's elements are of another type than its own"));
    }
    for _ in 0..count {
        let length = word(&mut rest)?;
        let Ok(length) = usize::try_from(length) else { continue };
        let item = rest.get(..length).ok_or_else(malformed)?;
        rest = rest.get(length..).ok_or_else(malformed)?;
        push(element(bound, item, inner)?)?;
    }
    Ok(())
}

/// As `array_in`: `{1, "a b", NULL}`, nested or not. `None` for NULL.
fn elements(text: &[u8]) -> Result<Vec<Option<Vec<u8>>>, NoKeys> {
    const UNREADABLE: NoKeys = NoKeys::Unproven("the array is written in a way the proxy does not read");
    let text = text.trim_ascii();
    if text.first() != Some(&b'{') {
        return Err(UNREADABLE);
    }
    let mut items = Vec::new();
    let mut item: Vec<u8> = Vec::new();
    let (mut quoted, mut in_quotes, mut depth, mut kept) = (false, false, 0_usize, 0_usize);
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                item.push(bytes.next().ok_or(UNREADABLE)?);
                kept = item.len();
            }
            b'"' => {
                in_quotes = !in_quotes;
                quoted = true;
                kept = item.len();
            }
            _ if in_quotes => {
                item.push(byte);
                kept = item.len();
            }
            b'{' => depth += 1,
            b',' | b'}' => {
                item.truncate(kept);
                if quoted || !item.is_empty() {
                    let null = !quoted && item.eq_ignore_ascii_case(b"null");
                    items.push((!null).then(|| std::mem::take(&mut item)));
                    item.clear();
                }
                (quoted, kept) = (false, 0);
                if byte == b'}' {
                    depth = depth.checked_sub(1).ok_or(UNREADABLE)?;
                }
            }
            byte if byte.is_ascii_whitespace() && item.is_empty() => {}
            byte => {
                item.push(byte);
                if !byte.is_ascii_whitespace() {
                    kept = item.len();
                }
            }
        }
    }
    if depth == 0 && !in_quotes { Ok(items) } else { Err(UNREADABLE) }
}
