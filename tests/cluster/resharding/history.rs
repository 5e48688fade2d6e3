//! What clients asked for and what they were told, and how long each took.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    /// It is certain that nothing was done.
    Refused,
    /// The connection was lost on the way, or the error says that it is not known.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// An account read, changed by what was read, and an entry that refers to it: one transaction over two tables.
    Payment { amount: i64 },
    /// The same as one statement for each table, without reading.
    Deposit { amount: i64 },
    /// One row, in a table without a primary key.
    Note,
    /// One's own note of this number is deleted.
    NoteDeleted { note: u64 },
    /// An amount from one half of a pair to the other.
    Shift,
    /// Every user's mark of this client, by one statement without a key.
    Marks,
    /// One row by a text key.
    Name,
}

/// One write. `user` is 0 where there is no one user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) client: u64,
    /// Unique within the client.
    pub(crate) number: u64,
    pub(crate) user: i64,
    pub(crate) change: Change,
    pub(crate) outcome: Outcome,
    /// After the load's beginning.
    pub(crate) began: Duration,
    pub(crate) took: Duration,
}
