//! A server's message as named fields in text, so that two can be compared and a difference can be read.

use std::fmt;

use crate::connection::Frame;

/// Object ids from here on are given to users' objects, and differ from server to server.
const FIRST_USER_OID: u32 = 16384;

/// One message: its name in the manual and its fields in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) letter: char,
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<(String, String)>,
}

impl Reply {
    /// The end of the connection, which is compared like a message.
    pub(crate) fn closed() -> Self {
        Self { letter: '.', name: "closed", fields: Vec::new() }
    }

    /// What no server of ours should send is kept as bytes.
    pub(crate) fn decode(frame: &Frame) -> Self {
        let letter = char::from(frame.tag);
        let decoded = decode(frame).unwrap_or_else(|| ("broken", vec![field("bytes", &show(&frame.body))]));
        Self { letter, name: decoded.0, fields: decoded.1 }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

type Decoded = (&'static str, Vec<(String, String)>);

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn decode(frame: &Frame) -> Option<Decoded> {
    let body = frame.body.as_slice();
    let empty = |name| body.is_empty().then_some((name, Vec::new()));
    match frame.tag {
        b'1' => empty("ParseComplete"),
        b'2' => empty("BindComplete"),
        b'3' => empty("CloseComplete"),
        b'I' => empty("EmptyQueryResponse"),
        b'n' => empty("NoData"),
        b's' => empty("PortalSuspended"),
        b'c' => empty("CopyDone"),
        b'C' => Some(("CommandComplete", vec![field("tag", &show(body.strip_suffix(&[0])?))])),
        b'Z' => Some(("ReadyForQuery", vec![field("status", &show(body))])),
        b'd' => Some(("CopyData", vec![field("bytes", &show(body))])),
        b'S' => strings(body).map(|pair| ("ParameterStatus", vec![field("name", &pair[0]), field("value", &pair[1])])),
        b'K' => Some(("BackendKeyData", vec![field("bytes", &body.len().to_string())])),
        b'E' => Some(("ErrorResponse", error_fields(body)?)),
        b'N' => Some(("NoticeResponse", error_fields(body)?)),
        b'R' => authentication(body),
        b'v' => Some(("NegotiateProtocolVersion", vec![field("bytes", &show(body))])),
        b'V' => Some(("FunctionCallResponse", vec![field("value", &show(body))])),
        b'D' => Some(("DataRow", values(&row_values(body)?))),
        b'T' => row_description(body).map(|fields| ("RowDescription", fields)),
        b't' => Some(("ParameterDescription", oids(body)?)),
        b'G' => Some(("CopyInResponse", copy_formats(body)?)),
        b'H' => Some(("CopyOutResponse", copy_formats(body)?)),
        b'A' => Some(("NotificationResponse", vec![field("text", &show(body.get(4..)?))])),
        _ => Some(("unknown", vec![field("bytes", &show(body))])),
    }
}

fn strings(body: &[u8]) -> Option<[String; 2]> {
    let mut parts = body.strip_suffix(&[0])?.split(|byte| *byte == 0);
    let pair = [show(parts.next()?), show(parts.next()?)];
    parts.next().is_none().then_some(pair)
}

/// Salts, nonces and proofs are random: only the method and the mechanisms offered are kept.
fn authentication(body: &[u8]) -> Option<Decoded> {
    let (code, rest) = body.split_first_chunk::<4>()?;
    let code = u32::from_be_bytes(*code);
    let mut fields = vec![field("method", &code.to_string())];
    if code == 10 {
        fields.push(field("mechanisms", &show(rest)));
    }
    Some(("Authentication", fields))
}

fn error_fields(body: &[u8]) -> Option<Vec<(String, String)>> {
    let parts = body.strip_suffix(&[0])?.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    parts.map(|part| Some(field(&char::from(*part.first()?).to_string(), &show(part.get(1..)?)))).collect()
}

/// The values of a DataRow.
pub(crate) fn row_values(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        let Ok(length) = usize::try_from(length) else {
            row.push(None);
            rest = after;
            continue;
        };
        row.push(Some(after.get(..length)?));
        rest = after.get(length..)?;
    }
    rest.is_empty().then_some(row)
}

fn values(row: &[Option<&[u8]>]) -> Vec<(String, String)> {
    row.iter()
        .enumerate()
        .map(|(at, value)| (at.to_string(), value.map_or_else(|| "null".to_owned(), |bytes| format!("\"{}\"", show(bytes)))))
        .collect()
}

fn row_description(body: &[u8]) -> Option<Vec<(String, String)>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut fields = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let name = show(rest.get(..end)?);
        let (numbers, after) = rest.get(end + 1..)?.split_first_chunk::<18>()?;
        let table = u32::from_be_bytes(*numbers.first_chunk::<4>()?);
        let kind = u32::from_be_bytes(*numbers.get(6..)?.first_chunk::<4>()?);
        let fixed = format!("table {} column {} type {} rest {}", oid(table), show(&numbers[4..6]), oid(kind), show(&numbers[10..]));
        fields.push((name, format!("({fixed})")));
        rest = after;
    }
    rest.is_empty().then_some(fields)
}

fn oids(body: &[u8]) -> Option<Vec<(String, String)>> {
    let (count, rest) = body.split_first_chunk::<2>()?;
    let (numbers, remainder) = rest.as_chunks::<4>();
    let all = numbers.iter().enumerate().map(|(at, bytes)| (at.to_string(), oid(u32::from_be_bytes(*bytes)))).collect();
    (numbers.len() == usize::from(u16::from_be_bytes(*count)) && remainder.is_empty()).then_some(all)
}

fn oid(number: u32) -> String {
    if number >= FIRST_USER_OID { "user".to_owned() } else { number.to_string() }
}

fn copy_formats(body: &[u8]) -> Option<Vec<(String, String)>> {
    let (overall, rest) = body.split_first()?;
    Some(vec![field("format", &overall.to_string()), field("columns", &show(rest))])
}

/// Bytes as text that can be read; long ones by length and digest.
pub(crate) fn show(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 2000;
    if bytes.len() > SHOWN_MAX {
        return format!("<{} bytes, digest {:016x}>", bytes.len(), digest(bytes));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|letter| letter.is_control() && letter != '\n') => text.replace('\n', "\\n"),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// An ErrorResponse or NoticeResponse as tests ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerError {
    fields: Vec<(String, String)>,
}

impl ServerError {
    pub(crate) fn decode(body: &[u8]) -> Self {
        Self { fields: error_fields(body).unwrap_or_default() }
    }

    /// The field with this letter, or nothing.
    pub(crate) fn field(&self, letter: &str) -> &str {
        self.fields.iter().find(|(name, _)| name == letter).map_or("", |(_, value)| value)
    }

    pub(crate) fn sqlstate(&self) -> &str {
        self.field("C")
    }

    pub(crate) fn message(&self) -> &str {
        self.field("M")
    }

    pub(crate) fn hint(&self) -> &str {
        self.field("H")
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sqlstate(), self.message())?;
        [("D", "detail"), ("H", "hint")]
            .iter()
            .filter(|(letter, _)| !self.field(letter).is_empty())
            .try_for_each(|(letter, name)| write!(f, "; {name}: {}", self.field(letter)))
    }
}

impl std::error::Error for ServerError {}
