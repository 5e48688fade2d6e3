//! The PostgreSQL frontend/backend protocol as bytes: framing, decoding, encoding, errors.
//!
//! *Invariant: nothing here reads a socket; every decoder takes a slice and checks its bounds.*

pub mod error;
pub mod error_body;
pub mod frame;
pub mod from_client;
pub mod from_server;
pub mod reader;
pub mod startup;
pub mod to_client;
pub mod to_server;

pub use error::{ClientError, SqlState};
pub use from_server::{ServerError, TransactionStatus};
pub use reader::DecodeError;
pub use to_client::{PlainError, Severity};
