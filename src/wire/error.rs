//! What a client may read of an error: SQLSTATE, message, detail, hint.

use std::fmt;

/// A five-character SQLSTATE, as in the PostgreSQL manual's appendix A.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    pub const PROTOCOL_VIOLATION: Self = Self(*b"08P01");
    pub const CONNECTION_FAILURE: Self = Self(*b"08006");
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");
    pub const INVALID_BINARY_REPRESENTATION: Self = Self(*b"22P03");
    pub const INVALID_TEXT_REPRESENTATION: Self = Self(*b"22P02");
    pub const NUMERIC_VALUE_OUT_OF_RANGE: Self = Self(*b"22003");
    pub const NOT_NULL_VIOLATION: Self = Self(*b"23502");
    pub const IN_FAILED_TRANSACTION: Self = Self(*b"25P02");
    pub const SERIALIZATION_FAILURE: Self = Self(*b"40001");
    pub const ACTIVE_SQL_TRANSACTION: Self = Self(*b"25001");
    pub const NO_ACTIVE_SQL_TRANSACTION: Self = Self(*b"25P01");
    pub const INVALID_SQL_STATEMENT_NAME: Self = Self(*b"26000");
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    pub const INVALID_CURSOR_NAME: Self = Self(*b"34000");
    pub const INVALID_CATALOG_NAME: Self = Self(*b"3D000");
    pub const SAVEPOINT_INVALID: Self = Self(*b"3B001");
    pub const SYNTAX_ERROR: Self = Self(*b"42601");
    pub const DUPLICATE_PREPARED_STATEMENT: Self = Self(*b"42P05");
    pub const INVALID_TABLE_DEFINITION: Self = Self(*b"42P16");
    pub const DUPLICATE_CURSOR: Self = Self(*b"42P03");
    pub const UNDEFINED_PARAMETER: Self = Self(*b"42P02");
    pub const INVALID_PARAMETER_VALUE: Self = Self(*b"22023");
    pub const CONFIGURATION_LIMIT_EXCEEDED: Self = Self(*b"53400");
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    pub const PROGRAM_LIMIT_EXCEEDED: Self = Self(*b"54000");
    pub const STATEMENT_TOO_COMPLEX: Self = Self(*b"54001");
    pub const OBJECT_IN_USE: Self = Self(*b"55006");
    pub const LOCK_NOT_AVAILABLE: Self = Self(*b"55P03");
    pub const QUERY_CANCELED: Self = Self(*b"57014");
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    pub const TRANSACTION_RESOLUTION_UNKNOWN: Self = Self(*b"08007");
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    pub const INTERNAL_ERROR: Self = Self(*b"XX000");

    /// Whether it says that something is wrong with a statement's words or values: never of a server's state, nor that somebody cancelled it.
    #[must_use]
    pub fn is_of_text(&self) -> bool {
        matches!(self.0.first_chunk(), Some(b"0A" | b"22" | b"26" | b"42"))
    }

    /// The five characters, as sent in the `C` field.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that a client may see. A type without this trait cannot reach a client.
///
/// `Display` is the message in PostgreSQL's style: lower case, no full stop.
pub trait ClientError: fmt::Display {
    fn sqlstate(&self) -> SqlState;
    /// A sentence that says more, or nothing.
    fn detail(&self) -> Option<String> {
        None
    }
    /// A sentence that says what to do instead, or nothing.
    fn hint(&self) -> Option<String> {
        None
    }
    /// The body of a server's ErrorResponse, to be told as it is.
    fn body(&self) -> Option<&[u8]> {
        None
    }
    /// The 1-based character position in the statement, or nothing.
    fn position(&self) -> Option<usize> {
        None
    }
}
