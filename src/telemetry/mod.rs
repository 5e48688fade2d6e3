//! What the process tells of itself: named tasks, counters.

pub mod counters;
pub mod task;

pub use counters::Counters;
