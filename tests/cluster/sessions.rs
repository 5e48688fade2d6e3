//! What belongs to one client stays with it, although servers are shared: settings, prepared statements, cancels, pins.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::connection::{Connection, message};
use crate::fixture::Fixture;
use crate::login;
use crate::shardyard::{Proxy, SHARDS, eventually};

/// A pool this small makes clients share every server connection.
fn narrow(fixture: &Fixture, size: &str) -> Result<Proxy> {
    fixture.cluster()?.proxy(&[("SHARDYARD__POOL__SIZE", size)])
}

/// Each setting of one client is unseen by the other, on one server connection, in turns.
pub(crate) fn settings_do_not_leak(fixture: &Fixture) -> Result<()> {
    let proxy = narrow(fixture, "1")?;
    let (mut one, mut two) = (Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?);
    let settings = [
        ("search_path", "pg_catalog, public", "public"),
        ("TimeZone", "Asia/Tokyo", "Europe/Vienna"),
        ("statement_timeout", "11s", "12s"),
        ("application_name", "client one", "client two"),
        ("work_mem", "5MB", "6MB"),
        ("DateStyle", "German, DMY", "ISO, YMD"),
        ("my.tenant", "blue", "red"),
    ];
    for (name, of_one, of_two) in settings {
        let list = |value: &str| if name == "search_path" { value.to_owned() } else { format!("'{value}'") };
        let untouched = if name.contains('.') { String::new() } else { two.value(&format!("show {name}"))? };
        one.query(&format!("set {name} = {}", list(of_one)))?;
        if !untouched.is_empty() {
            ensure!(two.value(&format!("show {name}"))? == untouched, "{name} leaked");
        }
        two.query(&format!("set {name} = {}", list(of_two)))?;
        for _ in 0..3 {
            let (first, second) = (one.value(&format!("show {name}"))?, two.value(&format!("show {name}"))?);
            ensure!(first == of_one && second == of_two, "{name}: {first} and {second}");
        }
        one.query(&format!("begin; set local {name} = {}", list(of_two)))?;
        one.query("commit")?;
        ensure!(one.value(&format!("show {name}"))? == of_one, "SET LOCAL {name} outlived its transaction");
        one.query(&format!("begin; set {name} = {}", list(of_two)))?;
        one.query("rollback")?;
        ensure!(one.value(&format!("show {name}"))? == of_one, "ROLLBACK kept {name}");
        one.query(&format!("reset {name}"))?;
        ensure!(two.value(&format!("show {name}"))? == of_two, "RESET {name} reached another client");
    }
    drop((one, two));
    let mut third = Connection::connect(&proxy.dsn)?;
    ensure!(third.value("show statement_timeout")? == "0", "a setting outlived its client");
    Ok(())
}

/// What sets work_mem for the session, out of the proxy's sight.
const SETTERS: &[&str] = &[
    "create function setter() returns int language plpgsql as $$ begin perform set_config('work_mem', '11MB', false); return 1; end $$",
    "create function setter_of_setters() returns int language sql as 'select setter()'",
    "create procedure setter_procedure() language plpgsql as $$ begin set work_mem = '11MB'; end $$",
    "create function setter_trigger() returns trigger language plpgsql as $$ begin perform setter(); return new; end $$",
    "create table setter_rows (n int)",
    "create trigger setter before insert on setter_rows for each row execute function setter_trigger()",
];

/// set_config with parameters, several at once, computed: forms that cannot be followed; and the one that can.
pub(crate) fn set_config_does_not_leak(fixture: &Fixture) -> Result<()> {
    for definition in SETTERS {
        fixture.cluster()?.connect()?.query(definition)?;
    }
    let proxy = narrow(fixture, "2")?;
    let mut other = Connection::connect(&proxy.dsn)?;
    let usual = other.value("show work_mem")?;
    for turn in 0..10 {
        let mut client = Connection::connect(&proxy.dsn)?;
        match turn {
            0 => drop(batch(&mut client, &[parse("s", "select set_config('work_mem', $1, false)"), bind("s", "11MB"), execute()])?),
            1 => drop(client.query("select set_config('work_mem', '11MB', false), set_config('my.x', 'y', false)")?),
            2 => {
                drop(batch(&mut client, &[parse("s", "select set_config('work_mem', '11MB', $1::text = 'x')"), bind("s", "y"), execute()])?)
            }
            3 => drop(client.query("select set_config('work_mem', '11MB', false)")?),
            4 => drop(client.query("select set_config('work_' || 'mem', '11MB', false) from pg_class limit 1")?),
            5 => drop(client.query("do $$ begin execute 'set work_mem to ' || quote_literal('11MB'); end $$")?),
            6 => drop(client.query("call setter_procedure()")?),
            7 => drop(client.query("select setter_of_setters() from pg_class limit 1")?),
            8 => {
                let select = "select setter_of_setters() from pg_class where relname <> $1 limit 1";
                drop(batch(&mut client, &[parse("s", select), bind("s", ""), execute()])?)
            }
            _ => drop(client.query("insert into setter_rows values (1)")?),
        }
        // The other client first: the next statement of the one that has set it would put a wrong connection right.
        for _ in 0..4 {
            ensure!(other.value("show work_mem")? == usual, "form {turn} leaked");
        }
        ensure!(client.value("show work_mem")? == "11MB", "form {turn} was forgotten");
        for _ in 0..4 {
            ensure!(other.value("show work_mem")? == usual, "form {turn} leaked");
        }
        drop(client);
        for _ in 0..4 {
            ensure!(other.value("show work_mem")? == usual, "form {turn} leaked when its client had left");
        }
    }
    Ok(())
}

