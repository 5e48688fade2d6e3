//! The same conversations by a client that does not wait: all is sent in pieces of any size at any moment, while the replies come.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::connection::{Connection, message};
use crate::differential::generate::random::Random;
use crate::dsn::Dsn;
use crate::reply::Reply;
use crate::wire::play::Transcript;
use crate::wire::script::Step;

/// Most pieces of one conversation.
const PIECES_MAX: usize = 40;
/// Milliseconds between two pieces: nothing, less than a reply takes, more.
const PAUSES: [u64; 6] = [0, 0, 0, 1, 3, 10];

/// All that a conversation's one client sends, message by message, up to Terminate; `None` where it needs several clients, must wait
/// for something, or is told of things at moments of their own.
pub(crate) fn without_waiting(steps: &[(usize, Step)]) -> Option<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    for (_, step) in steps {
        match step {
            Step::Setup(_) | Step::Cycles(_) | Step::Send | Step::Read { .. } | Step::Take { .. } => {}
            Step::Queue { bytes, .. } if has_own_moment(bytes) => return None,
            Step::Queue { bytes, .. } => messages.push(bytes.clone()),
            Step::Connect { .. } | Step::Open { .. } | Step::On(_) | Step::TakeByte { .. } | Step::Cancel { .. } | Step::Finish => {
                return None;
            }
        }
    }
    messages.push(message(b'X', b""));
    Some(messages)
}

/// Notifications come when they come; a time-out strikes when it strikes.
fn has_own_moment(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    ["listen", "notify", "timeout"].iter().any(|word| text.contains(word))
}

/// Sends the messages in pieces and reads to the connection's end. The seed decides where they are cut and how long the pauses are.
pub(crate) fn play(messages: &[Vec<u8>], dsn: &Dsn, seed: u64) -> Result<Transcript> {
    let mut connection = Connection::connect(dsn)?;
    let writer = connection.send_in_pieces(pieces(messages, &mut Random::new(seed)))?;
    let mut transcript = Transcript::new();
    while let Some(frame) = connection.receive().with_context(|| format!("seed {seed}, behind {} messages", transcript.len()))? {
        transcript.push((0, Reply::decode(&frame)));
    }
    // A server that closed early leaves the writer with an error, which ends it.
    let _ = writer.join();
    if transcript.is_empty() {
        bail!("nothing came");
    }
    Ok(transcript)
}

/// Cut at the ends of messages for the most part, where a client's own library would; else anywhere.
fn pieces(messages: &[Vec<u8>], random: &mut Random) -> Vec<(Vec<u8>, Duration)> {
    let of_each = 100 * PIECES_MAX / messages.len().max(PIECES_MAX);
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    for message in messages {
        piece.extend_from_slice(message);
        if random.chance(of_each * 3 / 4) {
            let rest = if random.chance(25) { piece.split_off(random.below(piece.len())) } else { Vec::new() };
            let pause = Duration::from_millis(*random.pick(&PAUSES));
            pieces.push((std::mem::replace(&mut piece, rest), pause));
        }
    }
    pieces.push((piece, Duration::ZERO));
    pieces
}
