//! Follows promotions that this process's monitors have found: tells the catalog, whose map everybody goes by; or, without a catalog,
//! changes the map of this process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;
use tracing::{error, info, warn};

use crate::backend::failover::record;
use crate::backend::roles::Verdict;
use crate::catalog::{StoreError, Target, roles};
use crate::proxy::supervise::publish;
use crate::session::Shared;
use crate::topology::{Endpoint, MapVersion, Shard, ShardId, ShardMap};

/// What could not be told is tried again after this.
const INTERVAL: Duration = Duration::from_secs(1);
/// A catalog that does not answer for this long is connected to anew.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the catalog could not be told.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Connect(#[from] crate::catalog::ConnectError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Follows until the process ends.
pub(super) async fn run(shared: Arc<Shared>, catalog: Option<Target>) {
    let target = catalog.map(|catalog| catalog.named("shardyard failover"));
    let mut follower = Follower { shared, target, catalog: None, noted: HashMap::new() };
    loop {
        // Whichever comes first.
        let _ = timeout(INTERVAL, follower.shared.servers.news()).await;
        follower.look().await;
    }
}

struct Follower {
    shared: Arc<Shared>,
    target: Option<Target>,
    catalog: Option<Client>,
    /// On which timeline each primary was seen.
    noted: HashMap<ShardId, u32>,
}

impl Follower {
    async fn look(&mut self) {
        for (shard, verdict) in self.shared.servers.verdicts() {
            let due = match &verdict {
                Verdict::Stands { timeline } => self.noted.get(&shard.id) != Some(timeline),
                Verdict::Promoted { .. } => true,
                Verdict::Absent | Verdict::Unclear(_) => false,
            };
            if !due {
                continue;
            }
            if self.target.is_none() {
                self.follow_alone(&shard, &verdict);
                continue;
            }
            let told = timeout(ANSWER_TIMEOUT, self.tell(&shard, &verdict)).await;
            match told.unwrap_or_else(|_| Err(StoreError::Silent.into())) {
                Ok(()) => {}
                Err(error) => {
                    self.catalog = None;
                    let error: &dyn std::error::Error = &error;
                    warn!(shard = %shard.id, error, "the catalog cannot be told who is the shard's primary");
                    return;
                }
            }
        }
    }

    async fn tell(&mut self, shard: &Shard, verdict: &Verdict) -> Result<(), TellError> {
        let Some(target) = &self.target else { return Ok(()) };
        if self.catalog.as_ref().is_none_or(Client::is_closed) {
            self.catalog = Some(target.connect().await?);
        }
        let Some(catalog) = &self.catalog else { return Ok(()) };
        if let Verdict::Stands { timeline } = verdict {
            // Others may know of a newer one: then this primary is an old one.
            let highest = roles::note_timeline(catalog, shard.id, *timeline).await?;
            self.shared.servers.learn_timeline(shard.id, highest);
            self.noted.insert(shard.id, *timeline);
            return Ok(());
        }
        record(catalog, shard, verdict).await?;
        Ok(())
    }

    fn follow_alone(&mut self, shard: &Shard, verdict: &Verdict) {
        match verdict {
            Verdict::Stands { timeline } => drop(self.noted.insert(shard.id, *timeline)),
            Verdict::Promoted { primary, timeline, proven } => {
                let newer = self.noted.get(&shard.id).is_some_and(|noted| noted < timeline);
                match with_primary(&self.shared.view.map(), shard, primary) {
                    Some(map) if *proven || newer => {
                        info!(shard = %shard.id, %primary, timeline, "the promoted server is the shard's primary: put it so in shards.toml");
                        publish(&self.shared, Arc::new(map));
                    }
                    Some(_) => error!(shard = %shard.id, %primary, timeline, "not followed: its timeline is not known to be newer"),
                    None => {}
                }
            }
            Verdict::Absent | Verdict::Unclear(_) => {}
        }
    }
}

/// The map with the two servers in each other's place; `None` where it names others by now.
fn with_primary(map: &ShardMap, shard: &Shard, promoted: &Endpoint) -> Option<ShardMap> {
    let mut map = map.clone();
    let present = map.shards.iter_mut().find(|present| present.id == shard.id && present.primary == shard.primary)?;
    let replica = present.replicas.iter_mut().find(|replica| replica.endpoint == *promoted)?;
    std::mem::swap(&mut present.primary, &mut replica.endpoint);
    map.version = MapVersion(map.version.0 + 1);
    Some(map)
}
