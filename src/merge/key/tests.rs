//! Order of values in both formats, as PostgreSQL sorts them.

use std::cmp::Ordering;

use crate::merge::key::{Direction, Key, Kind};

const UP: Direction = Direction { descending: false, nulls_first: false };

fn check_text(oid: u32, ordered: &[&str]) {
    let kind = Kind::of(oid).expect("a kind");
    let keys: Vec<Key> = ordered.iter().map(|text| kind.key(0, text.as_bytes()).expect("a key")).collect();
    for pair in keys.windows(2) {
        assert_eq!(pair[0].compare(&pair[1], UP), Ordering::Less, "{oid}: {pair:?}");
    }
}

#[test]
fn texts_are_ordered_by_their_types() {
    check_text(16, &["f", "t"]);
    check_text(20, &["-9223372036854775808", "-5", "0", "40", "300"]);
    check_text(701, &["-Infinity", "-1e300", "-1.5", "-5e-324", "0", "5e-324", "1.5", "2", "Infinity", "NaN"]);
    check_text(700, &["-3.4028235e+38", "-0.1", "0", "1e-45", "0.1", "16777216"]);
    check_text(1700, &["-20.5", "-3", "0.001", "7.50", "10", "NaN"]);
    check_text(25, &["", "A", "Z", "a", "aa", "b", "é", "あ"]);
    check_text(17, &["\\x", "\\x00", "\\x0001", "\\x61", "\\xff"]);
    check_text(17, &["\\000", "a\\\\", "b", "\\377"]);
    check_text(1042, &["a   ", "a b", "b"]);
}

#[test]
fn binaries_are_ordered_as_texts() {
    let float = |value: f64| Kind::Float8.key(1, &value.to_be_bytes()).expect("a key");
    for (text, value) in [("NaN", f64::NAN), ("-0", 0.0), ("1.5", 1.5), ("-Infinity", f64::NEG_INFINITY)] {
        assert_eq!(Kind::Float8.key(0, text.as_bytes()), Some(float(value)), "{text}");
    }
    assert_eq!(Kind::Integer.key(1, &(-7_i16).to_be_bytes()), Kind::Integer.key(0, b"-7"));
    assert_eq!(Kind::Integer.key(1, &(-7_i32).to_be_bytes()), Kind::Integer.key(0, b"-7"));
    assert_eq!(Kind::Integer.key(1, &[1, 2, 3]), None);
    assert_eq!(Kind::Bytea.key(1, b"\x00a"), Kind::Bytea.key(0, b"\\x0061"));
}

#[test]
fn nulls_stand_where_they_are_told() {
    let (null, one) = (Key::Null, Key::Integer(1));
    for descending in [false, true] {
        assert_eq!(null.compare(&one, Direction { descending, nulls_first: true }), Ordering::Less);
        assert_eq!(null.compare(&one, Direction { descending, nulls_first: false }), Ordering::Greater);
    }
    assert_eq!(one.compare(&Key::Integer(2), Direction { descending: true, nulls_first: true }), Ordering::Greater);
}

#[test]
fn identities_are_equality() {
    let identity = |kind: Kind, text: &str| {
        let mut out = Vec::new();
        kind.key(0, text.as_bytes()).expect("a key").identify(&mut out);
        out
    };
    assert_eq!(identity(Kind::Numeric, "1.0"), identity(Kind::Numeric, "1"));
    assert_eq!(identity(Kind::Float8, "-0"), identity(Kind::Float8, "0"));
    assert_eq!(identity(Kind::BlankPadded, "a "), identity(Kind::BlankPadded, "a"));
    assert_ne!(identity(Kind::Text, "a "), identity(Kind::Text, "a"));
}
