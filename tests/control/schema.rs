//! What the proxy learns of tables, views and functions.

use anyhow::{Context, Result, ensure};
use shardyard::catalog::{TableRule, TableRuleKind, TableRules, schema};
use shardyard::topology::schema::{RelationKind, Volatility};
use shardyard::topology::{KeyType, Placement, Schema};

use crate::fixture::{Fixture, block_on};

const TABLES: &str = "
create schema other;
create table users (user_id bigint primary key, name text, at timestamptz default now(), note text default 'now()');
create table by_small (user_id smallint); create table by_int (user_id int); create table by_text (user_id text);
create table by_varchar (user_id varchar(10)); create table by_char (user_id char(8)); create table by_uuid (user_id uuid);
create table by_date (user_id date);
create collation vague (provider = icu, locale = 'und', deterministic = false);
create table by_vague (user_id text collate vague);
create domain positive as bigint check (value > 0);
create table by_domain (user_id positive);
create table currencies (code text primary key, id int generated always as identity);
create table logs (id serial, user_id bigint); create unique index on logs (user_id) where id > 0;
create unique index on logs (id, user_id); create unique index on logs (user_id, (id + 1));
create table plain (id int);
create table tenants (id uuid default gen_random_uuid(), t text);
create table other.\"Odd Name\" (\"User\" int, user_id bigint);
create table parted (user_id bigint, at date) partition by range (at);
create table parted_1 partition of parted for values from ('2020-01-01') to ('2021-01-01') partition by list (user_id);
create table parted_1_1 partition of parted_1 for values in (1);
create table child (extra int) inherits (users);
create view v_users as select u.user_id, c.code from currencies c, users u;
create view v_reference as select code from currencies;
create view v_mixed as select code from currencies, plain;
create view v_nothing as select 1 as one;
create view v_of_view as select * from v_users;
create materialized view m_plain as select * from plain;
create temporary table hidden (user_id bigint);
create function touches() returns bigint language sql as 'select count(*) from users';
create function touches_too() returns bigint language plpgsql as 'begin return touches(); end';
create function touches_body() returns bigint language sql begin atomic select count(*) from users; end;
create function harmless(int) returns int immutable language sql as 'select $1 + 1';
create function harmless(text) returns text stable language sql as 'select $1';
";

pub(crate) fn learned(fixture: &Fixture) -> Result<()> {
    block_on(async {
        let client = fixture.client("learned").await?;
        client.batch_execute(TABLES).await?;
        let rule = |name: &str, kind| TableRule { schema: "public".to_owned(), name: name.to_owned(), kind, local_unique: false };
        let rules = TableRules {
            key_column: "user_id".to_owned(),
            rules: vec![
                rule("currencies", TableRuleKind::Reference),
                rule("logs", TableRuleKind::Single),
                rule("tenants", TableRuleKind::Sharded { key_column: "id".to_owned() }),
            ],
        };
        // Whatever the connection's settings are.
        client.batch_execute("set search_path = other").await?;
        let schema = schema::load(&client, &rules, 7).await?;
        ensure!(schema.version == 7);
        placements(&schema)?;
        columns(&schema)?;
        functions(&schema)
    })
}

fn placements(schema: &Schema) -> Result<()> {
    let sharded = |key_type| Placement::Sharded { key_column: "user_id".to_owned(), key_type };
    let big = sharded(KeyType::BigInt);
    let expected = [
        ("public", "users", big.clone()),
        ("public", "by_small", sharded(KeyType::SmallInt)),
        ("public", "by_int", sharded(KeyType::Integer)),
        ("public", "by_text", sharded(KeyType::Text)),
        ("public", "by_varchar", sharded(KeyType::Varchar)),
        ("public", "by_char", sharded(KeyType::Char)),
        ("public", "by_uuid", sharded(KeyType::Uuid)),
        ("public", "by_domain", big.clone()),
        ("public", "by_date", Placement::Single),
        ("public", "by_vague", Placement::Single),
        ("public", "currencies", Placement::Reference),
        ("public", "logs", Placement::Single),
        ("public", "plain", Placement::Single),
        ("public", "tenants", Placement::Sharded { key_column: "id".to_owned(), key_type: KeyType::Uuid }),
        ("other", "Odd Name", big.clone()),
        ("public", "parted", big.clone()),
        ("public", "parted_1", big.clone()),
        ("public", "parted_1_1", big.clone()),
        ("public", "child", big.clone()),
        ("public", "v_users", big.clone()),
        ("public", "v_of_view", big),
        ("public", "v_reference", Placement::Reference),
        ("public", "v_mixed", Placement::Single),
        ("public", "v_nothing", Placement::Single),
        ("public", "m_plain", Placement::Single),
        ("public", "logs_id_seq", Placement::Single),
    ];
    for (name_space, name, placement) in expected {
        let relation = schema.relation(Some(name_space), name, &[]).with_context(|| name.to_owned())?;
        ensure!(relation.placement == placement, "{name}: {:?}", relation.placement);
    }
    for absent in ["hidden", "pg_class", "commit_decision", "users_pkey"] {
        ensure!(schema.relations().all(|relation| relation.name != absent), "{absent} is none of the application's");
    }
    let view = schema.relation(Some("public"), "v_users", &[]).context("v_users")?;
    ensure!(
        view.kind == RelationKind::View
            && view.view_query.as_deref().is_some_and(|query| query.contains("JOIN") || query.contains("users u"))
    );
    Ok(())
}

fn columns(schema: &Schema) -> Result<()> {
    let described = |table: &str| -> Result<Vec<String>> {
        let relation = schema.relation(None, table, &["other".to_owned(), "public".to_owned()]).context("a table")?;
        let flag = |set: bool, text: &'static str| if set { text } else { "" };
        let columns = relation.columns.iter().map(|column| {
            format!(
                "{} {}{}{}{}",
                column.name,
                column.type_oid,
                flag(column.not_null, " not null"),
                flag(column.unique, " unique"),
                flag(column.volatile_default, " volatile")
            )
        });
        Ok(columns.collect())
    };
    ensure!(described("users")? == ["user_id 20 not null unique", "name 25", "at 1184 volatile", "note 25"], "{:?}", described("users"));
    ensure!(described("currencies")? == ["code 25 not null unique", "id 23 not null volatile"], "{:?}", described("currencies"));
    ensure!(described("logs")? == ["id 23 not null volatile", "user_id 20"], "{:?}", described("logs"));
    ensure!(described("tenants")? == ["id 2950 volatile", "t 25"], "{:?}", described("tenants"));
    Ok(())
}

fn functions(schema: &Schema) -> Result<()> {
    for (name, volatility, names_sharded_table) in [
        ("now", Volatility::Stable, false),
        ("random", Volatility::Volatile, false),
        ("lower", Volatility::Immutable, false),
        ("harmless", Volatility::Stable, false),
        ("touches", Volatility::Volatile, true),
        ("touches_too", Volatility::Volatile, true),
        ("touches_body", Volatility::Volatile, true),
    ] {
        let facts = schema.function(name).with_context(|| name.to_owned())?;
        ensure!(facts.volatility == volatility, "{name}: {facts:?}");
        ensure!(facts.names_sharded_table == names_sharded_table, "{name}: {facts:?}");
    }
    ensure!(schema.function("no_such_function").is_none());
    Ok(())
}
