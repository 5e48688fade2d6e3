//! Decodes what a server sends, as far as the proxy must understand it.

use crate::wire::reader::{DecodeError, Reader};
use crate::wire::{ClientError, SqlState};

/// Whether a server's session is in a transaction block, as ReadyForQuery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InTransaction,
    Failed,
}

impl TransactionStatus {
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// An error or notice that a server sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`, `NOTICE` …, not translated.
    pub severity: String,
    pub code: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// The routine in PostgreSQL's source that raised it.
    pub routine: Option<String>,
    /// The whole body, as it came.
    pub body: Vec<u8>,
}

impl ClientError for ServerError {
    fn sqlstate(&self) -> SqlState {
        self.code
    }
    fn detail(&self) -> Option<String> {
        self.detail.clone()
    }
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
    fn body(&self) -> Option<&[u8]> {
        // FATAL was the server's connection, not the client's.
        (self.severity == "ERROR").then_some(&self.body)
    }
}

/// Decodes the body of ErrorResponse or NoticeResponse.
///
/// # Errors
/// When a field is cut short.
pub fn error(body: &[u8]) -> Result<ServerError, DecodeError> {
    let mut reader = Reader::new(body);
    let mut error = ServerError {
        severity: String::new(),
        code: SqlState::INTERNAL_ERROR,
        message: String::new(),
        detail: None,
        hint: None,
        routine: None,
        body: body.to_vec(),
    };
    loop {
        let kind = reader.u8()?;
        if kind == 0 {
            return Ok(error);
        }
        let bytes = reader.string()?;
        let text = || String::from_utf8_lossy(bytes).into_owned();
        match kind {
            b'S' if error.severity.is_empty() => error.severity = text(),
            b'V' => error.severity = text(),
            b'C' => error.code = <[u8; 5]>::try_from(bytes).map_or(SqlState::INTERNAL_ERROR, SqlState),
            b'M' => error.message = text(),
            b'D' => error.detail = Some(text()),
            b'H' => error.hint = Some(text()),
            b'R' => error.routine = Some(text()),
            _ => {}
        }
    }
}

/// Decodes the body of ParameterStatus into name and value.
///
/// # Errors
/// When it is cut short.
pub fn parameter_status(body: &[u8]) -> Result<(String, String), DecodeError> {
    let mut reader = Reader::new(body);
    let name = String::from_utf8_lossy(reader.string()?).into_owned();
    let value = String::from_utf8_lossy(reader.string()?).into_owned();
    Ok((name, value))
}

/// Decodes the body of BackendKeyData: process id and secret.
///
/// # Errors
/// When it is cut short.
pub fn backend_key(body: &[u8]) -> Result<(i32, Vec<u8>), DecodeError> {
    let mut reader = Reader::new(body);
    let process_id = reader.i32()?;
    Ok((process_id, reader.rest().to_vec()))
}
