//! Templates, literals and statement ranges of texts with every lexical oddity.

use proptest::prelude::{Strategy, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::sql::lexer::{Lexer, TokenKind};
use crate::sql::literal::Literal;
use crate::sql::template::{Scan, ScanError, marker};

/// What statements are made of, and what stops the scanner from stepping over it.
const PIECES: [&str; 40] = [
    " ",
    "  ",
    "\n",
    "a",
    "Bc_1",
    "é",
    "s",
    "SET_CONFIG",
    "e",
    "U",
    "n",
    "x",
    "1",
    "42",
    ".5",
    "1.",
    "..",
    ".",
    ",",
    "(",
    ")",
    "[",
    "]",
    "=",
    "<>",
    "-",
    "--",
    "/",
    "/*",
    "*/",
    "@",
    "&",
    "::",
    ":=",
    "'q'",
    "''",
    "\"Q\"",
    "$1",
    "$$d$$",
    ";",
];

fn scanned(text: &str) -> Scan {
    let mut scan = Scan::new();
    scan.scan(text.as_bytes(), true).unwrap_or_else(|error| panic!("{text}: {error}"));
    scan
}

fn template(text: &str) -> String {
    String::from_utf8_lossy(scanned(text).template()).into_owned()
}

fn values(text: &str) -> Vec<String> {
    let scan = scanned(text);
    let value = |literal: &crate::sql::literal::Literal| {
        literal.value(text.as_bytes()).map_or("?".to_owned(), |value| String::from_utf8_lossy(&value).into_owned())
    };
    scan.literals().iter().map(value).collect()
}

fn statements(text: &str) -> Vec<&str> {
    scanned(text).statements().iter().map(|range| &text[range.clone()]).collect()
}

#[test]
fn literals_become_markers_and_words_are_folded() {
    assert_eq!(template("SELECT  A.b,'x'\n/* c */ FROM \"T\" -- d\nWHERE k=-42;"), "select a.b,\u{3} from \"T\" where k=-\u{1}");
    assert_eq!(template(" select 1.5 , B'1', $1"), "select \u{2} , \u{5}, $1");
    for (one, other) in [
        ("SELECT 'a'", "select E'\\'b'"),
        ("SELECT 1 FROM t", "SELECT\t22\nFROM  T;"),
        ("INSERT INTO t VALUES ($$x$$)", "insert into T values ('it''s')"),
        ("SELECT 'a' FROM t", "SELECT 'a' -- c\n 'b' FROM t"),
    ] {
        assert_eq!(template(one), template(other));
    }
    for (one, other) in [
        ("SELECT 1", "SELECT '1'"),
        ("SELECT 1", "SELECT 1.0"),
        ("SELECT 1", "SELECT -1"),
        ("SELECT a", "SELECT \"a\""),
        ("SELECT $1", "SELECT $2"),
        ("SELECT a b", "SELECT ab"),
        ("SELECT t_01", "SELECT t_02"),
        ("/* shardyard: key=1 */ SELECT a", "/* shardyard: key=2 */ SELECT a"),
        ("/* shardyard: key=1 */ SELECT a", "SELECT a"),
        ("SELECT set_config('a', 'b', true)", "SELECT set_config('a', 'c', true)"),
        ("SET a = 'b'", "SET a = 'c'"),
        ("EXECUTE p (1)", "EXECUTE p (2)"),
        ("EXPLAIN (ROUTE) SELECT 1", "EXPLAIN (ROUTE) SELECT 2"),
        ("SELECT 1; SELECT 2", "SELECT 1; SELECT 3"),
    ] {
        assert_ne!(template(one), template(other), "{one} | {other}");
    }
}

#[test]
fn values_are_decoded_as_postgres_does() {
    let cases: [(&str, &[&str]); 12] = [
        ("SELECT 'it''s', ''", &["it's", ""]),
        (r"SELECT E'a\n\t\\\'\x41\101A\U00000041\q'", &["a\n\t\\'AAAAq"]),
        (r"SELECT E'\uD83D\uDE00'", &["😀"]),
        (r"SELECT E'\0'", &["?"]),
        ("SELECT $$a$b$$, $t$ $$ $t$", &["a$b", " $$ "]),
        ("SELECT 'a'  \n  'b'", &["ab"]),
        ("SELECT 'a' -- x\n 'b', 'c'", &["ab", "c"]),
        ("SELECT 'a''b'\n'c'", &["a'bc"]),
        ("SELECT U&'\\0041', B'1', N'x'", &["?", "?", "?"]),
        ("SELECT 1_000, 0xFf, .5e-3, 1.", &["1_000", "0xFf", ".5e-3", "1."]),
        ("SELECT a[1:2], 1..2", &["1", "2", "1", "2"]),
        ("SELECT e'x'", &["x"]),
    ];
    for (text, expected) in cases {
        assert_eq!(values(text), expected, "{text}");
    }
}

#[test]
fn strings_have_escapes_where_the_setting_says_so() {
    let text = br"SELECT 'a\'b', 'c'";
    let mut scan = Scan::new();
    scan.scan(text, false).expect("one string with an escaped quote");
    let values: Vec<_> = scan.literals().iter().filter_map(|literal| literal.value(text)).collect();
    assert_eq!(values, [&b"a'b"[..], b"c"]);
    assert_eq!(scan.scan(text, true), Err(ScanError::UnterminatedString));
}

#[test]
fn operators_end_where_postgres_ends_them() {
    // `=-1` is `=` and `-1`; `@-1` is one operator; a comment ends an operator.
    assert_eq!(template("SELECT a=-1,a@-1,a<=--\n1"), "select a=-\u{1},a@-\u{1},a<= \u{1}");
    assert_eq!(template("SELECT a/* x */+b"), "select a +b");
}

#[test]
fn statements_end_at_their_semicolons() {
    let cases: [(&str, &[&str]); 9] = [
        ("", &[]),
        (" ; /* nothing */ ; -- no\n", &[]),
        ("SELECT 1", &["SELECT 1"]),
        ("SELECT ';' ; SELECT $$;$$ -- ;\n;", &["SELECT ';'", " SELECT $$;$$"]),
        ("/* shardyard: key=1 */ SELECT 1; SELECT 2", &["/* shardyard: key=1 */ SELECT 1", " SELECT 2"]),
        (
            "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3",
            &["CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", " SELECT 3"],
        ),
        (
            "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END; SELECT 3",
            &["CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END", " SELECT 3"],
        ),
        ("BEGIN; SELECT 1; END", &["BEGIN", " SELECT 1", " END"]),
        ("SELECT begin, atomic FROM t; SELECT 1", &["SELECT begin, atomic FROM t", " SELECT 1"]),
    ];
    for (text, expected) in cases {
        assert_eq!(statements(text), expected, "{text}");
    }
}

#[test]
fn what_has_no_tokens_is_an_error() {
    for text in [
        "SELECT 'a",
        "SELECT \"a",
        "SELECT /* /* */",
        "SELECT $a$ $b$",
        "SELECT 1a",
        "SELECT $1a",
        "SELECT \"\"",
        "SELECT $",
        "SELECT \\",
        "SELECT \u{1}",
    ] {
        assert!(Scan::new().scan(text.as_bytes(), true).is_err(), "{text}");
    }
}

/// A statement as pieces, the literals apart: (text around, literals of one kind each).
fn shape() -> impl Strategy<Value = Vec<(String, u8)>> {
    let piece =
        prop::sample::select(vec![" a ", ",", " = ", "\"Q\".b ", "(", ") ", "::int ", "/* c */", " AND ", "-", "@", ".", "$1 ", ";"]);
    prop::collection::vec((prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat()), 0..3_u8), 1..12)
}

