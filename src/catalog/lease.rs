//! This proxy's row in the catalog: registered at the start, kept alive by a heartbeat, told which maps are out of use here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::{Client, Statement};
use tracing::{error, info, warn};

use crate::catalog::activity::Standing;
use crate::catalog::connect::{ConnectError, Target};
use crate::catalog::store::{self, StoreError};
use crate::catalog::view::View;
use crate::topology::MapVersion;

/// The worker counts a proxy as dead whose heartbeat stands still for 1.5 s.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);
/// A catalog that does not answer for this long is connected to anew.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is looked whether an old map is out of use, while one is not; after [`EAGER`] less often.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
const EAGER: Duration = Duration::from_millis(500);
const LATER_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The heartbeat of a row, its versions, and a word to the worker.
const TELL: &str = "with told as (
        update shardyard.proxy set heartbeat = heartbeat + 1, seen_version = $3, acknowledged_version = $4, settled_version = $5
        where id = $1 and incarnation = $2 returning 1)
    select pg_catalog.pg_notify('shardyard_ack', $1 || ' ' || $3::text || ' ' || $4::text || ' ' || $5::text) from told";

/// A registered proxy. Give [`Lease::run`] to a task.
#[derive(Debug)]
pub struct Lease {
    target: Target,
    /// Of this process under this incarnation: the row of an older one stays until its connections have been ended.
    id: String,
    incarnation: i32,
    told: Standing,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All sessions have ended before.
    Clean,
    /// Some were cut off, and what they ran may still be running.
    Cut,
}

/// Why the proxy could not be registered, or its row not be written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the catalog does not know this proxy any more")]
    Forgotten,
}

impl From<tokio_postgres::Error> for LeaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Lease {
    /// Registers this process. A map that is read after this is one that the worker knows to wait for.
    ///
    /// # Errors
    /// When the catalog does not answer.
    pub async fn register(target: &Target) -> Result<Self, LeaseError> {
        let target = target.clone().named("shardyard lease");
        let client = target.connect().await?;
        let (id, incarnation) = enroll(&client).await?;
        info!(proxy = id, incarnation, "registered");
        Ok(Self { target, id, incarnation, told: Standing::default() })
    }

    #[must_use]
    pub fn incarnation(&self) -> i32 {
        self.incarnation
    }

    /// Keeps the row until `end` is told; removes it then, if nothing of this process runs on any server. Without the catalog it tries on: the shards keep out who is late.
    pub async fn run(mut self, view: Arc<View>, mut end: watch::Receiver<Option<Ending>>) {
        view.attendance.enter(self.incarnation);
        let mut lost = false;
        loop {
            let ended = tokio::select! {
                ended = self.keep(&view, &mut lost) => ended,
                end = end.wait_for(Option::is_some) => match end.ok().and_then(|end| *end) {
                    Some(Ending::Clean) if view.attendance.strays().is_empty() => break,
                    // The worker ends what is left.
                    Some(_) | None => return,
                },
            };
            match ended {
                LeaseError::Forgotten => {}
                error => {
                    if !std::mem::replace(&mut lost, true) {
                        let error: &dyn std::error::Error = &error;
                        warn!(error, "the catalog hears nothing of this proxy");
                    }
                    sleep_until(Instant::now() + HEARTBEAT_INTERVAL).await;
                }
            }
        }
        if let Ok(Err(error)) = timeout(ANSWER_TIMEOUT, self.leave()).await {
            let error: &dyn std::error::Error = &error;
            warn!(error, "the proxy could not be signed off; the worker will find it gone");
        }
    }

    /// One connection to the catalog, from its opening to its loss.
    async fn keep(&mut self, view: &View, lost: &mut bool) -> LeaseError {
        match timeout(ANSWER_TIMEOUT, self.target.connect()).await {
            Ok(Ok(client)) => self.beat(&client, view, lost).await.err().unwrap_or(LeaseError::Forgotten),
            Ok(Err(error)) => error.into(),
            Err(_) => StoreError::Silent.into(),
        }
    }

