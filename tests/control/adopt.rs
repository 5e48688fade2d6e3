//! Databases that an application has sharded itself by md5 mod N become a cluster, without a row moved; then a shard is added.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shardyard::catalog::connect;
use tokio_postgres::Client;

use crate::fixture::{Fixture, block_on, succeed};

/// What such an application has; each shard counts its own serial numbers.
const TABLES: &str = r#"
    create table accounts (id bigserial, user_id bigint not null, name text, primary key (user_id, id));
    create table mails (user_id text primary key, n int);
    create table devices (user_id uuid primary key, n int);
    create schema "Old shop";
    create table "Old shop"."Orders" (user_id int not null, "No" int not null, primary key (user_id, "No"));
    create table countries (code text primary key, name text);
    insert into countries values ('DE', 'Germany'), ('FR', 'France');
    create table tickets (id serial primary key, user_id bigint not null);
    create table "Log" (line text);"#;

/// The application's own rule, in plain SQL.
fn rows_of(shard: usize, shards: usize) -> String {
    let mine = |key: &str| format!("('x' || substr(md5({key}), 1, 8))::bit(32)::bigint % {shards} = {shard}");
    format!(
        "insert into accounts (user_id, name) select g, 'name ' || g from generate_series(-500, 1500) g where {};
         insert into mails select 'ü' || g || '@x', g from generate_series(1, 1000) g where {};
         insert into devices select md5(g::text)::uuid, g from generate_series(1, 1000) g where {};
         insert into \"Old shop\".\"Orders\" select g, n from generate_series(1, 1000) g, generate_series(1, 2) n where {};
         insert into tickets (user_id) select g from generate_series(1, 100) g where {} limit 3",
        mine("g::text"),
        mine("'ü' || g || '@x'"),
        mine("md5(g::text)::uuid::text"),
        mine("g::text"),
        mine("g::text"),
    )
}

/// The databases, a folder of configuration, and the processes that run on it.
struct Adopted {
    shards: Vec<String>,
    folder: tempfile::TempDir,
    listen: String,
    processes: Vec<Child>,
}

impl Adopted {
    async fn make(fixture: &Fixture, count: usize) -> Result<Self> {
        let mut shards = Vec::new();
        for shard in 0..count {
            let dsn = fixture.database(&format!("adopted_{count}_{shard}")).await?;
            connect(&dsn).await?.batch_execute(&format!("{TABLES} {}", rows_of(shard, count))).await?;
            shards.push(dsn);
        }
        connect(&shards[0])
            .await?
            .batch_execute("create table settings (name text, value text); insert into settings values ('a', 'b')")
            .await?;
        let catalog = fixture.database(&format!("adopted_{count}_catalog")).await?;
        let folder = tempfile::Builder::new().prefix("shardyard-adopt-").tempdir()?;
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let (user, password) = credentials(&catalog)?;
        let file = |name: &str, text: String| std::fs::write(folder.path().join(name), text);
        file(
            "proxy.toml",
            format!(
                "listen = [\"{listen}\"]\ndatabase = \"app\"\n[catalog]\ndsn = \"{catalog}\"\n[control]\nuser = \"{user}\"\npassword = \"{password}\"\n\
                 [session]\nclients_max = 100\n"
            ),
        )?;
        file("users.toml", format!("[[users]]\nname = \"{user}\"\npassword = \"{password}\"\n"))?;
        file("tables.toml", "[[tables]]\nname = \"countries\"\nkind = \"reference\"\n".to_owned())?;
        let server = |dsn: &String| dsn.rsplit_once('@').map(|(_, server)| format!("postgres://{server}")).unwrap_or_default();
        let section = |(number, dsn)| format!("[[shards]]\nname = \"old{number}\"\nprimary = \"{}\"\n", server(dsn));
        file("shards.toml", shards.iter().enumerate().map(section).collect())?;
        Ok(Self { shards, folder, listen, processes: Vec::new() })
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let config = self.folder.path();
        Ok(Command::new(env!("CARGO_BIN_EXE_shardyard")).args(arguments).arg("--config").arg(config).output()?)
    }