fn literal(kind: u8, choice: usize) -> &'static str {
    const ALL: [[&str; 4]; 3] = [["1", "0x1F", "42", "1_000"], ["1.5", ".5", "1e3", "2."], ["'a'", "'it''s'", "E'\\''", "$x$;'$x$"]];
    ALL[usize::from(kind)][choice % 4]
}

/// The template of a text that begins with SELECT, token by token; `None` where it has none or keeps its text.
fn plain_template(text: &[u8]) -> Option<Vec<u8>> {
    let mut lexer = Lexer::new(text, true);
    let (mut template, mut end, mut depth) = (Vec::new(), 0, 0_u32);
    while let Some(token) = lexer.next_token().ok()? {
        let (start, bytes) = (token.start as usize, &text[token.start as usize..token.end as usize]);
        match token.kind {
            TokenKind::Mark(b';') if depth == 0 => return None,
            TokenKind::Mark(b'(') => depth += 1,
            TokenKind::Mark(b')') => depth = depth.saturating_sub(1),
            TokenKind::UnicodeQuoted => return None,
            _ if bytes.to_ascii_lowercase().windows(10).any(|part| part == b"set_config") => return None,
            _ => {}
        }
        if start > end && end > 0 && token.kind != TokenKind::Mark(b';') {
            template.push(b' ');
        }
        match token.kind {
            TokenKind::Word => template.extend(bytes.to_ascii_lowercase()),
            TokenKind::Literal(kind) => template.push(marker(kind)),
            _ => template.extend(bytes),
        }
        end = token.end as usize;
    }
    Some(template)
}

