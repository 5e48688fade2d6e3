//! The worker's connections to the shards, and what is done on all of them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::Client;
use tracing::{debug, warn};

use crate::backend::ControlRole;
use crate::backend::probe::control_target;
use crate::catalog::store::{self, ShardRow};
use crate::execute::two_phase::GID_PREFIX;
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::fault;
use crate::rebalance::link::Link;
use crate::topology::{Endpoint, Shard, ShardId};

/// The advisory locks of proxies' connections (`shardyard.enter`): this and the incarnation.
const PROXY_LOCK_CLASS: i64 = 1_398_361_426;
/// A standby that does not replay what was written before is waited for so long.
const REPLAY_PATIENCE: Duration = Duration::from_secs(10);

/// A server that stands still accepts connections but does not answer.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
const REPLICA_PATIENCE: Duration = Duration::from_secs(1);

/// All shards but the retired ones, and connections to those that were needed.
pub(crate) struct Shards {
    pub(crate) rows: Vec<ShardRow>,
    pub(crate) home: ShardId,
    links: HashMap<ShardId, Link>,
    lanes: Vec<Lane>,
    replicas: HashMap<Endpoint, Client>,
    control: ControlRole,
    token: i64,
}

/// One more pair of connections to two shards.
struct Lane {
    ids: (ShardId, ShardId),
    links: (Link, Link),
}

impl Shards {
    pub(crate) async fn load(catalog: &Client, control: &ControlRole, token: i64) -> Result<Self, StepError> {
        let mut shards = Self {
            rows: Vec::new(),
            home: ShardId(0),
            links: HashMap::new(),
            lanes: Vec::new(),
            replicas: HashMap::new(),
            control: control.clone(),
            token,
        };
        shards.reload(catalog).await?;
        Ok(shards)
    }

    /// Reads the catalog's list anew; connections to servers that are no longer a shard's primary are dropped.
    pub(crate) async fn reload(&mut self, catalog: &Client) -> Result<(), StepError> {
        let rows: Vec<ShardRow> = store::shards(catalog).await?.into_iter().filter(|row| row.state != "retired").collect();
        let same = |id: &ShardId, rows: &[ShardRow], old: &[ShardRow]| {
            let primary = |rows: &[ShardRow]| rows.iter().find(|row| row.shard.id == *id).map(|row| row.shard.primary.clone());
            primary(rows) == primary(old)
        };
        self.links.retain(|id, link| !link.is_closed() && same(id, &rows, &self.rows));
        self.lanes.retain(|lane| same(&lane.ids.0, &rows, &self.rows) && same(&lane.ids.1, &rows, &self.rows));
        self.rows = rows;
        let home = catalog.query_one("select home_shard from shardyard.cluster", &[]).await.map_err(doing("reading the home shard"))?;
        self.home = ShardId(home.get::<_, Option<i32>>(0).and_then(|id| u16::try_from(id).ok()).unwrap_or(0));
        Ok(())
    }

    pub(crate) fn shard(&self, id: ShardId) -> Result<&Shard, StepError> {
        let row = self.rows.iter().find(|row| row.shard.id == id);
        row.map(|row| &row.shard).ok_or_else(|| StepError::Operator(format!("shard {id} is not in the catalog, or is retired")))
    }

    /// How many buckets a shard owned when the list was read.
    pub(crate) fn owned(&self, id: ShardId) -> usize {
        self.rows.iter().find(|row| row.shard.id == id).map_or(0, |row| row.buckets as usize)
    }

    /// A connection of the leader to the shard's primary.
    pub(crate) async fn link(&mut self, id: ShardId) -> Result<&mut Link, StepError> {
        if self.links.get(&id).is_none_or(Link::is_closed) {
            let link = self.open(id).await?;
            self.links.insert(id, link);
        }
        Ok(self.links.get_mut(&id).expect("made just now"))
    }

    async fn open(&self, id: ShardId) -> Result<Link, StepError> {
        let opening = async {
            let link = Link::open(self.shard(id)?, &self.control, self.token).await?;
            // A shard that was away when this leader took over learns the token now.
            link.take_over().await?;
            Ok(link)
        };
        timeout(OPEN_PATIENCE, opening).await.unwrap_or_else(|_| Err(StepError::Later(format!("shard {id} does not answer"))))
    }

    /// Whether the connection that was made to the shard still is one.
    pub(crate) async fn is_linked(&self, id: ShardId) -> bool {
        match self.links.get(&id) {
            Some(link) => link.client().batch_execute("select").await.is_ok(),
            None => false,
        }
    }

