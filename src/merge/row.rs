//! DataRow: its values in place, and rows made of values.

use std::ops::Range;

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use crate::wire::DecodeError;
use crate::wire::reader::Reader;
use crate::wire::to_server::message;

/// Where the values of a row stand in its message; `None` for NULL.
pub type Places = SmallVec<[Option<Range<usize>>; 16]>;

/// The places of all values in DataRow's body, as ranges of that body.
///
/// # Errors
/// When it is malformed.
pub fn places(body: &[u8]) -> Result<Places, DecodeError> {
    first_places(body, usize::MAX)
}

/// As [`places`], for as many of the first values as are `wanted`.
///
/// # Errors
/// As [`places`].
pub fn first_places(body: &[u8], wanted: usize) -> Result<Places, DecodeError> {
    let mut reader = Reader::new(body);
    let count = usize::from(u16::from_be_bytes(reader.i16()?.to_be_bytes()));
    let mut places = Places::new();
    for _ in 0..count.min(wanted) {
        let length = reader.i32()?;
        if length < 0 {
            places.push(None);
            continue;
        }
        let start = body.len() - reader.rest().len();
        let length = usize::try_from(length).map_err(|_| DecodeError::TooShort)?;
        reader.bytes(length)?;
        places.push(Some(start..start + length));
    }
    if wanted >= count {
        reader.end()?;
    }
    Ok(places)
}

/// Appends a DataRow with the first `shown` of `places` of `body`.
pub fn put_first(out: &mut BytesMut, body: &[u8], places: &Places, shown: usize) {
    // Values stand one behind another, so that a row's beginning is copied in one piece.
    let end = places.iter().take(shown).fold(2, |end, place| place.as_ref().map_or(end + 4, |place| place.end));
    message(out, b'D', |out| {
        out.put_u16(u16::try_from(shown).unwrap_or(u16::MAX));
        out.put_slice(body.get(2..end).unwrap_or_default());
    });
}

/// Appends a DataRow of these values.
pub fn put_values<'a>(out: &mut BytesMut, values: impl ExactSizeIterator<Item = Option<&'a [u8]>>) {
    message(out, b'D', |out| {
        out.put_u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
        for value in values {
            match value {
                Some(value) => {
                    out.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
                    out.put_slice(value);
                }
                None => out.put_i32(-1),
            }
        }
    });
}
