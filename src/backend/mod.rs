//! Servers: connections, pools, health, cancel.

pub mod cancel;
pub mod connection;
pub mod failover;
pub mod health;
pub mod inbox;
mod listener;
pub mod login;
pub mod notifications;
pub mod options;
pub mod pool;
mod prepared;
pub mod probe;
pub mod roles;
pub mod servers;
pub mod settings;
pub mod tenure;

pub use cancel::{CancelKey, CancelRegistry, CancelSlot};
pub use connection::{Expected, Reply, ServerConnection};
pub use login::LoginError;
pub use notifications::Notifications;
pub use options::{ControlRole, PoolMode, PoolOptions, ReplicaOptions};
pub use pool::{AcquireError, Checkout, Pool};
pub use servers::{ServerUser, Servers, ShardPools, UserPools};
pub use settings::{SettingSet, SettingValue};
