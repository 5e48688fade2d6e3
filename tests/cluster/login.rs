//! Startup packets and a client's half of authentication.

use anyhow::{Result, bail};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use crate::connection::{Connection, Frame, message};

/// A startup packet, which has no tag.
pub(crate) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        for part in [name, value] {
            body.extend_from_slice(part.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    untagged(&body)
}

/// SSLRequest, GSSENCRequest and CancelRequest are startup packets with a code for a version.
pub(crate) fn request(code: u32, body: &[u8]) -> Vec<u8> {
    untagged(&[&code.to_be_bytes()[..], body].concat())
}

fn untagged(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("test messages are short");
    [&length.to_be_bytes()[..], body].concat()
}

/// Answers what the server asks until ReadyForQuery, an error's end or a closed connection; every message it sent.
pub(crate) fn log_in(connection: &mut Connection, user: &str, password: &str) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut scram = None;
    while let Some(frame) = connection.receive()? {
        match frame.tag {
            b'R' => answer(connection, &frame.body, (user, password), &mut scram)?,
            b'K' => connection.key = Some(frame.body.clone()),
            _ => {}
        }
        let last = matches!(frame.tag, b'Z' | b'E');
        frames.push(frame);
        if last {
            break;
        }
    }
    Ok(frames)
}

fn answer(connection: &mut Connection, body: &[u8], (user, password): (&str, &str), scram: &mut Option<ScramSha256>) -> Result<()> {
    let Some((code, rest)) = body.split_first_chunk::<4>() else { bail!("short authentication message") };
    match u32::from_be_bytes(*code) {
        0 => Ok(()),
        3 => connection.send(&message(b'p', &[password.as_bytes(), &[0]].concat())),
        5 => {
            let salt = <[u8; 4]>::try_from(rest)?;
            let hash = md5_hash(user.as_bytes(), password.as_bytes(), salt);
            connection.send(&message(b'p', &[hash.as_bytes(), &[0]].concat()))
        }
        10 => {
            let state = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
            let first = state.message();
            let length = u32::try_from(first.len())?.to_be_bytes();
            let initial = [b"SCRAM-SHA-256\0", &length[..], first].concat();
            *scram = Some(state);
            connection.send(&message(b'p', &initial))
        }
        11 => {
            let Some(state) = scram else { bail!("SASL goes on before it began") };
            state.update(rest)?;
            let last = state.message().to_vec();
            connection.send(&message(b'p', &last))
        }
        12 => {
            let Some(state) = scram else { bail!("SASL ends before it began") };
            Ok(state.finish(rest)?)
        }
        other => bail!("authentication {other} is not known here"),
    }
}
