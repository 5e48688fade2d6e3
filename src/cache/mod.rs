//! Caches on the way of a statement: plans by template, prepared statements by text.

pub mod parsed;
pub mod plans;
pub mod prepared;

pub use parsed::ParsedTemplates;
pub use plans::PlanCache;
pub use prepared::{PreparedRegistry, Statement};
