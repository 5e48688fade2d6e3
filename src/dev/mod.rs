//! A whole local cluster in one folder: real servers, catalog, replicas, configuration, proxy.
//!
//! *Invariant: nothing is written outside the cluster's folder, and every process started is named in it.*

pub mod account;
pub mod binaries;
pub mod down;
pub mod error;
pub mod folder;
pub mod ports;
pub mod proxy_process;
pub mod record;
pub mod server;
pub mod settings;
pub mod status;
pub mod strays;
pub mod up;
pub mod worker_process;

pub use down::{DownOptions, down};
pub use error::DevError;
pub use status::{Status, status};
pub use up::{UpOptions, add_server, up};
