//! Statements on several shards: from a route to the method that runs it, in both protocols.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::backend::Reply;
use crate::routing::{Access, ParameterValues, Plan, Route, Values};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::gather::Kept;
use crate::session::hold::moved_meanwhile;
use crate::session::prepared::Prepared;
use crate::topology::MapVersion;
use crate::wire::from_client;

/// A portal of a statement on several shards. It is bound on the home shard as it is, which checks and describes it; execution is ours.
#[derive(Clone, Debug)]
pub(super) struct SpreadPortal {
    pub(super) prepared: Prepared,
    pub(super) route: Route,
    pub(super) access: Access,
    /// Of the map by which it was routed.
    pub(super) version: MapVersion,
    /// Bind's formats, values and result formats.
    pub(super) tail: Bytes,
    /// Rows that were computed by an Execute with a row limit, or by one that is complete.
    pub(super) kept: Arc<Mutex<Option<Kept>>>,
    /// A write without rows has run: it cannot be run again.
    pub(super) done: Arc<AtomicBool>,
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
            Route::Each { .. } | Route::Split(_) | Route::Feed(_) | Route::Locked(_) => self.spread_write(text, route).await,
            Route::Timed => self.timed(text).await,
            Route::Copy(plan) => self.copy_over(text, plan, access).await,
            Route::Sequence(setting) => self.set_sequence(text, setting).await,
            Route::Home | Route::Any | Route::One(_) => Ok(()),
        }
    }

    /// The portal by a map that is newer than the one it was bound by.
    async fn route_portal(&mut self, portal: &SpreadPortal) -> Result<SpreadPortal, Failure> {
        let plan = self.fresh_plan(&portal.prepared).await?;
        let statement = &portal.prepared.statement;
        let bind = from_client::bind_tail(&portal.tail).map_err(Failure::fatal)?;
        let parameters = ParameterValues { values: &bind.values, formats: &bind.formats, types: &statement.types, types_unknown: false };
        let values =
            Values { text: &statement.text, literals: &statement.literals, parameters, other_encoding: self.settings.other_encoding };
        let (route, access) = self.route(&plan, &values)?;
        if self.shard_of(&route).is_some() {
            // It was bound for several shards.
            return Err(moved_meanwhile());
        }
        Ok(SpreadPortal { route, access, version: self.pools.map.version, ..portal.clone() })
    }

    /// Whether the route's statement has to run in a transaction over its shards.
    pub(super) fn needs_transaction(route: &Route) -> bool {
        matches!(route, Route::Everywhere | Route::Each { .. } | Route::Split(_) | Route::Feed(_) | Route::Locked(_))
            || matches!(route, Route::Gather(_) | Route::Sequence(_) | Route::Timed)
            || matches!(route, Route::Copy(plan) if plan.writes())
            || matches!(route, Route::Scatter { plan, .. } if plan.locks_some())
    }

    /// Extended protocol: Execute of a portal on several shards; `body` is Execute's. Replies so far come first.
    pub(super) async fn execute_spread(&mut self, body: &Bytes, portal: &SpreadPortal) -> Result<(), Failure> {
        let routed_anew = if portal.version == self.pools.map.version || portal.kept.lock().is_some() {
            None
        } else {
            Some(self.route_portal(portal).await?)
        };
        let portal = routed_anew.as_ref().unwrap_or(portal);
        match &portal.route {
            Route::Everywhere => {
                let home = self.pools.map.home;
                self.pass_on(b'E', body, (home, Access::Write), Reply::Execute).await?;
                self.execute_elsewhere(&portal.prepared, &portal.tail).await
            }
            Route::Scatter { plan, shards } => self.execute_scatter(body, portal, (plan, shards)).await,
            Route::Gather(plan) => self.execute_gather(body, portal, plan).await,
            Route::Each { .. } | Route::Split(_) | Route::Feed(_) | Route::Locked(_) => self.execute_spread_write(body, portal).await,
            Route::Timed => self.execute_timed(body, portal).await,
            Route::Copy(plan) => {
                self.settle_order().await?;
                self.copy_over(&portal.prepared.statement.text, plan, portal.access).await
            }
            Route::Sequence(setting) => self.execute_set_sequence(portal, setting).await,
            Route::Home | Route::Any | Route::One(_) => Ok(()),
        }
    }
}
