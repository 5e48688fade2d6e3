//! Tuples of COPY's binary format (the manual's COPY page, "Binary Format").

use std::ops::Range;

use crate::wire::reader::Reader;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Flags and the length of the extension.
const FIXED_BYTES: usize = SIGNATURE.len() + 8;

/// What stands at the start of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Header {
        bytes: usize,
    },
    /// `key`: where the key's value is, `None` for null.
    Tuple {
        bytes: usize,
        key: Option<Range<usize>>,
    },
    Trailer {
        bytes: usize,
    },
    More,
    /// No such format: PostgreSQL says so.
    Opaque,
}

pub(super) fn header(data: &[u8]) -> Found {
    let known = data.len().min(SIGNATURE.len());
    if data.get(..known) != SIGNATURE.get(..known) {
        return Found::Opaque;
    }
    let mut reader = Reader::new(data.get(SIGNATURE.len() + 4..).unwrap_or_default());
    let Ok(extension) = reader.i32() else { return Found::More };
    match usize::try_from(extension) {
        Err(_) => Found::Opaque,
        Ok(extension) if data.len() >= FIXED_BYTES + extension => Found::Header { bytes: FIXED_BYTES + extension },
        Ok(_) => Found::More,
    }
}

pub(super) fn tuple(data: &[u8], wanted: usize) -> Found {
    let mut reader = Reader::new(data);
    let Ok(fields) = reader.i16() else { return Found::More };
    if fields == -1 {
        return Found::Trailer { bytes: 2 };
    }
    let Ok(fields) = usize::try_from(fields) else { return Found::Opaque };
    // A row without the field is one that PostgreSQL refuses.
    let mut key = Some(data.len()..data.len() + 1);
    for field in 0..fields {
        let Ok(length) = reader.i32() else { return Found::More };
        let start = data.len() - reader.rest().len();
        let value = match usize::try_from(length) {
            Ok(length) if reader.bytes(length).is_err() => return Found::More,
            Ok(length) => Some(start..start + length),
            Err(_) if length == -1 => None,
            Err(_) => return Found::Opaque,
        };
        if field == wanted {
            key = value;
        }
    }
    Found::Tuple { bytes: data.len() - reader.rest().len(), key }
}
