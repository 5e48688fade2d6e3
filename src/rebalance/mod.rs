//! Moves of buckets between shards (DESIGN section 12): planned by a command, driven by the worker.
//!
//! While a wave is open a trigger on the source logs the keys of touched rows; a pass makes the target's rows of those keys equal to the
//! source's at one snapshot. Passes can be repeated at will, so every crash is answered by doing the last step again.
//!
//! *Invariant: nothing here relies on a clock, a proxy or the network for what is right: the shards themselves refuse writes to closed buckets,
//! and each of a worker's transactions on a shard compares its token first.*

pub mod bucket_set;
mod capture;
mod cleanup;
mod conduct;
mod copy;
mod cutover;
pub mod error;
pub mod fault;
mod handful;
pub mod journal;
mod lease;
mod link;
pub mod options;
mod pass;
pub mod plan;
pub mod precheck;
mod prepare;
mod prepared;
mod proxies;
mod shards;
pub mod sizes;
pub mod start;
pub mod state;
mod table;
mod throttle;
mod transfer;
mod verify;
mod wave;
pub mod worker;

pub use error::StepError;
pub use options::MoveOptions;
pub use worker::{WorkerOptions, run};
