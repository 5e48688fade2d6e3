//! Random statements over a small schema, with random literals: valid more often than not.

use std::collections::HashMap;

use shardyard::topology::schema::{Column, FunctionFacts, RelationKind, Volatility};
use shardyard::topology::{Endpoint, KeyType, Placement, Relation, Schema, Shard, ShardId, ShardMap};

use crate::random::Random;

/// Sharded by bigint, text and uuid; reference; single.
pub(crate) fn schema() -> Schema {
    let sharded = |key_type| Placement::Sharded { key_column: "user_id".to_owned(), key_type };
    let relations = vec![
        relation("orders", sharded(KeyType::BigInt), 20),
        relation("items", sharded(KeyType::BigInt), 20),
        relation("notes", sharded(KeyType::Text), 25),
        relation("devices", sharded(KeyType::Uuid), 2950),
        relation("codes", sharded(KeyType::Char), 1042),
        relation("currencies", Placement::Reference, 20),
        relation("audit", Placement::Single, 20),
    ];
    let function = |volatility| FunctionFacts { volatility, names_sharded_table: false, leaves_session_state: false };
    let functions = [
        ("lower", Volatility::Immutable),
        ("abs", Volatility::Immutable),
        ("now", Volatility::Stable),
        ("random", Volatility::Volatile),
        ("nextval", Volatility::Volatile),
        ("count", Volatility::Immutable),
        ("coalesce", Volatility::Immutable),
    ];
    let functions: HashMap<_, _> = functions.into_iter().map(|(name, volatility)| (name.to_owned(), function(volatility))).collect();
    Schema::new(1, relations, functions)
}

fn relation(name: &str, placement: Placement, key_oid: u32) -> Relation {
    let column = |name: &str, type_oid| Column {
        name: name.to_owned(),
        type_oid,
        not_null: false,
        volatile_default: false,
        moment_default: false,
        generated: false,
        unique: name == "user_id",
    };
    Relation {
        schema: "public".to_owned(),
        name: name.to_owned(),
        kind: RelationKind::Table,
        placement,
        columns: vec![column("user_id", key_oid), column("id", 20), column("note", 25), column("amount", 1700)],
        view_query: None,
        row_security: false,
        triggers_leave_state: false,
    }
}

/// Four shards.
pub(crate) fn map() -> ShardMap {
    let shard = |id: u16| Shard {
        id: ShardId(id),
        ordinal: id,
        name: format!("shard-{id}"),
        primary: Endpoint { host: "127.0.0.1".to_owned(), port: 5432 + id, database: "app".to_owned() },
        replicas: Vec::new(),
    };
    ShardMap::initial((0..4).map(shard).collect(), 55_440).expect("there are shards")
}

/// One statement.
pub(crate) fn statement(random: &mut Random) -> String {
    let mut text = String::new();
    if random.one_in(20) {
        text.push_str(random.pick(&[
            "/* shardyard: key=42 */ ",
            "/* shardyard: shard=2 */",
            "-- note\n",
            "/* a /* b */ c */",
            "/* shardyard: primary */ ",
        ]));
    }
    match random.below(12) {
        0..6 => select(&mut text, random, 2),
        6 | 7 => insert(&mut text, random),
        8 | 9 => update(&mut text, random),
        10 => delete(&mut text, random),
        _ => text.push_str(&other(random)),
    }
    if random.one_in(8) {
        text.push(';');
    }
    respell(&text, random)
}

/// The same words in another spelling now and then: case, blanks, comments.
fn respell(text: &str, random: &mut Random) -> String {
    if random.one_in(3) {
        return text.to_owned();
    }
    let mut out = String::new();
    for character in text.chars() {
        match character {
            ' ' if random.one_in(10) => out.push_str(random.pick(&["  ", "\n", " /* x */ ", "\t", " -- y\n"])),
            other => out.push(other),
        }
    }
    out
}

fn select(text: &mut String, random: &mut Random, depth: usize) {
    if depth > 0 && random.one_in(8) {
        text.push_str("WITH c AS (");
        select(text, random, depth - 1);
        text.push_str(") ");
    }
    text.push_str("SELECT ");
    if random.one_in(10) {
        text.push_str("DISTINCT ");
    }
    list(text, random, 3, |text, random| expression(text, random, depth));
    if random.one_in(12) {
        return;
    }
    text.push_str(" FROM ");
    from(text, random, depth);
    if !random.one_in(6) {
        text.push_str(" WHERE ");
        condition(text, random, depth);
    }
    if random.one_in(6) {
        text.push_str(" GROUP BY 1");
    }
    if random.one_in(5) {
        text.push_str(" ORDER BY id DESC NULLS LAST");
    }
    if random.one_in(5) {
        text.push_str(&format!(" LIMIT {}", random.pick(&["1", "10", "ALL", "$2"])));
    }
    if random.one_in(12) {
        text.push_str(random.pick(&[" FOR UPDATE", " FOR NO KEY UPDATE", " FOR SHARE SKIP LOCKED"]));
    }
    if depth > 0 && random.one_in(10) {
        text.push_str(random.pick(&[" UNION ", " UNION ALL ", " EXCEPT ", " INTERSECT "]));
        select(text, random, depth - 1);
    }
}

