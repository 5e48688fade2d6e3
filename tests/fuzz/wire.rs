//! What must hold for the protocol's decoders, whatever the bytes.

use bytes::BytesMut;
use shardyard::wire::{ClientError, frame, from_client, from_server, startup, to_client, to_server};

/// Mixes small facts into a signature.
pub(crate) fn signature(facts: &[usize]) -> u64 {
    facts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, fact| (hash ^ u64::try_from(*fact).unwrap_or(0)).wrapping_mul(0x0100_0000_01b3))
}

/// A length as its order of magnitude: a signature must not tell every length from every other.
pub(crate) fn magnitude(length: usize) -> usize {
    usize::try_from(usize::BITS - length.leading_zeros()).unwrap_or(0)
}

fn outcome<T>(decoded: &Result<T, impl ClientError>) -> usize {
    match decoded {
        Ok(_) => 0,
        Err(error) => {
            assert_eq!(error.sqlstate().as_str(), "08P01", "malformed bytes are a protocol violation");
            assert!(!error.to_string().is_empty());
            1 + error.to_string().len()
        }
    }
}

pub(crate) fn startup(input: &[u8]) -> u64 {
    let length = startup::packet_bytes(input);
    let mut facts = vec![outcome(&length)];
    if let Ok(Some(length)) = length {
        assert!((8..=startup::STARTUP_BYTES_MAX).contains(&length), "a first packet of {length} bytes is admitted");
    }
    let decoded = startup::decode(input);
    facts.push(outcome(&decoded));
    match decoded {
        Ok(startup::Startup::Protocol { major, parameters, .. }) => {
            let held: usize = parameters.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
            assert!(held <= input.len(), "parameters are longer than the packet");
            facts.extend([usize::from(major).min(5), magnitude(parameters.len())]);
        }
        Ok(startup::Startup::Cancel { secret, .. }) => assert!((4..=256).contains(&secret.len())),
        _ => {}
    }
    signature(&facts)
}

/// Cuts a stream into frames as a session does, and decodes each.
pub(crate) fn client_stream(input: &[u8]) -> u64 {
    let mut rest = input;
    let mut facts = Vec::new();
    loop {
        let _ = frame::peek(rest);
        match frame::peek_client(rest) {
            Ok(Some(found)) => {
                assert!(found.bytes >= frame::HEADER_BYTES && found.bytes <= frame::MESSAGE_BYTES_MAX + 1);
                facts.push(usize::from(found.tag));
                let Some((message, behind)) = rest.split_at_checked(found.bytes) else { break };
                facts.push(decode(found.tag, &message[frame::HEADER_BYTES..]));
                rest = behind;
            }
            Ok(None) => {
                assert!(rest.len() < frame::HEADER_BYTES, "a whole header is not seen");
                break;
            }
            Err(error) => {
                facts.push(outcome::<()>(&Err(error)));
                break;
            }
        }
    }
    facts.truncate(16);
    signature(&facts)
}

fn decode(tag: u8, body: &[u8]) -> usize {
    match tag {
        b'Q' => outcome(&from_client::query(body)),
        b'P' => outcome(&from_client::parse(body)),
        b'B' => outcome(&from_client::bind(body)),
        b'D' | b'C' => outcome(&from_client::target(body)),
        b'E' => outcome(&from_client::execute(body)),
        b'p' => outcome(&from_client::sasl_initial(body)),
        _ => 0,
    }
}

pub(crate) fn client_body(input: &[u8]) -> u64 {
    let mut facts: Vec<usize> = [b'Q', b'P', b'B', b'D', b'E', b'p'].iter().map(|tag| decode(*tag, input)).collect();
    if let Ok(parse) = from_client::parse(input) {
        assert_eq!(parse.name.len() + parse.text.len() + 4 + 4 * parse.types.len(), input.len());
        facts.push(parse.types.len());
    }
    if let Ok(bind) = from_client::bind(input) {
        let values: usize = bind.values.iter().map(|value| 4 + value.map_or(0, <[u8]>::len)).sum();
        assert!(bind.portal.len() + bind.statement.len() + 2 + 2 * bind.formats.len() + values <= input.len());
        assert_eq!(bind.portal.len() + bind.statement.len() + 2 + bind.tail.len(), input.len());
        facts.extend([bind.formats.len(), bind.values.len()]);
    }
    signature(&facts)
}

pub(crate) fn server_body(input: &[u8]) -> u64 {
    let error = from_server::error(input);
    let facts = [
        outcome(&error),
        outcome(&from_server::parameter_status(input)),
        outcome(&from_server::backend_key(input)),
        usize::from(input.first().copied().and_then(from_server::TransactionStatus::from_byte).is_some()),
    ];
    if let Ok(error) = error {
        // What a server said is said again to the client: in one frame that holds what it says it holds.
        let mut out = BytesMut::new();
        to_client::error(&mut out, to_client::Severity::Error, &error);
        let framed = frame::peek(&out).expect("our own frame").expect("a whole header");
        assert_eq!(framed.bytes, out.len());
        from_server::error(&out[frame::HEADER_BYTES..]).expect("our own error can be read");
    }
    signature(&facts)
}

/// What the proxy encodes from a client's names and texts is read back as the same.
pub(crate) fn encoded(input: &[u8]) -> u64 {
    let mut out = BytesMut::new();
    if let Ok(bind) = from_client::bind(input) {
        to_server::bind(&mut out, b"", b"s1", bind.tail);
        let again = from_client::bind(body(&out, b'B')).expect("our own Bind");
        assert_eq!((again.formats, again.values, again.statement), (bind.formats, bind.values, b"s1".as_slice()));
    }
    out.clear();
    let Ok(parse) = from_client::parse(input) else { return 0 };
    to_server::parse(&mut out, parse.name, parse.text, &parse.types);
    assert_eq!(from_client::parse(body(&out, b'P')).expect("our own Parse"), parse);
    out.clear();
    to_server::query(&mut out, parse.text);
    assert_eq!(from_client::query(body(&out, b'Q')).expect("our own Query"), parse.text);
    // Longer names fit into no Describe that PostgreSQL takes.
    if parse.name.len() + 100 < frame::SMALL_MESSAGE_BYTES_MAX {
        out.clear();
        to_server::describe_statement(&mut out, parse.name);
        assert_eq!(from_client::target(body(&out, b'D')).expect("our own Describe"), from_client::Target::Statement(parse.name));
    }
    signature(&[2, parse.types.len(), magnitude(parse.text.len())])
}

fn body(out: &BytesMut, tag: u8) -> &[u8] {
    let framed = frame::peek_client(out).expect("our own frame").expect("a whole header");
    assert_eq!((framed.tag, framed.bytes), (tag, out.len()));
    &out[frame::HEADER_BYTES..]
}