/// A timeout that one client set ends its own statement and no other's.
pub(crate) fn timeouts_are_ones_own(fixture: &Fixture) -> Result<()> {
    let proxy = narrow(fixture, "1")?;
    let (mut one, mut two) = (Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?);
    one.query("set statement_timeout = '50ms'")?;
    for _ in 0..3 {
        ensure!(one.error("select pg_sleep(5)")?.sqlstate() == "57014");
        two.query("select pg_sleep(0.2)")?;
    }
    Ok(())
}

/// Three clients use the same statement name for different texts, over keys of all shards, on pools of one and two.
pub(crate) fn prepared_names_are_ones_own(fixture: &Fixture) -> Result<()> {
    let mut owner = fixture.cluster()?.connect()?;
    owner.query("create table prepared_keys (user_id bigint primary key, n int)")?;
    for key in 1..=20 {
        owner.query(&format!("insert into prepared_keys values ({key}, {key})"))?;
    }
    for size in ["1", "2"] {
        let proxy = narrow(fixture, size)?;
        let mut clients = Vec::new();
        for factor in 1..=3 {
            let mut client = Connection::connect(&proxy.dsn)?;
            let sql = format!("select n * {factor} from prepared_keys where user_id = $1");
            batch(&mut client, &[parse("get", &sql)])?;
            clients.push((factor, client));
        }
        for key in 1..=20 {
            for (factor, client) in &mut clients {
                let rows = batch(client, &[bind("get", &key.to_string()), execute()])?;
                ensure!(rows == [(key * *factor).to_string()], "pool {size}, key {key}, factor {factor}: {rows:?}");
            }
        }
    }
    Ok(())
}

/// A table changes under a prepared statement: the client sees the new columns, not an error, outside a transaction.
pub(crate) fn changed_tables_are_prepared_anew(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = cluster.connect()?;
    client.query("create table prepared_change (user_id bigint primary key, n int)")?;
    client.query("insert into prepared_change values (1, 10)")?;
    batch(&mut client, &[parse("all", "select * from prepared_change where user_id = $1")])?;
    for _ in 0..6 {
        ensure!(batch(&mut client, &[bind("all", "1"), execute()])? == ["1|10"]);
    }
    cluster.connect()?.query("alter table prepared_change add column more int default 5")?;
    let rows = batch(&mut client, &[bind("all", "1"), execute()])?;
    ensure!(rows == ["1|10|5"], "after the change: {rows:?}");
    Ok(())
}

/// A table changes behind the proxy's back: neither a name nor an unnamed statement that is parsed each time gives an error, outside
/// a transaction; nor does the unnamed one in a transaction, as on one server.
pub(crate) fn tables_changed_unseen_are_no_error(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let proxy = narrow(fixture, "2")?;
    let (mut client, mut named) = (Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?);
    client.query("create table changed_unseen (user_id bigint primary key, n int)")?;
    client.query("insert into changed_unseen values (1, 10)")?;
    let all = "select * from changed_unseen where user_id = $1";
    let unnamed = |client: &mut Connection| batch(client, &[parse("", all), bind("", "1"), execute()]);
    batch(&mut named, &[parse("all", all)])?;
    for _ in 0..12 {
        ensure!(unnamed(&mut client)? == ["1|10"] && batch(&mut named, &[bind("all", "1"), execute()])? == ["1|10"]);
    }
    let change = |sql: &str| -> Result<()> { (0..SHARDS).try_for_each(|shard| cluster.primary(shard)?.query(sql).map(drop)) };
    change("alter table changed_unseen add column more int default 5")?;
    for turn in 0..6 {
        let (first, second) = (unnamed(&mut client)?, batch(&mut named, &[bind("all", "1"), execute()])?);
        ensure!(first == ["1|10|5"] && second == ["1|10|5"], "turn {turn}: {first:?} and {second:?}");
    }
    change("alter table changed_unseen drop column more")?;
    client.query("begin")?;
    ensure!(unnamed(&mut client)? == ["1|10"], "in a transaction");
    client.query("commit")?;
    Ok(())
}

