//! The catalog database and the shards' schema, read and watched.

pub mod connect;
pub mod migrate;
pub mod rules;
pub mod store;

pub use connect::{ConnectError, connect};
pub use rules::{TableRule, TableRuleKind, TableRules};
pub use store::{CatalogState, StoreError};
