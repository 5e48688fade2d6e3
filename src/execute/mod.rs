//! Carries requests to servers and their replies back to the client.
//!
//! *Invariant: replies are matched to requests by protocol state; a mismatch closes the server connection.*

pub mod ask;
pub mod client;
pub mod closed;
pub mod copy;
pub mod copy_split;
pub(crate) mod fault;
pub mod deadlock;
pub mod gather;
pub mod part;
pub mod relay;
pub mod scatter;
mod translate;
pub mod two_phase;

pub use client::ClientIo;
pub use relay::{Outcome, Progress, RelayError, StatementNames};