    /// Connections to two different shards.
    pub(crate) async fn two(&mut self, one: ShardId, other: ShardId) -> Result<(&mut Link, &mut Link), StepError> {
        self.link(one).await?;
        self.link(other).await?;
        let [one, other] = self.links.get_disjoint_mut([&one, &other]);
        Ok((one.expect("made just now"), other.expect("made just now")))
    }

    /// So many pairs of connections to two different shards, the first that of [`Self::two`]. The others stay open for the next wave of the two.
    pub(crate) async fn lanes(&mut self, one: ShardId, other: ShardId, count: usize) -> Result<Vec<(&mut Link, &mut Link)>, StepError> {
        self.lanes.retain(|lane| lane.ids == (one, other) && !lane.links.0.is_closed() && !lane.links.1.is_closed());
        while self.lanes.len() + 1 < count {
            let links = tokio::try_join!(self.open(one), self.open(other))?;
            self.lanes.push(Lane { ids: (one, other), links });
        }
        self.link(one).await?;
        self.link(other).await?;
        let [first, second] = self.links.get_disjoint_mut([&one, &other]);
        let mut pairs = vec![(first.expect("made just now"), second.expect("made just now"))];
        pairs.extend(self.lanes.iter_mut().map(|lane| (&mut lane.links.0, &mut lane.links.1)).take(count.saturating_sub(1)));
        Ok(pairs)
    }

    pub(crate) fn close_lanes(&mut self) {
        self.lanes.clear();
    }

    /// Writes the token to every shard: former leaders can do nothing more on any.
    pub(crate) async fn take_over(&mut self) -> Result<(), StepError> {
        if fault::omits("token") {
            return Ok(());
        }
        for id in self.made() {
            match self.link(id).await {
                Ok(link) => link.take_over().await?,
                Err(error @ StepError::LeaseLost) => return Err(error),
                // Taken over when it is reached again, before anything else is done there. What can be done without it is done meanwhile.
                Err(error) => warn!(shard = %id, error = error.line(), "the shard cannot be taken over yet"),
            }
        }
        Ok(())
    }

    /// Without those that are being added: they may lack our schema yet, and no proxy knows them.
    pub(crate) fn made(&self) -> Vec<ShardId> {
        self.rows.iter().filter(|row| row.state != "adding").map(|row| row.shard.id).collect()
    }

    pub(crate) fn ids(&self) -> Vec<ShardId> {
        self.rows.iter().map(|row| row.shard.id).collect()
    }

    /// Shuts a proxy's incarnation out of every server: first the row, then the end of its connections, which are known by their lock.
    pub(crate) async fn fence_out(&mut self, incarnation: i32) -> Result<(), StepError> {
        if fault::omits("proxy-fence") {
            return Ok(());
        }
        for id in self.made() {
            let link = self.link(id).await?;
            let action = || doing(format!("fencing a proxy out of shard {id}"));
            let transaction = link.begin().await?;
            let insert = "insert into shardyard.fenced (incarnation) values ($1) on conflict do nothing";
            transaction.execute(insert, &[&incarnation]).await.map_err(action())?;
            transaction.commit().await.map_err(action())?;
            end_holders(link.client(), incarnation).await.map_err(action())?;
            let position = self.position(id).await?;
            for endpoint in self.replicas_of(id) {
                let Some(replica) = self.replica_within(&endpoint, REPLAY_PATIENCE).await else {
                    // Reads there by the dead proxy, if it lives and reaches what we do not, may be old: its writes are not.
                    warn!(%endpoint, incarnation, "the replica cannot be reached, and a dead proxy is not fenced out of it");
                    continue;
                };
                if !replayed(replica, &position, Instant::now() + REPLAY_PATIENCE).await {
                    return Err(StepError::Later(format!("replica {endpoint} does not replay, and a dead proxy must be fenced out of it")));
                }
                end_holders(replica, incarnation).await.map_err(doing(format!("fencing a proxy out of replica {endpoint}")))?;
            }
        }
        Ok(())
    }

    /// No commit over several shards waits for this shard's record of its decision: recovery must find it while it is asked for.
    pub(crate) async fn has_decided_all(&mut self, anchor: ShardId) -> Result<(), StepError> {
        let select =
            "select count(*) from pg_catalog.pg_prepared_xacts where gid like $1 or $2 and database = pg_catalog.current_database()";
        for id in self.made() {
            let link = self.link(id).await?;
            let gids = format!("{GID_PREFIX}{anchor}:%");
            let row = link.client().query_one(select, &[&gids, &(id == anchor)]).await;
            if row.map_err(doing(format!("looking for prepared transactions on shard {id}")))?.get::<_, i64>(0) > 0 {
                return Err(StepError::Later(format!(
                    "shard {id} holds prepared transactions that concern shard {anchor}: a proxy decides them"
                )));
            }
        }
        Ok(())
    }

