//! The PostgreSQL frontend/backend protocol as bytes: framing, decoding, encoding, errors.
//!
//! *Invariant: nothing here reads a socket; every decoder takes a slice and checks its bounds.*

pub mod error;

pub use error::{ClientError, SqlState};
