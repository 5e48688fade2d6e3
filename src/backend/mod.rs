//! Servers: connections, pools, health, cancel.

pub mod options;

pub use options::{ControlRole, PoolMode, PoolOptions, ReplicaOptions};
