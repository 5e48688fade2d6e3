//! Caches on the way of a statement: plans by template, prepared statements by text.

pub mod plans;
pub mod prepared;

pub use plans::PlanCache;
pub use prepared::{PreparedRegistry, Statement};
