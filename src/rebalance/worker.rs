//! The worker process: waits until it leads, then drives the current move. Several may run.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::backend::ControlRole;
use crate::catalog::{TableRules, Target, store};
use crate::rebalance::conduct::{Conductor, Round};
use crate::rebalance::error::StepError;
use crate::rebalance::journal::Journal;
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

/// Until the lease is lost.
async fn lead(options: &WorkerOptions, lease: &Lease) -> Result<(), StepError> {
    loop {
        if lease.is_lost() {
            return Err(StepError::LeaseLost);
        }
        // After an error all connections are opened anew: which of them it was, matters to nobody.
        match drive(options, lease).await {
            Err(StepError::LeaseLost) => return Err(StepError::LeaseLost),
            Err(error) => warn!(error = error.line(), "tried again soon"),
            Ok(()) => {}
        }
        sleep(AFTER_ERROR).await;
    }
}

async fn drive(options: &WorkerOptions, lease: &Lease) -> Result<(), StepError> {
    let catalog = options.catalog.clone().named("shardyard worker").connect().await?;
    let journal = Journal::open(catalog, lease.token).await?;
    let mut shards = Shards::load(journal.client(), &options.control, lease.token).await?;
    let buckets = store::buckets(journal.client()).await?;
    let mut taken = false;
    let work = (options.control.clone(), options.tables.clone());
    let mut conductor = {
        // Without a move nobody needs the shards; with one, former leaders are shut out first.
        while !taken {
            if lease.is_lost() {
                return Err(StepError::LeaseLost);
            }
            if crate::rebalance::journal::unfinished(journal.client()).await?.is_some() {
                shards.reload(journal.client()).await?;
                taken = true;
            } else {
                sleep(IDLE).await;
            }
        }
        shards.take_over().await?;
        Conductor::new(journal, shards, work, buckets)
    };
    loop {
        if lease.is_lost() {
            return Err(StepError::LeaseLost);
        }
        if conductor.round().await? == Round::Idle {
            sleep(IDLE).await;
        }
    }
}
