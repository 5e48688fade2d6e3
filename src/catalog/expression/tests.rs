//! Defaults as `pg_get_expr` prints them.

use std::collections::HashMap;

use crate::catalog::expression::may_vary;
use crate::topology::schema::{FunctionFacts, Volatility};

fn check(expression: &str, varies: bool) {
    let facts = |volatility| FunctionFacts { volatility, names_sharded_table: false, leaves_session_state: false };
    let functions = HashMap::from([
        ("lower".to_owned(), facts(Volatility::Immutable)),
        ("now".to_owned(), facts(Volatility::Stable)),
        ("nextval".to_owned(), facts(Volatility::Volatile)),
        ("numeric".to_owned(), facts(Volatility::Stable)),
        ("Odd \"name".to_owned(), facts(Volatility::Immutable)),
    ]);
    assert_eq!(may_vary(expression, &functions), varies, "{expression}");
}

#[test]
fn defaults() {
    check("0", false);
    check("'now()'::text", false);
    check("lower('A'::text)", false);
    check("(1 + (2 * 3))", false);
    check("0::numeric(10,2)", false);
    check("ARRAY[1, 2]", false);
    check("CASE WHEN (1 = 1) THEN 'a'::text ELSE 'b'::text END", false);
    check("\"Odd \"\"name\"(1)", false);
    check("'it''s'::character varying(10)", false);
    check("nextval('t_id_seq'::regclass)", true);
    check("now()", true);
    check("(now() + '1 day'::interval)", true);
    check("CURRENT_TIMESTAMP", true);
    check("CURRENT_TIMESTAMP(3)", true);
    check("lower((CURRENT_USER)::text)", true);
    check("('now'::text)::date", true);
    check("app.of_unknown_function()", true);
}
