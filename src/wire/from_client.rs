//! Decodes what a client sends after its startup.

use smallvec::SmallVec;

use crate::wire::reader::{DecodeError, Reader};

/// Parse: a statement to prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub text: &'a [u8],
    pub types: SmallVec<[u32; 8]>,
}

/// Bind: a portal made of a statement and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
    pub formats: SmallVec<[i16; 8]>,
    pub values: SmallVec<[Option<&'a [u8]>; 8]>,
    /// Everything behind the statement's name: sent on as it is.
    pub tail: &'a [u8],
}

/// What Describe and Close name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Statement(&'a [u8]),
    Portal(&'a [u8]),
}

/// Execute: a portal, and the rows it may return (0: all).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    pub portal: &'a [u8],
    pub rows_max: i32,
}

/// The text of a Query message's body.
///
/// # Errors
/// When it has no zero byte, or bytes behind it.
pub fn query(body: &[u8]) -> Result<&[u8], DecodeError> {
    let mut reader = Reader::new(body);
    let text = reader.string()?;
    reader.end()?;
    Ok(text)
}

/// # Errors
/// When the body is malformed.
pub fn parse(body: &[u8]) -> Result<Parse<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let name = reader.string()?;
    let text = reader.string()?;
    let count = reader.i16()?;
    let mut types = SmallVec::new();
    for _ in 0..u16::from_be_bytes(count.to_be_bytes()) {
        types.push(u32::from_be_bytes(reader.i32()?.to_be_bytes()));
    }
    reader.end()?;
    Ok(Parse { name, text, types })
}

/// # Errors
/// When the body is malformed.
pub fn bind(body: &[u8]) -> Result<Bind<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let portal = reader.string()?;
    let statement = reader.string()?;
    let tail = reader.rest();
    Ok(Bind { portal, statement, ..bind_tail(tail)? })
}

/// Bind's tail alone: portal and statement are empty.
///
/// # Errors
/// When it is malformed.
pub fn bind_tail(tail: &[u8]) -> Result<Bind<'_>, DecodeError> {
    let mut reader = Reader::new(tail);
    let mut formats = SmallVec::new();
    for _ in 0..count(&mut reader)? {
        formats.push(reader.i16()?);
    }
    let mut values = SmallVec::new();
    for _ in 0..count(&mut reader)? {
        values.push(value(&mut reader)?);
    }
    for _ in 0..count(&mut reader)? {
        reader.i16()?;
    }
    reader.end()?;
    Ok(Bind { portal: b"", statement: b"", formats, values, tail })
}

/// Where Bind's result formats begin in its tail; the tail's length if it is malformed.
#[must_use]
pub fn values_end(tail: &[u8]) -> usize {
    let mut reader = Reader::new(tail);
    let mut skip = || -> Result<usize, DecodeError> {
        for _ in 0..count(&mut reader)? {
            reader.i16()?;
        }
        for _ in 0..count(&mut reader)? {
            value(&mut reader)?;
        }
        Ok(tail.len() - reader.rest().len())
    };
    skip().unwrap_or(tail.len())
}

fn count(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    Ok(u16::from_be_bytes(reader.i16()?.to_be_bytes()))
}

fn value<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    match reader.i32()? {
        -1 => Ok(None),
        length => reader.bytes(usize::try_from(length).map_err(|_| DecodeError::TooShort)?).map(Some),
    }
}

/// The target of Describe or Close.
///
/// # Errors
/// When the body is malformed, or names neither a statement nor a portal.
pub fn target(body: &[u8]) -> Result<Target<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let kind = reader.u8()?;
    let name = reader.string()?;
    reader.end()?;
    match kind {
        b'S' => Ok(Target::Statement(name)),
        b'P' => Ok(Target::Portal(name)),
        kind => Err(DecodeError::Kind(kind)),
    }
}

/// # Errors
/// When the body is malformed.
pub fn execute(body: &[u8]) -> Result<Execute<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let portal = reader.string()?;
    let rows_max = reader.i32()?;
    reader.end()?;
    Ok(Execute { portal, rows_max })
}

/// The body of SASLInitialResponse: mechanism and first data.
///
/// # Errors
/// When the body is malformed.
pub fn sasl_initial(body: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let mut reader = Reader::new(body);
    let mechanism = reader.string()?;
    let data = value(&mut reader)?.unwrap_or_default();
    reader.end()?;
    Ok((mechanism, data))
}
