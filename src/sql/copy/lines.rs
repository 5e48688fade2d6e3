//! Which line of the client's data a line of one shard's is: COPY errors name lines.

/// Bytes of one shard's log; with one or two per row, the newest millions of rows. Errors name rows that were sent last.
const LOG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The lines of one shard's rows, in the order they were sent.
#[derive(Debug, Default)]
pub struct LineLog {
    /// For each row two numbers of seven bits a byte: client lines since the row before, and its own lines.
    log: Vec<u8>,
    /// The lines before the log's first row: the client's and the shard's.
    start: (u64, u64),
    /// The client's line that the last row ends on.
    last: u64,
}

impl LineLog {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last == 0
    }

    /// A row of `lines` lines was sent that ends on the client's line `line`.
    pub fn push(&mut self, line: u64, lines: u32) {
        if self.log.len() >= LOG_BYTES_MAX {
            self.forget_half();
        }
        put(&mut self.log, line.saturating_sub(self.last));
        put(&mut self.log, u64::from(lines));
        self.last = line;
    }

    /// The client's line for the shard's line; `None` for one that is not a row's, or too long ago.
    #[must_use]
    pub fn client_line(&self, shard_line: u64) -> Option<u64> {
        let (mut client, mut shard) = self.start;
        let mut rest = self.log.as_slice();
        if shard_line <= shard {
            return None;
        }
        while let Some((since, lines)) = entry(&mut rest) {
            client += since;
            shard += lines;
            if shard >= shard_line {
                return Some(client.saturating_sub(shard - shard_line));
            }
        }
        None
    }

    fn forget_half(&mut self) {
        let half = self.log.len() / 2;
        let mut rest = self.log.as_slice();
        while self.log.len() - rest.len() < half {
            let Some((since, lines)) = entry(&mut rest) else { break };
            self.start.0 += since;
            self.start.1 += lines;
        }
        let kept = rest.len();
        self.log.drain(..self.log.len() - kept);
    }
}

fn put(log: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        log.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    log.push(u8::try_from(number).unwrap_or(0));
}

fn entry(rest: &mut &[u8]) -> Option<(u64, u64)> {
    Some((number(rest)?, number(rest)?))
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    let mut shift = 0;
    loop {
        let (byte, others) = rest.split_first()?;
        *rest = others;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}
