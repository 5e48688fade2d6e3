//! What is done to a connection's buffers again and again, so that their memory stays what it is.

use bytes::{Buf, BytesMut};

/// A move of this much is a copy; of more, the buffers change places.
const COPIED_BYTES_MAX: usize = 4 * 1024;

/// Takes bytes off a buffer's front. An empty one begins anew at its start, so that it does not grow.
///
/// # Panics
/// If the buffer holds fewer.
pub fn consume(buffer: &mut BytesMut, count: usize) {
    if count == buffer.len() { buffer.clear() } else { buffer.advance(count) }
}

/// Moves the first `count` bytes of `from` to the end of `to`.
pub fn hand_over(from: &mut BytesMut, to: &mut BytesMut, count: usize) {
    if to.is_empty() && count > COPIED_BYTES_MAX && from.len() - count < count {
        std::mem::swap(from, to);
        // It may hold less memory than the other held: a read takes more where more is needed.
        from.clear();
        from.extend_from_slice(to.get(count..).unwrap_or_default());
        to.truncate(count);
        return;
    }
    to.extend_from_slice(from.get(..count).unwrap_or_default());
    consume(from, count);
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use crate::net::buffer::hand_over;

    #[test]
    fn bytes_are_moved_whole_and_in_order() {
        for (held, count, before) in
            [(0, 0, 0), (10, 3, 0), (10, 10, 5), (9_000, 8_000, 0), (9_000, 9_000, 0), (9_000, 4_200, 0), (9_000, 8_000, 1)]
        {
            let bytes: Vec<u8> = (0..held).map(|at: usize| (at % 251) as u8).collect();
            let mut from = BytesMut::from(bytes.as_slice());
            let mut to = BytesMut::from(vec![255; before].as_slice());
            hand_over(&mut from, &mut to, count);
            assert_eq!(to.split_off(before), bytes.get(..count).unwrap_or_default(), "{held} {count} {before}");
            assert_eq!(to, vec![255; before].as_slice());
            assert_eq!(from, bytes.get(count..).unwrap_or_default(), "{held} {count} {before}");
        }
    }
}
