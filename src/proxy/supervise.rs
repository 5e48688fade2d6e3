//! Builds the process's parts, watches over them, and takes them down.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep};
use tracing::{info, warn};

use crate::backend::{Servers, failover as promotions};
use crate::catalog::lease::Ending;
use crate::catalog::{CatalogState, Lease, TableRules, Target, View, Watcher};
use crate::net::{Acceptor, BoundListener, Connector, listener};
use crate::proxy::learner::{Learner, load_schema};
use crate::proxy::worker::{Worker, WorkerParts};
use crate::proxy::{MapSource, Options};
use crate::proxy::{failover, recovery, strays};
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
    let mut first = first_map(&options).await?;
    let schema = first_schema(&mut first, &options).await?;
    let First { map, rules, watched, lease } = first;
    let (view, requests) = View::new(map, Arc::new(schema), rules);
    if let Some(lease) = &lease {
        view.attendance.enter(lease.incarnation());
    }
    let shared = Shared::new(SharedParts {
        options: options.session.clone(),
        database: options.database.clone(),
        servers: Servers::new(
            options.pool.clone(),
            options.replicas.clone(),
            options.control.clone(),
            Connector::load(&options.server_tls)?,
            Handle::current(),
        )
        .attended(Arc::clone(&view.attendance)),
        view: Arc::clone(&view),
        reloadable: reloadable(&options)?,
    });
    let learner = Learner {
        view: Arc::clone(&view),
        control: options.control.clone(),
        catalog: catalog_target(&options),
        declared_at: AtomicU64::new(0),
    };
    if let Some(watched) = watched.clone() {
        task::spawn("map follower", follow(Arc::clone(&shared), watched));
    }
    task::spawn("learner", learner.run(requests, watched));
    let (end, ended) = watch::channel(None);
    let lease = lease.map(|lease| task::spawn("lease", lease.run(Arc::clone(&view), ended)));
    shared.servers.watch(&view.map());
    task::spawn("failover", failover::run(Arc::clone(&shared), catalog_target(&options)));
    task::spawn("sweep", sweep(Arc::clone(&shared)));
    task::spawn("recovery", recovery::run(Arc::clone(&view), options.control.clone()));
    task::spawn("strays", strays::run(Arc::clone(&view), options.control.clone()));

    let workers = start_workers(&options, &shared, &listeners)?;
    info!(listen = ?options.listen, workers = workers.len(), "ready");
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: draining"),
        _ = interrupt.recv() => info!("SIGINT: draining"),
    }
    drop(listeners);
    shared.ending.store(true, Ordering::Relaxed);
    let ending = drain(workers).await;
    end.send_replace(Some(ending));
    if let Some(lease) = lease {
        // It has a time-out of its own.
        let _ = lease.await;
    }
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

type States = watch::Receiver<Arc<CatalogState>>;

/// What a proxy begins with.
struct First {
    map: Arc<ShardMap>,
    rules: Arc<TableRules>,
    watched: Option<States>,
    lease: Option<Lease>,
}

/// Registered first, so that whoever publishes a map after the one that is read here knows of this proxy.
async fn registered(target: &Target, options: &Options, lease: &mut Option<Lease>) -> anyhow::Result<(Watcher, States)> {
    if lease.is_none() {
        *lease = Some(Lease::register(target).await?);
    }
    Ok(Watcher::start(target, options.tables.clone()).await?)
}

async fn first_map(options: &Options) -> anyhow::Result<First> {
    match &options.source {
        MapSource::Fixed(map) => {
            let (map, rules) = (Arc::new(map.clone()), Arc::new(options.tables.clone()));
            Ok(First { map, rules, watched: None, lease: None })
        }
        MapSource::Catalog(target) => {
            let deadline = Instant::now() + START_PATIENCE;
            let mut lease = None;
            let (watcher, states) = loop {
                match registered(target, options, &mut lease).await {
                    Ok(started) => break started,
                    Err(error) if Instant::now() < deadline => {
                        warn!(error = %format!("{error:#}"), "catalog not reachable yet");
                        sleep(Duration::from_millis(500)).await;
                    }
                    Err(error) => return Err(error.context("the catalog cannot be read")),
                }
            };
            task::spawn("catalog watch", watcher.run());
            let state = Arc::clone(&states.borrow());
            Ok(First { map: Arc::clone(&state.map), rules: Arc::clone(&state.rules), watched: Some(states), lease })
        }
    }
}

async fn first_schema(first: &mut First, options: &Options) -> anyhow::Result<Schema> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        match load_schema(&first.map, &first.rules, &options.control, 1).await {
            Ok(schema) => return Ok(schema),
            Err(error) if Instant::now() < deadline => {
                warn!(error = %format!("{error:#}"), "home shard not reachable yet");
                find_home(first, options).await;
                sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error.context("the home shard's schema cannot be read")),
        }
    }
}

/// Another of its servers may have been promoted while no proxy was there to see it.
async fn find_home(first: &mut First, options: &Options) {
    let (Some(states), Some(target), Some(home)) = (&first.watched, catalog_target(options), first.map.shard(first.map.home)) else {
        return;
    };
    if let Ok(catalog) = target.connect().await {
        match promotions::follow(&catalog, home, &options.control).await {
            Ok(promotions::Outcome::Unclear(reason)) => warn!(reason, "the home shard's primary cannot be told"),
            Ok(_) => {}
            Err(error) => warn!(%error, "the home shard's primary cannot be looked for"),
        }
    }
    first.map = Arc::clone(&states.borrow().map);
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

/// Publishes each new map at once; the learner, which has schemas to read, comes after.
async fn follow(shared: Arc<Shared>, mut states: States) {
    while states.changed().await.is_ok() {
        let map = Arc::clone(&states.borrow_and_update().map);
        publish(&shared, map);
    }
}

pub(super) fn publish(shared: &Shared, map: Arc<ShardMap>) {
    shared.servers.expect(&shared.view.map(), &map);
    shared.view.publish_map(Arc::clone(&map));
    shared.servers.watch(&map);
    shared.servers.sweep(&map);
}

async fn sweep(shared: Arc<Shared>) {
    let mut tick = interval(SWEEP_INTERVAL);
    loop {
        tick.tick().await;
        shared.servers.sweep(&shared.view.map());
    }
}

/// Idle clients go at once, the others at their transaction's end or when time is up.
async fn drain(workers: Vec<Worker>) -> Ending {
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
    let ending = if workers.iter().all(|worker| worker.clients() == 0) { Ending::Clean } else { Ending::Cut };
    for worker in workers {
        worker.stop();
    }
    ending
}
