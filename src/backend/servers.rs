//! The pools of every server in the map, per user, and the choice of a server for a statement.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::backend::health::{Epoch, Quarantine, ShardHealth, Watch, monitor};
use crate::backend::login::Login;
use crate::backend::pool::{AcquireError, Checkout, Patience, Pool};
use crate::backend::roles::Verdict;
use crate::backend::{ControlRole, PoolOptions, ReplicaOptions};
use crate::catalog::Attendance;
use crate::net::Connector;
use crate::telemetry::task;
use crate::topology::{Endpoint, Shard, ShardId, ShardMap};

/// As whom the proxy logs in to servers for one of its users.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerUser {
    pub name: String,
    pub password: Option<String>,
    /// Overrides the pools' size.
    pub pool_size: Option<usize>,
}

impl std::fmt::Debug for ServerUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One shard's pools for one user.
#[derive(Debug)]
pub struct ShardPools {
    pub id: ShardId,
    pub primary: Arc<Pool>,
    replicas: Vec<Arc<Pool>>,
    health: Arc<ShardHealth>,
    turn: AtomicUsize,
    /// What a replica must show to anybody: rows have come or gone that no client wrote.
    moved_at: u64,
    /// Nanoseconds.
    lag_max: u64,
}

/// All pools of one user under one version of the map.
#[derive(Debug)]
pub struct UserPools {
    pub map: Arc<ShardMap>,
    shards: Vec<ShardPools>,
}

/// All servers, their pools and their health.
#[derive(Debug)]
pub struct Servers {
    pool_options: PoolOptions,
    replica_options: ReplicaOptions,
    control: ControlRole,
    tls: Option<Connector>,
    pub epoch: Epoch,
    state: Mutex<State>,
    runtime: tokio::runtime::Handle,
    attendance: Arc<Attendance>,
    news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    pools: HashMap<(Endpoint, ServerUser), Arc<Pool>>,
    users: HashMap<ServerUser, Arc<UserPools>>,
    health: HashMap<ShardId, (Shard, Arc<ShardHealth>)>,
    /// Of every server that ever was of a shard with replicas.
    quarantines: HashMap<Endpoint, Quarantine>,
    /// See [`ShardPools::moved_at`].
    moved: HashMap<ShardId, u64>,
}

impl Servers {
    /// `runtime` runs the monitors.
    #[must_use]
    pub fn new(
        pool_options: PoolOptions,
        replica_options: ReplicaOptions,
        control: ControlRole,
        tls: Option<Connector>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let (epoch, state, attendance, news) = (Epoch::start(), Mutex::default(), Arc::default(), Arc::default());
        Self { pool_options, replica_options, control, tls, epoch, state, runtime, attendance, news }
    }

    /// With connections that say whose they are.
    #[must_use]
    pub fn attended(self, attendance: Arc<Attendance>) -> Self {
        Self { attendance, ..self }
    }

    /// The incarnation that connections are opened under now.
    #[must_use]
    pub fn incarnation(&self) -> i32 {
        self.attendance.incarnation()
    }

    /// To be told before a map is published: where rows have come or gone by a move, replicas have to be as new as this moment.
    pub fn expect(&self, before: &ShardMap, after: &ShardMap) {
        if before.moving == after.moving {
            return;
        }
        let now = self.epoch.now();
        let mut state = self.state.lock();
        for moving in [&before.moving, &after.moving].into_iter().flatten() {
            state.moved.extend(moving.shards().map(|shard| (shard, now)));
        }
    }

    /// The role for probes and recovery.
    #[must_use]
    pub fn control(&self) -> &ControlRole {
        &self.control
    }

    /// The user's pools under `map`; made when the user or the map is new.
    #[must_use]
    pub fn pools(&self, user: &ServerUser, map: &Arc<ShardMap>) -> Arc<UserPools> {
        let mut state = self.state.lock();
        if let Some(pools) = state.users.get(user).filter(|pools| pools.map.version == map.version) {
            return Arc::clone(pools);
        }
        let mut shards = Vec::with_capacity(map.shards.len());
        for shard in &map.shards {
            let primary = self.pool(&mut state, &shard.primary, user);
            let replicas = shard.replicas.iter().map(|replica| self.pool(&mut state, &replica.endpoint, user)).collect();
            let health = self.health(&mut state, shard);
            let moved_at = state.moved.get(&shard.id).copied().unwrap_or(0);
            let (turn, lag_max) = (AtomicUsize::new(0), self.lag_max());
            shards.push(ShardPools { id: shard.id, primary, replicas, health, turn, moved_at, lag_max });
        }
        let pools = Arc::new(UserPools { map: Arc::clone(map), shards });
        state.users.insert(user.clone(), Arc::clone(&pools));
        pools
    }

