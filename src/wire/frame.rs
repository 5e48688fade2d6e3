//! Message frames: one tag byte, four bytes of length that count themselves, then the body.

use crate::wire::{ClientError, SqlState};

/// Bytes of a frame's tag and length.
pub const HEADER_BYTES: usize = 5;

/// PostgreSQL's bound for messages that carry data (`PQ_LARGE_MESSAGE_LIMIT`).
pub const MESSAGE_BYTES_MAX: usize = 0x3fff_fffe;

/// PostgreSQL's bound for messages that carry none (`PQ_SMALL_MESSAGE_LIMIT`).
pub const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// The header of a message whose body may not have arrived yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub tag: u8,
    /// Bytes of the whole message, tag and length included.
    pub bytes: usize,
}

/// A frame that no peer of ours may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("invalid message length {length} for message type {tag}")]
    Length { tag: u8, length: u32 },
    #[error("invalid frontend message type {0}")]
    Type(u8),
}

impl ClientError for FrameError {
    fn sqlstate(&self) -> SqlState {
        SqlState::PROTOCOL_VIOLATION
    }
}

/// The frame at the start of `buffer`, or `None` while its header is incomplete.
///
/// # Errors
/// When the length is less than four.
#[inline]
pub fn peek(buffer: &[u8]) -> Result<Option<Frame>, FrameError> {
    let Some(&[tag, a, b, c, d]) = buffer.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    if !(4..=0x7fff_ffff).contains(&length) {
        return Err(FrameError::Length { tag, length });
    }
    Ok(Some(Frame { tag, bytes: length as usize + 1 }))
}

/// As [`peek`], with the bounds that PostgreSQL sets for what a client sends.
///
/// # Errors
/// When the type is none of a client's, or the length is out of its bounds.
#[inline]
pub fn peek_client(buffer: &[u8]) -> Result<Option<Frame>, FrameError> {
    let Some(&tag) = buffer.first() else { return Ok(None) };
    // As SocketBackend does: the type is judged before the length.
    let bytes_max = match tag {
        b'Q' | b'P' | b'B' | b'd' | b'F' => MESSAGE_BYTES_MAX,
        b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' | b'p' => SMALL_MESSAGE_BYTES_MAX,
        _ => return Err(FrameError::Type(tag)),
    };
    match peek(buffer)? {
        Some(frame) if frame.bytes - 1 > bytes_max => {
            Err(FrameError::Length { tag, length: u32::try_from(frame.bytes - 1).unwrap_or(u32::MAX) })
        }
        frame => Ok(frame),
    }
}
