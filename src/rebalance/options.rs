//! What an operator may set for one move.

use serde::{Deserialize, Serialize};

/// Servers have only so many connections.
const COPY_JOBS_MAX: u32 = 16;

/// Kept in the catalog with the move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveOptions {
    /// Longer than this, in milliseconds, proxies do not hold writes for transactions that are open: the worker gives up and tries again later.
    /// With 300, a writer of a moving key never waits longer than that for others.
    pub hold_max_ms: u64,
    /// Rows copied or deleted in a second; 0: as fast as the servers can.
    pub rows_per_second: u64,
    /// Bytes copied in a second; 0: as fast as the servers can.
    pub bytes_per_second: u64,
    /// Chunks that are copied at once, each over a pair of connections of its own, at most 16. With 2, a table of 1 GB keeps two connections to
    /// either shard busy, and the copy takes two processors of each.
    pub copy_jobs: u32,
    /// Copying waits while a replica of either shard is more bytes behind; 0: never. With 67108864, 64 MiB.
    pub lag_bytes_max: u64,
    /// A reversible move is finalized by itself after so many seconds; 86400 is a day.
    pub reversible_s: u64,
    /// Rows that differ at the verification are copied again instead of stopping the move.
    pub repair: bool,
}

impl MoveOptions {
    /// At least one.
    #[must_use]
    pub fn copies_at_once(&self) -> usize {
        self.copy_jobs.clamp(1, COPY_JOBS_MAX) as usize
    }
}

impl Default for MoveOptions {
    fn default() -> Self {
        Self {
            hold_max_ms: 300,
            rows_per_second: 0,
            bytes_per_second: 0,
            copy_jobs: 2,
            lag_bytes_max: 64 << 20,
            reversible_s: 86_400,
            repair: false,
        }
    }
}
