//! Builds the process's parts, watches over them, and takes them down.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval, sleep};
use tracing::{info, warn};

use crate::backend::Servers;
use crate::catalog::{TableRules, Target, View, Watcher};
use crate::net::{Acceptor, BoundListener, Connector, listener};
use crate::proxy::learner::{Learner, load_schema};
use crate::proxy::recovery;
use crate::proxy::worker::{Worker, WorkerParts};
use crate::proxy::{MapSource, Options};
use crate::session::{Account, Reloadable, Shared, SharedParts};
use crate::telemetry::task;
use crate::topology::{Schema, ShardMap};

/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// At the start, servers may still be starting themselves.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// After SIGTERM, open transactions may go on for this long.
const DRAIN_MAX: Duration = Duration::from_secs(10);

pub(super) async fn supervise(options: Options) -> anyhow::Result<()> {
    // Signals first: one that comes during the start must not kill half of a proxy silently.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listeners = bind(&options)?;
    let (map, rules, watched) = first_map(&options).await?;
    let schema = first_schema(&map, &rules, &options).await?;
    let (view, requests) = View::new(map, Arc::new(schema), rules);
    let shared = Shared::new(SharedParts {
        options: options.session.clone(),
        database: options.database.clone(),
        servers: Servers::new(
            options.pool.clone(),
            options.replicas.clone(),
            options.control.clone(),
            Connector::load(&options.server_tls)?,
            Handle::current(),
        ),
        view: Arc::clone(&view),
        reloadable: reloadable(&options)?,
    });
    let learner = Learner {
        view: Arc::clone(&view),
        control: options.control.clone(),
        catalog: catalog_target(&options),
        declared_at: AtomicU64::new(0),
    };
    task::spawn("learner", learner.run(requests, watched));
    task::spawn("sweep", sweep(Arc::clone(&shared)));
    task::spawn("recovery", recovery::run(Arc::clone(&view), options.control.clone()));

    let workers = start_workers(&options, &shared, &listeners)?;
    info!(listen = ?options.listen, workers = workers.len(), "ready");
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: draining"),
        _ = interrupt.recv() => info!("SIGINT: draining"),
    }
    drop(listeners);
    shared.ending.store(true, Ordering::Relaxed);
    drain(workers).await;
    Ok(())
}

fn bind(options: &Options) -> anyhow::Result<Vec<BoundListener>> {
    let mut bound = Vec::new();
    for address in &options.listen {
        bound.extend(listener::bind(address).map_err(|error| {
            let reason = error.source.to_string();
            anyhow::Error::new(error).context(reason)
        })?);
    }
    Ok(bound)
}

fn catalog_target(options: &Options) -> Option<Target> {
    match &options.source {
        MapSource::Catalog(target) => Some(Target::clone(target)),
        MapSource::Fixed(_) => None,
    }
}

type Watched = Option<tokio::sync::watch::Receiver<Arc<crate::catalog::CatalogState>>>;

async fn first_map(options: &Options) -> anyhow::Result<(Arc<ShardMap>, Arc<TableRules>, Watched)> {
    match &options.source {
        MapSource::Fixed(map) => Ok((Arc::new(map.clone()), Arc::new(options.tables.clone()), None)),
        MapSource::Catalog(target) => {
            let deadline = Instant::now() + START_PATIENCE;
            let (watcher, states) = loop {
                match Watcher::start(target, options.tables.clone()).await {
                    Ok(started) => break started,
                    Err(error) if Instant::now() < deadline => {
                        warn!(%error, "catalog not reachable yet");
                        sleep(Duration::from_millis(500)).await;
                    }
                    Err(error) => return Err(anyhow::Error::new(error).context("the catalog cannot be read")),
                }
            };
            task::spawn("catalog watch", watcher.run());
            let state = Arc::clone(&states.borrow());
            Ok((Arc::clone(&state.map), Arc::clone(&state.rules), Some(states)))
        }
    }
}

async fn first_schema(map: &ShardMap, rules: &TableRules, options: &Options) -> anyhow::Result<Schema> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        match load_schema(map, rules, &options.control, 1).await {
            Ok(schema) => return Ok(schema),
            Err(error) if Instant::now() < deadline => {
                warn!(error = %format!("{error:#}"), "home shard not reachable yet");
                sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error.context("the home shard's schema cannot be read")),
        }
    }
}

fn reloadable(options: &Options) -> anyhow::Result<Reloadable> {
    let users: HashMap<_, _> = options.users.iter().map(|user| (user.name.clone(), Arc::new(Account::new(user.clone())))).collect();
    Ok(Reloadable { users, tls: Acceptor::load(&options.client_tls).context("TLS for clients")?, tls_mode: options.client_tls.mode })
}

fn start_workers(options: &Options, shared: &Arc<Shared>, listeners: &[BoundListener]) -> anyhow::Result<Vec<Worker>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = if options.workers == 0 { (cores / 2).max(1) } else { options.workers };
    let mut workers = Vec::new();
    for number in 0..count {
        workers.push(Worker::start(WorkerParts { number, shared: Arc::clone(shared), listeners })?);
    }
    Ok(workers)
}

async fn sweep(shared: Arc<Shared>) {
    let mut tick = interval(SWEEP_INTERVAL);
    loop {
        tick.tick().await;
        shared.servers.sweep(&shared.view.map());
    }
}

/// Idle clients go at once, the others at their transaction's end or when time is up.
async fn drain(workers: Vec<Worker>) {
    let deadline = Instant::now() + DRAIN_MAX;
    for worker in &workers {
        worker.stop_accepting();
    }
    while workers.iter().any(|worker| worker.clients() > 0) && Instant::now() < deadline {
        for worker in &workers {
            worker.close_idle();
        }
        sleep(Duration::from_millis(20)).await;
    }
    for worker in workers {
        worker.stop();
    }
}
