//! Notifications come from every shard and through every proxy, each once and in order, or the client is told that some may be lost.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::connection::{Connection, message};
use crate::fixture::Fixture;
use crate::reply::ServerError;
use crate::shardyard::{SHARDS, eventually};

/// Sender, channel, payload.
type Notification = (i32, String, String);

fn notification(body: &[u8]) -> Result<Notification> {
    let (process_id, texts) = body.split_first_chunk::<4>().context("a short notification")?;
    let mut texts = texts.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
    let (channel, payload) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    Ok((i32::from_be_bytes(*process_id), channel, payload))
}

/// The next message, which must be a notification.
fn next(client: &mut Connection) -> Result<Notification> {
    let frame = client.receive()?.context("closed instead of a notification")?;
    ensure!(frame.tag == b'A', "{:?} instead of a notification", char::from(frame.tag));
    notification(&frame.body)
}

/// Runs `sql`; the notifications that came before its ReadyForQuery.
fn notified(client: &mut Connection, sql: &str) -> Result<Vec<Notification>> {
    client.send(&message(b'Q', &[sql.as_bytes(), &[0]].concat()))?;
    let mut notifications = Vec::new();
    loop {
        let frame = client.receive()?.context("closed in a query")?;
        match frame.tag {
            b'A' => notifications.push(notification(&frame.body)?),
            b'E' => bail!("{sql}: {}", ServerError::decode(&frame.body)),
            b'Z' => return Ok(notifications),
            _ => {}
        }
    }
}

fn process_id(client: &Connection) -> Result<i32> {
    let key = client.key.as_ref().and_then(|key| key.first_chunk::<4>()).context("no key")?;
    Ok(i32::from_be_bytes(*key))
}

/// The FATAL error that ends the connection, behind whatever is left.
fn farewell(client: &mut Connection) -> Result<ServerError> {
    while let Some(frame) = client.receive()? {
        if frame.tag == b'E' {
            let error = ServerError::decode(&frame.body);
            ensure!(client.receive()?.is_none(), "the connection goes on");
            return Ok(error);
        }
    }
    bail!("closed without a word")
}

/// The trigger of a sharded table notifies on the shard of each row, and all of it arrives through any proxy.
pub(crate) fn every_shard_is_listened_to(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let other = cluster.proxy(&[])?;
    let mut writer = cluster.connect()?;
    writer.query("create table told_rows (user_id bigint primary key, n int)")?;
    let body = "begin perform pg_notify('told_rows', new.user_id::text); return new; end";
    writer.query(&format!("create function tell_row() returns trigger language plpgsql as $$ {body} $$"))?;
    writer.query("create trigger tell after insert on told_rows for each row execute function tell_row()")?;
    let (mut near, mut far) = (cluster.connect()?, Connection::connect(&other.dsn)?);
    near.query("listen told_rows")?;
    far.query("listen told_rows")?;
    for key in 1..=40 {
        writer.query(&format!("insert into told_rows values ({key}, 0)"))?;
    }
    let mut counts = 0;
    for shard in 0..SHARDS {
        counts += usize::from(cluster.primary(shard)?.value("select count(*) from told_rows")? != "0");
    }
    ensure!(counts == SHARDS, "the rows are on {counts} shards");
    for client in [&mut near, &mut far] {
        let mut told = (1..=40).map(|_| Ok(next(client)?.2.parse::<u32>()?)).collect::<Result<Vec<_>>>()?;
        // Of two shards each is in order by itself.
        told.sort_unstable();
        ensure!(told == (1..=40).collect::<Vec<_>>(), "{told:?}");
    }
    // Several shards would have to be prepared, which PostgreSQL refuses: nothing is written and nothing told.
    let error = writer.error("insert into told_rows values (101, 0), (102, 0), (103, 0), (104, 0), (105, 0)")?;
    ensure!(error.sqlstate() == "0A000", "{error}");
    ensure!(writer.value("select count(*) from told_rows where user_id > 100")? == "0", "part of it was written");
    writer.query("notify told_rows, 'last'")?;
    ensure!(next(&mut near)?.2 == "last" && next(&mut far)?.2 == "last", "a notification of what was rolled back");
    Ok(())
}

