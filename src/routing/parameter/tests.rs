//! Parameters in text and binary, single and in arrays, as keys of each type. A malformed one is no key: PostgreSQL says why.

use crate::routing::parameter::oid;
use crate::routing::route::{ParameterValues, Values};
use crate::routing::value::{Cast, Constant, Keys, NoKeys, Value, Wanted};
use crate::topology::KeyType;

const TEXT: i16 = 0;
const BINARY: i16 = 1;

/// The keys of `$1`, or why there are none.
fn keys(key_type: KeyType, value: Value, (bytes, format, oid): (&[u8], i16, u32)) -> String {
    let parameters = ParameterValues { values: &[Some(bytes)], formats: &[format], types: &[oid], types_unknown: false };
    let values = Values { parameters, ..Values::default() };
    let mut keys = Keys::new();
    match value.keys(Wanted { key_type, assigned: false }, &values, &mut keys) {
        Ok(()) => keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>().join(" "),
        Err(NoKeys::Refused(refusal)) => refusal.sqlstate.to_string(),
        Err(NoKeys::Unproven(_)) => "unproven".to_owned(),
    }
}

fn parameter(cast: Option<Cast>, many: bool) -> Value {
    Value { of: Constant::Parameter(1), negative: false, cast, many, shared: false, null_safe: false }
}

fn one(key_type: KeyType, bytes: &[u8], format: i16, oid: u32) -> String {
    keys(key_type, parameter(None, false), (bytes, format, oid))
}

