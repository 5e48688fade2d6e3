//! Tables judged inside the transaction that makes them.

use anyhow::{Context, Result, ensure};
use shardyard::catalog::{DdlRefusal, Inspection, Judgement, TableRule, TableRuleKind, TableRules, ddl_check, sequences};
use shardyard::sql::command::ObjectName;
use shardyard::topology::Placement;
use shardyard::wire::ClientError;
use tokio_postgres::Client;

use crate::fixture::{Fixture, block_on};

const GROUND: &str = "
create table users (user_id bigint primary key, email text);
create table accounts (id bigint, user_id bigint, primary key (id, user_id));
create table currencies (code text primary key);
create table plain (id bigint primary key);
create table by_text (user_id text primary key);
";

/// A statement, and what is said of the table `t` that it makes: its placement, or a piece of the refusal.
const CASES: &[(&str, &str)] = &[
    ("create table t (user_id bigint primary key)", "sharded by user_id"),
    ("create table t (id bigserial primary key, user_id bigint)", "sharded by user_id, sequences id"),
    ("create table t (id bigint generated always as identity primary key, user_id bigint)", "sharded by user_id, sequences id"),
    ("create table t (id uuid default gen_random_uuid() primary key, user_id bigint)", "sharded by user_id"),
    (
        "create table t (id bigint primary key, user_id bigint)",
        "42P16 unique constraint \"t_pkey\" of table \"t\" does not contain the shard key",
    ),
    ("create table t (id bigint, user_id bigint, unique (user_id, id))", "sharded by user_id"),
    ("create table t (id bigint, user_id bigint, unique (id) include (user_id))", "42P16 unique constraint \"t_id_user_id_key\""),
    ("create table t (id bigint, user_id bigint, unique (user_id, id), unique (id))", "42P16 unique constraint \"t_id_key\""),
    ("create table t (id serial primary key, user_id bigint)", "42P16 column \"id\" of table \"t\" is too narrow"),
    ("create table t (id bigserial, n int default nextval('t_id_seq'), user_id bigint)", "42P16 column \"n\" of table \"t\" is too narrow"),
    ("create table t (user_id bigint, r int4range, exclude using gist (r with &&))", "42P16 unique constraint \"t_r_excl\""),
    ("create table t (user_id jsonb)", "42P16 column \"user_id\" of table \"t\" cannot be a shard key"),
    ("create table t (user_id bigint references users)", "sharded by user_id"),
    ("create table t (user_id int references users)", "sharded by user_id"),
    ("create table t (user_id bigint, code text references currencies)", "sharded by user_id"),
    ("create table t (user_id bigint, account bigint, foreign key (account, user_id) references accounts)", "sharded by user_id"),
    (
        "create table t (user_id bigint, account bigint, foreign key (user_id, account) references accounts)",
        "0A000 foreign key \"t_user_id_account_fkey\"",
    ),
    ("create table t (owner bigint references users, user_id bigint)", "0A000 foreign key \"t_owner_fkey\" of table \"t\" spans shards"),
    ("create table t (user_id bigint references plain)", "0A000 foreign key"),
    ("create table t (id bigint references users)", "0A000 foreign key"),
    ("create table t (id bigint references plain, code text references currencies)", "single"),
    ("create table t (id serial)", "single"),
    ("create table t (user_id bigint, at date) partition by range (at)", "sharded by user_id"),
    ("create table p (user_id bigint, at date) partition by range (at); create table t partition of p default", "sharded by user_id"),
    ("create table t (like users including all)", "sharded by user_id"),
    ("create table declared_reference (id serial primary key, user_id bigint)", "reference"),
    ("create table declared_local (email text unique, user_id bigint)", "sharded by user_id"),
    ("create table declared_other (id bigint primary key, user_id bigint)", "sharded by id"),
    ("create table declared_other (ident bigint primary key)", "42P16 column \"id\" of table \"declared_other\""),
    (
        "create sequence s; select nextval('s'), nextval('s'); create table t (user_id bigint, id bigint default nextval('s'))",
        "sharded by user_id, sequences id above 2",
    ),
    ("create temporary table t (user_id bigint, id int unique)", "nothing"),
    ("select 1", "nothing"),
    ("set local standard_conforming_strings = off; create table \"we\\'\"\"ird\" (user_id bigint)", "sharded by user_id"),
];

pub(crate) fn judgements(fixture: &Fixture) -> Result<()> {
    block_on(async {
        let client = fixture.client("judged").await?;
        client.batch_execute(GROUND).await?;
        let rules = rules();
        for (statement, expected) in CASES {
            let name = ["declared_reference", "declared_local", "declared_other"].into_iter().find(|name| statement.contains(name));
            let name = name.unwrap_or(if statement.contains("ird") { "we\\'\"ird" } else { "t" });
            let inspection = inspect(&client, statement, name).await.context(*statement)?;
            let found = inspection.map_or_else(|| "nothing".to_owned(), |inspection| describe(inspection.judge(&rules, None)));
            ensure!(found.starts_with(expected), "{statement}: {found}, expected {expected}");
        }
        changes(&client, &rules).await
    })
}