/// Clients that share one server connection know their own notifications from each other's by the process id, as libpq's users do.
pub(crate) fn ones_own_are_known(fixture: &Fixture) -> Result<()> {
    let proxy = fixture.cluster()?.proxy(&[("SHARDYARD__POOL__SIZE", "1")])?;
    let (mut one, mut two, mut third) =
        (Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?);
    let ids = [process_id(&one)?, process_id(&two)?];
    one.query("listen own_ids")?;
    two.query("listen own_ids")?;
    for turn in 0..50 {
        third.query("notify own_ids, 'third'")?;
        let own = notified(&mut one, &format!("notify own_ids, '{turn}'"))?;
        ensure!(own.last().is_some_and(|(id, _, payload)| *id == ids[0] && *payload == turn.to_string()), "turn {turn}: {own:?}");
        let others: Vec<_> = own.iter().filter(|(_, _, payload)| payload == "third").collect();
        ensure!(others.iter().all(|(id, ..)| *id != ids[0]), "turn {turn}: another's look like one's own: {own:?}");
        if others.is_empty() {
            bail!("turn {turn}: what was sent before is told after: {own:?}");
        }
        let mut seen = vec![next(&mut two)?, next(&mut two)?];
        seen.retain(|(id, ..)| *id == ids[1]);
        ensure!(seen.is_empty(), "turn {turn}: {seen:?}");
    }
    Ok(())
}

/// Four clients notify at once, in transactions of three: a listener gets each sender's in its order and none twice, an idle one too.
pub(crate) fn none_is_lost(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut listeners = (0..8).map(|_| cluster.connect()).collect::<Result<Vec<_>>>()?;
    for (at, listener) in listeners.iter_mut().enumerate() {
        listener.query("listen crowd")?;
        if at % 2 == 1 {
            listener.query("begin")?;
        }
    }
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                scope.spawn(move || -> Result<()> {
                    let mut client = cluster.connect()?;
                    for turn in 0..50 {
                        let texts: String = (0..3).map(|step| format!("notify crowd, '{sender} {}';", turn * 3 + step)).collect();
                        client.query(&format!("begin; {texts} commit"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        senders.into_iter().try_for_each(|sender| sender.join().expect("a sender does not panic"))
    })?;
    for (at, listener) in listeners.iter_mut().enumerate() {
        if at % 2 == 1 {
            listener.send(&message(b'Q', b"commit\0"))?;
            ensure!(listener.receive()?.is_some_and(|frame| frame.tag == b'C'), "told before the transaction's end");
        }
        let mut due = [0; 4];
        for _ in 0..600 {
            let (_, _, payload) = next(listener)?;
            let (sender, number) = payload.split_once(' ').context("a strange payload")?;
            let due = due.get_mut(sender.parse::<usize>()?).context("a strange sender")?;
            ensure!(number.parse::<usize>()? == *due, "listener {at}: {payload} came when {due} was due");
            *due += 1;
        }
    }
    Ok(())
}

/// A listening connection that is lost may have lost notifications: who listens is ended, as by a server that goes down; others are not.
pub(crate) fn a_loss_is_told(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let proxy = cluster.proxy(&[])?;
    for shard in 0..SHARDS {
        let (mut idle, mut busy, mut other) =
            (Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?);
        let channel = format!("loss_{shard}");
        idle.query(&format!("listen {channel}"))?;
        busy.query(&format!("listen {channel}"))?;
        busy.query("begin")?;
        other.query(&format!("listen {channel}; unlisten *"))?;
        let mut server = cluster.primary(shard)?;
        server.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'shardyard notifications'")?;
        let error = farewell(&mut idle)?;
        ensure!(error.sqlstate() == "57P01" && error.to_string().contains("notifications"), "{error}");
        busy.query("select 1")?;
        busy.send(&message(b'Q', b"commit\0"))?;
        ensure!(farewell(&mut busy)?.sqlstate() == "57P01");
        other.query("select 1")?;
        let mut again = Connection::connect(&proxy.dsn)?;
        eventually(Duration::from_secs(10), || again.query(&format!("listen {channel}")))?;
        ensure!(notified(&mut again, &format!("notify {channel}, 'back'"))?.len() == 1, "not listened to again");
    }
    Ok(())
}

/// What waits for a client in a transaction is bounded.
pub(crate) fn waiting_ones_are_bounded(fixture: &Fixture) -> Result<()> {
    let proxy = fixture.cluster()?.proxy(&[("SHARDYARD__SESSION__NOTIFICATION_BYTES_MAX", "100000")])?;
    let (mut busy, mut idle, mut sender) =
        (Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?);
    busy.query("listen too_many")?;
    idle.query("listen too_many")?;
    busy.query("begin")?;
    for turn in 0..40 {
        sender.query(&format!("select pg_notify('too_many', repeat('x', 7000) || {turn})"))?;
        ensure!(next(&mut idle)?.2.ends_with(&format!("x{turn}")), "turn {turn}");
    }
    busy.send(&message(b'Q', b"commit\0"))?;
    ensure!(farewell(&mut busy)?.sqlstate() == "53400");
    Ok(())
}
