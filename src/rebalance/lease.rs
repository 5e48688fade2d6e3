//! Who leads: a row with a token that grows with each leader. The leader's heart beats; one that does not is replaced.
//!
//! *Invariant: correctness does not hang on time.* A leader that comes too late finds a newer token, in the catalog and on every shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use tracing::warn;

use crate::catalog::Target;
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::fault;
use crate::telemetry::task;

const HEARTBEAT: Duration = Duration::from_millis(300);
/// A leader whose heart has not beaten for so long, by the clock of who waits, is replaced.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Held by the leader.
pub(crate) struct Lease {
    pub(crate) token: i64,
    lost: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Lease {
    /// Waits until there is no leader, and leads.
    pub(crate) async fn acquire(catalog: &Target) -> Result<Self, StepError> {
        let client = catalog.clone().named("shardyard worker").connect().await?;
        let action = || doing("asking for the lease");
        let mut seen: Option<(i64, i64)> = None;
        let mut since = Instant::now();
        loop {
            let row = client.query_one("select token, heartbeat, holder from shardyard.worker", &[]).await.map_err(action())?;
            let now: (i64, i64) = (row.get(0), row.get(1));
            let free = row.get::<_, Option<&str>>(2).is_none();
            if seen != Some(now) {
                (seen, since) = (Some(now), Instant::now());
            }
            if free || since.elapsed() >= PATIENCE {
                let take = "update shardyard.worker set token = token + 1, heartbeat = 0, holder = $2 where token = $1 and heartbeat = $3 returning token";
                let holder = format!("process {}", std::process::id());
                if let Some(row) = client.query_opt(take, &[&now.0, &holder, &now.1]).await.map_err(action())? {
                    fault::point("lease.taken").await;
                    return Ok(Self::held(row.get(0), client, catalog.clone()));
                }
            }
            sleep(HEARTBEAT / 3).await;
        }
    }

    fn held(token: i64, client: Client, catalog: Target) -> Self {
        let (lost, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let lease = Self { token, lost: Arc::clone(&lost), ended: Arc::clone(&ended) };
        task::spawn("worker's heartbeat", beat(token, client, catalog, (lost, ended)));
        lease
    }

    /// An error when another leads for certain.
    pub(crate) fn check(&self) -> Result<(), StepError> {
        if self.lost.load(Ordering::Relaxed) { Err(StepError::LeaseLost) } else { Ok(()) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Gives the lease back, so that the next leader need not wait.
pub(crate) async fn release(catalog: &Target, token: i64) {
    let update = "update shardyard.worker set holder = null where token = $1";
    if let Ok(client) = catalog.clone().named("shardyard worker").connect().await {
        // Not needed, only quicker.
        let _ = client.execute(update, &[&token]).await;
    }
}

async fn beat(token: i64, mut client: Client, catalog: Target, (lost, ended): (Arc<AtomicBool>, Arc<AtomicBool>)) {
    while !ended.load(Ordering::Relaxed) {
        let update = "update shardyard.worker set heartbeat = heartbeat + 1 where token = $1";
        match timeout(PATIENCE, client.execute(update, &[&token])).await {
            Ok(Ok(1)) => {}
            Ok(Ok(_)) => {
                lost.store(true, Ordering::Relaxed);
                return;
            }
            // The catalog is away: whether another leads is known when it is back.
            _ => match catalog.clone().named("shardyard worker").connect().await {
                Ok(fresh) => client = fresh,
                Err(error) => warn!(%error, "the catalog cannot be reached"),
            },
        }
        sleep(HEARTBEAT).await;
    }
}
