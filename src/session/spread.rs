//! Statements on several shards: from a route to the method that runs it, in both protocols.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::backend::Reply;
use crate::routing::{Access, Plan, Route};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::gather::Kept;
use crate::session::prepared::Prepared;

/// A portal of a statement on several shards. It is bound on the home shard as it is, which checks and describes it; execution is ours.
#[derive(Clone, Debug)]
pub(super) struct SpreadPortal {
    pub(super) prepared: Prepared,
    pub(super) route: Route,
    pub(super) access: Access,
    /// Bind's formats, values and result formats.
    pub(super) tail: Bytes,
    /// Rows that were computed by an Execute with a row limit, or by one that is complete.
    pub(super) kept: Arc<Mutex<Option<Kept>>>,
}

impl Session {
    /// Simple protocol: runs one statement on the shards of its route. The client gets everything but ReadyForQuery.
    pub(super) async fn spread(&mut self, text: &[u8], _plan: &Plan, (route, access): (&Route, Access)) -> Result<(), Failure> {
        self.spread_route(text, (route, access)).await
    }

    pub(super) async fn spread_route(&mut self, text: &[u8], (route, access): (&Route, Access)) -> Result<(), Failure> {
        match route {
            Route::Everywhere => self.everywhere(text).await,
            Route::Scatter { plan, shards } => self.scatter(text, plan, (shards, access)).await,
            Route::Gather(plan) => self.gather(text, plan, access).await,
            Route::Each { .. } | Route::Split(_) | Route::Feed(_) => self.spread_write(text, route).await,
            Route::Copy(plan) => self.copy_over(text, plan, access).await,
            Route::Sequence(value) => self.set_sequence(text, value).await,
            Route::Home | Route::Any | Route::One(_) => Ok(()),
        }
    }

    /// Whether the route's statement has to run in a transaction over its shards.
    pub(super) fn needs_transaction(route: &Route) -> bool {
        matches!(route, Route::Everywhere | Route::Each { .. } | Route::Split(_) | Route::Feed(_) | Route::Gather(_) | Route::Sequence(_))
            || matches!(route, Route::Copy(plan) if plan.writes())
    }

    /// Extended protocol: Execute of a portal on several shards; `body` is Execute's. Replies so far come first.
    pub(super) async fn execute_spread(&mut self, body: &Bytes, portal: &SpreadPortal) -> Result<(), Failure> {
        match &portal.route {
            Route::Everywhere => {
                let home = self.pools.map.home;
                self.pass_on(b'E', body, (home, Access::Write), Reply::Execute).await?;
                self.execute_elsewhere(&portal.prepared, &portal.tail).await
            }
            Route::Scatter { plan, shards } => self.execute_scatter(body, portal, (plan, shards)).await,
            Route::Gather(plan) => self.execute_gather(body, portal, plan).await,
            Route::Each { .. } | Route::Split(_) | Route::Feed(_) => self.execute_spread_write(body, portal).await,
            Route::Copy(plan) => {
                self.settle_order().await?;
                self.copy_over(&portal.prepared.statement.text, plan, portal.access).await
            }
            Route::Sequence(value) => self.execute_set_sequence(portal, value).await,
            Route::Home | Route::Any | Route::One(_) => Ok(()),
        }
    }
}