    /// Whether every replica of the shard that can be reached has replayed what its primary has written so far.
    pub(crate) async fn replicas_have_replayed(&mut self, id: ShardId, deadline: Instant) -> Result<bool, StepError> {
        let endpoints = self.replicas_of(id);
        if endpoints.is_empty() {
            return Ok(true);
        }
        let position = self.position(id).await?;
        for endpoint in endpoints {
            if let Some(replica) = self.replica(&endpoint).await
                && !replayed(replica, &position, deadline).await
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The replica that has most left to replay of what its primary has written, and how many bytes that is; those that cannot be reached
    /// do not count.
    pub(crate) async fn furthest_behind(&mut self, id: ShardId) -> Result<Option<(Endpoint, u64)>, StepError> {
        let endpoints = self.replicas_of(id);
        let mut furthest: Option<(Endpoint, u64)> = None;
        if endpoints.is_empty() {
            return Ok(furthest);
        }
        let position = self.position(id).await?;
        let select = "select greatest(pg_catalog.pg_wal_lsn_diff($1::pg_catalog.text::pg_catalog.pg_lsn,
                                      pg_catalog.pg_last_wal_replay_lsn()), 0)::pg_catalog.int8";
        for endpoint in endpoints {
            let Some(replica) = self.replica(&endpoint).await else { continue };
            let asked = timeout(REPLICA_PATIENCE, replica.query_one(select, &[&position])).await;
            let Ok(Ok(row)) = asked else { continue };
            let lag_bytes = row.get::<_, Option<i64>>(0).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
            if furthest.as_ref().is_none_or(|(_, most)| lag_bytes > *most) {
                furthest = Some((endpoint, lag_bytes));
            }
        }
        Ok(furthest)
    }

    /// Opens the connections that the fence must not wait for.
    pub(crate) async fn warm(&mut self, id: ShardId) {
        for endpoint in self.replicas_of(id) {
            self.replica(&endpoint).await;
        }
    }

    async fn position(&mut self, id: ShardId) -> Result<String, StepError> {
        let select = "select pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text";
        let row = self.link(id).await?.client().query_one(select, &[]).await;
        Ok(row.map_err(doing(format!("asking shard {id} for its position")))?.get(0))
    }

    fn replicas_of(&self, id: ShardId) -> Vec<Endpoint> {
        let row = self.rows.iter().find(|row| row.shard.id == id);
        row.map(|row| row.shard.replicas.iter().map(|replica| replica.endpoint.clone()).collect()).unwrap_or_default()
    }

    /// The same; tried again for a while.
    async fn replica_within(&mut self, endpoint: &Endpoint, patience: Duration) -> Option<&Client> {
        let deadline = Instant::now() + patience;
        while self.replica(endpoint).await.is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(100)).await;
        }
        self.replica(endpoint).await
    }

    /// A connection to a replica; `None` when it cannot be reached: then no proxy reads from it for long either.
    async fn replica(&mut self, endpoint: &Endpoint) -> Option<&Client> {
        if self.replicas.get(endpoint).is_none_or(Client::is_closed) {
            let target = control_target(endpoint, &self.control).named("shardyard worker");
            match timeout(REPLICA_PATIENCE, target.connect()).await {
                Ok(Ok(client)) => drop(self.replicas.insert(endpoint.clone(), client)),
                _ => {
                    debug!(%endpoint, "replica not reached");
                    self.replicas.remove(endpoint);
                }
            }
        }
        self.replicas.get(endpoint)
    }
}

async fn end_holders(client: &Client, incarnation: i32) -> Result<(), tokio_postgres::Error> {
    let end = "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_locks
               where locktype = 'advisory' and classid::bigint = $1 and objid::bigint = $2 and objsubid = 2";
    let incarnation = i64::from(incarnation);
    while !client.query(end, &[&PROXY_LOCK_CLASS, &incarnation]).await?.is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn replayed(replica: &Client, position: &str, deadline: Instant) -> bool {
    let select =
        "select not pg_catalog.pg_is_in_recovery() or pg_catalog.pg_last_wal_replay_lsn() >= $1::pg_catalog.text::pg_catalog.pg_lsn";
    loop {
        match timeout_at(deadline, replica.query_one(select, &[&position])).await {
            Ok(Ok(row)) if row.get::<_, Option<bool>>(0) == Some(true) => return true,
            Ok(Ok(_)) if Instant::now() < deadline => sleep(Duration::from_millis(1)).await,
            Ok(Ok(_)) | Err(_) => return false,
            // Lost: as one that cannot be reached.
            Ok(Err(_)) => return true,
        }
    }
}