    fn start(&mut self, command: &str) -> Result<()> {
        let log = std::fs::File::create(self.log(command))?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_shardyard"));
        process.arg(command).arg("--config").arg(self.folder.path());
        self.processes.push(process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    fn log(&self, command: &str) -> PathBuf {
        self.folder.path().join(format!("{command}.log"))
    }

    /// A client of the proxy.
    async fn client(&self) -> Result<Client> {
        let (user, password) = credentials(&self.shards[0])?;
        let dsn = format!("postgres://{user}:{password}@{}/app", self.listen);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match connect(&dsn).await {
                Ok(client) => return Ok(client),
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => return Err(error).context(std::fs::read_to_string(self.log("serve"))?),
            }
        }
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself; waited for in any case.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn credentials(dsn: &str) -> Result<(&str, &str)> {
    let credentials = dsn.strip_prefix("postgres://").and_then(|rest| rest.split_once('@')).context("a dsn with a user")?.0;
    credentials.split_once(':').context("a dsn with a password")
}

/// Every row is found by its key, and once by a statement over all shards.
async fn every_row_is_found(client: &Client) -> Result<()> {
    for key in (-500..=1500_i64).step_by(37) {
        let row = client.query_one("select name from accounts where user_id = $1 and name like 'name%'", &[&key]).await?;
        ensure!(row.get::<_, &str>(0) == format!("name {key}"), "account {key}");
    }
    for number in (1..=1000_i32).step_by(37) {
        let row = client.query_one("select n from mails where user_id = $1", &[&format!("ü{number}@x")]).await?;
        ensure!(row.get::<_, i32>(0) == number, "mail {number}");
        let device = format!("select n from devices where user_id = md5('{number}')::uuid");
        let literal: String = client.query_one(&format!("select md5('{number}')::uuid::text"), &[]).await?.get(0);
        ensure!(
            client.query_one(&device.replace(&format!("md5('{number}')::uuid"), &format!("'{literal}'")), &[]).await?.get::<_, i32>(0)
                == number
        );
        let orders = client.query("select \"No\" from \"Old shop\".\"Orders\" where user_id = $1", &[&number]).await?;
        ensure!(orders.len() == 2, "orders of {number}");
    }
    for (table, rows) in [("accounts", 2001_i64), ("mails", 1000), ("devices", 1000), ("\"Old shop\".\"Orders\"", 2000), ("countries", 2)] {
        let found: i64 = client.query_one(&format!("select count(*) from {table}"), &[]).await?.get(0);
        ensure!(found == rows, "{found} rows of {table} instead of {rows}");
    }
    Ok(())
}

/// Two and three databases: what is misplaced is listed and refused; then they are a cluster, which gets one more shard.
pub(crate) fn databases_become_a_cluster(fixture: &Fixture) -> Result<()> {
    for count in [2, 3] {
        block_on(adopt(fixture, count)).with_context(|| format!("{count} databases"))?;
    }
    Ok(())
}

async fn adopt(fixture: &Fixture, count: usize) -> Result<()> {
    let mut site = Adopted::make(fixture, count).await?;
    let (first, last) = (connect(&site.shards[0]).await?, connect(&site.shards[count - 1]).await?);
    let keys = first.query("select user_id::text from accounts order by user_id limit 3", &[]).await?;
    let keys: Vec<String> = keys.iter().map(|row| row.get(0)).collect();
    let (listed, array) = (keys.join(","), format!("unnest(array[{}]) g", keys.join(",")));
    let (delete, insert) = (
        format!("delete from accounts where user_id in ({listed})"),
        format!("insert into accounts (user_id, name) select g, 'name ' || g from {array}"),
    );
    first.batch_execute(&delete).await?;
    last.batch_execute(&insert).await?;
    last.batch_execute("update countries set name = 'Allemagne' where code = 'DE'; insert into \"Log\" values ('a line')").await?;
    let refused = site.run(&["adopt", "--sample", "0"])?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1), "{told}");
    for expected in keys.iter().map(String::as_str).chain(["reference table", "\"Log\" has no key column", "(1) is on two shards"]) {
        ensure!(told.contains(expected), "\"{expected}\" is not told: {told}");
    }
    ensure!(!site.run(&["shard", "list"])?.status.success(), "a refused adoption has made a cluster");

    // Put right, as the operator would.
    last.batch_execute(&delete).await?;
    first.batch_execute(&insert).await?;
    last.batch_execute("update countries set name = 'Germany' where code = 'DE'; truncate \"Log\"").await?;
    for shard in site.shards.iter().skip(1) {
        connect(shard).await?.batch_execute("delete from tickets").await?;
    }
    succeed(site.run(&["adopt", "--dry-run"])?)?;
    let rehearsed = site.run(&["shard", "list"])?;
    ensure!(!rehearsed.status.success(), "a rehearsal has made a cluster");
    succeed(site.run(&["adopt", "--sample", "0", "--name", "adopted"])?)?;
    // Again does no harm.
    succeed(site.run(&["adopt", "--name", "adopted"])?)?;

    site.start("serve")?;
    site.start("worker")?;
    let client = site.client().await?;
    every_row_is_found(&client).await?;
    let setting: String = client.query_one("select value from settings where name = 'a'", &[]).await?.get(0);
    ensure!(setting == "b");
    let new = fixture.database(&format!("adopted_{count}_new")).await?;
    let add = site.run(&["shard", "add", "new", "--primary", &new, "--wait", "--finalize"])?;
    ensure!(add.status.success(), "{add:?}\n{}", std::fs::read_to_string(site.log("worker"))?);
    every_row_is_found(&client).await?;
    let here: i64 = connect(&new).await?.query_one("select count(*) from accounts", &[]).await?.get(0);
    let share = 2001 / (count as i64 + 1);
    ensure!((here - share).abs() < share / 5, "{here} accounts on the new shard, about {share} expected");
    numbers_stay_apart(&client).await
}

/// New rows on all shards have numbers that no shard has given.
async fn numbers_stay_apart(client: &Client) -> Result<()> {
    let highest: i64 = client.query_one("select max(id) from accounts", &[]).await?.get(0);
    let mut seen = BTreeSet::new();
    for key in 2000..2040_i64 {
        let row = client.query_one("insert into accounts (user_id, name) values ($1, 'new') returning id", &[&key]).await?;
        let id: i64 = row.get(0);
        ensure!(id > highest && seen.insert(id), "number {id} was given before");
    }
    Ok(())
}