fn from(text: &mut String, random: &mut Random, depth: usize) {
    source(text, random, depth, "");
    for number in 0..random.below(3) {
        let alias = format!("j{number}");
        let join = random.pick(&[" JOIN ", " LEFT JOIN ", " FULL JOIN ", " CROSS JOIN ", ", ", " NATURAL JOIN ", " RIGHT JOIN LATERAL "]);
        text.push_str(join);
        source(text, random, depth, &alias);
        if join.contains("JOIN") && !join.contains("CROSS") && !join.contains("NATURAL") {
            match random.below(3) {
                0 => text.push_str(" USING (user_id)"),
                1 => text.push_str(&format!(" ON {alias}.user_id = orders.user_id")),
                _ => {
                    text.push_str(" ON ");
                    condition(text, random, depth.saturating_sub(1));
                }
            }
        }
    }
}

fn source(text: &mut String, random: &mut Random, depth: usize, alias: &str) {
    if depth > 0 && random.one_in(6) {
        text.push('(');
        select(text, random, depth - 1);
        text.push(')');
        text.push_str(if alias.is_empty() { " AS s" } else { "" });
    } else {
        text.push_str(table(random));
    }
    if !alias.is_empty() {
        text.push_str(&format!(" AS {alias}"));
    }
}

fn table(random: &mut Random) -> &'static str {
    random.pick(&[
        "orders",
        "orders",
        "items",
        "notes",
        "devices",
        "codes",
        "currencies",
        "audit",
        "public.orders",
        "\"orders\"",
        "Orders",
        "c",
        "unknown",
        "pg_class",
    ])
}

fn condition(text: &mut String, random: &mut Random, depth: usize) {
    match random.below(14) {
        0..6 => key_condition(text, random),
        6 => {
            key_condition(text, random);
            text.push_str(" AND ");
            condition(text, random, depth);
        }
        7 => {
            text.push('(');
            condition(text, random, depth.saturating_sub(1));
            text.push_str(random.pick(&[" OR ", " AND "]));
            condition(text, random, depth.saturating_sub(1));
            text.push(')');
        }
        8 => {
            text.push_str("NOT (");
            condition(text, random, depth.saturating_sub(1));
            text.push(')');
        }
        9 if depth > 0 => {
            text.push_str("EXISTS (");
            select(text, random, depth - 1);
            text.push(')');
        }
        10 if depth > 0 => {
            text.push_str("user_id IN (");
            select(text, random, depth - 1);
            text.push(')');
        }
        _ => {
            expression(text, random, depth.saturating_sub(1));
            text.push_str(random.pick(&[" = ", " <> ", " > ", " LIKE ", " IS NOT DISTINCT FROM ", " IS NULL OR 1 = "]));
            expression(text, random, depth.saturating_sub(1));
        }
    }
}

fn key_condition(text: &mut String, random: &mut Random) {
    let column = random.pick(&["user_id", "user_id", "orders.user_id", "\"user_id\"", "j0.user_id", "USER_ID", "items.user_id"]);
    match random.below(10) {
        0..5 => text.push_str(&format!("{column} = {}", value(random))),
        5 => text.push_str(&format!("{} = {column}", value(random))),
        6 => text.push_str(&format!("{column} IN ({}, {})", value(random), value(random))),
        7 => text.push_str(&format!("{column} = ANY(ARRAY[{}])", value(random))),
        8 => text.push_str(&format!("({column}, id) = ({}, {})", value(random), literal(random))),
        _ => text.push_str(&format!("{column} IS NOT DISTINCT FROM {}", value(random))),
    }
}

fn expression(text: &mut String, random: &mut Random, depth: usize) {
    match random.below(12) {
        0..4 => text.push_str(random.pick(&["user_id", "id", "note", "amount", "orders.id", "*"])),
        4..7 => text.push_str(&value(random)),
        7 => text.push_str(&format!("{}({})", random.pick(&["lower", "abs", "count", "coalesce", "random", "nextval"]), value(random))),
        8 if depth > 0 => {
            text.push('(');
            select(text, random, depth - 1);
            text.push(')');
        }
        9 => text.push_str(&format!("CASE WHEN user_id = {} THEN {} ELSE {} END", value(random), literal(random), literal(random))),
        10 => text.push_str(&format!("amount + {}", value(random))),
        _ => text.push_str(&format!("{}::{}", literal(random), random.pick(&["bigint", "text", "uuid", "numeric", "integer", "char(4)"]))),
    }
}

