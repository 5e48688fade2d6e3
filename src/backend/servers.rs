//! The pools of every server in the map, per user, and the choice of a server for a statement.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::backend::health::{Epoch, ShardHealth, monitor};
use crate::backend::login::Login;
use crate::backend::pool::Pool;
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
}

#[derive(Debug, Default)]
struct State {
    pools: HashMap<(Endpoint, ServerUser), Arc<Pool>>,
    users: HashMap<ServerUser, Arc<UserPools>>,
    health: HashMap<ShardId, (Endpoint, Arc<ShardHealth>)>,
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
        let (epoch, state, attendance) = (Epoch::start(), Mutex::default(), Arc::default());
        Self { pool_options, replica_options, control, tls, epoch, state, runtime, attendance }
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
            shards.push(ShardPools { id: shard.id, primary, replicas, health, turn: AtomicUsize::new(0), moved_at });
        }
        let pools = Arc::new(UserPools { map: Arc::clone(map), shards });
        state.users.insert(user.clone(), Arc::clone(&pools));
        pools
    }

    fn pool(&self, state: &mut State, endpoint: &Endpoint, user: &ServerUser) -> Arc<Pool> {
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
            Pool::new(login, options)
        };
        Arc::clone(state.pools.entry((endpoint.clone(), user.clone())).or_insert_with(make))
    }

    fn health(&self, state: &mut State, shard: &crate::topology::Shard) -> Arc<ShardHealth> {
        let unchanged = |(primary, health): &&(Endpoint, Arc<ShardHealth>)| {
            *primary == shard.primary
                && health.replicas.iter().map(|(endpoint, _)| endpoint).eq(shard.replicas.iter().map(|replica| &replica.endpoint))
        };
        if let Some((_, health)) = state.health.get(&shard.id).filter(unchanged) {
            return Arc::clone(health);
        }
        let health = ShardHealth::new(shard);
        let watch = monitor(shard.clone(), Arc::clone(&health), self.control.clone(), self.replica_options.clone(), self.epoch);
        task::spawn_on(&self.runtime, "shard monitor", watch);
        state.health.insert(shard.id, (shard.primary.clone(), Arc::clone(&health)));
        health
    }

    /// Closes idle connections past their time, and those of servers that no map names any more.
    pub fn sweep(&self, map: &ShardMap) {
        let known = |endpoint: &Endpoint| {
            let is_of = |shard: &Shard| shard.primary == *endpoint || shard.replicas.iter().any(|replica| replica.endpoint == *endpoint);
            map.shards.iter().any(is_of)
        };
        let (kept, gone) = {
            let mut state = self.state.lock();
            state.users.retain(|_, pools| pools.map.version >= map.version);
            let gone: Vec<_> = state.pools.extract_if(|(endpoint, _), _| !known(endpoint)).map(|(_, pool)| pool).collect();
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

    /// The oldest moment that a replica must show to serve a read at `now`.
    #[must_use]
    pub fn lag_bound(&self, now: u64) -> u64 {
        now.saturating_sub(u64::try_from(self.replica_options.lag_max.as_nanos()).unwrap_or(u64::MAX))
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
    #[must_use]
    pub fn has_replicas(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// The pool for a read that must show every commit up to `moment`: the least busy replica that does, else the primary.
    #[must_use]
    pub fn reader(&self, moment: u64) -> &Arc<Pool> {
        self.health.touch();
        let moment = moment.max(self.moved_at);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.replicas.len();
        let fit = (0..count)
            .map(|step| (turn.wrapping_add(step)) % count)
            .filter(|at| self.health.replicas.get(*at).is_some_and(|(_, health)| health.is_fresh(moment)));
        fit.filter_map(|at| self.replicas.get(at)).min_by_key(|pool| pool.busy()).unwrap_or(&self.primary)
    }
}
