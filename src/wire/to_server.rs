//! Encodes what the proxy sends to servers.

use bytes::{BufMut, BytesMut};

/// Appends one message: its tag, its length and the body that `body` writes.
pub fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    untagged(out, body);
}

fn string(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(text);
    out.put_u8(0);
}

pub fn query(out: &mut BytesMut, text: &[u8]) {
    message(out, b'Q', |out| string(out, text));
}

pub fn parse(out: &mut BytesMut, name: &[u8], text: &[u8], types: &[u32]) {
    message(out, b'P', |out| {
        string(out, name);
        string(out, text);
        out.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
        for oid in types {
            out.put_u32(*oid);
        }
    });
}

/// Bind with another statement name; `tail` is everything behind that name.
pub fn bind(out: &mut BytesMut, portal: &[u8], statement: &[u8], tail: &[u8]) {
    message(out, b'B', |out| {
        string(out, portal);
        string(out, statement);
        out.put_slice(tail);
    });
}

/// Binds the unnamed portal to a statement of one parameter, both it and the rows in text.
pub fn bind_text(out: &mut BytesMut, statement: &[u8], value: &[u8]) {
    message(out, b'B', |out| {
        string(out, b"");
        string(out, statement);
        out.put_slice(&[0, 0, 0, 1]);
        out.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        out.put_slice(value);
        out.put_slice(&[0, 0]);
    });
}

pub fn describe_statement(out: &mut BytesMut, name: &[u8]) {
    message(out, b'D', |out| {
        out.put_u8(b'S');
        string(out, name);
    });
}

pub fn describe_portal(out: &mut BytesMut, name: &[u8]) {
    message(out, b'D', |out| {
        out.put_u8(b'P');
        string(out, name);
    });
}

pub fn close_statement(out: &mut BytesMut, name: &[u8]) {
    message(out, b'C', |out| {
        out.put_u8(b'S');
        string(out, name);
    });
}

pub fn close_portal(out: &mut BytesMut, name: &[u8]) {
    message(out, b'C', |out| {
        out.put_u8(b'P');
        string(out, name);
    });
}

pub fn execute(out: &mut BytesMut, portal: &[u8], rows_max: i32) {
    message(out, b'E', |out| {
        string(out, portal);
        out.put_i32(rows_max);
    });
}

pub fn sync(out: &mut BytesMut) {
    out.put_slice(b"S\0\0\0\x04");
}

pub fn flush(out: &mut BytesMut) {
    out.put_slice(b"H\0\0\0\x04");
}

pub fn terminate(out: &mut BytesMut) {
    out.put_slice(b"X\0\0\0\x04");
}

pub fn password(out: &mut BytesMut, password: &[u8]) {
    message(out, b'p', |out| string(out, password));
}

pub fn copy_done(out: &mut BytesMut) {
    out.put_slice(b"c\0\0\0\x04");
}

pub fn copy_fail(out: &mut BytesMut, reason: &[u8]) {
    message(out, b'f', |out| string(out, reason));
}

fn untagged(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// The startup packet of protocol 3.0.
pub fn startup(out: &mut BytesMut, parameters: &[(&str, &str)]) {
    untagged(out, |out| {
        out.put_u32(0x0003_0000);
        for (name, value) in parameters {
            string(out, name.as_bytes());
            string(out, value.as_bytes());
        }
        out.put_u8(0);
    });
}

pub fn ssl_request(out: &mut BytesMut) {
    untagged(out, |out| out.put_u32(80_877_103));
}

pub fn cancel_request(out: &mut BytesMut, process_id: i32, secret: &[u8]) {
    untagged(out, |out| {
        out.put_u32(80_877_102);
        out.put_i32(process_id);
        out.put_slice(secret);
    });
}
