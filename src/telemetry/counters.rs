//! Counters of the process, one cache line's worth of atomics each update.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What sessions count.
#[derive(Debug, Default)]
pub struct Counters {
    /// Clients that have logged in.
    pub clients: Counter,
    /// Statements sent to one shard.
    pub single: Counter,
    /// Of those, sent to a replica.
    pub replica: Counter,
    /// Statements whose tables were gathered on the home shard.
    pub gathered: Counter,
    /// Statements refused.
    pub refused: Counter,
    /// Templates that had to be parsed.
    pub planned: Counter,
    /// Reads sent to several shards and merged.
    pub scatter: Counter,
    /// Commits in two phases.
    pub two_phase: Counter,
    /// Writes that waited for a move's switch.
    pub held: Counter,
}
