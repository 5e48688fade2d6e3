//! Waits for the proxies to know what the catalog says; fences out those that are dead.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tracing::{info, warn};

use crate::rebalance::error::{StepError, doing};
use crate::rebalance::fault;
use crate::rebalance::shards::Shards;

/// A proxy that does not do what is waited for, and whose heartbeat counter stands still for so long by our clock, is dead.
const DEAD_AFTER: Duration = Duration::from_millis(1500);
/// Between two looks at the proxies' rows: inside a fence each millisecond is a writer's.
const POLL: Duration = Duration::from_millis(1);
const POLL_SLOW: Duration = Duration::from_millis(20);
/// A live proxy that is waited for longer than this is told to the operator.
const TELL_AFTER: Duration = Duration::from_secs(10);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Every statement from now on is routed by this map or a newer one.
    Seen,
    /// Moreover no statement runs that was routed by an older map.
    Acknowledged,
    /// No transaction is open that began under an older map and has touched a shard of the wave.
    Settled,
    Both,
}

struct Proxy {
    id: String,
    incarnation: i32,
    heartbeat: i64,
    seen: u64,
    acknowledged: u64,
    settled: u64,
}

impl Proxy {
    fn has_done(&self, until: Until, version: u64) -> bool {
        match until {
            Until::Seen => self.seen >= version,
            Until::Acknowledged => self.acknowledged >= version,
            Until::Settled => self.settled >= version,
            Until::Both => self.acknowledged >= version && self.settled >= version,
        }
    }
}

/// Waits until every proxy has done it; dead ones are fenced out of the shards and then count no more.
pub(crate) async fn wait(catalog: &Client, shards: &mut Shards, version: u64, until: Until) -> Result<(), StepError> {
    if fault::omits("acknowledgement") {
        return Ok(());
    }
    let began = Instant::now();
    let mut told = false;
    let mut hearts: HashMap<i32, (i64, Instant)> = HashMap::new();
    loop {
        let late: Vec<Proxy> = read(catalog).await?.into_iter().filter(|proxy| !proxy.has_done(until, version)).collect();
        if late.is_empty() {
            return Ok(());
        }
        for proxy in &late {
            let heart = hearts.entry(proxy.incarnation).or_insert((proxy.heartbeat, Instant::now()));
            if heart.0 != proxy.heartbeat {
                *heart = (proxy.heartbeat, Instant::now());
            } else if heart.1.elapsed() >= DEAD_AFTER {
                // One that beats but does not acknowledge is waited for: a client's statement runs for long.
                warn!(proxy = proxy.id, incarnation = proxy.incarnation, "a proxy is dead: it is fenced out of the shards");
                shards.fence_out(proxy.incarnation).await?;
                let delete = "delete from shardyard.proxy where id = $1 and incarnation = $2";
                catalog.execute(delete, &[&proxy.id, &proxy.incarnation]).await.map_err(doing("removing a dead proxy"))?;
                info!(proxy = proxy.id, incarnation = proxy.incarnation, "fenced out");
            }
        }
        if !told && began.elapsed() > TELL_AFTER {
            let names: Vec<&str> = late.iter().map(|proxy| proxy.id.as_str()).collect();
            warn!(proxies = ?names, version, "proxies have statements open that began before: the move waits for them");
            told = true;
        }
        sleep(if began.elapsed() < Duration::from_secs(1) { POLL } else { POLL_SLOW }).await;
    }
}

/// Waits no longer than to the deadline, and fences nobody; whether all have done it.
pub(crate) async fn wait_until(catalog: &Client, version: u64, until: Until, deadline: Instant) -> Result<bool, StepError> {
    if fault::omits("acknowledgement") {
        return Ok(true);
    }
    loop {
        if read(catalog).await?.iter().all(|proxy| proxy.has_done(until, version)) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(POLL).await;
    }
}

async fn read(catalog: &Client) -> Result<Vec<Proxy>, StepError> {
    let select = "select id, incarnation, heartbeat, seen_version, acknowledged_version, settled_version from shardyard.proxy";
    let version = |number: i64| u64::try_from(number).unwrap_or(0);
    let rows = catalog.query_typed(select, &[]).await.map_err(doing("reading the proxies"))?;
    let proxy = |row: &tokio_postgres::Row| Proxy {
        id: row.get(0),
        incarnation: row.get(1),
        heartbeat: row.get(2),
        seen: version(row.get(3)),
        acknowledged: version(row.get(4)),
        settled: version(row.get(5)),
    };
    Ok(rows.iter().map(proxy).collect())
}
