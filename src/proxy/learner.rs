//! Keeps the view of the cluster new: follows the catalog, and reads the schema again when it has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::backend::ControlRole;
use crate::backend::probe::control_target;
use crate::catalog::view::Request;
use crate::catalog::{self, CatalogState, TableRule, TableRules, Target, View, store};
use crate::telemetry::task;
use crate::topology::{Schema, ShardMap};

/// Reading the schema takes milliseconds; a server that takes longer than this is asked again later.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a catalog that is slow or gone may delay a reading of the schema.
const RULES_TIMEOUT: Duration = Duration::from_secs(1);
/// Readings of the schema while tables are being declared all the time.
const ATTEMPTS: u32 = 5;

/// The one task that replaces what sessions see.
pub(super) struct Learner {
    pub(super) view: Arc<View>,
    pub(super) control: ControlRole,
    /// Without a catalog nothing can be declared.
    pub(super) catalog: Option<Target>,
    /// The catalog's version at the last declaration made here.
    pub(super) declared_at: AtomicU64,
}

/// Reads the schema from the home shard's primary.
pub(super) async fn load_schema(map: &ShardMap, rules: &TableRules, control: &ControlRole, version: u64) -> anyhow::Result<Schema> {
    let home = map.shard(map.home).context("the map has no home shard")?;
    let load = async {
        let (client, connection) = control_target(&home.primary, control).open().await?;
        let driver = task::spawn("schema connection", async move {
            // The client's calls report what broke.
            let _ = connection.await;
        });
        let schema = catalog::schema::load(&client, rules, version).await;
        drop(client);
        driver.abort();
        anyhow::Ok(schema?)
    };
    timeout(LOAD_TIMEOUT, load).await.context("the home shard does not answer")?
}

impl Learner {
    /// Serves requests and follows the catalog until the process ends.
    pub(super) async fn run(self, mut requests: mpsc::Receiver<Request>, mut watched: Option<watch::Receiver<Arc<CatalogState>>>) {
        let mut schema_version = watched.as_ref().map_or(0, |states| states.borrow().schema_version);
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(first) => self.serve(first, &mut requests).await,
                    None => return,
                },
                () = changed(&mut watched) => {
                    let Some(state) = watched.as_mut().map(|states| Arc::clone(&states.borrow_and_update())) else { continue };
                    if state.map.version.0 < self.declared_at.load(Ordering::Relaxed) {
                        // Read before our own declaration: its rules lack it. The state with it is on its way.
                        continue;
                    }
                    self.view.publish_rules(Arc::clone(&state.rules));
                    if state.schema_version != schema_version {
                        schema_version = state.schema_version;
                        self.learn().await;
                    }
                }
            }
        }
    }

    /// Serves this request and all that have queued up behind it with one reading.
    async fn serve(&self, first: Request, requests: &mut mpsc::Receiver<Request>) {
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        let mut announce = false;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Learn(done) => waiting.push(done),
                Request::Changed(done) => {
                    announce = true;
                    waiting.push(done);
                }
                Request::Declare(rule, done) => {
                    // The session that asked may be gone; the rule is written all the same.
                    let _ = done.send(self.declare(rule).await.map_err(|error| format!("{error:#}")));
                }
            }
            next = requests.try_recv().ok();
        }
        self.learn().await;
        if announce && let Err(error) = self.announce().await {
            warn!(error = %format!("{error:#}"), "the other proxies could not be told of a schema change; they learn of it by themselves");
        }
        for done in waiting {
            let _ = done.send(());
        }
    }

    /// Rules are written before the tables they speak of are committed, and are read here after the tables: so a table that is seen
    /// is seen as what it was declared.
    async fn learn(&self) {
        for _ in 0..ATTEMPTS {
            let (map, rules, known) = (Arc::clone(&self.view.map()), Arc::clone(&self.view.rules()), Arc::clone(&self.view.schema()));
            let schema = match load_schema(&map, &rules, &self.control, known.version + 1).await {
                Ok(schema) => schema,
                Err(error) => return warn!(error = %format!("{error:#}"), "the schema could not be read again"),
            };
            match timeout(RULES_TIMEOUT, self.newer_rules(&rules)).await {
                Ok(Ok(Some(newer))) => {
                    self.view.publish_rules(Arc::new(newer));
                    continue;
                }
                Ok(Ok(None)) => {}
                // Without the catalog nobody can declare anything.
                Ok(Err(error)) => debug!(error = %format!("{error:#}"), "the tables' kinds could not be read again"),
                Err(_) => debug!("the tables' kinds could not be read again in time"),
            }
            if !schema.holds_the_same(&known) {
                self.view.publish_schema(Arc::new(schema));
            }
            return;
        }
        warn!("the tables' kinds change faster than the schema can be read");
    }

    /// The catalog's rules over `known`, where they say something else.
    async fn newer_rules(&self, known: &TableRules) -> anyhow::Result<Option<TableRules>> {
        let Some(target) = &self.catalog else { return Ok(None) };
        let client = target.connect().await?;
        let (version, rules) = store::rules(&client).await?;
        self.declared_at.fetch_max(version, Ordering::Relaxed);
        let differs = rules.rules.iter().any(|rule| known.rule(&rule.schema, &rule.name) != Some(rule));
        Ok(differs.then(|| rules.over(known)))
    }

    async fn announce(&self) -> anyhow::Result<()> {
        if let Some(target) = &self.catalog {
            let client = timeout(LOAD_TIMEOUT, target.connect()).await.context("the catalog does not answer")??;
            store::schema_changed(&client).await?;
        }
        Ok(())
    }

    async fn declare(&self, rule: TableRule) -> anyhow::Result<()> {
        let Some(target) = &self.catalog else { anyhow::bail!("there is no catalog; declare it in tables.toml") };
        let client = timeout(LOAD_TIMEOUT, target.connect()).await.context("the catalog does not answer")??;
        store::set_table_rule(&client, &rule).await?;
        self.declared_at.store(store::version(&client).await?, Ordering::Relaxed);
        info!(table = rule.name, schema = rule.schema, "table declared");
        let mut rules = TableRules::clone(&self.view.rules());
        rules.rules.retain(|known| known.schema != rule.schema || known.name != rule.name);
        rules.rules.push(rule);
        self.view.publish_rules(Arc::new(rules));
        Ok(())
    }
}

async fn changed(watched: &mut Option<watch::Receiver<Arc<CatalogState>>>) {
    match watched {
        Some(states) => {
            if states.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}
