//! Routing hints in comments: `/* shardyard: key=42 */`, `shard=3`, `primary`, `replica`, `reference`.

use crate::sql::template::HINT;

/// What the comments before a statement ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommentHint {
    pub key: Option<String>,
    pub shard: Option<u16>,
    pub primary: bool,
    pub replica: bool,
    /// The table that is created is a reference table.
    pub reference: bool,
    /// A word that is no hint.
    pub unknown: Option<String>,
}

/// Reads the hints in `comments`, the bytes before a statement's first token.
#[must_use]
pub fn read(comments: &[u8]) -> CommentHint {
    let mut hint = CommentHint::default();
    let mut rest = comments;
    while let Some(at) = memchr::memmem::find(rest, HINT) {
        let body = rest.get(at + HINT.len()..).unwrap_or_default();
        let end = memchr::memmem::find(body, b"*/").into_iter().chain(memchr::memchr(b'\n', body)).min().unwrap_or(body.len());
        words(&String::from_utf8_lossy(body.get(..end).unwrap_or_default()), &mut hint);
        rest = body.get(end..).unwrap_or_default();
    }
    hint
}

fn words(text: &str, hint: &mut CommentHint) {
    let mut rest = text.trim_start_matches(is_between);
    while !rest.is_empty() {
        let end = rest.find(|c: char| is_between(c) || c == '=').unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let (value, behind) = match behind.trim_start().strip_prefix('=') {
            Some(behind) => value(behind.trim_start()),
            None => (None, behind),
        };
        one(word, value, hint);
        rest = behind.trim_start_matches(is_between);
    }
}

/// A value, quoted or not, and what follows it.
fn value(text: &str) -> (Option<String>, &str) {
    if let Some(quoted) = text.strip_prefix('\'') {
        let mut value = String::new();
        let mut rest = quoted;
        while let Some(at) = rest.find('\'') {
            value.push_str(rest.get(..at).unwrap_or_default());
            rest = rest.get(at + 1..).unwrap_or_default();
            match rest.strip_prefix('\'') {
                Some(more) => {
                    value.push('\'');
                    rest = more;
                }
                None => return (Some(value), rest),
            }
        }
        return (None, "");
    }
    let end = text.find(is_between).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    ((!value.is_empty()).then(|| value.to_owned()), rest)
}

fn one(word: &str, value: Option<String>, hint: &mut CommentHint) {
    match (word.to_ascii_lowercase().as_str(), value) {
        ("key", Some(key)) => hint.key = Some(key),
        ("shard", Some(shard)) if shard.parse::<u16>().is_ok() => hint.shard = shard.parse().ok(),
        ("primary", None) => hint.primary = true,
        ("replica", None) => hint.replica = true,
        ("reference", None) => hint.reference = true,
        _ => hint.unknown = Some(word.to_owned()),
    }
}

fn is_between(c: char) -> bool {
    c.is_whitespace() || c == ',' || c == ';'
}

#[cfg(test)]
mod tests;