/// A cancel ends the query of its own client, while another client's query on the same server goes on; a late one hits nothing.
pub(crate) fn cancel_hits_its_own_query(fixture: &Fixture) -> Result<()> {
    let proxy = narrow(fixture, "2")?;
    let (mut one, mut two) = (Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?);
    let slow = message(b'Q', b"do $$ begin raise notice 'running'; perform pg_sleep(1.5); end $$\0");
    one.send(&slow)?;
    two.send(&slow)?;
    ensure!(one.receive()?.is_some_and(|frame| frame.tag == b'N') && two.receive()?.is_some_and(|frame| frame.tag == b'N'));
    cancel(&proxy, &one)?;
    let cancelled = one.finish_query().err().context("not cancelled")?;
    ensure!(cancelled.to_string().starts_with("57014"), "{cancelled}");
    two.finish_query().context("the other client's query was cancelled")?;
    // Idle now: whatever runs on the server that was its own must not be hit.
    for _ in 0..20 {
        cancel(&proxy, &one)?;
        two.query("select pg_sleep(0.01)").context("a late cancel hit another client")?;
        one.query("select 1").context("a late cancel hit the next query")?;
    }
    let mut stranger = Connection::open(&proxy.dsn)?;
    two.send(&slow)?;
    stranger.send(&login::request(80_877_102, &[0, 0, 0, 1, 0, 0, 0, 2]))?;
    ensure!(stranger.receive()?.is_none(), "a cancel request was answered");
    two.finish_query().context("a wrong key cancelled")?;
    Ok(())
}

fn cancel(proxy: &Proxy, client: &Connection) -> Result<()> {
    let key = client.key.clone().context("no BackendKeyData")?;
    let mut request = Connection::open(&proxy.dsn)?;
    request.send(&login::request(80_877_102, &key))?;
    ensure!(request.receive()?.is_none(), "a cancel request was answered");
    Ok(())
}

/// Temporary tables and session locks stay with their client, on a pool that others use too, and end with it.
pub(crate) fn pinned_state_stays(fixture: &Fixture) -> Result<()> {
    let proxy = narrow(fixture, "2")?;
    let mut owner = Connection::connect(&proxy.dsn)?;
    owner.query("create temp table pinned (n int)")?;
    owner.query("insert into pinned values (1)")?;
    owner.query("select pg_advisory_lock(77001)")?;
    let mut other = Connection::connect(&proxy.dsn)?;
    for _ in 0..5 {
        ensure!(other.error("select * from pinned")?.sqlstate() == "42P01", "another client sees a temporary table");
        ensure!(other.value("select pg_try_advisory_lock(77001)")? == "f", "another client got the lock");
        ensure!(owner.value("select n from pinned")? == "1", "the temporary table is gone");
    }
    drop(owner);
    eventually(Duration::from_secs(5), || {
        ensure!(other.value("select pg_try_advisory_lock(77001)")? == "t", "the lock outlived its client");
        Ok(())
    })?;
    ensure!(other.error("select * from pinned")?.sqlstate() == "42P01", "the temporary table outlived its client");
    Ok(())
}

/// A client that leaves in the middle of a transaction leaves nothing behind, on a pool of one.
pub(crate) fn unfinished_work_is_undone(fixture: &Fixture) -> Result<()> {
    let proxy = narrow(fixture, "1")?;
    let mut client = Connection::connect(&proxy.dsn)?;
    client.query("create table unfinished (user_id bigint primary key)")?;
    for key in 1..=10 {
        let mut leaving = Connection::connect(&proxy.dsn)?;
        leaving.query(&format!("begin; insert into unfinished values ({key})"))?;
        drop(leaving);
        let count = client.value(&format!("/* shardyard: primary */ select count(*) from unfinished where user_id = {key}"))?;
        ensure!(count == "0", "key {key} was kept");
        client.query(&format!("insert into unfinished values ({key})"))?;
    }
    for key in 11..=20 {
        let mut leaving = Connection::connect(&proxy.dsn)?;
        leaving.send(&message(b'Q', b"select n, repeat('x', 1000) from generate_series(1, 100000) as n\0"))?;
        leaving.receive()?;
        drop(leaving);
        client.query(&format!("insert into unfinished values ({key})"))?;
    }
    Ok(())
}

