//! COPY: its options, and the rows of its data, as far as a key has to be found in them.
//!
//! What PostgreSQL refuses (an option it does not know, a row that is too short) is passed on as it is: PostgreSQL says what is wrong with it.

pub mod binary;
pub mod csv;
pub mod lines;
pub mod options;
pub mod rows;
pub mod text;

pub use lines::LineLog;
pub use options::{CopyFormat, CopyOptions, CopyStatement};
pub use rows::{DataError, KeyField, Row, RowKind, Rows};

#[cfg(test)]
mod tests;
