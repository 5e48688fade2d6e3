//! Which of a shard's servers serves a statement: a replica that is fresh enough, or the primary, whoever that is when it is there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::debug;

use crate::backend::pool::Patience;
use crate::backend::{AcquireError, Checkout, Pool, ShardPools, UserPools};
use crate::session::Session;
use crate::topology::ShardId;

/// How often a read that waits for the primary looks for a replica.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

impl Session {
    /// The pool for a read of this client.
    pub(super) fn reader_of<'a>(&self, servers: &'a ShardPools) -> &'a Arc<Pool> {
        let written = self.writes.iter().find(|(id, _)| *id == servers.id).map_or(0, |(_, at)| *at);
        servers.reader(written, self.shared.servers.epoch.now())
    }

    /// A connection for a read, and whether it is the primary's.
    pub(super) async fn reader(&self, servers: &ShardPools) -> Result<(Checkout, bool), AcquireError> {
        if let Some(replica) = self.replica(servers).await {
            return Ok((replica, false));
        }
        let replica = async {
            loop {
                sleep(LOOK_INTERVAL).await;
                if let Some(replica) = self.replica(servers).await {
                    return replica;
                }
            }
        };
        // While the primary is away a replica answers, once it is known to be near enough.
        tokio::select! {
            biased;
            primary = self.primary(servers) => Ok((primary?, true)),
            replica = replica => Ok((replica, false)),
        }
    }

    /// A replica that cannot be had is no error: the primary answers too.
    async fn replica(&self, servers: &ShardPools) -> Option<Checkout> {
        let reader = self.reader_of(servers);
        if Arc::ptr_eq(reader, &servers.primary) {
            return None;
        }
        let passed_over = |error: &AcquireError| debug!(shard = %servers.id, %error, "replica passed over");
        reader.acquire(Patience::Once).await.inspect_err(passed_over).ok()
    }

    /// A connection to the shard's primary. The statement was routed by an older map perhaps, but who the primary is the newest one tells,
    /// also while this waits: nothing has been sent yet.
    pub(super) async fn primary(&self, servers: &ShardPools) -> Result<Checkout, AcquireError> {
        let mut published = self.shared.view.published();
        if published.borrow_and_update().0 == self.pools.map.version.0
            && let Some(idle) = servers.primary.try_acquire()
        {
            return Ok(idle);
        }
        loop {
            let newest = self.newest_pools();
            let present = newest.shard(servers.id).unwrap_or(servers);
            let mut acquired = std::pin::pin!(present.acquire_primary());
            loop {
                tokio::select! {
                    biased;
                    acquired = &mut acquired => return acquired,
                    // The sender lives as long as we do.
                    _ = published.changed() => {
                        if !self.is_primary_of(servers.id, &present.primary) {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn newest_pools(&self) -> Arc<UserPools> {
        if self.shared.view.map_version() == self.pools.map.version {
            return Arc::clone(&self.pools);
        }
        self.shared.servers.pools(&self.server_user, &self.shared.view.map())
    }

    fn is_primary_of(&self, shard: ShardId, pool: &Arc<Pool>) -> bool {
        self.newest_pools().shard(shard).is_none_or(|servers| Arc::ptr_eq(&servers.primary, pool))
    }
}
