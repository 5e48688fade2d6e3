//! What a proxy has sent to a shard arrives late: the client has gone meanwhile, and a move is asked for. The row is where the map says.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::connection::{Connection, message};
use crate::fixture::Fixture;
use crate::resharding::network::{Passage, Process};
use crate::resharding::placement;
use crate::resharding::stage::{Setting, Stage};
use crate::resharding::{MOVE_PATIENCE, wait_for_move};

const CLIENTS: i64 = 12;

pub(crate) fn late_writes_find_no_shard(_fixture: &Fixture) -> Result<()> {
    let stage = Stage::open_with(Setting { shards: 2, lines: true, ..Setting::default() })?;
    stage.connect(0)?.query("create table late (user_id bigint primary key)")?;
    let mut clients = (0..CLIENTS).map(|_| stage.connect(0)).collect::<Result<Vec<_>>>()?;
    // Each has had a connection of its own to each shard.
    for sql in ["begin", "select from late where user_id = KEY", "commit"] {
        for (key, client) in (1_i64..).zip(clients.iter_mut()) {
            client.query(&sql.replace("KEY", &key.to_string()))?;
        }
    }
    let ports = stage.ports().into_iter().filter(|port| *port != stage.catalog_port()).collect::<Vec<_>>();
    let network = stage.network.as_ref().context("there are no lines")?;
    let cut = network.cut(Process::Proxy(0), &ports, Passage::Silent);
    for (key, client) in (1_i64..).zip(clients.iter_mut()) {
        client.send(&message(b'Q', format!("insert into late values ({key})\0").as_bytes()))?;
    }
    std::thread::sleep(Duration::from_millis(300));
    drop::<Vec<Connection>>(clients);
    std::thread::sleep(Duration::from_secs(1));
    stage.ask_to_add("third")?;
    // Long enough for the whole move, if it waited for nothing.
    std::thread::sleep(Duration::from_secs(8));
    drop(cut);
    wait_for_move(&stage, "finished", MOVE_PATIENCE)?;
    std::thread::sleep(Duration::from_secs(1));
    placement::check(&stage, &[("late", "user_id")])?;
    stage.stop();
    Ok(())
}
