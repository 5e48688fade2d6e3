//! Sums, averages and order against what PostgreSQL answered.

use std::cmp::Ordering;

use crate::merge::number::Numeric;

fn number(text: &str) -> Numeric {
    Numeric::parse(text.as_bytes()).expect("a number")
}

fn shown(value: &Numeric) -> String {
    String::from_utf8(value.text()).expect("text")
}

#[test]
fn sums_have_the_larger_scale() {
    let cases = [
        ("1.10", "2.345", "3.445"),
        ("-1.5", "1.50", "0.00"),
        ("999999999999999999999", "1", "1000000000000000000000"),
        ("0.001", "-1", "-0.999"),
        ("5", "-7.25", "-2.25"),
        ("NaN", "1", "NaN"),
        ("Infinity", "-5", "Infinity"),
        ("Infinity", "-Infinity", "NaN"),
    ];
    for (a, b, sum) in cases {
        assert_eq!(shown(&number(a).add(&number(b))), sum, "{a} + {b}");
        assert_eq!(shown(&number(b).add(&number(a))), sum, "{b} + {a}");
    }
}

#[test]
fn averages_have_postgresqls_scale() {
    // select (sum)::numeric / (count)::bigint::numeric
    let cases = [
        ("10", 4, "2.5000000000000000"),
        ("1", 3, "0.33333333333333333333"),
        ("2", 3, "0.66666666666666666667"),
        ("100000", 7, "14285.714285714286"),
        ("-1", 3, "-0.33333333333333333333"),
        ("0", 5, "0.00000000000000000000"),
        ("123456789012345678901234567890", 7, "17636684144620811271604938270"),
        ("0.0001", 3, "0.000033333333333333333333"),
        ("12345.6789", 1, "12345.6789000000000000"),
        ("9999", 10000, "0.99990000000000000000"),
        ("5.00", 2, "2.5000000000000000"),
        ("-123.456", 9, "-13.7173333333333333"),
    ];
    for (sum, count, average) in cases {
        assert_eq!(shown(&number(sum).divide(count)), average, "{sum} / {count}");
    }
}

#[test]
fn order_is_postgresqls() {
    let ordered = ["-Infinity", "-100.5", "-100.4", "-0.001", "0", "0.0001", "1.5", "1.51", "20", "100", "Infinity", "NaN"];
    for (at, a) in ordered.iter().enumerate() {
        for (other, b) in ordered.iter().enumerate() {
            assert_eq!(number(a).compare(&number(b)), at.cmp(&other), "{a} and {b}");
        }
    }
    assert_eq!(number("1.0").compare(&number("1.000")), Ordering::Equal);
    assert_eq!(number("1.0").identity(), number("1.000").identity());
    assert_eq!(number("0.0").identity(), number("0").identity());
    assert_eq!(number("100").identity(), number("100.00").identity());
    assert_ne!(number("10").identity(), number("100").identity());
}

#[test]
fn binary_is_read_as_it_is_written() {
    for text in ["0", "0.00", "1", "-1", "10000", "12345.678", "0.00001234", "-99999999.5", "100000000", "1.0000", "NaN", "Infinity"] {
        let value = number(text);
        assert_eq!(Numeric::decode(&value.binary()), Some(value), "{text}");
    }
    // As numeric_send writes them: 12345.678 and 0.00001234.
    assert_eq!(number("12345.678").binary(), [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 9, 41, 26, 124]);
    assert_eq!(number("0.00001234").binary(), [0, 1, 255, 254, 0, 0, 0, 8, 4, 210]);
}
