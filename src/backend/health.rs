//! Which replicas may serve reads: a monitor per shard samples how far the primary has written and each replica replayed.
//!
//! A sample is a moment and the primary's WAL position read *after* it, so the position covers every commit acknowledged
//! before the moment. A replica that has replayed the position is *fresh as of* that moment.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, Config};
use tracing::{debug, info};

use crate::backend::{ControlRole, ReplicaOptions};
use crate::catalog::{ConnectError, Target};
use crate::topology::{Endpoint, Shard};

/// Samples that replicas have not reached yet: at 50 ms each, ten seconds.
const SAMPLES_MAX: usize = 200;
/// A probe that takes longer counts as failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Moments as nanoseconds since the process started, small enough for an atomic.
#[derive(Clone, Copy, Debug)]
pub struct Epoch(Instant);

impl Epoch {
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds until `moment`, never 0.
    #[must_use]
    pub fn nanos(self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.0).as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    #[must_use]
    pub fn now(self) -> u64 {
        self.nanos(Instant::now())
    }
}

/// What is known of one replica.
#[derive(Debug, Default)]
pub struct ReplicaHealth {
    /// See the file's head; 0 when the replica cannot serve.
    fresh_as_of: AtomicU64,
}

impl ReplicaHealth {
    /// Whether the replica shows every commit up to `moment`.
    #[must_use]
    pub fn is_fresh(&self, moment: u64) -> bool {
        self.fresh_as_of.load(Ordering::Relaxed) >= moment
    }
}

/// What is known of one shard's replicas.
#[derive(Debug, Default)]
pub struct ShardHealth {
    pub replicas: Vec<(Endpoint, Arc<ReplicaHealth>)>,
    /// Set by every read; while it is, the monitor samples at `sample_interval`.
    wanted: AtomicBool,
    wake: Notify,
}

impl ShardHealth {
    #[must_use]
    pub fn new(shard: &Shard) -> Arc<Self> {
        let replicas = shard.replicas.iter().map(|replica| (replica.endpoint.clone(), Arc::default())).collect();
        Arc::new(Self { replicas, ..Self::default() })
    }

    /// Tells the monitor that somebody reads.
    pub fn touch(&self) {
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }
}

/// Watches one shard until the health has no other owner.
pub async fn monitor(shard: Shard, health: Arc<ShardHealth>, control: ControlRole, options: ReplicaOptions, epoch: Epoch) {
    let mut primary = Probe::new(&shard.primary, &control);
    let mut replicas: Vec<Probe> = health.replicas.iter().map(|(endpoint, _)| Probe::new(endpoint, &control)).collect();
    let mut samples: VecDeque<(u64, u64)> = VecDeque::new();
    let mut served = vec![true; replicas.len()];
    while Arc::strong_count(&health) > 1 && !replicas.is_empty() {
        let moment = epoch.now();
        if let Some(position) = primary.position("SELECT pg_current_wal_insert_lsn()::text").await {
            if samples.len() == SAMPLES_MAX {
                samples.pop_front();
            }
            samples.push_back((moment, position));
        }
        let mut slowest = u64::MAX;
        for ((probe, (endpoint, replica)), served) in replicas.iter_mut().zip(&health.replicas).zip(&mut served) {
            let replayed = probe.position("SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END::text").await;
            let fresh = replayed.and_then(|position| samples.iter().rev().find(|(_, sample)| *sample <= position)).map_or(0, |(at, _)| *at);
            // A probe that found no sample reached keeps the older moment: what has been replayed stays replayed.
            let known = replica.fresh_as_of.load(Ordering::Relaxed);
            let fresh = if replayed.is_some() { fresh.max(known) } else { 0 };
            replica.fresh_as_of.store(fresh, Ordering::Relaxed);
            slowest = slowest.min(fresh);
            let serves = replayed.is_some();
            if serves != *served {
                info!(shard = %shard.id, server = %endpoint, "replica {} rotation", if serves { "joined" } else { "left" });
                *served = serves;
            }
        }
        while samples.len() > 1 && samples.get(1).is_some_and(|(at, _)| *at <= slowest) {
            samples.pop_front();
        }
        pause(&health, &options).await;
    }
}

/// Until the next sample is due: soon while there is traffic, else at the probe interval or when traffic comes.
async fn pause(health: &ShardHealth, options: &ReplicaOptions) {
    sleep(options.sample_interval).await;
    if !health.wanted.swap(false, Ordering::Relaxed) {
        let _ = timeout(options.probe_interval.saturating_sub(options.sample_interval), health.wake.notified()).await;
    }
}

/// Why a probe has no answer.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Query(#[from] tokio_postgres::Error),
}

/// A control connection to one server, opened anew when it breaks.
struct Probe {
    endpoint: Endpoint,
    target: Target,
    client: Option<Client>,
    /// No new attempt to connect before this.
    retry_at: Instant,
}

impl Probe {
    fn new(endpoint: &Endpoint, control: &ControlRole) -> Self {
        Self { endpoint: endpoint.clone(), target: control_target(endpoint, control), client: None, retry_at: Instant::now() }
    }

    /// The WAL position that `query` returns; `None` when the server does not answer or has none.
    async fn position(&mut self, query: &str) -> Option<u64> {
        match timeout(PROBE_TIMEOUT, self.ask(query)).await {
            Ok(Ok(position)) => position,
            Ok(Err(error)) => {
                debug!(server = %self.endpoint, %error, "probe failed");
                self.forget()
            }
            Err(_) => {
                debug!(server = %self.endpoint, "probe timed out");
                self.forget()
            }
        }
    }

    fn forget(&mut self) -> Option<u64> {
        self.client = None;
        self.retry_at = Instant::now() + Duration::from_millis(500);
        None
    }

    async fn ask(&mut self, query: &str) -> Result<Option<u64>, ProbeError> {
        if self.client.is_none() {
            if Instant::now() < self.retry_at {
                return Ok(None);
            }
            let (client, connection) = self.target.open().await?;
            crate::telemetry::task::spawn("probe", async move {
                // The client's calls report what broke.
                let _ = connection.await;
            });
            self.client = Some(client);
        }
        let Some(client) = &self.client else { return Ok(None) };
        let row = client.query_one(query, &[]).await?;
        Ok(row.get::<_, Option<&str>>(0).and_then(parse_position))
    }
}

/// How the control role connects to a server.
#[must_use]
pub fn control_target(endpoint: &Endpoint, control: &ControlRole) -> Target {
    let mut config = Config::new();
    config
        .host(&endpoint.host)
        .port(endpoint.port)
        .dbname(&endpoint.database)
        .user(&control.user)
        .application_name("shardyard control")
        .connect_timeout(PROBE_TIMEOUT)
        // A server that has vanished without a word is noticed within half a minute.
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3);
    if let Some(password) = &control.password {
        config.password(password);
    }
    Target::new(config, control.tls.clone())
}

/// A WAL position from its text `hi/lo`. One that stands just behind a page's header is told as the page's start:
/// that is how far a replica says it has replayed when it has replayed all before it.
fn parse_position(text: &str) -> Option<u64> {
    const PAGE_BYTES: u64 = 8192;
    let (high, low) = text.split_once('/')?;
    let position = u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?;
    // 24 bytes for a page's header, 40 for a segment's first.
    Some(match position % PAGE_BYTES {
        header @ (24 | 40) => position - header,
        _ => position,
    })
}
