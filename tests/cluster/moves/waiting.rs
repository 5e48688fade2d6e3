//! Who waits for whom at a switch: the switch for no read, and a client that has given up for nobody.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::connection::{Connection, message};
use crate::fixture::Fixture;
use crate::login;
use crate::moves::worker::Worker;
use crate::moves::{TABLE, beside, close, copy, ended, lay, n_of};

/// A read over several shards that takes long keeps no writer waiting: the switch goes on beside it, by either protocol. A write that follows it
/// in the same batch goes by the newest map.
pub(crate) fn a_switch_waits_for_no_read(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    let wave = worker.wave((0, 1), &moving, "catching up")?;
    worker.wait_acknowledged()?;
    let mut locked = cluster.primary(0)?;
    locked.query(&format!("begin; lock table {TABLE} in access exclusive mode"))?;
    let simple = beside(&cluster.dsn, format!("select sum(n) from {TABLE}"));
    let mut batch = cluster.connect()?;
    batch.send(&steps(&format!("select sum(n) from {TABLE}")))?;
    std::thread::sleep(Duration::from_millis(300));
    worker.state(wave, "fencing")?;
    worker.wait_for("settled_version").context("a read keeps the switch waiting")?;
    ensure!(!worker.is_reached("acknowledged_version")?, "the reads have not waited for the lock");
    batch.send(&steps(&format!("update {TABLE} set n = n + 5 where user_id = {}", keys.moving)))?;
    batch.send(&message(b'S', &[]))?;
    locked.query("commit")?;
    ended(&simple)?;
    worker.wait_acknowledged()?;
    ensure!(n_of(cluster, 0, keys.moving)? == 0, "the write has not waited");
    copy(cluster, keys.moving)?;
    worker.flip(wave)?;
    worker.state(wave, "released")?;
    batch.finish_query()?;
    let found = (n_of(cluster, 0, keys.moving)?, n_of(cluster, 1, keys.moving)?);
    ensure!(found == (0, 5), "source and target have {found:?}");
    worker.clear()
}

/// A client that waits for a switch is told at once when it cancels; one that leaves writes nothing any more.
pub(crate) fn held_clients_give_up(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    let wave = worker.wave((0, 1), &moving, "fencing")?;
    worker.wait_for("settled_version")?;
    let update = format!("update {TABLE} set n = n + 1 where user_id = {}", keys.moving);
    let mut leaving = cluster.connect()?;
    leaving.send(&message(b'Q', format!("{update}\0").as_bytes()))?;
    let mut cancelling = cluster.connect()?;
    cancelling.send(&message(b'Q', format!("{update}\0").as_bytes()))?;
    std::thread::sleep(Duration::from_millis(300));
    drop(leaving);
    let began = Instant::now();
    let mut canceller = Connection::open(&cluster.dsn)?;
    canceller.send(&login::request(80_877_102, &cancelling.key.clone().context("no key")?))?;
    let told = cancelling.finish_query().err().context("not cancelled")?;
    ensure!(told.to_string().starts_with("57014") && began.elapsed() < Duration::from_secs(1), "{told} after {:?}", began.elapsed());
    std::thread::sleep(Duration::from_millis(100));
    worker.state(wave, "catching up")?;
    worker.wait_for("settled_version")?;
    std::thread::sleep(Duration::from_millis(200));
    ensure!(n_of(cluster, 0, keys.moving)? == 0, "a client that had given up has written");
    ensure!(cancelling.query(&update).is_ok() && n_of(cluster, 0, keys.moving)? == 1, "a cancelled client cannot go on");
    worker.clear()
}

/// Parse, Bind and Execute of the unnamed statement, without Sync.
fn steps(sql: &str) -> Vec<u8> {
    let parse = [&[0], sql.as_bytes(), &[0, 0, 0]].concat();
    [message(b'P', &parse), message(b'B', &[0, 0, 0, 0, 0, 0, 0, 0]), message(b'E', &[0, 0, 0, 0, 0])].concat()
}

/// A batch that a shard refuses is run again, whole, when the map says where its rows belong; its client sees one reply to each message.
pub(crate) fn refused_batches_run_again(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.pair()?;
    let (keys, moving) = lay(cluster)?;
    let mut worker = Worker::of(cluster)?;
    let wave = worker.wave((0, 1), &moving, "catching up")?;
    worker.wait_acknowledged()?;
    close(cluster, keys.moving)?;
    copy(cluster, keys.moving)?;
    let update = |key: i64| format!("update {TABLE} set n = n + 1 where user_id = {key}");
    // On one shard; on two, the refused one last; with a named statement.
    let batches = [
        [steps(&update(keys.staying)), steps(&update(keys.moving)), message(b'S', &[])].concat(),
        [steps(&update(keys.other)), steps(&update(keys.staying)), steps(&update(keys.moving)), message(b'S', &[])].concat(),
        [named("u", &update(keys.moving)), message(b'S', &[])].concat(),
    ];
    let mut clients = Vec::new();
    for batch in &batches {
        let mut client = cluster.connect()?;
        client.send(batch)?;
        clients.push(client);
    }
    // What the client has been told of is not run again.
    let mut told = cluster.connect()?;
    told.send(&[steps(&update(keys.staying)), message(b'H', &[])].concat())?;
    std::thread::sleep(Duration::from_millis(200));
    told.send(&[steps(&update(keys.moving)), message(b'S', &[])].concat())?;
    let error = told.finish_query().err().context("a batch whose replies were sent is not refused")?;
    ensure!(error.to_string().starts_with("40001"), "{error}");
    std::thread::sleep(Duration::from_millis(300));
    ensure!(n_of(cluster, 0, keys.staying)? == 0 && n_of(cluster, 1, keys.other)? == 0, "half of a batch is there");
    worker.flip(wave)?;
    worker.state(wave, "released")?;
    for (client, statements) in clients.iter_mut().zip([2, 3, 1]) {
        let tags = replies(client).with_context(|| format!("the batch of {statements}"))?;
        ensure!(tags == format!("{}Z", "12C".repeat(statements)), "replies {tags}");
    }
    let found = (n_of(cluster, 1, keys.moving)?, n_of(cluster, 0, keys.staying)?, n_of(cluster, 1, keys.other)?);
    ensure!(found == (3, 2, 1), "not each write once: {found:?}");
    clients[2].query("execute u")?;
    ensure!(n_of(cluster, 1, keys.moving)? == 4, "the named statement is lost");
    worker.clear()
}

/// The tags of all replies up to ReadyForQuery.
fn replies(client: &mut Connection) -> Result<String> {
    let mut tags = String::new();
    while !tags.ends_with('Z') {
        let frame = client.receive()?.context("closed")?;
        tags.push(char::from(frame.tag));
        ensure!(frame.tag != b'E', "{}", String::from_utf8_lossy(&frame.body));
    }
    Ok(tags)
}

/// As `steps`, with a named statement.
fn named(name: &str, sql: &str) -> Vec<u8> {
    let parse = [name.as_bytes(), &[0], sql.as_bytes(), &[0, 0, 0]].concat();
    let bind = [&[0], name.as_bytes(), &[0, 0, 0, 0, 0, 0, 0]].concat();
    [message(b'P', &parse), message(b'B', &bind), message(b'E', &[0, 0, 0, 0, 0])].concat()
}