proptest! {
    #[test]
    fn what_is_stepped_over_is_in_the_template(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..24)) {
        let text = format!("SELECT {}", pieces.concat());
        let mut scan = Scan::new();
        match plain_template(text.as_bytes()) {
            Some(plain) => {
                prop_assert!(scan.scan(text.as_bytes(), true).is_ok());
                prop_assert_eq!(String::from_utf8_lossy(scan.template()), String::from_utf8_lossy(&plain));
                let mut lexer = Lexer::new(text.as_bytes(), true);
                let mut literals = Vec::new();
                while let Ok(Some(token)) = lexer.next_token() {
                    if let TokenKind::Literal(kind) = token.kind {
                        literals.push(Literal { start: token.start, end: token.end, kind });
                    }
                }
                prop_assert_eq!(scan.literals(), literals);
            }
            None => drop(scan.scan(text.as_bytes(), true)),
        }
    }

    /// Literals of the same kinds give the same template, whatever they are.
    #[test]
    fn literals_do_not_show(shape in shape(), one in prop::collection::vec(0..4_usize, 12), other in prop::collection::vec(0..4_usize, 12)) {
        let text = |choices: &[usize]| {
            let mut text = String::from("SELECT ");
            for ((around, kind), choice) in shape.iter().zip(choices) {
                text.push_str(around);
                text.push(' ');
                text.push_str(literal(*kind, *choice));
                text.push(' ');
            }
            text
        };
        let (one, other) = (text(&one), text(&other));
        let (mut first, mut second) = (Scan::new(), Scan::new());
        let same = first.scan(one.as_bytes(), true) == second.scan(other.as_bytes(), true);
        prop_assert!(same);
        prop_assert_eq!(first.statements().len(), second.statements().len());
        if first.statements().len() <= 1 {
            prop_assert_eq!(first.template(), second.template());
        }
    }

    #[test]
    fn any_bytes_are_scanned_or_refused(text in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"'\"$/*-;eEuU&\\() \n".to_vec())], 0..200), conforming: bool) {
        let mut scan = Scan::new();
        if scan.scan(&text, conforming).is_ok() {
            for literal in scan.literals() {
                prop_assert!(literal.start < literal.end && literal.end as usize <= text.len());
                let _ = literal.value(&text);
            }
            prop_assert!(scan.statements().iter().all(|range| range.start < range.end && range.end <= text.len()));
        }
    }
}
