//! Which map the running statements and open transactions of this process go by, so that it can be told when an old one is out of use.
//!
//! As with hazard pointers: a session first writes down the version it is about to use, then looks whether it is still the newest. Who
//! publishes a map writes its version first, then reads what sessions have written. One of the two sees the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::topology::{MapVersion, ShardId, ShardMap};

/// What all sessions are doing.
#[derive(Debug, Default)]
pub struct Activity {
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// What one session is doing. Written by the session alone.
#[derive(Debug, Default)]
pub struct Slot {
    /// One more than the version that its running statement was routed by; 0 between statements.
    running: AtomicU64,
    /// One more than the version at which its open transaction reached its first server; 0 without one.
    opened: AtomicU64,
    /// The shards that the transaction has touched, by their ids modulo 64.
    touched: AtomicU64,
    /// The transaction has run a definition or written a reference table.
    everywhere: AtomicBool,
    /// The running statement belongs to no transaction and writes nothing: no switch waits for it.
    reads_only: AtomicBool,
}

/// How far this process has followed the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Every statement that begins from now on is routed by at least this map.
    pub seen: MapVersion,
    /// No statement that was routed by an older map is running.
    pub acknowledged: MapVersion,
    /// No statement that may write is running that was routed by an older map, and no transaction is open that began under one and has
    /// touched what moves. Reads that stand alone do not count: they may take longer than writers can wait for a switch.
    pub settled: MapVersion,
}

impl Activity {
    /// A slot for a new session; it counts as long as the session holds it.
    #[must_use]
    pub fn slot(&self) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        let mut slots = self.slots.lock();
        if slots.len() == slots.capacity() {
            slots.retain(is_held);
        }
        slots.push(Arc::clone(&slot));
        slot
    }

    /// The standing under the newest map, which must have been published before.
    #[must_use]
    pub fn standing(&self, map: &ShardMap) -> Standing {
        let version = map.version.0;
        let moving = map.moving.as_ref();
        let concerned = moving.map_or(0, |moving| moving.shards().fold(0, |mask, shard| mask | bit(shard)));
        let gated = moving.is_some_and(|moving| moving.gate.is_some());
        let (mut acknowledged, mut settled) = (version, version);
        let mut slots = self.slots.lock();
        slots.retain(is_held);
        for slot in slots.iter() {
            let running = slot.running.load(Ordering::SeqCst).checked_sub(1).unwrap_or(version);
            acknowledged = acknowledged.min(running);
            if slot.reads_only.load(Ordering::SeqCst) {
                continue;
            }
            settled = settled.min(running);
            if let Some(opened) = slot.opened.load(Ordering::Acquire).checked_sub(1) {
                let touched = slot.touched.load(Ordering::Relaxed) & concerned != 0;
                if touched || gated && slot.everywhere.load(Ordering::Relaxed) {
                    settled = settled.min(opened);
                }
            }
        }
        Standing { seen: map.version, acknowledged: MapVersion(acknowledged), settled: MapVersion(settled) }
    }
}

fn is_held(slot: &Arc<Slot>) -> bool {
    Arc::strong_count(slot) > 1
}

fn bit(shard: ShardId) -> u64 {
    1 << (shard.0 % 64)
}

impl Slot {
    /// A statement is about to be routed by the map of this version. To be followed by a look at which version is the newest.
    pub(crate) fn run(&self, version: MapVersion) {
        if self.is_read_only() {
            self.reads_only.store(false, Ordering::SeqCst);
        }
        self.running.store(version.0 + 1, Ordering::SeqCst);
    }

    /// Whether what runs from now on, up to the next statement, stands alone and writes nothing. After `false` the newest version is to be
    /// looked at again: until now nobody has waited for what runs here.
    pub fn read_only(&self, reads_only: bool) {
        self.reads_only.store(reads_only, Ordering::SeqCst);
    }

    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.reads_only.load(Ordering::Relaxed)
    }

    /// No statement is running.
    pub fn rest(&self) {
        self.running.store(0, Ordering::Release);
    }

    /// The version that the running statement was routed by.
    #[must_use]
    pub fn running(&self) -> Option<MapVersion> {
        self.running.load(Ordering::Relaxed).checked_sub(1).map(MapVersion)
    }

    /// The open transaction, or one that begins now, reaches a server of the shard.
    pub fn touch(&self, shard: ShardId, version: MapVersion) {
        self.touched.store(self.touched.load(Ordering::Relaxed) | bit(shard), Ordering::Relaxed);
        self.open(version);
    }

    /// The open transaction runs a definition or writes a reference table.
    pub fn touch_everywhere(&self, version: MapVersion) {
        self.everywhere.store(true, Ordering::Relaxed);
        self.open(version);
    }

    fn open(&self, version: MapVersion) {
        if self.opened.load(Ordering::Relaxed) == 0 {
            self.opened.store(version.0 + 1, Ordering::Release);
        }
    }

    /// No transaction is open.
    pub fn close(&self) {
        if self.opened.load(Ordering::Relaxed) != 0 {
            self.opened.store(0, Ordering::Release);
            self.touched.store(0, Ordering::Relaxed);
            self.everywhere.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
