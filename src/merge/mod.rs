//! Makes one answer of the answers of several shards: rows in order, groups combined, LIMIT applied. Pure: bytes in, bytes out.
//!
//! *Invariant: `merge` never sees a connection, and compares values exactly as PostgreSQL does or says that it cannot.*

pub mod clock;
pub mod combine;
pub mod describe;
pub mod emit;
pub mod key;
pub mod number;
pub mod plan;
pub mod row;

pub use describe::{Field, Shape};
pub use emit::Merger;
pub use plan::{Amount, ColumnRef, Combine, MergePlan, OrderItem, Role, Unmergeable};
