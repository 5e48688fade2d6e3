//! tokio-postgres: create, insert, read, transaction, rollback, error, prepared statements over many keys, types, pipelining, COPY, cancel.

use anyhow::{Result, ensure};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::dsn::Dsn;

/// A reply that never comes fails the test.
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) fn run(dsn: &Dsn) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let conversation = async {
        let (mut client, connection) = tokio_postgres::connect(&dsn.to_string(), NoTls).await?;
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(connection);
        create(&client).await?;
        insert_and_read(&client).await?;
        transactions(&mut client).await?;
        errors(&client).await?;
        prepared(&client).await?;
        pipelined(&client).await?;
        portals(&mut client).await?;
        cancel(&client).await?;
        client.batch_execute("drop table driver_tokio").await?;
        Ok(())
    };
    runtime.block_on(async { tokio::time::timeout(DEADLINE, conversation).await? })
}

async fn create(client: &Client) -> Result<()> {
    client.batch_execute("drop table if exists driver_tokio").await?;
    let columns = "user_id bigint, item int, name text, raw bytea, made timestamptz, list int8[], primary key (user_id, item)";
    client.batch_execute(&format!("create table driver_tokio ({columns})")).await?;
    Ok(())
}

async fn insert_and_read(client: &Client) -> Result<()> {
    let made = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let (name, raw, list) = ("naïve ☃".repeat(100_000), vec![0_u8; 1_500_000], vec![Some(1_i64), None]);
    let sql = "insert into driver_tokio values ($1, $2, $3, $4, $5, $6)";
    let inserted = client.execute(sql, &[&7_i64, &1_i32, &name, &raw, &made, &list]).await?;
    ensure!(inserted == 1);
    let row = client.query_one("select * from driver_tokio where user_id = $1", &[&7_i64]).await?;
    ensure!(row.get::<_, String>("name") == name && row.get::<_, Vec<u8>>("raw") == raw);
    ensure!(row.get::<_, SystemTime>("made") == made && row.get::<_, Vec<Option<i64>>>("list") == list);
    Ok(())
}

async fn transactions(client: &mut Client) -> Result<()> {
    let insert = "insert into driver_tokio (user_id, item) values (8, $1)";
    let mut transaction = client.transaction().await?;
    transaction.execute(insert, &[&1_i32]).await?;
    let savepoint = transaction.savepoint("second").await?;
    savepoint.execute(insert, &[&2_i32]).await?;
    savepoint.rollback().await?;
    transaction.commit().await?;
    let transaction = client.transaction().await?;
    transaction.execute(insert, &[&3_i32]).await?;
    transaction.rollback().await?;
    let rows = client.query("select item from driver_tokio where user_id = 8", &[]).await?;
    ensure!(rows.len() == 1 && rows[0].get::<_, i32>(0) == 1);
    Ok(())
}

async fn errors(client: &Client) -> Result<()> {
    let twice = client.execute("insert into driver_tokio (user_id, item) values (8, 1)", &[]).await;
    ensure!(twice.is_err_and(|error| error.code() == Some(&SqlState::UNIQUE_VIOLATION)));
    let division = client.query("select 1 / $1::int4", &[&0_i32]).await;
    ensure!(division.is_err_and(|error| error.code() == Some(&SqlState::DIVISION_BY_ZERO)));
    Ok(())
}

async fn prepared(client: &Client) -> Result<()> {
    let insert = client.prepare("insert into driver_tokio (user_id, item, name) values ($1, $2, $3)").await?;
    let select = client.prepare("select name from driver_tokio where user_id = $1 order by item").await?;
    for item in 1..=8_i32 {
        for key in 1000..1040_i64 {
            client.execute(&insert, &[&key, &item, &format!("{key}-{item}")]).await?;
        }
    }
    for key in 1000..1040_i64 {
        let names: Vec<String> = client.query(&select, &[&key]).await?.iter().map(|row| row.get(0)).collect();
        ensure!(names == (1..=8).map(|item| format!("{key}-{item}")).collect::<Vec<_>>(), "key {key}: {names:?}");
    }
    Ok(())
}

/// Futures polled together go out without waiting for each other; the answers must not be mixed up.
async fn pipelined(client: &Client) -> Result<()> {
    let select = client.prepare("select user_id, count(*) from driver_tokio where user_id = $1 group by user_id").await?;
    let ask = async |key: i64| client.query_one(&select, &[&key]).await;
    let answers = tokio::try_join!(ask(1001), ask(1002), ask(1003), ask(1004))?;
    let keys = [answers.0, answers.1, answers.2, answers.3].map(|row| row.get::<_, i64>(0));
    ensure!(keys == [1001, 1002, 1003, 1004], "{keys:?}");
    Ok(())
}

async fn portals(client: &mut Client) -> Result<()> {
    let transaction = client.transaction().await?;
    let portal = transaction.bind("select item from driver_tokio where user_id = $1 order by item", &[&1005_i64]).await?;
    for expected in [3, 3, 2] {
        let rows = transaction.query_portal(&portal, 3).await?;
        ensure!(rows.len() == expected, "{} rows instead of {expected}", rows.len());
    }
    transaction.commit().await?;
    Ok(())
}

async fn cancel(client: &Client) -> Result<()> {
    let token = client.cancel_token();
    let sleep = client.batch_execute("select pg_sleep(30)");
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await
    };
    let (slept, cancelled) = tokio::join!(sleep, cancel);
    cancelled?;
    ensure!(slept.is_err_and(|error| error.code() == Some(&SqlState::QUERY_CANCELED)));
    ensure!(client.query_one("select 1", &[]).await?.get::<_, i32>(0) == 1);
    Ok(())
}
