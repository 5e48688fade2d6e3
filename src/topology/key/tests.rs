//! Keys written in many ways, and the vectors of Python's hashlib.

use crate::topology::KeyType;
use crate::topology::hash::{bucket, initial_buckets, key_hash};
use crate::topology::key::{Decimal, KeyValue, parse_integer, parse_uuid, trim_blanks, uuid_text};

fn text(value: KeyValue) -> String {
    match value {
        KeyValue::Key(text) => String::from_utf8_lossy(&text).into_owned(),
        KeyValue::Nothing => "nothing".to_owned(),
        KeyValue::Unproven(_) => "unproven".to_owned(),
    }
}

#[test]
fn strings_become_integers_as_int8in_reads_them() {
    let cases: [(&str, Option<i64>); 17] = [
        ("42", Some(42)),
        (" +042\n", Some(42)),
        ("-1", Some(-1)),
        ("-0", Some(0)),
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775808", None),
        ("-9223372036854775808", Some(i64::MIN)),
        ("0x2A", Some(42)),
        ("0b101010", Some(42)),
        ("4_2", Some(42)),
        ("4__2", None),
        ("42_", None),
        ("", None),
        ("- 1", None),
        ("42.0", None),
        ("1e1", None),
        ("99999999999999999999999999999999999999999999", None),
    ];
    for (input, expected) in cases {
        assert_eq!(parse_integer(input.as_bytes()), expected, "{input:?}");
    }
}

#[test]
fn decimals_compare_exactly_and_round_when_assigned() {
    let cases = [
        ("42.0", "42", "42"),
        ("42.5", "nothing", "43"),
        ("-42.5", "nothing", "-43"),
        ("0.4", "nothing", "0"),
        ("0.04", "nothing", "0"),
        (".5", "nothing", "1"),
        ("1e3", "1000", "1000"),
        ("42e-1", "nothing", "4"),
        ("0.0", "0", "0"),
        ("1_000.0", "1000", "1000"),
        ("9223372036854775807", "9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "nothing", "nothing"),
        ("1e400", "nothing", "nothing"),
    ];
    for (input, compared, assigned) in cases {
        let decimal = Decimal::parse(input.as_bytes()).expect("a number");
        assert_eq!(text(KeyType::BigInt.compared_decimal(&decimal)), compared, "{input}");
        assert_eq!(text(KeyType::BigInt.assigned_decimal(&decimal)), assigned, "{input}");
    }
}

#[test]
fn uuids_have_one_text() {
    let canonical = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    for input in
        [canonical, "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", "a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11"]
    {
        let uuid = parse_uuid(input.as_bytes()).expect(input);
        assert_eq!(uuid_text(&uuid).as_slice(), canonical.as_bytes());
    }
    for input in [
        "",
        "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a1",
        "a-0eebc999c0b4ef8bb6d6bb9bd380a11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11-",
    ] {
        assert_eq!(parse_uuid(input.as_bytes()), None, "{input}");
    }
}

#[test]
fn the_column_decides_the_text() {
    assert_eq!(text(KeyType::BigInt.string(b"042")), "42");
    assert_eq!(text(KeyType::Text.string(b"042")), "042");
    assert_eq!(text(KeyType::Char.string(b"ab  ")), "ab");
    assert_eq!(text(KeyType::Text.string(b"ab  ")), "ab  ");
    assert_eq!(text(KeyType::SmallInt.string(b"70000")), "nothing");
    assert_eq!(text(KeyType::Varchar.assigned_string(b"ab ")), "unproven");
    assert_eq!(trim_blanks(b"   "), b"");
}

/// Computed once by `tests/vectors/make.py` with Python's hashlib.
#[test]
fn hashes_agree_with_python() {
    for line in include_str!("../../../tests/vectors/md5_mod_8.txt").lines().filter(|line| !line.starts_with('#')) {
        let [key, hash, shard] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(format!("{:08x}", key_hash(key.as_bytes())), hash, "{key}");
        assert_eq!((bucket(key.as_bytes(), initial_buckets(8)).0 % 8).to_string(), shard, "{key}");
    }
}

#[test]
fn buckets_of_a_new_cluster_are_divisible() {
    for (shards, expected) in [(1, 55_440), (4, 55_440), (8, 55_440), (13, 13_312), (17, 17_408), (256, 262_144)] {
        assert_eq!(initial_buckets(shards), expected);
    }
}

#[test]
fn a_number_in_few_digits_is_its_own_text() {
    for key_type in [KeyType::SmallInt, KeyType::Integer, KeyType::BigInt] {
        for input in
            ["0", "7", "4242", "12345", "999999999", "1000000000", "999999999999999999", "9999999999999999999", "00", "042", "-1", "1 ", ""]
        {
            let expected = parse_integer(input.as_bytes()).map(|number| text(key_type.integer(number)));
            if key_type.is_canonical(input.as_bytes()) {
                assert_eq!(expected.as_deref(), Some(input), "{key_type:?}");
            }
        }
        assert!(key_type.is_canonical(b"4242") && !key_type.is_canonical(b"042") && !key_type.is_canonical(b""));
    }
    assert!(!KeyType::Text.is_canonical(b"42") && !KeyType::SmallInt.is_canonical(b"32768"));
}
