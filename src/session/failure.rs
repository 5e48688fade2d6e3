//! How a request of a client's can fail.

use crate::backend::AcquireError;
use crate::execute::RelayError;
use crate::execute::ask::AskError;
use crate::execute::copy::CopyError;
use crate::wire::{ClientError, PlainError, SqlState};

/// An error on its way to the client.
pub(super) type Told = Box<dyn ClientError + Send>;

/// A request failed.
pub(super) enum Failure {
    /// To be sent as ERROR; the conversation goes on.
    Report(Told),
    /// The client has had the server's own error already.
    Relayed,
    /// The conversation is over.
    End(End),
}

/// Why a conversation ends.
pub(super) enum End {
    /// The client said goodbye or is gone.
    Left,
    /// To be sent as FATAL.
    Fatal(Told),
}

impl Failure {
    pub(super) fn report(error: impl ClientError + Send + 'static) -> Self {
        Self::Report(Box::new(error))
    }

    pub(super) fn plain(code: SqlState, message: impl Into<String>) -> Self {
        Self::report(PlainError::new(code, message))
    }

    pub(super) fn fatal(error: impl ClientError + Send + 'static) -> Self {
        Self::End(End::Fatal(Box::new(error)))
    }
}

impl From<End> for Failure {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<RelayError> for Failure {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Client(_) => Self::End(End::Left),
            RelayError::Server { cut: true, .. } => Self::fatal(error),
            error => Self::report(error),
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Lost(error) => error.into(),
            error => Self::report(error),
        }
    }
}

impl From<AcquireError> for Failure {
    fn from(error: AcquireError) -> Self {
        Self::report(error)
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Relay(error) => error.into(),
            error => Self::fatal(error),
        }
    }
}
