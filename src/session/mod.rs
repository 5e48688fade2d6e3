//! One client's conversation, from its startup packet to its end.

pub mod options;

pub use options::{AuthMethod, SessionOptions, User};
