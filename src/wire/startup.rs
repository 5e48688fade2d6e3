//! The first packet of a connection: startup, SSL or GSS request, or cancel.

use crate::wire::reader::{DecodeError, Reader};

/// PostgreSQL's bound for the first packet (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_BYTES_MAX: usize = 10_000;

const CANCEL_REQUEST: i32 = 80_877_102;
const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;

/// A connection's first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup {
    Ssl,
    GssEncryption,
    Cancel {
        process_id: i32,
        /// 4 bytes in protocol 3.0, up to 256 in 3.2.
        secret: Vec<u8>,
    },
    Protocol {
        major: u16,
        minor: u16,
        parameters: Vec<(String, String)>,
    },
}

/// Bytes of the whole first packet, or `None` while its length has not arrived.
///
/// # Errors
/// When the length cannot be a first packet's.
pub fn packet_bytes(buffer: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some(length) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return Err(DecodeError::TooShort);
    }
    Ok(Some(length))
}

/// Decodes a whole first packet, its length included.
///
/// # Errors
/// When it is cut short, has no terminator or holds text that is not UTF-8.
pub fn decode(packet: &[u8]) -> Result<Startup, DecodeError> {
    let mut reader = Reader::new(packet);
    reader.i32()?;
    let code = reader.i32()?;
    match code {
        SSL_REQUEST => Ok(Startup::Ssl),
        GSS_REQUEST => Ok(Startup::GssEncryption),
        CANCEL_REQUEST => {
            let process_id = reader.i32()?;
            let secret = reader.rest();
            if secret.len() < 4 || secret.len() > 256 {
                return Err(DecodeError::TooShort);
            }
            Ok(Startup::Cancel { process_id, secret: secret.to_vec() })
        }
        version => {
            let [a, b, c, d] = version.to_be_bytes();
            let parameters = if (a, b) == (0, 3) { decode_parameters(&mut reader)? } else { Vec::new() };
            Ok(Startup::Protocol { major: u16::from_be_bytes([a, b]), minor: u16::from_be_bytes([c, d]), parameters })
        }
    }
}

fn decode_parameters(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>, DecodeError> {
    let mut parameters = Vec::new();
    loop {
        let name = reader.string().map_err(|_| DecodeError::StartupLayout)?;
        if name.is_empty() {
            break;
        }
        let value = reader.string().map_err(|_| DecodeError::StartupLayout)?;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Utf8);
        parameters.push((text(name)?, text(value)?));
    }
    if reader.rest().is_empty() { Ok(parameters) } else { Err(DecodeError::StartupLayout) }
}
