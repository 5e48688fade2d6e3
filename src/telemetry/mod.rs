//! What the process tells of itself: named tasks, counters.

pub mod task;
