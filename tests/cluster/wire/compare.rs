//! Whether two transcripts say the same. Only what must differ between two servers may.

use crate::reply::Reply;
use crate::wire::play::Transcript;

/// The first difference, in words; `None` when they agree.
pub(crate) fn difference(expected: &Transcript, actual: &Transcript) -> Option<String> {
    let (expected, actual) = (order_parameters(expected), order_parameters(actual));
    for at in 0..expected.len().max(actual.len()) {
        let (left, right) = (expected.get(at), actual.get(at));
        let same = match (left, right) {
            (Some((line, expected)), Some((other_line, actual))) => line == other_line && agree(expected, actual),
            _ => false,
        };
        if !same {
            let line = left.or(right).map_or(0, |(line, _)| *line);
            return Some(format!("line {line}, message {at}\n  expected: {}\n  came:     {}", told(left), told(right)));
        }
    }
    None
}

fn told(reply: Option<&(usize, Reply)>) -> String {
    reply.map_or_else(|| "nothing".to_owned(), |(_, reply)| reply.to_string())
}

/// Every field, except that an error or notice of the proxy's own may leave out where in PostgreSQL it arose (source and context),
/// and that a cancel strikes wherever the query then is (its context).
fn agree(expected: &Reply, actual: &Reply) -> bool {
    if expected.letter != actual.letter {
        return false;
    }
    let is_location = |name: &str| matches!(name, "F" | "L" | "R");
    let without_location = matches!(actual.letter, 'E' | 'N') && !actual.fields.iter().any(|(name, _)| is_location(name));
    let cancelled = expected.fields.iter().any(|(name, value)| name == "C" && value == "57014");
    let counts = |(name, _): &&(String, String)| !(without_location && is_location(name) || (without_location || cancelled) && name == "W");
    expected.fields.iter().filter(counts).eq(actual.fields.iter().filter(counts))
}

/// A run of ParameterStatus messages has no order of its own.
fn order_parameters(transcript: &Transcript) -> Transcript {
    let mut ordered = transcript.clone();
    for run in ordered.chunk_by_mut(|(_, left), (_, right)| left.letter == 'S' && right.letter == 'S') {
        run.sort_by(|(_, left), (_, right)| left.fields.cmp(&right.fields));
    }
    ordered
}

/// The comparer's own tests: it must tell apart whatever a client could.
pub(crate) mod tests {
    use anyhow::{Result, ensure};

    use crate::connection::Frame;
    use crate::reply::Reply;
    use crate::wire::compare::difference;

    fn reply(tag: u8, body: &[u8]) -> Reply {
        Reply::decode(&Frame { tag, body: body.to_vec() })
    }

    const ERROR: &[u8] = b"SERROR\0VERROR\0C42601\0Msyntax error\0P8\0Fscan.l\0L1192\0Rscanner_yyerror\0\0";

    /// Pairs that differ: the comparer must say so.
    pub(crate) fn tells_differences() -> Result<()> {
        let row_42 = b"\0\x01\0\0\0\x0242";
        let pairs: &[(&str, Reply, Reply)] = &[
            ("value", reply(b'D', row_42), reply(b'D', b"\0\x01\0\0\0\x0243")),
            ("null for a value", reply(b'D', row_42), reply(b'D', b"\0\x01\xff\xff\xff\xff")),
            ("null for an empty value", reply(b'D', b"\0\x01\0\0\0\0"), reply(b'D', b"\0\x01\xff\xff\xff\xff")),
            ("long value", reply(b'd', &[b'x'; 100_000]), reply(b'd', &[&[b'x'; 99_999][..], b"y"].concat())),
            ("tag", reply(b'C', b"SELECT 1\0"), reply(b'C', b"SELECT 2\0")),
            ("status", reply(b'Z', b"I"), reply(b'Z', b"T")),
            ("type", reply(b'1', b""), reply(b'2', b"")),
            ("sqlstate", reply(b'E', ERROR), reply(b'E', b"SERROR\0VERROR\0C42602\0Msyntax error\0P8\0\0")),
            ("position", reply(b'E', ERROR), reply(b'E', b"SERROR\0VERROR\0C42601\0Msyntax error\0P9\0\0")),
            ("a hint too many", reply(b'E', ERROR), reply(b'E', b"SERROR\0VERROR\0C42601\0Msyntax error\0P8\0Htry\0\0")),
            ("routine", reply(b'E', ERROR), reply(b'E', b"SERROR\0VERROR\0C42601\0Msyntax error\0P8\0Fscan.l\0L1192\0Rother\0\0")),
            ("parameter type", reply(b't', b"\0\x01\0\0\0\x14"), reply(b't', b"\0\x01\0\0\0\x17")),
            ("column name", reply(b'T', &column(b"a", 0)), reply(b'T', &column(b"b", 0))),
            ("table or none", reply(b'T', &column(b"a", 0)), reply(b'T', &column(b"a", 16400))),
            ("setting", reply(b'S', b"TimeZone\0UTC\0"), reply(b'S', b"TimeZone\0GMT\0")),
        ];
        for (what, left, right) in pairs {
            ensure!(difference(&vec![(0, left.clone())], &vec![(0, right.clone())]).is_some(), "not told apart: {what}");
        }
        let one = vec![(0, reply(b'1', b""))];
        ensure!(difference(&one, &Vec::new()).is_some(), "a missing message was not noticed");
        ensure!(difference(&Vec::new(), &one).is_some(), "a message too many was not noticed");
        ensure!(difference(&one, &vec![(1, reply(b'1', b""))]).is_some(), "a late message was not noticed");
        Ok(())
    }

    /// Pairs that may differ between two servers.
    pub(crate) fn allows_what_must_differ() -> Result<()> {
        let pairs = [
            (reply(b'K', &[1, 2, 3, 4, 5, 6, 7, 8]), reply(b'K', &[9, 8, 7, 6, 5, 4, 3, 2])),
            (reply(b'R', b"\0\0\0\x0br=salt"), reply(b'R', b"\0\0\0\x0br=other")),
            (reply(b'T', &column(b"a", 16_400)), reply(b'T', &column(b"a", 20_000))),
            (reply(b'E', ERROR), reply(b'E', b"SERROR\0VERROR\0C42601\0Msyntax error\0P8\0\0")),
        ];
        for (left, right) in pairs {
            let found = difference(&vec![(0, left)], &vec![(0, right)]);
            ensure!(found.is_none(), "{}", found.unwrap_or_default());
        }
        let (zone, name) = (reply(b'S', b"TimeZone\0UTC\0"), reply(b'S', b"application_name\0x\0"));
        let swapped = difference(&vec![(0, zone.clone()), (0, name.clone())], &vec![(0, name), (0, zone)]);
        ensure!(swapped.is_none(), "the order of settings counted");
        Ok(())
    }

    fn column(name: &[u8], table: u32) -> Vec<u8> {
        [&[0, 1][..], name, &[0], &table.to_be_bytes(), &[0, 1], &23_u32.to_be_bytes(), &[0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0]].concat()
    }
}