/// A request that arrives while the reply to the one before is on its way is answered without a further one.
pub(crate) fn requests_need_not_wait(fixture: &Fixture) -> Result<()> {
    let mut client = fixture.cluster()?.connect()?;
    client.set_reply_deadline(Duration::from_secs(5))?;
    let slow = message(b'Q', b"select pg_sleep(0.1)\0");
    // The second time its plan is known and a connection is open: it goes the short way.
    for _ in 0..3 {
        client.send(&slow)?;
        std::thread::sleep(Duration::from_millis(30));
        client.send(&slow)?;
        for which in ["first", "second"] {
            client.finish_query().with_context(|| format!("the {which} of two"))?;
        }
    }
    Ok(())
}

/// What is no protocol is answered with 08P01 and the connection's end; others are not disturbed.
pub(crate) fn malformed_messages_end_the_connection(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut bystander = cluster.connect()?;
    let broken: &[(&str, Vec<u8>)] = &[
        ("unknown type", message(b'~', b"")),
        ("length 0", b"Q\0\0\0\0".to_vec()),
        ("length 3", b"Q\0\0\0\x03".to_vec()),
        ("length over 1 GiB", b"Q\x7f\xff\xff\xff".to_vec()),
        ("length as negative", b"B\xff\xff\xff\xff".to_vec()),
        ("a server's message", message(b'T', b"\0\0")),
        ("password out of place", message(b'p', b"secret\0")),
        ("query without its end", message(b'Q', b"select 1")),
        ("query with a tail", message(b'Q', b"select 1\0more\0")),
        ("parse without its end", message(b'P', b"name")),
        ("bind of one byte", message(b'B', b"\0")),
        ("bind with a value beyond its end", message(b'B', b"\0\0\0\0\0\x01\0\0\xff\xf0")),
        ("bind with too many formats", message(b'B', b"\0\0\xff\xff\0\0")),
        ("describe of nothing known", message(b'D', b"X\0")),
        ("execute without a limit", message(b'E', b"\0")),
        ("close of nothing known", message(b'C', b"X\0")),
    ];
    for (what, bytes) in broken {
        let mut client = cluster.connect()?;
        client.send(bytes)?;
        client.set_reply_deadline(Duration::from_secs(5))?;
        let mut sqlstates = Vec::new();
        while let Some(frame) = client.receive().with_context(|| format!("{what}: still open"))? {
            if frame.tag == b'E' {
                sqlstates.push(crate::reply::ServerError::decode(&frame.body).sqlstate().to_owned());
            }
        }
        ensure!(sqlstates == ["08P01"], "{what}: {sqlstates:?}");
        ensure!(bystander.value("select 1")? == "1");
    }
    Ok(())
}

/// GSSENCRequest and a protocol of the past or the future, and bytes sent in clear behind an SSLRequest.
pub(crate) fn odd_startups_are_answered(fixture: &Fixture) -> Result<()> {
    let dsn = &fixture.cluster()?.dsn;
    let mut client = Connection::open(dsn)?;
    client.send(&login::request(80_877_104, &[]))?;
    ensure!(client.take(1)? == Some(vec![b'N']), "GSSENCRequest was not refused");
    client.send(&login::startup(login_version(3, 2), &[("user", &dsn.user), ("database", &dsn.database)]))?;
    let frames = login::log_in(&mut client, &dsn.user, &dsn.password)?;
    ensure!(frames.last().is_some_and(|frame| frame.tag == b'Z'), "protocol 3.2 did not log in");
    let negotiated = frames.iter().any(|frame| frame.tag == b'v');
    let key = client.key.as_ref().map_or(0, Vec::len);
    ensure!(negotiated || key >= 8, "neither 3.2 nor a negotiation");

    for version in [login_version(2, 0), login_version(4, 0)] {
        let mut client = Connection::open(dsn)?;
        client.send(&login::startup(version, &[("user", &dsn.user)]))?;
        match client.take(1)?.as_deref() {
            None | Some(b"E") => {}
            other => bail!("version {version:x} was answered with {other:?}"),
        }
    }
    Ok(())
}

fn login_version(major: u32, minor: u32) -> u32 {
    major << 16 | minor
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat())
}

/// With one parameter, all in text.
fn bind(statement: &str, value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap_or(0).to_be_bytes();
    message(b'B', &[b"\0", statement.as_bytes(), b"\0\0\0\0\x01", &length[..], value.as_bytes(), b"\0\0"].concat())
}

fn execute() -> Vec<u8> {
    message(b'E', b"\0\0\0\0\0")
}

/// Sends the messages and a Sync; the rows, their values joined by `|`.
fn batch(client: &mut Connection, messages: &[Vec<u8>]) -> Result<Vec<String>> {
    client.send(&[messages.concat(), message(b'S', b"")].concat())?;
    let (rows, _) = client.finish_query()?;
    let joined = |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|");
    Ok(rows.into_iter().map(joined).collect())
}
