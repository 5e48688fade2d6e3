//! Where statements go: the tables in `tests/routing/*.txt`, rewritten by `UPDATE_EXPECT=1`.
//!
//! A case is a statement of one or more lines (`-- $1 = '5'` lines give text parameters, `-- hint key 5` a session's hint), then `> ` lines with
//! the outcome: route and access, then the rows of EXPLAIN (ROUTE) that tell why.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use shardyard::routing::{Access, Hint, HintTarget, ParameterValues, Planner, Values};
use shardyard::sql::template::Scan;
use shardyard::topology::schema::{Column, FunctionFacts, FunctionKinds, Relation, RelationKind, TextRules, Volatility};
use shardyard::topology::{Endpoint, KeyType, Placement, Schema, Shard, ShardId, ShardMap};

#[test]
fn statements_go_where_the_tables_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/routing");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    for file in files {
        let expected = std::fs::read_to_string(&file).expect("a text file");
        let found = rewrite(&expected);
        if found == expected {
            continue;
        }
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&file, found).expect("writable");
        } else {
            wrong.push(difference(&file, &expected, &found));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(file: &Path, expected: &str, found: &str) -> String {
    let lines = expected.lines().zip(found.lines()).enumerate().filter(|(_, (expected, found))| expected != found);
    let mut text = format!("{}:\n", file.display());
    for (number, (expected, found)) in lines.take(20) {
        let _ = writeln!(text, "line {}\n  expected {expected}\n  found    {found}", number + 1);
    }
    text
}

/// The file with every outcome computed anew.
fn rewrite(text: &str) -> String {
    let schema = schema();
    let map = map();
    let mut out = String::new();
    let mut case: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('>') {
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            if !case.is_empty() {
                out.push_str(&outcome(&case, &schema, &map));
                case.clear();
            }
        } else {
            case.push(line);
        }
        out.push_str(line);
        out.push('\n');
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

fn outcome(lines: &[&str], schema: &Schema, map: &ShardMap) -> String {
    let parameters: Vec<Option<&[u8]>> =
        lines.iter().filter_map(|line| line.strip_prefix("-- $")?.split_once(" = ")).map(|(_, value)| parameter(value)).collect();
    let hint = hint(lines);
    let text: String = lines.iter().filter(|line| !line.starts_with("-- ")).map(|line| format!("{line}\n")).collect();
    let mut scan = Scan::new();
    if let Err(error) = scan.scan(text.as_bytes(), true) {
        return format!("> not scanned: {error}\n");
    }
    let search_path = ["public".to_owned()];
    let planner = Planner { schema, search_path: &search_path, temporary: &["scratch".to_owned()] };
    let plan = planner.plan(&text, &scan, &[]);
    let values = Values {
        text: text.as_bytes(),
        literals: scan.literals(),
        parameters: ParameterValues { values: &parameters, formats: &[], types: &[], types_unknown: false },
        other_encoding: false,
    };
    let mut out = String::new();
    let rows = plan.explain(&values, &hint, map);
    let row = |name: &str| rows.iter().find(|(row, _)| row == name).map(|(_, value)| value.clone());
    let access = if plan.access(&hint) == Access::Read { "read" } else { "write" };
    let route = row("route").expect("a route");
    let shard = if route == "one" { format!(" {}", row("shards").expect("a shard")) } else { String::new() };
    let _ = writeln!(out, "> {route}{shard} {access}{}", if plan.unknown_relations() { " unknown" } else { "" });
    for (name, value) in
        rows.iter().filter(|(name, _)| matches!(name.as_str(), "key" | "merge" | "gathers" | "first" | "sqlstate" | "reason" | "detail"))
    {
        let _ = writeln!(out, "> {name}: {value}");
    }
    out
}

fn parameter(value: &str) -> Option<&[u8]> {
    (value != "NULL").then(|| value.trim_matches('\'').as_bytes())
}

fn hint(lines: &[&str]) -> Hint {
    let target = lines.iter().find_map(|line| match line.strip_prefix("-- hint ")?.split_once(' ')? {
        ("key", key) => Some(HintTarget::Key(key.to_owned())),
        ("shard", shard) => Some(HintTarget::Shard(shard.parse().expect("a number"))),
        other => panic!("{other:?}"),
    });
    Hint { target, access: None }
}

fn map() -> ShardMap {
    let shard = |id: u16| Shard {
        id: ShardId(id),
        ordinal: id,
        name: format!("s{id}"),
        primary: Endpoint { host: "127.0.0.1".to_owned(), port: 5432 + id, database: "app".to_owned() },
        replicas: Vec::new(),
    };
    ShardMap::initial((0..4).map(shard).collect(), 55_440).expect("a shard")
}

const INT8: u32 = 20;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const BPCHAR: u32 = 1042;
const NUMERIC: u32 = 1700;
const TIMESTAMPTZ: u32 = 1184;
const UUID: u32 = 2950;

fn schema() -> Schema {
    let by = |column: &str, key_type| Placement::Sharded { key_column: column.to_owned(), key_type };
    let user = || by("user_id", KeyType::BigInt);
    let relations = vec![
        table("users", user(), &[("user_id", INT8), ("name", TEXT), ("currency", TEXT)]),
        table("orders", user(), &[("id", INT8), ("user_id", INT8), ("total", NUMERIC), ("parent", INT8), ("created", TIMESTAMPTZ)]),
        table("payments", user(), &[("id", INT8), ("order_id", INT8), ("user_id", INT4), ("amount", NUMERIC)]),
        table("tenants", by("code", KeyType::Text), &[("code", TEXT), ("title", TEXT)]),
        table("boxes", by("label", KeyType::Char), &[("label", BPCHAR), ("size", INT4)]),
        table("devices", by("device", KeyType::Uuid), &[("device", UUID), ("seen", TIMESTAMPTZ)]),
        table("currencies", Placement::Reference, &[("code", TEXT), ("rate", NUMERIC)]),
        table("countries", Placement::Reference, &[("id", INT8), ("code", TEXT), ("made", TIMESTAMPTZ)]),
        table("settings", Placement::Single, &[("name", TEXT), ("value", TEXT)]),
        view(
            "order_totals",
            user(),
            &[("user_id", INT8), ("sum", NUMERIC)],
            "SELECT o.user_id, sum(o.total) AS sum FROM public.orders o GROUP BY o.user_id;",
        ),
        view(
            "user_five",
            user(),
            &[("user_id", INT8), ("name", TEXT)],
            "SELECT users.user_id, users.name FROM public.users WHERE users.user_id = 5;",
        ),
        view("rates", Placement::Reference, &[("code", TEXT)], "SELECT currencies.code FROM public.currencies;"),
    ];
    let mut functions = HashMap::new();
    let mut function = |names: &[&str], volatility, names_sharded_table| {
        for name in names {
            functions.insert((*name).to_owned(), FunctionFacts { volatility, names_sharded_table, leaves_session_state: false });
        }
    };
    function(
        &[
            "lower",
            "upper",
            "count",
            "sum",
            "max",
            "min",
            "avg",
            "bool_and",
            "coalesce",
            "length",
            "abs",
            "row_number",
            "array_agg",
            "int8",
        ],
        Volatility::Immutable,
        false,
    );
    function(&["now", "current_setting", "generate_series", "unnest", "to_char", "version"], Volatility::Stable, false);
    function(&["random", "nextval", "clock_timestamp", "pg_advisory_lock", "set_config", "query_to_xml"], Volatility::Volatile, false);
    function(&["user_total"], Volatility::Stable, true);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let aggregates = names(&["count", "sum", "max", "min", "avg", "bool_and", "array_agg", "row_number"]);
    let kinds = FunctionKinds { aggregates, set_returning: names(&["unnest", "generate_series"]) };
    Schema::new(1, relations, functions).with_rules(kinds, TextRules { by_bytes: true, deterministic: true })
}

fn table(name: &str, placement: Placement, columns: &[(&str, u32)]) -> Relation {
    let columns = columns.iter().map(|(name, type_oid)| Column {
        name: (*name).to_owned(),
        type_oid: *type_oid,
        not_null: *name == "user_id",
        volatile_default: matches!(*name, "id" | "made"),
        moment_default: *name == "made",
        generated: false,
        unique: false,
    });
    Relation {
        schema: "public".to_owned(),
        name: name.to_owned(),
        kind: RelationKind::Table,
        placement,
        columns: columns.collect(),
        view_query: None,
        row_security: false,
        triggers_leave_state: false,
    }
}

fn view(name: &str, placement: Placement, columns: &[(&str, u32)], query: &str) -> Relation {
    Relation { kind: RelationKind::View, view_query: Some(query.to_owned()), ..table(name, placement, columns) }
}

/// Texts of great depth or length end in a plan or in 54001, on a thread of 2 MiB as the tests' are.
#[test]
fn depth_and_length_are_bounded() {
    let wrap = |open: &str, inner: &str, close: &str, count: usize| format!("{}{inner}{}", open.repeat(count), close.repeat(count));
    let schema = schema();
    let map = map();
    for count in [10, 119, 20_000] {
        let texts = [
            format!("SELECT * FROM orders WHERE user_id = {}", wrap("(", "42", ")", count)),
            format!("SELECT * FROM orders WHERE {}", wrap("NOT ", "true", "", count)),
            format!("SELECT * FROM orders WHERE user_id = 42 AND {}", wrap("- ", "1", " = 1", count)),
            format!("SELECT {} FROM orders", wrap("f(", "1", ")", count)),
            format!("SELECT {} FROM orders", wrap("ARRAY[", "1", "]", count)),
            format!("SELECT {} FROM orders", wrap("CASE WHEN ", "true", " THEN 1 END", count)),
            wrap("SELECT * FROM (", "SELECT * FROM orders", ") x", count),
            wrap("(", "SELECT * FROM orders", ")", count),
            wrap("SELECT (", "SELECT user_id FROM orders", ")", count),
            wrap("WITH x AS (", "SELECT * FROM orders", ") SELECT * FROM x", count),
            format!("SELECT * FROM {}orders", "orders NATURAL JOIN ".repeat(count)),
            format!("SELECT * FROM {}", wrap("(orders CROSS JOIN ", "orders", ")", count)),
            format!("SELECT * FROM orders WHERE {}true", "user_id = 42 AND ".repeat(count)),
            format!("SELECT * FROM orders WHERE {}true", "user_id = 42 OR ".repeat(count)),
            format!("SELECT {}1 FROM orders", "1 + ".repeat(count)),
            format!("SELECT 1{} FROM orders", "::int".repeat(count)),
            format!("SELECT 1{} FROM orders", "[1]".repeat(count)),
            format!("{}SELECT 1 FROM orders", "SELECT 1 FROM orders UNION ".repeat(count)),
            format!("WITH {}z AS (SELECT 1) SELECT * FROM orders", (0..count).map(|n| format!("x{n} AS (SELECT 1), ")).collect::<String>()),
            format!(
                "WITH x0 AS (SELECT * FROM orders), {}z AS (SELECT 1) SELECT * FROM x{}",
                (1..=count).map(|n| format!("x{n} AS (SELECT * FROM x{}), ", n - 1)).collect::<String>(),
                count
            ),
            format!("INSERT INTO orders (user_id) VALUES {}(42)", "(42), ".repeat(count)),
            format!("SELECT * FROM orders WHERE user_id IN ({}42)", "42, ".repeat(count)),
        ];
        for text in texts {
            let mut scan = Scan::new();
            scan.scan(text.as_bytes(), true).expect("tokens");
            let search_path = ["public".to_owned()];
            let plan = Planner { schema: &schema, search_path: &search_path, temporary: &[] }.plan(&text, &scan, &[]);
            let values = Values { text: text.as_bytes(), literals: scan.literals(), ..Values::default() };
            let _ = plan.route(&values, &Hint::default(), &map);
        }
    }
}
