//! Encodes what the proxy itself says to a client. Replies of servers are relayed as they are.

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{DataRow, FieldDescription, RowDescription};
use pgwire::messages::response::{ErrorResponse, NoticeResponse};

use crate::wire::from_server::TransactionStatus;
use crate::wire::to_server::message;
use crate::wire::{ClientError, SqlState};

/// How an error ends: only the statement, or the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Fatal,
}

const TEXT_OID: u32 = 25;

/// A message of pgwire's; those we make are far below its length bounds, and one beyond is left out rather than half written.
fn put(out: &mut BytesMut, message: &impl Message) {
    let start = out.len();
    if message.encode(out).is_err() {
        out.truncate(start);
    }
}

fn fields(severity: &str, error: &dyn ClientError) -> Vec<(u8, String)> {
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', error.sqlstate().as_str().to_owned()),
        (b'M', truncated(error.to_string())),
    ];
    fields.extend(error.detail().map(|text| (b'D', truncated(text))));
    fields.extend(error.hint().map(|text| (b'H', truncated(text))));
    fields.extend(error.position().map(|at| (b'P', at.to_string())));
    fields
}

/// Our own error texts quote names and settings of clients: 2 KiB of them is enough.
fn truncated(mut text: String) -> String {
    const TEXT_BYTES_MAX: usize = 2048;
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text.replace('\0', "")
}

pub fn error(out: &mut BytesMut, severity: Severity, error: &dyn ClientError) {
    if let (Severity::Error, Some(body)) = (severity, error.body()) {
        message(out, b'E', |out| out.put_slice(body));
        return;
    }
    let severity = match severity {
        Severity::Error => "ERROR",
        Severity::Fatal => "FATAL",
    };
    put(out, &ErrorResponse::new(fields(severity, error)));
}

/// NoticeResponse of severity NOTICE or WARNING.
pub fn notice(out: &mut BytesMut, severity: &str, notice: &dyn ClientError) {
    put(out, &NoticeResponse::new(fields(severity, notice)));
}

pub fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    out.put_slice(&[b'Z', 0, 0, 0, 5, status.byte()]);
}

pub fn command_complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| {
        out.put_slice(tag.as_bytes());
        out.put_u8(0);
    });
}

pub fn empty_query(out: &mut BytesMut) {
    out.put_slice(b"I\0\0\0\x04");
}

pub fn copy_done(out: &mut BytesMut) {
    out.put_slice(b"c\0\0\0\x04");
}

pub fn parse_complete(out: &mut BytesMut) {
    out.put_slice(b"1\0\0\0\x04");
}

pub fn bind_complete(out: &mut BytesMut) {
    out.put_slice(b"2\0\0\0\x04");
}

pub fn portal_suspended(out: &mut BytesMut) {
    out.put_slice(b"s\0\0\0\x04");
}

pub fn close_complete(out: &mut BytesMut) {
    out.put_slice(b"3\0\0\0\x04");
}

pub fn no_data(out: &mut BytesMut) {
    out.put_slice(b"n\0\0\0\x04");
}

/// ParameterDescription of a statement without parameters.
pub fn no_parameters(out: &mut BytesMut) {
    out.put_slice(b"t\0\0\0\x06\0\0");
}

pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        for text in [name, value] {
            out.put_slice(text.as_bytes());
            out.put_u8(0);
        }
    });
}

pub fn backend_key(out: &mut BytesMut, process_id: i32, secret: &[u8]) {
    message(out, b'K', |out| {
        out.put_i32(process_id);
        out.put_slice(secret);
    });
}

/// NotificationResponse.
pub fn notification(out: &mut BytesMut, process_id: i32, (channel, payload): (&str, &str)) {
    message(out, b'A', |out| {
        out.put_i32(process_id);
        for text in [channel, payload] {
            out.put_slice(text.as_bytes());
            out.put_u8(0);
        }
    });
}

/// NegotiateProtocolVersion: the newest minor version we speak, and the options we do not know.
pub fn negotiate_version(out: &mut BytesMut, minor: u32, unknown: &[&str]) {
    message(out, b'v', |out| {
        out.put_u32(0x0003_0000 | minor);
        out.put_u32(u32::try_from(unknown.len()).unwrap_or(0));
        for name in unknown {
            out.put_slice(name.as_bytes());
            out.put_u8(0);
        }
    });
}

/// RowDescription of text columns.
pub fn row_description(out: &mut BytesMut, names: &[&str]) {
    let columns = names.iter().map(|name| FieldDescription::new((*name).to_owned(), 0, 0, TEXT_OID, -1, -1, 0)).collect();
    put(out, &RowDescription::new(columns));
}

/// DataRow of text values.
pub fn data_row(out: &mut BytesMut, values: &[&str]) {
    let mut data = BytesMut::new();
    for value in values {
        data.put_u32(u32::try_from(value.len()).unwrap_or(0));
        data.put_slice(value.as_bytes());
    }
    put(out, &DataRow::new(data, i16::try_from(values.len()).unwrap_or(i16::MAX)));
}

/// AuthenticationXXX with its code and data, see the manual's "Message Formats".
pub fn authentication(out: &mut BytesMut, code: u32, data: &[u8]) {
    message(out, b'R', |out| {
        out.put_u32(code);
        out.put_slice(data);
    });
}

/// An error made on the spot, for those that need no type of their own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlainError {
    pub code: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl PlainError {
    #[must_use]
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, hint: None }
    }

    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = Some(text.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }
}

impl ClientError for PlainError {
    fn sqlstate(&self) -> SqlState {
        self.code
    }
    fn detail(&self) -> Option<String> {
        self.detail.clone()
    }
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}
