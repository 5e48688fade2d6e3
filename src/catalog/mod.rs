//! The catalog database and the shards' schema, read and watched.

pub mod activity;
pub mod attendance;
pub mod connect;
pub mod ddl_check;
pub mod ddl_rules;
pub mod expression;
pub mod lease;
mod loader;
pub mod migrate;
pub mod placement;
pub mod roles;
pub mod rules;
pub mod schema;
pub mod sequences;
pub mod store;
pub mod view;
pub mod watch;
mod waves;

pub use activity::{Activity, Slot};
pub use attendance::{Attendance, Stray};
pub use connect::{ConnectError, Target, connect};
pub use ddl_check::Inspection;
pub use ddl_rules::{DdlRefusal, Judgement};
pub use lease::Lease;
pub use rules::{TableRule, TableRuleKind, TableRules};
pub use store::{CatalogState, StoreError};
pub use view::View;
pub use watch::Watcher;
