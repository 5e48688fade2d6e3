//! Rows of COPY's CSV format, quotes and line ends within them as `CopyReadLineText` and `CopyReadAttributesCSV` read them.

use std::borrow::Cow;

use memchr::memchr3;

use crate::sql::copy::options::CopyOptions;
use crate::sql::copy::rows::{DataError, EndOfLine, Found, KeyField, Mixed, Progress};
use crate::sql::copy::text::last;

pub(super) fn find_end(
    data: &[u8],
    progress: &mut Progress,
    (end_of_line, finishing): (&mut EndOfLine, bool),
    options: &CopyOptions,
) -> Result<Found, DataError> {
    let quote = options.quote();
    let escape = Some(options.escape()).filter(|escape| *escape != quote);
    loop {
        let rest = data.get(progress.at..).unwrap_or_default();
        if progress.in_quote {
            let counted = if *end_of_line == EndOfLine::Newline { b'\n' } else { b'\r' };
            let Some(found) = memchr3(quote, escape.unwrap_or(quote), counted, rest) else {
                progress.escaped &= rest.is_empty();
                progress.at = data.len();
                return Ok(last(data, finishing));
            };
            // Whatever stood between ends an escape.
            progress.escaped &= found == 0;
            let byte = rest.get(found).copied();
            progress.at += found + 1;
            if escape.is_some() && byte == escape {
                progress.escaped = !progress.escaped;
                continue;
            }
            if byte == Some(quote) {
                progress.in_quote = progress.escaped;
            } else {
                progress.inner_lines += 1;
            }
            progress.escaped = false;
            continue;
        }
        let Some(found) = memchr3(quote, b'\n', b'\r', rest) else {
            progress.at = data.len();
            return Ok(last(data, finishing));
        };
        let at = progress.at + found;
        if data.get(at) == Some(&quote) {
            progress.in_quote = true;
            progress.at = at + 1;
            continue;
        }
        return end_of_line.found(data, (progress, at), finishing).map_err(|mixed| match mixed {
            Mixed::Return => DataError::UnquotedCarriageReturn,
            Mixed::Newline => DataError::UnquotedNewline,
        });
    }
}

/// The wanted field's value. `forced`: FORCE_NULL and FORCE_NOT_NULL name it.
pub(super) fn field<'a>(fields: &'a [u8], wanted: usize, options: &CopyOptions, forced: (bool, bool)) -> KeyField<'a> {
    let mut rest = fields;
    for _ in 0..wanted {
        let (_, _, end) = parse(rest, options);
        let Some(end) = end else { return KeyField::Missing };
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    let (value, quoted, end) = parse(rest, options);
    let raw = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    let (force_null, force_not_null) = forced;
    if !quoted && options.default.as_deref() == Some(raw) {
        return KeyField::Default;
    }
    let null = (!quoted && raw == options.null() && !force_not_null) || (force_null && value.as_ref() == options.null());
    if null { KeyField::Null } else { KeyField::Text(value) }
}

/// The value at the start of `rest`, whether a quote was in it, and where its delimiter is.
fn parse<'a>(rest: &'a [u8], options: &CopyOptions) -> (Cow<'a, [u8]>, bool, Option<usize>) {
    let (delimiter, quote, escape) = (options.delimiter(), options.quote(), options.escape());
    let plain = memchr::memchr2(delimiter, quote, rest);
    match plain {
        None => return (Cow::Borrowed(rest), false, None),
        Some(at) if rest.get(at) == Some(&delimiter) => return (Cow::Borrowed(rest.get(..at).unwrap_or_default()), false, Some(at)),
        Some(_) => {}
    }
    let mut value = Vec::new();
    let mut in_quote = false;
    let mut at = 0;
    while let Some(&byte) = rest.get(at) {
        at += 1;
        if in_quote {
            let next = rest.get(at).copied();
            if byte == escape && next.is_some_and(|next| next == escape || next == quote) {
                value.extend(next);
                at += 1;
            } else if byte == quote {
                in_quote = false;
            } else {
                value.push(byte);
            }
        } else if byte == delimiter {
            return (Cow::Owned(value), true, Some(at - 1));
        } else if byte == quote {
            in_quote = true;
        } else {
            value.push(byte);
        }
    }
    (Cow::Owned(value), true, None)
}
