//! Transactions of one snapshot that outlive the map they began by.
//!
//! On each server the snapshot is of the moment at which the transaction came there. Rows that have been moved since are not in it on their
//! new shard, or still are on their old one: what would read them is told that it cannot be serialized.

use std::sync::Arc;

use crate::execute::ask::{ask_value, ask_value_in_batch};
use crate::routing::{Plan, Route, Values};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::hold::moved_meanwhile;
use crate::session::links::Link;
use crate::topology::ShardMap;
use crate::wire::TransactionStatus;

/// What an open transaction began with.
#[derive(Debug)]
pub(super) struct Era {
    map: Arc<ShardMap>,
    /// The waves under way at any of its statements.
    waves: Vec<i32>,
    /// It has one snapshot: REPEATABLE READ or SERIALIZABLE. `None`: not asked yet.
    one_snapshot: Option<bool>,
}

impl Session {
    /// A server is reached, for the first time in the transaction or again.
    pub(super) fn note_era(&mut self) {
        let map = &self.pools.map;
        let era = self.era.get_or_insert_with(|| Era { map: Arc::clone(map), waves: Vec::new(), one_snapshot: None });
        for wave in map.moving.iter().flat_map(|moving| &moving.waves) {
            if !era.waves.contains(&wave.id) {
                era.waves.push(wave.id);
            }
        }
    }

    /// Whether the statement may read rows that have been moved since the transaction began.
    pub(super) fn outlives_map(&self, plan: &Plan, values: &Values<'_>, route: &Route) -> bool {
        let present = &self.pools.map;
        let Some(era) = self.era.as_ref().filter(|era| era.map.version != present.version && !self.map_kept) else { return false };
        let moved = era.map.owners != present.owners;
        let under_way = |id: &i32| present.moving.as_ref().is_some_and(|moving| moving.waves.iter().any(|wave| wave.id == *id));
        if !moved && era.waves.iter().all(under_way) {
            return false;
        }
        if self.shard_of(route).is_some() {
            let before = plan.route(values, &self.settings.own.hint, &era.map);
            return moved && before.map_or(true, |before| before != *route);
        }
        true
    }

    /// Fails a statement that outlives its map in a transaction of one snapshot.
    pub(super) async fn refuse_of_one_snapshot(&mut self) -> Result<(), Failure> {
        if self.has_one_snapshot().await? { Err(moved_meanwhile()) } else { Ok(()) }
    }

    async fn has_one_snapshot(&mut self) -> Result<bool, Failure> {
        if let Some(known) = self.era.as_ref().and_then(|era| era.one_snapshot) {
            return Ok(known);
        }
        const ISOLATION: &str = "SELECT pg_catalog.current_setting('transaction_isolation')";
        let in_batch = |link: &Link| link.unsynced && !link.broken && link.server.status == TransactionStatus::Idle;
        let open = |link: &&mut Link| {
            link.server.expected.is_empty() && (in_batch(link) || link.server.status == TransactionStatus::InTransaction)
        };
        // None of them has been asked anything yet: their snapshots are still to come.
        let Some(link) = self.links.iter_mut().find(open) else { return Ok(self.links.iter().any(Link::is_busy)) };
        let isolation = if in_batch(link) {
            ask_value_in_batch(&mut link.server, ISOLATION).await?
        } else {
            ask_value(&mut link.server, ISOLATION).await?
        };
        let one_snapshot = isolation.is_none_or(|isolation| !isolation.starts_with("read"));
        if let Some(era) = &mut self.era {
            era.one_snapshot = Some(one_snapshot);
        }
        Ok(one_snapshot)
    }
}
