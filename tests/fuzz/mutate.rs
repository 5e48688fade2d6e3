//! Changes an input a little: bits, numbers, pieces, words of the target's language.

use crate::random::Random;

/// Longest input that mutation makes.
pub(crate) const INPUT_BYTES_MAX: usize = 128 * 1024;

const NUMBERS: &[&[u8]] =
    &[b"\0\0\0\0", b"\0\0\0\x04", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff", b"\x7f\xff", b"\0\x01", b"\0\0"];

/// Words of SQL and of the protocol that random bytes would take long to find.
const WORDS: &[&[u8]] = &[
    b"'",
    b"''",
    b"\"",
    b"$$",
    b"$a$",
    b"$1",
    b"E'",
    b"U&'",
    b"U&\"",
    b"B'",
    b"X'",
    b"N'",
    b"/*",
    b"*/",
    b"--",
    b"\n",
    b"\\",
    b"\\x",
    b"\\u00",
    b";",
    b"(",
    b")",
    b"[",
    b"]",
    b"::",
    b":=",
    b"=>",
    b"..",
    b".5",
    b"1e",
    b"1e9",
    b"0x",
    b"0b",
    b"0o",
    b"1_0",
    b"-",
    b"- -",
    b"|/",
    b"@-",
    b"?",
    b"\xc3\xa9",
    b"\xff",
    b"\0",
    b" SELECT ",
    b" FROM ",
    b" WHERE ",
    b" user_id ",
    b" = ",
    b" IN (",
    b" AND ",
    b" OR ",
    b" NOT ",
    b" NULL ",
    b" UNION ",
    b" JOIN ",
    b" ON ",
    b" VALUES ",
    b" CASE ",
    b" END ",
    b" BEGIN ATOMIC ",
    b" CREATE ",
    b" SET ",
    b" AS ",
    b" ANY(",
    b" ARRAY[",
    b" ROW(",
    b" UESCAPE '!'",
    b"/* shardyard: key=1 */",
    b"set_config",
];

/// One to a few changes; sometimes none of the old input is left.
pub(crate) fn mutate(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        change(&mut bytes, other, random);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(11) {
        0 => flip(bytes, random),
        1 => bytes.insert(at, byte(random)),
        2 => {
            if at < bytes.len() {
                bytes[at] = byte(random);
            }
        }
        3 => {
            let end = (at + 1 + random.below(16)).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
        4 => overwrite(bytes, at, random.pick(NUMBERS)),
        5 | 6 => insert(bytes, at, random.pick(WORDS)),
        7 => {
            let from = random.below(other.len() + 1);
            let length = random.below(other.len() - from + 1);
            insert(bytes, at, &other[from..from + length]);
        }
        8 => bytes.truncate(at),
        9 => {
            let piece = piece(bytes, random).to_vec();
            insert(bytes, at, &piece);
        }
        _ if random.one_in(50) => {
            let repeated = piece(bytes, random).repeat(1 << random.below(14));
            insert(bytes, at, &repeated[..repeated.len().min(INPUT_BYTES_MAX)]);
        }
        _ => bytes.rotate_left(at),
    }
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    let at = random.below(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(with) {
        *byte = *new;
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let at = at.min(bytes.len());
    bytes.splice(at..at, piece.iter().copied());
}

fn byte(random: &mut Random) -> u8 {
    random.next().to_le_bytes()[0]
}

fn piece<'a>(bytes: &'a [u8], random: &mut Random) -> &'a [u8] {
    let from = random.below(bytes.len());
    let length = 1 + random.below(32);
    &bytes[from.min(bytes.len())..(from + length).min(bytes.len())]
}
