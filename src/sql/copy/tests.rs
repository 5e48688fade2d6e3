//! Rows however they are cut into pieces, keys in every spelling, options in both.

use crate::sql::copy::{CopyStatement, DataError, KeyField, LineLog, RowKind, Rows};
use crate::sql::cursor::Tokens;

fn statement(text: &str) -> CopyStatement {
    let tokens = Tokens::new(text.as_bytes(), true).expect("tokens");
    let mut cursor = tokens.cursor();
    cursor.advance();
    CopyStatement::parse(cursor).expect("COPY of a table")
}

/// Every row as `key|bytes|lines`; the same however the data is cut.
fn rows(copy: &str, key: usize, data: &[u8]) -> String {
    let whole = cut(copy, key, data, data.len().max(1));
    for piece in [1, 2, 3, 7] {
        assert_eq!(cut(copy, key, data, piece), whole, "{copy} in pieces of {piece}");
    }
    whole.unwrap_or_else(|error| error.to_string())
}

fn cut(copy: &str, key: usize, data: &[u8], piece: usize) -> Result<String, DataError> {
    let mut rows = Rows::new(&statement(copy).options, ("k", key));
    let mut out = Vec::new();
    let mut pieces = data.chunks(piece);
    let mut finished = false;
    loop {
        while let Some(row) = rows.take_row()? {
            let key = match (row.kind, &row.key) {
                (RowKind::Shared, _) => "all".to_owned(),
                (_, KeyField::Text(text)) => String::from_utf8_lossy(text).into_owned(),
                (_, KeyField::Binary(bytes)) => format!("{bytes:?}"),
                (_, other) => format!("{other:?}"),
            };
            out.push(format!("{key}|{}|{}", row.bytes.escape_ascii(), row.lines));
        }
        match pieces.next() {
            Some(piece) => rows.feed(piece),
            None if finished => return Ok(out.join(" ")),
            None => {
                rows.finish();
                finished = true;
            }
        }
    }
}

#[test]
fn text_rows() {
    let copy = "COPY t FROM STDIN";
    assert_eq!(rows(copy, 0, b"1\ta\n2\tb\n"), r"1|1\ta\n|1 2|2\tb\n|1");
    assert_eq!(rows(copy, 1, b"a\t1\nb\t\\N"), r"1|a\t1\n|1 Null|b\t\\N|1");
    assert_eq!(rows(copy, 1, b"a\\\tb\tx\\ty\\x41\\101\r\nb\r\n"), r"x	yAA|a\\\tb\tx\\ty\\x41\\101\r\n|1 Missing|b\r\n|1");
    assert_eq!(rows(copy, 0, b"a\\\nb\t1\nc\n"), "a\nb|a\\\\\\nb\\t1\\n|1 c|c\\n|1");
    assert_eq!(rows(copy, 0, b"1\n\\.\n2\n"), r"1|1\n|1");
    assert_eq!(rows(copy, 0, b"1\n2\r\n"), "literal carriage return found in data");
    assert_eq!(rows(copy, 0, b"1\r2\n"), "literal newline found in data");
    assert_eq!(rows(copy, 0, b"1\r2\r"), r"1|1\r|1 2|2\r|1");
    assert_eq!(rows("COPY t FROM STDIN (DELIMITER '|', NULL 'x', HEADER)", 1, b"a|b\n1|x\n2|y\n"), r"all|a|b\n|1 Null|1|x\n|1 y|2|y\n|1");
}

#[test]
fn csv_rows() {
    let copy = "COPY t FROM STDIN (FORMAT csv)";
    assert_eq!(rows(copy, 1, b"a,1\n\"x\n,y\",2\n"), r#"1|a,1\n|1 2|\"x\n,y\",2\n|2"#);
    assert_eq!(rows(copy, 0, b"\"a\"\"b\"\n,\n\"\",\n"), r#"a"b|\"a\"\"b\"\n|1 Null|,\n|1 |\"\",\n|1"#);
    assert_eq!(
        rows("COPY t FROM STDIN (FORMAT csv, ESCAPE '\\')", 0, b"\"a\\\"\n\\\\\",1\nb\n"),
        "a\"\n\\|\\\"a\\\\\\\"\\n\\\\\\\\\\\",1\\n|1 b|b\\n|1"
    );
    assert_eq!(rows("COPY t FROM STDIN (FORMAT csv, FORCE_NULL (k))", 0, b"\"\",1\n"), r#"Null|\"\",1\n|1"#);
    assert_eq!(rows("COPY t FROM STDIN CSV HEADER FORCE NOT NULL k", 0, b"k,n\n,1\n"), r"all|k,n\n|1 |,1\n|1");
    assert_eq!(rows(copy, 0, b"1\n\\.\n2\n"), r"1|1\n|1");
    assert_eq!(rows(copy, 0, b"1\r\n2\n"), "unquoted newline found in data");
}

#[test]
fn binary_rows() {
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    data.extend_from_slice(b"\0\x02\0\0\0\x04\0\0\0\x2a\xff\xff\xff\xff");
    data.extend_from_slice(b"\xff\xff");
    let found = rows("COPY t FROM STDIN (FORMAT binary)", 0, &data);
    assert!(found.starts_with("all|PGCOPY") && found.contains("[0, 0, 0, 42]|") && found.ends_with(r"all|\xff\xff|0"), "{found}");
    assert!(rows("COPY BINARY t FROM STDIN", 1, &data).contains("Null|"));
    assert!(rows("COPY BINARY t FROM STDIN", 2, &data).contains("Missing|"));
}

#[test]
fn lines_of_shards_are_the_clients() {
    let mut log = LineLog::default();
    log.push(1, 1);
    log.push(5, 3);
    log.push(1_000, 1);
    assert_eq!([1, 2, 3, 4, 5, 6].map(|line| log.client_line(line)), [Some(1), Some(3), Some(4), Some(5), Some(1_000), None]);
    let mut log = LineLog::default();
    for row in 1..3_000_000_u64 {
        log.push(row * 4, 1);
    }
    assert_eq!(log.client_line(2_999_999), Some(11_999_996));
    assert_eq!(log.client_line(2_500_000), Some(10_000_000));
    assert_eq!(log.client_line(1), None);
}
