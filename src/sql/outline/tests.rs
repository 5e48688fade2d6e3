//! Outlines against the parts as they are written.

use crate::sql::cursor::Tokens;
use crate::sql::outline::{Outline, Span};

fn parts(text: &str) -> Option<String> {
    let tokens = Tokens::new(text.as_bytes(), true).expect("tokens");
    let outline = Outline::of(tokens.cursor())?;
    let shown = |span: &Span| String::from_utf8_lossy(tokens.source(span).unwrap_or_default()).into_owned();
    let list = |spans: &[Span]| spans.iter().map(shown).collect::<Vec<_>>().join(" | ");
    let clause = |span: &Option<Span>| span.as_ref().map_or_else(String::new, shown);
    Some(format!(
        "{} / {} / {} / {} / {} / {}",
        list(&outline.targets),
        list(&outline.group_by),
        list(&outline.order_by),
        clause(&outline.having),
        clause(&outline.limit_clause),
        clause(&outline.offset_clause),
    ))
}

#[test]
fn parts_are_where_they_stand() {
    let cases = [
        ("select a, b c from t", "a | b c /  /  /  /  / "),
        ("SELECT DISTINCT ON (x, y) f(a, b), c FROM t ORDER BY x, y DESC NULLS LAST;", "f(a, b) | c /  / x | y DESC NULLS LAST /  /  / "),
        ("select a from t offset 1 row fetch next 5 rows only for update", "a /  /  /  / fetch next 5 rows only / offset 1 row"),
        ("select a from t order by a for update skip locked", "a /  / a /  /  / "),
        ("select 1 as from, t.limit from t limit 5 offset 3", "1 as from | t.limit /  /  /  / limit 5 / offset 3"),
        ("select a is distinct from b, c from t offset $1 limit $2", "a is distinct from b | c /  /  /  / limit $2 / offset $1"),
        (
            "select percentile_cont(0.5) within group (order by a) from t group by b, (c, d) having count(*) > 1",
            "percentile_cont(0.5) within group (order by a) / b | (c, d) /  / having count(*) > 1 /  / ",
        ),
        (
            "select extract(year from d), count(*) filter (where a > 1) from t",
            "extract(year from d) | count(*) filter (where a > 1) /  /  /  /  / ",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parts(text).as_deref(), Some(expected), "{text}");
    }
    for unknown in ["select 1 union select 2", "values (1)", "select a into b from t"] {
        assert_eq!(parts(unknown), None, "{unknown}");
    }
}
