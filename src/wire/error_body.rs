//! The fields of an ErrorResponse's body: read, changed and made.

/// The body with the first field of this kind changed, where `change` gives another value.
#[must_use]
pub fn with_field(body: &[u8], kind: u8, change: impl FnOnce(&str) -> Option<String>) -> Vec<u8> {
    let mut change = Some(change);
    let mut out = Vec::with_capacity(body.len() + 16);
    let mut rest = body;
    while let Some((first, others)) = rest.split_first().filter(|(first, _)| **first != 0) {
        let Some(end) = memchr::memchr(0, others) else { break };
        let (value, behind) = others.split_at(end);
        let text = String::from_utf8_lossy(value);
        let changed = if *first == kind { change.take().and_then(|change| change(&text)) } else { None };
        out.push(*first);
        out.extend_from_slice(changed.as_deref().map_or(value, str::as_bytes));
        out.push(0);
        rest = behind.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// The body without fields of this kind.
#[must_use]
pub fn without_field(body: &[u8], kind: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((first, others)) = rest.split_first().filter(|(first, _)| **first != 0) {
        let Some(end) = memchr::memchr(0, others) else { break };
        let (field, behind) = rest.split_at(end + 2);
        if *first != kind {
            out.extend_from_slice(field);
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
    out
}

/// A body of these fields.
#[must_use]
pub fn body(fields: &[(u8, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, text) in fields {
        out.push(*kind);
        out.extend(text.bytes().filter(|byte| *byte != 0));
        out.push(0);
    }
    out.push(0);
    out
}
