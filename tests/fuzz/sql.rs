//! What must hold for the tokenizer, literals and keys, whatever the text.

use shardyard::sql::lexer::{Lexer, TokenKind};
use shardyard::sql::template::Scan;
use shardyard::topology::KeyType;
use shardyard::topology::key::{Decimal, integer_text, parse_integer, parse_uuid, trim_blanks, uuid_text};

use crate::wire::{magnitude, signature};

/// Tokens come in order, none empty, none over another, all inside of the text.
pub(crate) fn tokens(input: &[u8]) -> u64 {
    let mut facts = Vec::new();
    for conforming in [true, false] {
        let mut lexer = Lexer::new(input, conforming);
        let mut end = 0;
        let result = loop {
            match lexer.next_token() {
                Ok(Some(token)) => {
                    assert!(token.start >= end && token.start < token.end, "token {token:?} behind {end}");
                    assert!(token.end as usize <= input.len(), "token {token:?} ends outside");
                    end = token.end;
                    if facts.len() < 24 {
                        facts.push(kind(token.kind));
                    }
                }
                other => break other,
            }
        };
        facts.push(result.map_or_else(|error| 100 + error.to_string().len(), |_| 99));
    }
    signature(&facts)
}

fn kind(kind: TokenKind) -> usize {
    match kind {
        TokenKind::Word => 1,
        TokenKind::Quoted => 2,
        TokenKind::UnicodeQuoted => 3,
        TokenKind::Literal(kind) => 10 + kind as usize,
        TokenKind::Parameter => 4,
        TokenKind::Operator => 5,
        TokenKind::Mark(mark) => 30 + usize::from(mark),
        TokenKind::TypeCast => 6,
        TokenKind::ColonEquals => 7,
        TokenKind::Arrow => 8,
        TokenKind::DotDot => 9,
    }
}

/// A scan stays inside of its text, is the same with used and with fresh buffers, and its template is not much longer than the text.
pub(crate) fn scan(input: &[u8]) -> u64 {
    let mut facts = Vec::new();
    let mut used = Scan::new();
    let _ = used.scan(b"SELECT 'left', 1 FROM over; SELECT 2", true);
    for conforming in [true, false] {
        let mut fresh = Scan::new();
        let result = fresh.scan(input, conforming);
        assert_eq!(result, used.scan(input, conforming));
        let Ok(()) = result else {
            facts.push(0);
            continue;
        };
        assert_eq!((fresh.template(), fresh.literals(), fresh.statements()), (used.template(), used.literals(), used.statements()));
        assert!(fresh.template().len() <= input.len() + 1, "a template of {} bytes for {} bytes", fresh.template().len(), input.len());
        let mut end = 0;
        for statement in fresh.statements() {
            assert!(
                statement.start >= end && statement.start < statement.end && statement.end <= input.len(),
                "statement {statement:?} behind {end}"
            );
            end = statement.end;
        }
        let mut end = 0;
        for literal in fresh.literals() {
            assert!(literal.start >= end && literal.start < literal.end && literal.end as usize <= input.len());
            end = literal.end;
            let value = literal.value(input);
            if let Some(value) = &value {
                assert!(value.len() <= literal.source(input).len().max(1) * 2, "a value longer than its literal");
            }
            facts.push(usize::from(value.is_some()) + 2 * (literal.kind as usize));
        }
        facts.truncate(16);
        facts.extend([fresh.statements().len().min(5), magnitude(fresh.template().len())]);
    }
    signature(&facts)
}

/// Key values: what is read is written again in its one canonical form.
pub(crate) fn keys(input: &[u8]) -> u64 {
    let mut facts = Vec::new();
    if let Some(number) = parse_integer(input) {
        let text = integer_text(number);
        assert_eq!(std::str::from_utf8(&text).ok(), Some(number.to_string().as_str()));
        assert_eq!(parse_integer(&text), Some(number));
        facts.push(1);
    }
    if let Some(uuid) = parse_uuid(input) {
        assert_eq!(parse_uuid(&uuid_text(&uuid)), Some(uuid));
        facts.push(2);
    }
    if let Some(decimal) = Decimal::parse(input) {
        facts.extend([3, usize::from(decimal.is_whole()), usize::from(decimal.round().is_some())]);
        if decimal.is_whole()
            && let (Some(rounded), Some(number)) = (decimal.round(), parse_integer(input))
        {
            assert_eq!(rounded, number, "one text, two numbers");
        }
    }
    assert!(trim_blanks(input).len() <= input.len());
    for key_type in [KeyType::SmallInt, KeyType::Integer, KeyType::BigInt, KeyType::Text, KeyType::Varchar, KeyType::Char, KeyType::Uuid] {
        let first = key_type.string(input);
        assert_eq!(first, key_type.string(input));
        let _ = key_type.assigned_string(input);
    }
    signature(&facts)
}
