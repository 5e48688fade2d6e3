//! The catalog database and the shards' schema, read and watched.

pub mod connect;
pub mod expression;
pub mod migrate;
pub mod placement;
pub mod rules;
pub mod schema;
pub mod store;
pub mod watch;

pub use connect::{ConnectError, connect};
pub use rules::{TableRule, TableRuleKind, TableRules};
pub use store::{CatalogState, StoreError};
pub use watch::Watcher;
