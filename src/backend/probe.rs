//! A control connection to one server that asks for its role and its place in the WAL.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Config, Statement};
use tracing::debug;

use crate::backend::ControlRole;
use crate::backend::roles::Role;
use crate::backend::tenure::Tenure;
use crate::catalog::{ConnectError, Target};
use crate::topology::Endpoint;

/// A probe that takes longer counts as failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two attempts to connect.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Of a standby: what it has replayed, and the timeline that it receives. One that receives nothing, from a server that is gone, is on the
/// timeline of its last restart point or a newer one: that is older at worst, and an older one serves less.
const STATUS: &str = "SELECT pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text,
       CASE WHEN pg_is_in_recovery()
            THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint()))
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int4 END";

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub role: Role,
    /// Written by a primary, replayed by a standby.
    pub position: u64,
}

/// Why a probe has no answer.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Query(#[from] tokio_postgres::Error),
}

/// A connection to one server, opened anew when it breaks.
pub struct Probe {
    endpoint: Endpoint,
    target: Target,
    open: Option<(Client, Statement)>,
    /// No new attempt to connect before this.
    retry_at: Instant,
    /// Of a primary: who must hear at once that it is lost.
    tenure: Option<Arc<Tenure>>,
}

impl Probe {
    #[must_use]
    pub fn new(endpoint: &Endpoint, control: &ControlRole, tenure: Option<Arc<Tenure>>) -> Self {
        let target = control_target(endpoint, control);
        Self { endpoint: endpoint.clone(), target, open: None, retry_at: Instant::now(), tenure }
    }

    /// `None` when the server does not answer.
    pub async fn status(&mut self) -> Option<Status> {
        match timeout(PROBE_TIMEOUT, self.ask()).await {
            Ok(Ok(status)) => return status,
            Ok(Err(error)) => debug!(server = %self.endpoint, %error, "probe failed"),
            Err(_) => debug!(server = %self.endpoint, "probe timed out"),
        }
        self.open = None;
        self.retry_at = Instant::now() + RETRY_AFTER;
        None
    }

    /// Ends the proxy's connections to this server, which are known by their lock (`shardyard.enter`).
    pub async fn end_own_connections(&self, incarnation: i32) {
        let Some((client, _)) = &self.open else { return };
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_locks
             WHERE locktype = 'advisory' AND classid::bigint = 1398361426 AND objid::bigint = {incarnation} AND objsubid = 2"
        );
        // Those that are left write nothing that is kept, and hear so when the server goes.
        let _ = timeout(PROBE_TIMEOUT, client.batch_execute(&end)).await;
    }

    async fn ask(&mut self) -> Result<Option<Status>, ProbeError> {
        if self.open.is_none() {
            if Instant::now() < self.retry_at {
                return Ok(None);
            }
            let (client, connection) = self.target.open().await?;
            let tenure = self.tenure.clone();
            crate::telemetry::task::spawn("probe", async move {
                // The client's calls report what broke.
                if let (Err(_), Some(tenure)) = (connection.await, tenure) {
                    tenure.doubt();
                }
            });
            let statement = client.prepare(STATUS).await?;
            self.open = Some((client, statement));
        }
        let Some((client, statement)) = &self.open else { return Ok(None) };
        let row = client.query_one(statement, &[]).await?;
        let timeline = u32::try_from(row.get::<_, Option<i32>>(2).unwrap_or(0)).unwrap_or(0);
        let role = if row.get(0) { Role::Standby { timeline } } else { Role::Primary { timeline } };
        let position = row.get::<_, Option<&str>>(1).and_then(parse_position).unwrap_or(0);
        Ok(Some(Status { role, position }))
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
