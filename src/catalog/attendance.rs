//! This process's standing with the shards: its incarnation, which each of its server connections names when it is opened.

use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::topology::{Endpoint, ShardMap};

/// Shared by all who open or use server connections.
#[derive(Debug, Default)]
pub struct Attendance {
    /// 0 without a catalog: then nobody fences.
    incarnation: AtomicI32,
    fenced: Notify,
    /// At most as many as their servers let in.
    strays: Mutex<Vec<Stray>>,
    strayed: Notify,
}

/// A server connection that was given up with something under way on it. What has been sent on it may reach its server late, and then it
/// runs by a map that is out of use: until the server says that the connection's backend is gone, it counts as a running statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    pub endpoint: Endpoint,
    pub user: String,
    /// Of the backend.
    pub process_id: i32,
    /// The proxy's, when the connection was opened. Of another than the present one every backend has been ended (`shardyard.fenced`).
    pub incarnation: i32,
}

impl Attendance {
    /// The incarnation that connections are opened under. It changes only after a map has been published that is newer than its registration.
    #[must_use]
    pub fn incarnation(&self) -> i32 {
        self.incarnation.load(Ordering::Acquire)
    }

    pub(crate) fn enter(&self, incarnation: i32) {
        self.incarnation.store(incarnation, Ordering::Release);
        self.strays.lock().retain(|stray| stray.incarnation == incarnation);
    }

    /// To be told before the session that used the connection rests.
    pub fn leave_behind(&self, stray: Stray) {
        // Without a catalog nothing moves.
        if stray.incarnation != 0 && stray.incarnation == self.incarnation() {
            self.strays.lock().push(stray);
            self.strayed.notify_one();
        }
    }

    /// All whose end is not known.
    #[must_use]
    pub fn strays(&self) -> Vec<Stray> {
        self.strays.lock().clone()
    }

    /// Whether there is one on the primary of a shard that the map's move concerns.
    #[must_use]
    pub fn strays_where_rows_move(&self, map: &ShardMap) -> bool {
        let Some(moving) = &map.moving else { return false };
        let strays = self.strays.lock();
        let is_on = |endpoint: &Endpoint| strays.iter().any(|stray| stray.endpoint == *endpoint);
        !strays.is_empty() && moving.shards().any(|shard| map.shard(shard).is_some_and(|shard| is_on(&shard.primary)))
    }

    /// Keeps only those that are not known to be gone.
    pub fn retain_strays(&self, keep: impl FnMut(&Stray) -> bool) {
        self.strays.lock().retain(keep);
    }

    /// Returns when another was left behind. Cancel safe.
    pub async fn strayed(&self) {
        self.strayed.notified().await;
    }

    /// A shard has refused a connection that was opened under this incarnation.
    pub fn refused(&self, incarnation: i32) {
        if self.incarnation() == incarnation {
            self.fenced.notify_one();
        }
    }

    /// Returns when a shard has refused the present incarnation. Cancel safe.
    pub(crate) async fn is_fenced(&self) {
        self.fenced.notified().await;
    }
}
