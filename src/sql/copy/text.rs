//! Rows of COPY's text format: a backslash takes the next byte with it, as `CopyReadLineText` and `CopyReadAttributesText` read them.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3};

use crate::sql::copy::options::CopyOptions;
use crate::sql::copy::rows::{DataError, EndOfLine, Found, KeyField, Mixed, Progress};

pub(super) fn find_end(data: &[u8], progress: &mut Progress, (end_of_line, finishing): (&mut EndOfLine, bool)) -> Result<Found, DataError> {
    loop {
        let rest = data.get(progress.at..).unwrap_or_default();
        let Some(found) = memchr3(b'\n', b'\r', b'\\', rest) else {
            progress.at = data.len();
            return Ok(last(data, finishing));
        };
        let at = progress.at + found;
        if data.get(at) == Some(&b'\\') {
            if at + 1 >= data.len() {
                progress.at = if finishing { data.len() } else { at };
                return Ok(last(data, finishing));
            }
            progress.at = at + 2;
            continue;
        }
        return end_of_line.found(data, (progress, at), finishing).map_err(|mixed| match mixed {
            Mixed::Return => DataError::CarriageReturn,
            Mixed::Newline => DataError::Newline,
        });
    }
}

/// A last row without its end of line.
pub(super) fn last(data: &[u8], finishing: bool) -> Found {
    if finishing { Found::Row { bytes: data.len(), content: data.len() } } else { Found::More }
}

/// PostgreSQL takes an end marker behind data too.
pub(super) fn ends_with_marker(fields: &[u8]) -> bool {
    let Some(before) = fields.strip_suffix(b"\\.") else { return false };
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
}

pub(super) fn field<'a>(fields: &'a [u8], wanted: usize, options: &CopyOptions) -> KeyField<'a> {
    let delimiter = options.delimiter();
    let mut rest = fields;
    for _ in 0..wanted {
        let Some(end) = end_of_field(rest, delimiter) else { return KeyField::Missing };
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    let raw = rest.get(..end_of_field(rest, delimiter).unwrap_or(rest.len())).unwrap_or_default();
    if raw == options.null() {
        return KeyField::Null;
    }
    if options.default.as_deref() == Some(raw) {
        return KeyField::Default;
    }
    if memchr(b'\\', raw).is_none() { KeyField::Text(Cow::Borrowed(raw)) } else { KeyField::Text(Cow::Owned(unescaped(raw))) }
}

fn end_of_field(rest: &[u8], delimiter: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr2(delimiter, b'\\', rest.get(at..)?)?;
        if rest.get(found) == Some(&delimiter) {
            return Some(found);
        }
        at = found + 2;
    }
}

fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        let Some(next) = bytes.next() else {
            value.push(b'\\');
            break;
        };
        value.push(match next {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => {
                let mut number = u32::from(next - b'0');
                for _ in 0..2 {
                    let Some(digit) = bytes.next_if(|byte| (b'0'..=b'7').contains(byte)) else { break };
                    number = number * 8 + u32::from(digit - b'0');
                }
                u8::try_from(number & 0xff).unwrap_or(0)
            }
            b'x' if bytes.peek().is_some_and(u8::is_ascii_hexdigit) => {
                let mut number = 0;
                for _ in 0..2 {
                    let Some(digit) = bytes.next_if(u8::is_ascii_hexdigit) else { break };
                    number = number * 16 + char::from(digit).to_digit(16).unwrap_or(0);
                }
                u8::try_from(number).unwrap_or(0)
            }
            other => other,
        });
    }
    value
}
