//! What is not provably on one shard is refused with a hint, and nothing of it happens.

use anyhow::{Result, ensure};

use crate::fixture::Fixture;

/// Statements over all shards, or of which one cannot tell.
const REFUSED: &[&str] = &[
    "update refused_orders set user_id = 6 where user_id = 5",
    "insert into refused_orders values (5, 1) on conflict (user_id, item) do update set user_id = 6",
    "with gone as (delete from refused_orders where user_id = 5 returning *) insert into refused_orders select 6, item from gone",
    "insert into refused_moments values (1, default), (2, default), (3, default), (4, default), (5, default)",
    "copy refused_moments (user_id) from stdin",
    "prepare transaction 'mine'",
    "create database refused_database",
];

/// Reads over several shards: merged or gathered, and the same as on one server.
const SPREAD: &[&str] = &[
    "select * from refused_orders",
    "select count(*) from refused_orders",
    "select * from refused_orders where total > 5",
    "select * from refused_orders where user_id > 5",
    "select * from refused_orders where user_id <> 5",
    "select * from refused_orders where not (user_id = 5)",
    "select * from refused_orders where user_id = 1 or user_id = 2",
    "select * from refused_orders where user_id = 1 or total = 5",
    "select * from refused_orders where user_id in (1, 2, 3, 4, 5, 6, 7, 8)",
    "select * from refused_orders where user_id = any('{1,2,3,4,5,6,7,8}')",
    "select * from refused_orders where user_id = (select 5 + random()::int)",
    "select * from refused_orders where user_id = 5 + random()::int",
    "select * from refused_orders where case when total > 1 then user_id = 5 else true end",
    "select user_id = 5 from refused_orders",
    "select user_id = 5 as mine, count(*) from refused_orders group by 1",
    "select * from refused_users u left join refused_orders o on o.user_id = u.user_id and u.user_id = 5",
    "select * from refused_users u left join refused_orders o on u.user_id = o.user_id and o.user_id = 5",
    "select * from refused_users u full join refused_orders o on u.user_id = o.user_id where o.total is null",
    "select * from refused_users u join refused_orders o on u.name = o.note where u.user_id = 5",
    "select * from refused_users u, refused_orders o where u.user_id = 5",
    "select * from refused_users where user_id = 5 union select user_id, note from refused_orders",
    "select name from refused_users where user_id = 1 union all select name from refused_users where user_id = 2",
    "select name from refused_users where user_id = 5 and exists (select 1 from refused_orders where total > 1)",
    "select name, (select sum(total) from refused_orders) from refused_users where user_id = 5",
    "with all_orders as (select * from refused_orders) select * from refused_users where user_id = 5 and name in (select note from all_orders)",
    "select note, sum(total) from refused_orders group by note having sum(total) > 10",
    "select total / 10, count(*) from refused_orders group by total / 10",
    "select distinct on (note) * from refused_orders order by note, total nulls first",
    "select note, row_number() over (order by total) from refused_orders",
    "select count(distinct note) from refused_orders",
    "select * from refused_orders order by lower(note) desc nulls first limit 3",
    "select * from refused_orders where total = (select max(total) from refused_orders)",
    "select * from refused_orders o, lateral (select * from refused_users u where u.name = o.note) as l where o.user_id = 5",
    "select * from refused_orders limit 5",
    "select * from refused_view",
];

/// On one shard although it does not look so: these must be answered.
const ANSWERED: &[&str] = &[
    "select * from refused_orders where user_id = 5",
    "select * from refused_orders where (user_id) = (5) and total > 1",
    "select * from refused_orders where (item, user_id) = (1, 5)",
    "select * from refused_orders where user_id is not distinct from 5",
    "select * from refused_orders where user_id in (5)",
    "select * from refused_orders where user_id = any(array[5])",
    "select * from refused_orders where user_id = 5 and (total = 1 or total = 2)",
    "select * from refused_users u join refused_orders o on u.user_id = o.user_id where o.user_id = 5",
    "select * from refused_users u left join refused_orders o on u.user_id = o.user_id where u.user_id = 5",
    "select * from refused_users u join refused_orders o using (user_id) where user_id = 5",
    "select * from (select * from refused_orders where user_id = 5) as mine",
    "select * from (select * from refused_orders) as o where o.user_id = 5",
    "with mine as (select * from refused_orders where user_id = 5) select count(*) from mine",
    "select name from refused_users u where user_id = 5 and exists (select 1 from refused_orders o where o.user_id = u.user_id)",
    "select name from refused_users where user_id = 5 union all select note from refused_orders where user_id = 5",
    "select * from refused_view where user_id = 5",
    "select name from refused_users where user_id = 5 and user_id in (select user_id from refused_orders where total > 1)",
    "select o.total, c.name from refused_orders o join refused_codes c on c.code = o.note where o.user_id = 5",
    "update refused_orders set total = total + 1 where user_id = 5",
    "insert into refused_orders values (5, 7), (5, 8) on conflict (user_id, item) do update set total = 3",
    "insert into refused_orders (user_id, item) select 5, n from generate_series(20, 30) as n",
    "delete from refused_orders where user_id = 5 returning item",
    "with gone as (delete from refused_orders where user_id = 5 returning *) select count(*) from gone",
];

/// Two keys of different shards are 1 and 2, whatever shards they are on: md5 mod 4 says so.
pub(crate) fn right_or_refused(fixture: &Fixture) -> Result<()> {
    let mut client = fixture.cluster()?.connect()?;
    client.query("create table refused_users (user_id bigint primary key, name text)")?;
    client.query("create table refused_orders (user_id bigint, item int, total int, note text, primary key (user_id, item))")?;
    client.query("/* shardyard: reference */ create table refused_codes (code text primary key, name text)")?;
    client.query("create table refused_moments (user_id bigint primary key, made timestamptz default now())")?;
    client.query("create view refused_view as select user_id, total from refused_orders")?;
    for key in 1..=8 {
        client.query(&format!("insert into refused_users values ({key}, 'user')"))?;
        client.query(&format!("insert into refused_orders values ({key}, 1, {key}, 'x')"))?;
    }
    let mut wrong = Vec::new();
    for sql in REFUSED {
        match client.error(sql) {
            Ok(error) if error.sqlstate() == "0A000" && !error.hint().is_empty() => {}
            Ok(error) => wrong.push(format!("{sql}\n    {error}")),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    for sql in SPREAD {
        if let Err(error) = client.query(sql) {
            wrong.push(format!("not answered: {sql}\n    {error:#}"));
        }
    }
    for key in 1..=8 {
        let total = client.value(&format!("select total from refused_orders where user_id = {key} and item = 1"))?;
        if total != key.to_string() {
            wrong.push(format!("refused, but the row of key {key} changed"));
        }
    }
    for sql in ANSWERED {
        if let Err(error) = client.query(sql) {
            wrong.push(format!("not answered: {sql}\n    {error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// The same by the extended protocol, with the key in a parameter: refused at Bind or before, and the connection goes on.
pub(crate) fn refused_in_transaction(fixture: &Fixture) -> Result<()> {
    let mut client = fixture.cluster()?.connect()?;
    client.query("create table refused_trans (user_id bigint primary key, n int)")?;
    client.query("begin")?;
    client.query("insert into refused_trans values (1, 1)")?;
    ensure!(client.error("prepare transaction 'mine'")?.sqlstate() == "0A000");
    ensure!(client.error("select 1")?.sqlstate() == "25P02", "a refusal did not fail the transaction");
    client.query("rollback")?;
    ensure!(client.value("select count(*) from refused_trans where user_id = 1")? == "0");
    Ok(())
}
