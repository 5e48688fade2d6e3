//! What a server answered to one statement, by either protocol, as far as a client can tell.

use std::fmt;

use anyhow::{Context, Result, bail};

use crate::connection::{Connection, Frame, message};
use crate::reply::{Reply, ServerError, row_values, show};

/// A row's values, undecoded; `None` is NULL.
pub(crate) type Row = Vec<Option<Vec<u8>>>;

/// The reply to one statement (or to a simple query of several).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) answers: Vec<Answer>,
    pub(crate) error: Option<ServerError>,
    /// The letter of ReadyForQuery.
    pub(crate) status: u8,
}

/// What one statement of a query answered before its CommandComplete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// RowDescription or CopyOutResponse, each field in words.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// The bytes of COPY TO STDOUT, a message each.
    pub(crate) copied: Vec<Vec<u8>>,
    /// Empty where an error came first.
    pub(crate) tag: String,
}

/// One parameter of an extended statement, in text format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// 0 leaves the type to the server.
    pub(crate) oid: u32,
    pub(crate) text: Option<String>,
}

/// How a statement is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// One Query message.
    #[default]
    Simple,
    /// Parse, Bind, Describe, Execute, Sync; the results in binary or in text.
    Extended { parameters: Vec<Parameter>, binary: bool },
}

impl Outcome {
    pub(crate) fn sqlstate(&self) -> Option<&str> {
        self.error.as_ref().map(ServerError::sqlstate)
    }

    pub(crate) fn in_transaction(&self) -> bool {
        self.status != b'I'
    }
}

/// Runs one statement to its ReadyForQuery; `input` is what COPY FROM STDIN is given.
pub(crate) fn run(connection: &mut Connection, sql: &str, manner: &Manner, input: &[u8]) -> Result<Outcome> {
    let bytes = match manner {
        Manner::Simple => message(b'Q', &[sql.as_bytes(), &[0]].concat()),
        Manner::Extended { parameters, binary } => batch(sql, parameters, *binary)?,
    };
    connection.send(&bytes).and_then(|()| collect(connection, manner, input)).with_context(|| format!("running: {sql}"))
}

fn batch(sql: &str, parameters: &[Parameter], binary: bool) -> Result<Vec<u8>> {
    let count = u16::try_from(parameters.len())?.to_be_bytes();
    let mut parse = [b"\0", sql.as_bytes(), b"\0", &count[..]].concat();
    let mut bind = [b"\0\0\0\0", &count[..]].concat();
    for parameter in parameters {
        parse.extend(parameter.oid.to_be_bytes());
        match &parameter.text {
            Some(text) => {
                bind.extend(u32::try_from(text.len())?.to_be_bytes());
                bind.extend(text.as_bytes());
            }
            None => bind.extend((-1_i32).to_be_bytes()),
        }
    }
    bind.extend(if binary { &[0, 1, 0, 1][..] } else { &[0, 0][..] });
    let messages = [message(b'P', &parse), message(b'B', &bind), message(b'D', b"P\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")];
    Ok(messages.concat())
}

fn collect(connection: &mut Connection, manner: &Manner, input: &[u8]) -> Result<Outcome> {
    let (mut outcome, mut answer) = (Outcome::default(), Answer::default());
    loop {
        let Some(frame) = connection.receive()? else {
            bail!("the connection was closed; before that came {}", Outcome { answers: vec![answer], ..outcome });
        };
        match frame.tag {
            b'T' | b'H' => answer.columns = columns(&frame),
            b'D' => answer.rows.push(owned_row(&frame.body)?),
            b'd' => answer.copied.push(frame.body),
            b'C' => {
                answer.tag = show(frame.body.strip_suffix(b"\0").unwrap_or_default());
                outcome.answers.push(std::mem::take(&mut answer));
            }
            b'I' => outcome.answers.push(Answer { tag: "(empty)".to_owned(), ..Answer::default() }),
            b's' => bail!("a portal was suspended without a row limit"),
            b'E' => {
                if outcome.error.is_some() {
                    bail!("two errors for one statement: {} and {}", outcome, ServerError::decode(&frame.body));
                }
                outcome.error = Some(ServerError::decode(&frame.body));
                outcome.answers.push(std::mem::take(&mut answer));
            }
            b'G' => give(connection, manner, input)?,
            b'Z' => {
                outcome.status = frame.body.first().copied().unwrap_or_default();
                return Ok(outcome);
            }
            _ => {}
        }
    }
}

fn give(connection: &mut Connection, manner: &Manner, input: &[u8]) -> Result<()> {
    connection.send(&message(b'd', input))?;
    connection.send(&message(b'c', b""))?;
    // The Sync sent with Execute was read, and ignored, as part of the copy.
    if matches!(manner, Manner::Extended { .. }) { connection.send(&message(b'S', b"")) } else { Ok(()) }
}

fn columns(frame: &Frame) -> Vec<String> {
    Reply::decode(frame).fields.into_iter().map(|(name, rest)| format!("{name} {rest}")).collect()
}

fn owned_row(body: &[u8]) -> Result<Row> {
    let values = row_values(body).context("broken DataRow")?;
    Ok(values.into_iter().map(|value| value.map(<[u8]>::to_vec)).collect())
}

/// A row as a person reads it.
pub(crate) fn row_text(row: &Row) -> String {
    row.iter().map(|value| value.as_deref().map_or_else(|| "null".to_owned(), show)).collect::<Vec<_>>().join(" | ")
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ROWS_SHOWN: usize = 6;
        for answer in &self.answers {
            if !answer.columns.is_empty() {
                writeln!(f, "      columns: {}", answer.columns.join(", "))?;
            }
            for row in answer.rows.iter().take(ROWS_SHOWN) {
                writeln!(f, "      {}", row_text(row))?;
            }
            for line in answer.copied.iter().take(ROWS_SHOWN) {
                writeln!(f, "      copied: {}", show(line).trim_end())?;
            }
            let hidden = answer.rows.len().saturating_sub(ROWS_SHOWN) + answer.copied.len().saturating_sub(ROWS_SHOWN);
            if hidden > 0 {
                writeln!(f, "      … {hidden} more")?;
            }
            if !answer.tag.is_empty() {
                writeln!(f, "      {}", answer.tag)?;
            }
        }
        if let Some(error) = &self.error {
            writeln!(f, "      ERROR {error}")?;
        }
        write!(f, "      status {}", char::from(self.status))
    }
}
