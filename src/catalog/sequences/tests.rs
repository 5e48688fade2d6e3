//! Congruence classes.

use crate::catalog::sequences::{first_above, set_apart};

#[test]
fn next_in_class() {
    for (ordinal, highest, expected) in [
        (0, 0, 1024),
        (1, 0, 1),
        (1023, 0, 1023),
        (1, 1, 1025),
        (5, 4, 5),
        (5, 5, 1029),
        (0, 1024, 2048),
        (7, -3, 7),
        (7, 1_000_000, 1_000_455),
    ] {
        let next = first_above(ordinal, highest);
        assert_eq!((next, next % 1024), (expected, i64::from(ordinal)), "ordinal {ordinal} above {highest}");
    }
}

#[test]
fn statement() {
    let expected = "ALTER SEQUENCE \"a\"\"b\".\"s\" INCREMENT BY 1024 MINVALUE 1 NO MAXVALUE START WITH 3 RESTART WITH 1027 NO CYCLE";
    assert_eq!(set_apart("a\"b", "s", 3, 10), expected);
}
