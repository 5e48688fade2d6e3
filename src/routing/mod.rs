//! From a statement and its values to a route. Pure: decides, never acts.
//!
//! *Invariant: `routing` never sees a connection.*

pub mod plan;
pub mod refusal;
pub mod route;

pub use plan::{Access, Plan, Planner};
pub use refusal::Refusal;
pub use route::{Hint, HintTarget, ParameterValues, Route, Values};