/// ALTER TABLE: a table keeps its placement.
async fn changes(client: &Client, rules: &TableRules) -> Result<()> {
    let judge = async |statement: &str, name: &str, before: Placement| -> Result<String> {
        let inspection = inspect(client, statement, name).await?.context("a table")?;
        Ok(describe(inspection.judge(rules, Some(&before))))
    };
    let users = Placement::Sharded { key_column: "user_id".to_owned(), key_type: shardyard::topology::KeyType::BigInt };
    let found = judge("alter table users add column x int", "users", users.clone()).await?;
    ensure!(found == "sharded by user_id", "{found}");
    let found = judge("alter table users rename user_id to id", "users", users.clone()).await?;
    ensure!(found.starts_with("0A000 table \"users\" cannot become"), "{found}");
    let found = judge("alter table plain add column user_id bigint", "plain", Placement::Single).await?;
    ensure!(found.starts_with("0A000 table \"plain\" cannot become sharded by"), "{found}");
    let found = judge("alter table users add column x bigserial", "users", users.clone()).await?;
    ensure!(found.starts_with("0A000 sequence of column \"x\""), "{found}");
    let found = judge("create unique index on users (email)", "users", users).await?;
    ensure!(found.starts_with("42P16 unique constraint \"users_email_idx\""), "{found}");
    Ok(())
}

/// Three shards with one table: no number comes twice, not even after TRUNCATE … RESTART IDENTITY.
pub(crate) fn sequences_stay_apart(fixture: &Fixture) -> Result<()> {
    block_on(async {
        let client = fixture.client("apart").await?;
        let mut seen = std::collections::HashSet::new();
        for ordinal in [0_u16, 1, 1023] {
            client.batch_execute(&format!("create schema s{ordinal}; set search_path = s{ordinal}")).await?;
            client.batch_execute("create table t (id bigint generated always as identity primary key, user_id bigint)").await?;
            let answer: String = client.query_one(&ddl_check::query(&name("t")), &[]).await?.get(0);
            let judgement = Inspection::read(&answer)?.context("a table")?.judge(&rules(), None)?;
            let sequence = judgement.sequences.first().context("a sequence")?;
            client.batch_execute(&sequences::set_apart(&sequence.schema, &sequence.name, ordinal, 0)).await?;
            client.batch_execute("insert into t (user_id) select 1 from generate_series(1, 5)").await?;
            client.batch_execute("truncate t restart identity").await?;
            for row in client.query("insert into t (user_id) select 1 from generate_series(1, 50) returning id", &[]).await? {
                let id: i64 = row.get(0);
                ensure!(id % 1024 == i64::from(ordinal) && seen.insert(id), "shard {ordinal} gave {id}");
            }
            let answer: String = client.query_one(&ddl_check::query(&name("t")), &[]).await?.get(0);
            let again = Inspection::read(&answer)?.context("a table")?.judge(&rules(), Some(&judgement.placement))?;
            ensure!(again.sequences.is_empty(), "it is set apart already");
        }
        Ok(())
    })
}

async fn inspect(client: &Client, statement: &str, table: &str) -> Result<Option<Inspection>> {
    client.batch_execute("begin").await?;
    client.batch_execute(statement).await?;
    let rows = client.query(&ddl_check::query(&name(table)), &[]).await?;
    let answer: String = rows.first().context("a row")?.get(0);
    client.batch_execute("rollback").await?;
    Ok(Inspection::read(&answer)?)
}

fn describe(judged: Result<Judgement, DdlRefusal>) -> String {
    match judged {
        Ok(judgement) => {
            let placement = match judgement.placement {
                Placement::Sharded { key_column, .. } => format!("sharded by {key_column}"),
                Placement::Reference => "reference".to_owned(),
                Placement::Single => "single".to_owned(),
            };
            let columns: Vec<String> = judgement
                .sequences
                .into_iter()
                .map(|sequence| match sequence.last_value {
                    0 => sequence.column,
                    last => format!("{} above {last}", sequence.column),
                })
                .collect();
            if columns.is_empty() { placement } else { format!("{placement}, sequences {}", columns.join(" ")) }
        }
        Err(refusal) => format!("{} {refusal}: {:?} {:?}", refusal.sqlstate(), refusal.detail(), refusal.hint()),
    }
}

fn rules() -> TableRules {
    let rule = |name: &str, kind, local_unique| TableRule { schema: "public".to_owned(), name: name.to_owned(), kind, local_unique };
    let sharded = |key: &str| TableRuleKind::Sharded { key_column: key.to_owned() };
    TableRules {
        key_column: "user_id".to_owned(),
        rules: vec![
            rule("currencies", TableRuleKind::Reference, false),
            rule("declared_reference", TableRuleKind::Reference, false),
            rule("declared_local", sharded("user_id"), true),
            rule("declared_other", sharded("id"), false),
        ],
    }
}

fn name(name: &str) -> ObjectName {
    ObjectName { schema: None, name: name.to_owned() }
}
