//! This process's standing with the shards: its incarnation, which each of its server connections names when it is opened.

use std::sync::atomic::{AtomicI32, Ordering};

use tokio::sync::Notify;

/// Shared by all who open or use server connections.
#[derive(Debug, Default)]
pub struct Attendance {
    /// 0 without a catalog: then nobody fences.
    incarnation: AtomicI32,
    fenced: Notify,
}

impl Attendance {
    /// The incarnation that connections are opened under. It changes only after a map has been published that is newer than its registration.
    #[must_use]
    pub fn incarnation(&self) -> i32 {
        self.incarnation.load(Ordering::Acquire)
    }

    pub(crate) fn enter(&self, incarnation: i32) {
        self.incarnation.store(incarnation, Ordering::Release);
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
