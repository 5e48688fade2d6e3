//! The catalog database and the shards' schema, read and watched.

pub mod connect;
pub mod ddl_check;
pub mod ddl_rules;
pub mod expression;
pub mod migrate;
pub mod placement;
pub mod rules;
pub mod schema;
pub mod sequences;
pub mod store;
pub mod view;
pub mod watch;

pub use connect::{ConnectError, Target, connect};
pub use ddl_check::Inspection;
pub use ddl_rules::{DdlRefusal, Judgement};
pub use rules::{TableRule, TableRuleKind, TableRules};
pub use store::{CatalogState, StoreError};
pub use view::View;
pub use watch::Watcher;
