//! DDL that cannot be is refused whole: the client hears of no success, and no shard keeps anything of it.

use anyhow::{Result, ensure};

use crate::connection::{Connection, message};
use crate::fixture::Fixture;
use crate::reply::ServerError;

const SHARDS: usize = 4;

/// A bug once: the home shard's CommandComplete was sent on before the table had been judged and committed.
pub(crate) fn success_is_told_last(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table told (user_id bigint primary key, v int); create table told_home (id int primary key)")?;
    // On one shard a row stands against the index: the others have made it before they know.
    client.query("create table told_rows (user_id bigint, v int)")?;
    cluster.primary(2)?.query("insert into told_rows values (1, 1), (1, 1)")?;
    for (statement, sqlstate) in [
        ("create table never_told (id int primary key, user_id bigint)", "42P16"),
        ("alter table told add constraint told_v unique (v)", "42P16"),
        ("alter table told rename column user_id to owner", "0A000"),
        ("alter table told_home add column user_id bigint", "0A000"),
        ("create unique index told_index on told (v)", "42P16"),
        ("create unique index concurrently told_index on told (v)", "42P16"),
        ("create unique index told_rows_index on told_rows (user_id, v)", "23505"),
    ] {
        client.send(&message(b'Q', format!("{statement}\0").as_bytes()))?;
        let tags = until_ready(&mut client)?;
        let told = tags.iter().map(|(tag, _)| char::from(*tag)).collect::<String>();
        ensure!(told.trim_start_matches('N') == "EZ", "{statement}: the client got {told}");
        let found = tags.iter().find(|(tag, _)| *tag == b'E').map(|(_, body)| ServerError::decode(body));
        ensure!(found.as_ref().is_some_and(|error| error.sqlstate() == sqlstate), "{statement}: {found:?}");
    }
    for shard in 0..SHARDS {
        let left = "select count(*) from pg_class where relname in ('never_told', 'told_index', 'told_v', 'told_rows_index')";
        ensure!(cluster.primary(shard)?.value(left)? == "0", "shard {shard} keeps something that was refused");
    }
    client.query("drop table told, told_rows")?;
    Ok(())
}

/// A write to a reference table that fails on one shard: the same.
pub(crate) fn writes_everywhere_are_told_last(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("/* shardyard: reference */ create table told_codes (code int primary key)")?;
    cluster.primary(1)?.query("insert into told_codes values (7)")?;
    client.send(&message(b'Q', b"insert into told_codes values (7) returning code\0"))?;
    let told: String = until_ready(&mut client)?.iter().map(|(tag, _)| char::from(*tag)).collect();
    ensure!(told == "EZ", "the client got {told}");
    for shard in [0, 2, 3] {
        ensure!(cluster.primary(shard)?.value("select count(*) from told_codes")? == "0", "shard {shard} keeps the row");
    }
    client.query("drop table told_codes")?;
    Ok(())
}

fn until_ready(client: &mut Connection) -> Result<Vec<(u8, Vec<u8>)>> {
    let mut found = Vec::new();
    while let Some(frame) = client.receive()? {
        let last = frame.tag == b'Z';
        found.push((frame.tag, frame.body));
        if last {
            break;
        }
    }
    Ok(found)
}