/// A numeric on the wire.
fn numeric(digits: &[u16], weight: i16, sign: u16) -> Vec<u8> {
    let head = [u16::try_from(digits.len()).expect("few"), weight.cast_unsigned(), sign, 0];
    head.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn integers() {
    for (bytes, format, oid, expected) in [
        (&b"42"[..], TEXT, 0, "42"),
        (b" 042 ", TEXT, oid::INT8, "42"),
        (b"70000", TEXT, oid::INT2, ""),
        (b"42", TEXT, oid::TEXT, ""),
        (b"42.0", TEXT, oid::NUMERIC, "42"),
        (b"42.5", TEXT, oid::NUMERIC, ""),
        (b"42", TEXT, oid::FLOAT8, "42"),
        (b"9007199254740993", TEXT, oid::FLOAT8, "unproven"),
        (b"t", TEXT, 16, "unproven"),
        (&[0, 42], BINARY, oid::INT2, "42"),
        (&[0xff, 0xff, 0xff, 0xff], BINARY, oid::INT4, "-1"),
        (&[0, 0, 0, 0, 0, 0, 0, 42], BINARY, oid::INT8, "42"),
        (&[0, 42], BINARY, 0, "42"),
        (&[0, 0, 0, 42], BINARY, 0, "42"),
        (&[0, 0, 0, 0, 0, 0, 0, 42], BINARY, 0, "42"),
        (&[0, 42], BINARY, oid::INT4, ""),
        (&[42], BINARY, 0, ""),
        (&[], BINARY, oid::INT8, ""),
        (&[0x40, 0x45, 0, 0, 0, 0, 0, 0], BINARY, oid::FLOAT8, "42"),
        (&[0x40, 0x45, 0], BINARY, oid::FLOAT8, ""),
    ] {
        assert_eq!(one(KeyType::BigInt, bytes, format, oid), expected, "{bytes:?} {format} {oid}");
    }
}

#[test]
fn numerics_on_the_wire() {
    for (bytes, expected) in [
        (numeric(&[42], 0, 0), "42"),
        (numeric(&[1, 2], 1, 0x4000), "-10002"),
        (numeric(&[5], 1, 0), "50000"),
        (numeric(&[42, 5000], 0, 0), ""),
        (numeric(&[], 0, 0), "0"),
        (numeric(&[], 0, 0xC000), "unproven"),
        (numeric(&[922, 3372, 368, 5477, 5807], 4, 0), "9223372036854775807"),
        (numeric(&[922, 3372, 368, 5477, 5808], 4, 0), ""),
        (numeric(&[10_000], 0, 0), ""),
        (vec![0, 9, 0, 0], ""),
    ] {
        assert_eq!(one(KeyType::BigInt, &bytes, BINARY, oid::NUMERIC), expected, "{bytes:?}");
    }
}

#[test]
fn texts_and_uuids() {
    let uuid = [0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11];
    let canonical = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    assert_eq!(one(KeyType::Text, b"ab ", TEXT, 0), "ab ");
    assert_eq!(one(KeyType::Text, b"ab ", BINARY, oid::VARCHAR), "ab ");
    assert_eq!(one(KeyType::Text, b"ab", TEXT, oid::BPCHAR), "unproven");
    assert_eq!(one(KeyType::Char, b"ab ", BINARY, 0), "ab");
    assert_eq!(one(KeyType::Text, &[0, 0, 0, 42], BINARY, oid::INT4), "");
    assert_eq!(one(KeyType::Uuid, canonical.to_uppercase().as_bytes(), TEXT, 0), canonical);
    assert_eq!(one(KeyType::Uuid, &uuid, BINARY, 0), canonical);
    assert_eq!(one(KeyType::Uuid, &uuid[1..], BINARY, oid::UUID), "");
    assert_eq!(one(KeyType::Uuid, b"nonsense", TEXT, oid::UUID), "");
}

#[test]
fn a_cast_gives_an_open_parameter_its_type() {
    let cast = |cast, bytes: &[u8], format, oid| keys(KeyType::BigInt, parameter(Some(cast), false), (bytes, format, oid));
    assert_eq!(cast(Cast::Integer, &[0, 0, 0, 42], BINARY, 0), "42");
    assert_eq!(cast(Cast::Integer, &[0, 0, 0, 0, 0, 0, 0, 42], BINARY, 0), "");
    assert_eq!(cast(Cast::BigInt, b"42", BINARY, oid::TEXT), "42");
    assert_eq!(cast(Cast::SmallInt, b"70000", TEXT, oid::INT8), "");
}

#[test]
fn an_open_binary_parameter_of_other_uses_is_not_guessed() {
    let shared = Value { shared: true, ..parameter(None, false) };
    let eight = [0, 0, 0, 0, 0, 0, 0, 42];
    assert_eq!(keys(KeyType::BigInt, shared, (&eight, BINARY, 0)), "unproven");
    assert_eq!(keys(KeyType::BigInt, shared, (&eight, BINARY, oid::INT8)), "42");
    assert_eq!(keys(KeyType::BigInt, shared, (b"42.0", TEXT, 0)), "42");
    assert_eq!(keys(KeyType::BigInt, Value { cast: Some(Cast::BigInt), ..shared }, (&eight, BINARY, 0)), "42");
}

/// An array on the wire, one dimension.
fn array(oid: u32, items: &[Option<&[u8]>]) -> Vec<u8> {
    let count = u32::try_from(items.len()).expect("few");
    let mut bytes: Vec<u8> = [u32::from(count > 0), 0, oid].iter().flat_map(|word| word.to_be_bytes()).collect();
    if count > 0 {
        bytes.extend([count, 1].iter().flat_map(|word| word.to_be_bytes()));
    }
    for item in items {
        bytes.extend(item.map_or(u32::MAX, |item| u32::try_from(item.len()).expect("short")).to_be_bytes());
        bytes.extend(item.unwrap_or_default());
    }
    bytes
}

#[test]
fn arrays() {
    let any = |key_type, bytes: &[u8], format, oid| keys(key_type, parameter(None, true), (bytes, format, oid));
    let ints = array(oid::INT4, &[Some(&[0, 0, 0, 1]), None, Some(&[0, 0, 0, 2])]);
    assert_eq!(any(KeyType::BigInt, &ints, BINARY, 1007), "1 2");
    assert_eq!(any(KeyType::BigInt, &ints, BINARY, 0), "1 2");
    assert_eq!(any(KeyType::BigInt, &ints, BINARY, 1016), "unproven");
    assert_eq!(any(KeyType::BigInt, &ints[..ints.len() - 1], BINARY, 1007), "22P03");
    assert_eq!(any(KeyType::BigInt, &array(oid::INT4, &[]), BINARY, 1007), "");
    assert_eq!(any(KeyType::Text, &array(oid::TEXT, &[Some(b"a b")]), BINARY, 1009), "a b");
    for (text, expected) in [
        ("{}", ""),
        (" {1, 2 ,NULL,\"3\"} ", "1 2 3"),
        ("{{1,2},{3,4}}", "1 2 3 4"),
        ("[0:1]={1,2}", "unproven"),
        ("{1", "unproven"),
        ("1", "unproven"),
    ] {
        assert_eq!(any(KeyType::BigInt, text.as_bytes(), TEXT, 0), expected, "{text}");
    }
    for (text, expected) in [(r#"{a,"b \"c\\",NuLL,"NULL", d\,e }"#, r#"a b "c\ NULL d,e"#), (r#"{"", x y }"#, " x y")] {
        assert_eq!(any(KeyType::Text, text.as_bytes(), TEXT, 0), expected, "{text}");
    }
}
