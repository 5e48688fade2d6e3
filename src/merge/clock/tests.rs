//! Order of dates and times as PostgreSQL has it.

use crate::merge::clock::{date, time, timestamp};

#[test]
fn dates_are_days() {
    assert_eq!(date(b"1970-01-01"), Some(0));
    assert_eq!(date(b"2000-03-01"), Some(11_017));
    assert_eq!(date(b"0001-01-01").zip(date(b"0001-12-31 BC")).map(|(a, b)| a - b), Some(1));
    assert_eq!(date(b"12024-02-29").zip(date(b"12024-03-01")).map(|(a, b)| b - a), Some(1));
    assert_eq!(date(b"01/02/2003"), None);
}

#[test]
fn texts_are_in_order() {
    let ordered: [&[u8]; 8] = [
        b"-infinity",
        b"0044-03-15 10:00:00 BC",
        b"1969-12-31 23:59:59.999999",
        b"2024-01-01 00:00:00+02",
        b"2024-01-01 00:00:00+05:30:10",
        b"2024-01-01 00:00:00",
        b"2024-01-01 00:00:00.1-08",
        b"infinity",
    ];
    let mut values: Vec<_> = ordered.iter().map(|text| timestamp(text).expect("a timestamp")).collect();
    // The zones of the fourth and fifth go the other way round.
    values.swap(3, 4);
    assert!(values.is_sorted(), "{values:?}");
    assert_eq!(time(b"24:00:00"), Some(86_400_000_000));
    assert!(time(b"00:00:00.000001") > time(b"00:00:00"));
}