fn insert(text: &mut String, random: &mut Random) {
    text.push_str(&format!("INSERT INTO {} ", table(random)));
    if !random.one_in(4) {
        text.push_str(random.pick(&["(user_id, id, note)", "(id, user_id, note)", "(note)", "(\"user_id\", id, note)"]));
    }
    if random.one_in(8) {
        text.push(' ');
        select(text, random, 1);
    } else {
        text.push_str(" VALUES ");
        list(text, random, 2, |text, random| text.push_str(&format!("({}, {}, {})", value(random), value(random), value(random))));
    }
    if random.one_in(5) {
        text.push_str(random.pick(&[
            " ON CONFLICT DO NOTHING",
            " ON CONFLICT (user_id) DO UPDATE SET note = excluded.note",
            " ON CONFLICT (user_id) WHERE id > 1 DO NOTHING",
        ]));
    }
    if random.one_in(5) {
        text.push_str(" RETURNING *");
    }
}

fn update(text: &mut String, random: &mut Random) {
    text.push_str(&format!("UPDATE {} SET {} = ", table(random), random.pick(&["note", "amount", "user_id"])));
    expression(text, random, 1);
    if random.one_in(6) {
        text.push_str(&format!(" FROM {} AS j0", table(random)));
    }
    if !random.one_in(8) {
        text.push_str(" WHERE ");
        condition(text, random, 1);
    }
}

fn delete(text: &mut String, random: &mut Random) {
    text.push_str(&format!("DELETE FROM {}", table(random)));
    if !random.one_in(8) {
        text.push_str(" WHERE ");
        condition(text, random, 1);
    }
}

fn other(random: &mut Random) -> String {
    let literal = literal(random);
    match random.below(10) {
        0 => format!("SET shardyard.key = {literal}"),
        1 => format!("EXPLAIN (ROUTE) SELECT * FROM orders WHERE user_id = {literal}"),
        2 => format!("PREPARE p (bigint) AS SELECT * FROM orders WHERE user_id = {literal}"),
        3 => format!("EXECUTE p ({literal})"),
        4 => format!("SELECT set_config('shardyard.key', {literal}, false)"),
        5 => format!("DECLARE d CURSOR FOR SELECT * FROM orders WHERE user_id = {literal}"),
        6 => format!("MERGE INTO orders o USING items i ON o.user_id = i.user_id AND o.user_id = {literal} WHEN MATCHED THEN DELETE"),
        7 => format!("VALUES ({literal}, {literal})"),
        8 => "COPY orders (user_id, id) FROM STDIN".to_owned(),
        _ => format!("CREATE TABLE made (user_id bigint DEFAULT {literal}, note text)"),
    }
}

fn list(text: &mut String, random: &mut Random, most: usize, mut item: impl FnMut(&mut String, &mut Random)) {
    for number in 0..=random.below(most) {
        if number > 0 {
            text.push_str(", ");
        }
        item(text, random);
    }
}

/// A literal, a parameter, or a literal with something around it.
fn value(random: &mut Random) -> String {
    match random.below(12) {
        0 | 1 => format!("${}", 1 + random.below(3)),
        2 => format!("{}::{}", literal(random), random.pick(&["bigint", "text", "uuid", "integer"])),
        3 => format!("- {}", number(random)),
        4 => format!("CAST({} AS {})", literal(random), random.pick(&["bigint", "text", "numeric"])),
        _ => literal(random),
    }
}

/// Any kind of literal, spelt in the ways that a tokenizer could mistake.
pub(crate) fn literal(random: &mut Random) -> String {
    match random.below(16) {
        0..6 => number(random),
        6..9 => format!("'{}'", content(random).replace('\'', "''")),
        9 => format!("E'{}'", content(random).replace('\\', "\\\\").replace('\'', random.pick(&["''", "\\'"]))),
        10 => format!("$t${}$t$", content(random)),
        11 => format!("U&'{}'", content(random).replace(['\\', '\''], "")),
        12 => random.pick(&["B'101'", "X'1F'", "N'n'", "NULL", "true", "'1'\n'2'"]).to_owned(),
        13 => format!("'{}'", number(random)),
        14 => "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'".to_owned(),
        _ => format!("'{}'", random.below(100)),
    }
}

fn number(random: &mut Random) -> String {
    match random.below(10) {
        0..5 => random.below(200).to_string(),
        5 => random.next().to_string(),
        6 => format!("{}.{}", random.below(100), random.below(100)),
        7 => format!("-{}", random.below(1000)),
        8 => random
            .pick(&["9223372036854775807", "9223372036854775808", "-9223372036854775808", "0x2A", "1_000", "1e3", ".5", "42.0", "00042"])
            .to_owned(),
        _ => format!("{}e{}", random.below(10), random.below(400)),
    }
}

/// What stands in a string: harmless, or what ends strings and comments elsewhere.
fn content(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(4) {
        text.push_str(random.pick(&[
            "a",
            "42",
            " ",
            "'",
            "\"",
            "--",
            "/*",
            "*/",
            ";",
            "\\",
            "$$",
            "é",
            "\n",
            "x = 1",
            " AND user_id = 7",
            "shardyard: key=1",
        ]));
    }
    text
}
