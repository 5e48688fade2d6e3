//! The worker process: waits until it leads, then drives the current move. Several may run.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;
use tracing::{info, warn};

use crate::backend::ControlRole;
use crate::backend::failover::{self, Outcome};
use crate::catalog::store::ShardRow;
use crate::catalog::{TableRules, Target, store};
use crate::rebalance::conduct::{Conductor, Round};
use crate::rebalance::error::StepError;
use crate::rebalance::journal::{self, Journal};
use crate::rebalance::lease::{self, Lease};
use crate::rebalance::shards::Shards;

/// Between two looks at a catalog that wants nothing.
const IDLE: Duration = Duration::from_millis(200);
/// After an error; what it was about is done again.
const AFTER_ERROR: Duration = Duration::from_millis(500);

/// What a worker needs.
#[derive(Clone)]
pub struct WorkerOptions {
    pub catalog: Target,
    pub control: ControlRole,
    /// The settings of `tables.toml`.
    pub tables: TableRules,
}

/// Works until the process ends.
pub async fn run(options: WorkerOptions) {
    loop {
        match Lease::acquire(&options.catalog).await {
            Ok(lease) => {
                info!(token = lease.token, "leading");
                // After an error this process leads anew, with a new token: what its lost connections may still be doing is waited for, or ended.
                if let Err(error) = lead(&options, &lease).await {
                    warn!(error = error.line(), "no longer leading");
                }
                lease::release(&options.catalog, lease.token).await;
            }
            Err(error) => warn!(error = error.line(), "the catalog cannot be asked for the lease"),
        }
        sleep(AFTER_ERROR).await;
    }
}

/// Until the lease is lost, or anything fails.
async fn lead(options: &WorkerOptions, lease: &Lease) -> Result<(), StepError> {
    let catalog = options.catalog.clone().named("shardyard worker").connect().await?;
    let mut journal = Journal::open(catalog, lease.token).await?;
    // Without a move nobody needs the shards.
    let the_move = loop {
        if let Some(the_move) = journal::unfinished(journal.client()).await? {
            break the_move;
        }
        lease.check()?;
        sleep(IDLE).await;
    };
    if let Err(error) = follow_promotions(journal.client(), &options.control).await {
        journal.set_error(the_move.id, Some(&error.line())).await?;
        return Err(error);
    }
    journal.rely_on_primaries().await?;
    let mut shards = Shards::load(journal.client(), &options.control, lease.token).await?;
    shards.take_over().await?;
    let buckets = store::buckets(journal.client()).await?;
    let mut conductor = Conductor::new(journal, shards, (options.control.clone(), options.tables.clone()), buckets);
    loop {
        lease.check()?;
        if conductor.round().await? == Round::Idle {
            sleep(IDLE).await;
        }
    }
}

/// Primaries may have been replaced by their replicas.
async fn follow_promotions(catalog: &Client, control: &ControlRole) -> Result<(), StepError> {
    for ShardRow { shard, .. } in store::shards(catalog).await?.iter().filter(|row| row.state != "retired") {
        if let Outcome::Unclear(reason) = failover::follow(catalog, shard, control).await? {
            return Err(StepError::Later(format!("shard {}: {reason}", shard.name)));
        }
    }
    Ok(())
}