    fn pool(&self, state: &mut State, endpoint: &Endpoint, user: &ServerUser) -> Arc<Pool> {
        let quarantine = state.quarantine(endpoint);
        let make = || {
            let mut options = self.pool_options.clone();
            options.size = user.pool_size.unwrap_or(options.size);
            let login = Login {
                endpoint: endpoint.clone(),
                user: user.name.clone(),
                password: user.password.clone(),
                tls: self.tls.clone(),
                prepared_max: options.prepared_max,
                attendance: Arc::clone(&self.attendance),
            };
            Pool::new(login, options, quarantine)
        };
        Arc::clone(state.pools.entry((endpoint.clone(), user.clone())).or_insert_with(make))
    }

    fn health(&self, state: &mut State, shard: &Shard) -> Arc<ShardHealth> {
        let servers = |shard: &Shard| {
            let replicas = shard.replicas.iter().map(|replica| replica.endpoint.clone());
            std::iter::once(shard.primary.clone()).chain(replicas).collect::<Vec<_>>()
        };
        if let Some((_, health)) = state.health.get(&shard.id).filter(|(known, _)| servers(known) == servers(shard)) {
            return Arc::clone(health);
        }
        let health = ShardHealth::new(shard);
        let watch = Watch {
            control: self.control.clone(),
            options: self.replica_options.clone(),
            epoch: self.epoch,
            attendance: Arc::clone(&self.attendance),
            quarantines: servers(shard).iter().map(|endpoint| state.quarantine(endpoint)).collect(),
            news: Arc::clone(&self.news),
        };
        task::spawn_on(&self.runtime, "shard monitor", monitor(shard.clone(), Arc::clone(&health), watch));
        state.health.insert(shard.id, (shard.clone(), Arc::clone(&health)));
        health
    }

    /// Asks the servers of each shard who they are from now on, whether there are clients or not.
    pub fn watch(&self, map: &ShardMap) {
        let mut state = self.state.lock();
        for shard in &map.shards {
            self.health(&mut state, shard);
        }
    }

    /// Who is the primary of each shard, as far as is known.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(Shard, Verdict)> {
        let state = self.state.lock();
        state.health.values().filter_map(|(shard, health)| Some((shard.clone(), health.verdict()?))).collect()
    }

    /// Returns when a verdict has changed that nobody has heard of. Cancel safe.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Others have seen a primary of this shard on `timeline`.
    pub fn learn_timeline(&self, shard: ShardId, timeline: u32) {
        if let Some((_, health)) = self.state.lock().health.get(&shard) {
            health.learn_timeline(timeline);
        }
    }

    /// Closes idle connections past their time, and those of servers that no map names any more.
    pub fn sweep(&self, map: &ShardMap) {
        let (kept, gone) = {
            let mut state = self.state.lock();
            state.users.retain(|_, pools| pools.map.version >= map.version);
            let gone: Vec<_> = state.pools.extract_if(|(endpoint, _), _| !map.names(endpoint)).map(|(_, pool)| pool).collect();
            state.health.retain(|shard, _| map.shard(*shard).is_some());
            (state.pools.values().cloned().collect::<Vec<_>>(), gone)
        };
        gone.iter().for_each(|pool| pool.clear());
        kept.iter().for_each(|pool| pool.sweep());
    }

    /// Every pool there is.
    #[must_use]
    pub fn all_pools(&self) -> Vec<Arc<Pool>> {
        self.state.lock().pools.values().cloned().collect()
    }

    /// How far behind a replica may be, in nanoseconds.
    fn lag_max(&self) -> u64 {
        u64::try_from(self.replica_options.lag_max.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl State {
    fn quarantine(&mut self, endpoint: &Endpoint) -> Quarantine {
        Arc::clone(self.quarantines.entry(endpoint.clone()).or_default())
    }
}

impl UserPools {
    #[must_use]
    pub fn shard(&self, id: ShardId) -> Option<&ShardPools> {
        self.shards.binary_search_by_key(&id, |shard| shard.id).ok().and_then(|at| self.shards.get(at))
    }

    pub fn shards(&self) -> impl Iterator<Item = &ShardPools> {
        self.shards.iter()
    }
}

impl ShardPools {
    /// A connection to the primary, once it is shown to be it. Cancel safe.
    ///
    /// # Errors
    /// As [`Pool::acquire`].
    pub async fn acquire_primary(&self) -> Result<Checkout, AcquireError> {
        self.primary.acquire(Patience::Primary(&self.health.tenure)).await
    }

    #[must_use]
    pub fn has_replicas(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// The pool for a read at `now` that must show every commit up to `written`: the least busy replica that does, else the primary.
    #[must_use]
    pub fn reader(&self, written: u64, now: u64) -> &Arc<Pool> {
        self.health.touch();
        let moment = self.health.bound(now, self.lag_max).max(written).max(self.moved_at);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.replicas.len();
        let fit = (0..count)
            .map(|step| (turn.wrapping_add(step)) % count)
            .filter(|at| self.health.replicas.get(*at).is_some_and(|(_, health)| health.is_fresh(moment)));
        fit.filter_map(|at| self.replicas.get(at)).min_by_key(|pool| pool.busy()).unwrap_or(&self.primary)
    }
}
