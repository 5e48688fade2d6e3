//! A raw blocking connection: frames in, frames out, nothing hidden. It shares no code with what it tests.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::dsn::Dsn;
use crate::login;
use crate::reply::ServerError;

/// Protocol 3.0.
pub(crate) const VERSION_3_0: u32 = 3 << 16;
/// How long any one reply may take before the test fails.
const REPLY_DEADLINE: Duration = Duration::from_secs(30);

/// One message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

/// Rows of a simple query, values in text.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    at: usize,
    pub(crate) key: Option<Vec<u8>>,
}

impl Connection {
    /// Opens the socket and sends nothing.
    pub(crate) fn open(dsn: &Dsn) -> Result<Self> {
        let stream =
            TcpStream::connect((dsn.host.as_str(), dsn.port)).with_context(|| format!("connecting to {}:{}", dsn.host, dsn.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_DEADLINE))?;
        Ok(Self { stream, received: Vec::new(), at: 0, key: None })
    }

    /// Opens the socket and logs in.
    pub(crate) fn connect(dsn: &Dsn) -> Result<Self> {
        let mut connection = Self::open(dsn)?;
        let parameters = [("user", dsn.user.as_str()), ("database", dsn.database.as_str())];
        connection.send(&login::startup(VERSION_3_0, &parameters))?;
        let frames = login::log_in(&mut connection, &dsn.user, &dsn.password)?;
        match frames.last() {
            Some(frame) if frame.tag == b'Z' => Ok(connection),
            Some(frame) if frame.tag == b'E' => Err(ServerError::decode(&frame.body).into()),
            _ => bail!("closed during login"),
        }
    }

    pub(crate) fn set_reply_deadline(&self, deadline: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(deadline))?)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending")
    }

    /// Sends from a thread of its own, so that a long pipeline cannot block against its own replies.
    pub(crate) fn send_beside(&self, bytes: Vec<u8>) -> Result<std::thread::JoinHandle<()>> {
        let mut stream = self.stream.try_clone()?;
        // A server may close before it has read all; what matters is what it replied.
        Ok(std::thread::spawn(move || drop(stream.write_all(&bytes))))
    }

    /// Sends pieces from a thread of its own, with a pause behind each.
    pub(crate) fn send_in_pieces(&self, pieces: Vec<(Vec<u8>, Duration)>) -> Result<std::thread::JoinHandle<()>> {
        let mut stream = self.stream.try_clone()?;
        Ok(std::thread::spawn(move || {
            for (piece, pause) in pieces {
                if stream.write_all(&piece).is_err() {
                    return;
                }
                std::thread::sleep(pause);
            }
        }))
    }

    /// Closes the sending half.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next message; `None` when the peer has closed the connection.
    pub(crate) fn receive(&mut self) -> Result<Option<Frame>> {
        let Some(header) = self.take(5)? else { return Ok(None) };
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length < 4 {
            bail!("message {:?} of impossible length {length}", char::from(header[0]));
        }
        match self.take(length - 4)? {
            Some(body) => Ok(Some(Frame { tag: header[0], body })),
            None => bail!("closed inside message {:?}", char::from(header[0])),
        }
    }

    /// The next `count` bytes; `None` when the peer closed before the first of them.
    pub(crate) fn take(&mut self, count: usize) -> Result<Option<Vec<u8>>> {
        while self.received.len() - self.at < count {
            if self.at > 0 && self.at == self.received.len() {
                self.received.clear();
                self.at = 0;
            }
            let mut chunk = vec![0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) => return Ok(None),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => bail!("no reply in time"),
                Err(error) => return Err(error.into()),
            }
        }
        let taken = self.received[self.at..self.at + count].to_vec();
        self.at += count;
        if self.at > 1024 * 1024 {
            self.received.drain(..self.at);
            self.at = 0;
        }
        Ok(Some(taken))
    }

    /// Runs `sql` by the simple protocol; the rows of all its statements, or its first error.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Rows, anyhow::Error> {
        let (rows, _) = self.query_with_notices(sql)?;
        Ok(rows)
    }

    /// As `query`, and the notices that came with it.
    pub(crate) fn query_with_notices(&mut self, sql: &str) -> Result<(Rows, Vec<ServerError>)> {
        self.send(&message(b'Q', &[sql.as_bytes(), &[0]].concat()))?;
        self.finish_query()
    }

    /// Reads to ReadyForQuery.
    pub(crate) fn finish_query(&mut self) -> Result<(Rows, Vec<ServerError>)> {
        let (mut rows, mut notices, mut error) = (Vec::new(), Vec::new(), None);
        loop {
            let Some(frame) = self.receive()? else {
                return Err(error.map_or_else(|| anyhow::anyhow!("connection closed in a query"), anyhow::Error::from));
            };
            match frame.tag {
                b'D' => rows.push(row_texts(&frame.body)?),
                b'E' => error = error.or_else(|| Some(ServerError::decode(&frame.body))),
                b'N' => notices.push(ServerError::decode(&frame.body)),
                b'Z' => break,
                b'G' => self.send(&message(b'f', b"not in a query\0"))?,
                _ => {}
            }
        }
        match error {
            Some(error) => Err(error.into()),
            None => Ok((rows, notices)),
        }
    }

    /// The first value of the first row.
    pub(crate) fn value(&mut self, sql: &str) -> Result<String> {
        let rows = self.query(sql)?;
        let value = rows.first().and_then(|row| row.first()).cloned().flatten();
        value.with_context(|| format!("no value from: {sql}"))
    }

    /// The error that `sql` must give.
    pub(crate) fn error(&mut self, sql: &str) -> Result<ServerError> {
        match self.query(sql) {
            Ok(rows) => bail!("no error but {} rows from: {sql}", rows.len()),
            Err(error) => error.downcast::<ServerError>().with_context(|| format!("running: {sql}")),
        }
    }
}

/// One message of a client.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("test messages are short");
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn row_texts(body: &[u8]) -> Result<Vec<Option<String>>> {
    let values = crate::reply::row_values(body).context("broken DataRow")?;
    Ok(values.into_iter().map(|value| value.map(|bytes| String::from_utf8_lossy(bytes).into_owned())).collect())
}
