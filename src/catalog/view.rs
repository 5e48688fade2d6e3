//! What this process knows of the cluster right now: the shard map and the schema, and the way to ask for news.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::{Activity, Attendance, Slot, TableRule, TableRules};
use crate::topology::{MapVersion, Schema, ShardMap};

/// Requests that may wait for the learner; more callers wait.
const REQUESTS_MAX: usize = 1024;

/// What a session asks of the learner.
#[derive(Debug)]
pub enum Request {
    /// Read the schema again.
    Learn(oneshot::Sender<()>),
    /// The schema was changed through us: tell the other proxies, then read it again.
    Changed(oneshot::Sender<()>),
    /// A table's kind was declared: write it to the catalog, tell the others, read again. Answers with the error's text.
    Declare(TableRule, oneshot::Sender<Result<(), String>>),
}

/// Shared by all sessions; replaced as a whole by the learner.
#[derive(Debug)]
pub struct View {
    map: ArcSwap<ShardMap>,
    schema: ArcSwap<Schema>,
    /// Of the two above, for those who only ask whether something is new.
    map_version: AtomicU64,
    schema_version: AtomicU64,
    rules: ArcSwap<TableRules>,
    requests: mpsc::Sender<Request>,
    /// The version of the map, for those who wait for another.
    published: watch::Sender<MapVersion>,
    /// Which map is still in use.
    pub activity: Activity,
    pub attendance: Arc<Attendance>,
}

impl View {
    /// The view, and the learner's end of the requests.
    #[must_use]
    pub fn new(map: Arc<ShardMap>, schema: Arc<Schema>, rules: Arc<TableRules>) -> (Arc<Self>, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let view = Self {
            published: watch::Sender::new(map.version),
            activity: Activity::default(),
            attendance: Arc::default(),
            map_version: AtomicU64::new(map.version.0),
            schema_version: AtomicU64::new(schema.version),
            map: ArcSwap::new(map),
            schema: ArcSwap::new(schema),
            rules: ArcSwap::new(rules),
            requests,
        };
        (Arc::new(view), receiver)
    }

    #[must_use]
    pub fn map(&self) -> arc_swap::Guard<Arc<ShardMap>> {
        self.map.load()
    }

    #[must_use]
    pub fn schema(&self) -> arc_swap::Guard<Arc<Schema>> {
        self.schema.load()
    }

    #[must_use]
    pub fn rules(&self) -> arc_swap::Guard<Arc<TableRules>> {
        self.rules.load()
    }

    pub fn publish_rules(&self, rules: Arc<TableRules>) {
        self.rules.store(rules);
    }

    pub fn publish_map(&self, map: Arc<ShardMap>) {
        let version = map.version;
        self.map.store(map);
        self.map_version.store(version.0, Ordering::SeqCst);
        self.published.send_replace(version);
    }

    /// Begins a statement: from now on the map of the answered version, or a newer one, counts as in use. What `slot` has said before is
    /// forgotten.
    #[must_use]
    pub fn begin(&self, slot: &Slot) -> MapVersion {
        let mut version = self.map_version();
        loop {
            slot.run(version);
            let newest = self.newest();
            if newest == version {
                return version;
            }
            version = newest;
        }
    }

    /// As [`View::map_version`], for those who have just written down what they do by it.
    #[must_use]
    pub fn newest(&self) -> MapVersion {
        MapVersion(self.map_version.load(Ordering::SeqCst))
    }

    /// Tells of each new map.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<MapVersion> {
        self.published.subscribe()
    }

    pub fn publish_schema(&self, schema: Arc<Schema>) {
        let version = schema.version;
        self.schema.store(schema);
        self.schema_version.store(version, Ordering::Release);
    }

    /// The version of [`View::map`], without its count of references.
    #[must_use]
    pub fn map_version(&self) -> MapVersion {
        MapVersion(self.map_version.load(Ordering::Acquire))
    }

    /// The version of [`View::schema`].
    #[must_use]
    pub fn schema_version(&self) -> u64 {
        self.schema_version.load(Ordering::Acquire)
    }

    /// Returns when the schema has been read again. Cancel safe.
    pub async fn learn(&self) {
        let (done, learned) = oneshot::channel();
        if self.requests.send(Request::Learn(done)).await.is_ok() {
            // The learner is gone only at shutdown.
            let _ = learned.await;
        }
    }

    /// Returns when the other proxies have been told and the schema has been read again. Cancel safe.
    pub async fn changed(&self) {
        let (done, learned) = oneshot::channel();
        if self.requests.send(Request::Changed(done)).await.is_ok() {
            let _ = learned.await;
        }
    }

    /// Writes a table's kind to the catalog. Cancel safe.
    ///
    /// # Errors
    /// The reason, when there is no catalog or it does not answer.
    pub async fn declare(&self, rule: TableRule) -> Result<(), String> {
        let (done, declared) = oneshot::channel();
        self.requests.send(Request::Declare(rule, done)).await.map_err(|_| "the proxy is shutting down".to_owned())?;
        declared.await.unwrap_or_else(|_| Err("the proxy is shutting down".to_owned()))
    }
}