    async fn beat(&mut self, client: &Client, view: &View, lost: &mut bool) -> Result<(), LeaseError> {
        let update = client.prepare(TELL).await?;
        let mut published = view.published();
        let mut newest_at = Instant::now();
        let mut beat_at = Instant::now();
        loop {
            let standing = self.progress(view);
            if standing != self.told || Instant::now() >= beat_at {
                beat_at = Instant::now() + HEARTBEAT_INTERVAL;
                match answered(self.tell(client, &update, standing)).await {
                    Err(LeaseError::Forgotten) => self.return_anew(client, view).await?,
                    told => told?,
                }
                if std::mem::take(lost) {
                    info!("the catalog hears of this proxy again");
                }
            }
            let behind = standing.settled < view.map_version();
            let interval = if newest_at.elapsed() < EAGER { LOOK_INTERVAL } else { LATER_LOOK_INTERVAL };
            let look_at = if behind { beat_at.min(Instant::now() + interval) } else { beat_at };
            tokio::select! {
                () = sleep_until(look_at) => {}
                _ = published.changed() => newest_at = Instant::now(),
                () = view.attendance.is_fenced() => {
                    error!(incarnation = self.incarnation, "this proxy was fenced out; it registers anew");
                    self.return_anew(client, view).await?;
                }
            }
        }
    }

    /// What has been told once is not taken back: a session may write down an old version for the moment until it sees the newest.
    fn progress(&self, view: &View) -> Standing {
        let map = view.map();
        let standing = view.activity.standing(&map);
        if view.attendance.strays_where_rows_move(&map) {
            return Standing { seen: standing.seen, ..self.told };
        }
        if self.told.acknowledged > map.version {
            // The catalog is an older one by now.
            return standing;
        }
        Standing {
            seen: standing.seen,
            acknowledged: standing.acknowledged.max(self.told.acknowledged),
            settled: standing.settled.max(self.told.settled),
        }
    }

    /// The heartbeat, and how far this proxy is.
    async fn tell(&mut self, client: &Client, update: &Statement, standing: Standing) -> Result<(), LeaseError> {
        let number = |version: MapVersion| i64::try_from(version.0).unwrap_or(i64::MAX);
        let (seen, acknowledged, settled) = (number(standing.seen), number(standing.acknowledged), number(standing.settled));
        let rows = client.execute(update, &[&self.id, &self.incarnation, &seen, &acknowledged, &settled]).await?;
        if rows == 0 {
            return Err(LeaseError::Forgotten);
        }
        self.told = standing;
        Ok(())
    }

    /// Registers under a new incarnation, and takes it on once the map is newer than that.
    async fn return_anew(&mut self, client: &Client, view: &View) -> Result<(), LeaseError> {
        let register = async {
            let enrolled = enroll(client).await?;
            Ok::<_, LeaseError>((enrolled, store::version(client).await?))
        };
        let ((id, incarnation), version) = answered(register).await?;
        let mut published = view.published();
        // Only equal or newer: the catalog may have been restored from a backup, and then the watcher publishes the older version.
        let known = published.wait_for(|known| known.0 >= version);
        if timeout(ANSWER_TIMEOUT, known).await.is_err() {
            return Err(StoreError::Silent.into());
        }
        (self.id, self.incarnation) = (id, incarnation);
        self.told = Standing::default();
        view.attendance.enter(incarnation);
        info!(proxy = self.id, incarnation, "registered anew");
        Ok(())
    }

    async fn leave(&self) -> Result<(), LeaseError> {
        let client = self.target.connect().await?;
        let delete = "delete from shardyard.proxy where id = $1 and incarnation = $2";
        client.execute(delete, &[&self.id, &self.incarnation]).await?;
        Ok(())
    }
}

async fn enroll(client: &Client) -> Result<(String, i32), LeaseError> {
    let id = format!("{:016x}", rand::random::<u64>());
    let insert = "insert into shardyard.proxy (id, incarnation) values ($1, nextval('shardyard.incarnation')) returning incarnation";
    let incarnation = client.query_one(insert, &[&id]).await?.get(0);
    Ok((id, incarnation))
}

async fn answered<T>(work: impl Future<Output = Result<T, LeaseError>>) -> Result<T, LeaseError> {
    timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_| Err(StoreError::Silent.into()))
}
