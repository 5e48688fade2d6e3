//! From a statement and its values to a route. Pure: decides, never acts.
//!
//! *Invariant: `routing` never sees a connection.*
//!
//! A template's text is planned once (`planner`): `analyze`, `from`, `condition`, `modify` and `call` collect facts, `decide` makes of them
//! what only values are missing from; `spread` finds the way over several shards where one is not enough. Each execution then reads its values (`value`, `parameter`, `array`) and finds its shard (`bind`).

mod analyze;
mod array;
mod bind;
mod call;
mod colocation;
pub mod concern;
mod condition;
pub mod copy;
mod decide;
pub mod each;
mod explain;
mod facts;
pub mod feed;
mod filter;
mod from;
pub mod gather;
pub mod locked;
mod modify;
mod narrow;
pub mod owned;
mod parameter;
pub mod plan;
pub mod point;
mod planner;
pub mod refusal;
mod matching;
mod merging;
mod respell;
mod region;
pub mod route;
mod row_value;
pub mod scatter;
mod scope;
pub mod sequence;
pub mod setval;
pub mod split;
mod splice;
mod spread;
mod value;
mod with;
mod written;

pub use plan::{Access, Plan, Planner};
pub use refusal::Refusal;
pub use route::{Hint, HintTarget, ParameterValues, Route, Values};
