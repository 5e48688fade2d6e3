//! The text format of a conversation: one step a line. `tests/wire/README.md` describes it.

use anyhow::{Context, Result, bail};

use crate::connection::message;
use crate::login;
use crate::wire::words::{Word, split};

/// One step of a conversation.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Run on a connection of its own before the conversation; must succeed.
    Setup(String),
    /// Opens a connection under a name and logs in. `fails` says that login must fail.
    Connect { name: String, options: Vec<(String, String)>, fails: bool },
    /// Opens a connection under a name and sends nothing.
    Open { name: String },
    /// The steps that follow are on this connection.
    On(String),
    /// Queues bytes. `cycles` is the number of ReadyForQuery they will be answered with.
    Queue { bytes: Vec<u8>, cycles: usize },
    /// Corrects the number of ReadyForQuery to wait for, where the server skips some.
    Cycles(usize),
    /// Sends what is queued.
    Send,
    /// Sends what is queued and reads until every cycle is answered or the connection is closed.
    Read { letters: Option<String> },
    /// Sends what is queued and reads exactly these messages.
    Take { letters: String },
    /// Sends what is queued and reads one byte that is not a message (the answer to SSLRequest).
    TakeByte { expected: u8 },
    /// Asks to cancel what the named connection does.
    Cancel { name: String },
    /// Closes the sending half of the connection.
    Finish,
}

/// Reads a whole script: its steps with their line numbers.
pub(crate) fn parse(text: &str) -> Result<Vec<(usize, Step)>> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let mut steps = Vec::new();
    while let Some((number, line)) = lines.next() {
        if let Some(count) = line.strip_prefix("repeat ") {
            let count: usize = count.trim().parse().with_context(|| format!("line {}: repeat needs a number", number + 1))?;
            let block: Vec<_> = lines.by_ref().take_while(|(_, line)| line.trim() != "end").collect();
            for turn in 1..=count {
                for (number, line) in &block {
                    steps
                        .push((number + 1, step(&line.replace("{#}", &turn.to_string())).with_context(|| format!("line {}", number + 1))?));
                }
            }
        } else {
            steps.push((number + 1, step(line).with_context(|| format!("line {}", number + 1))?));
        }
    }
    Ok(steps)
}

fn step(line: &str) -> Result<Step> {
    let words = split(line)?;
    let Some((verb, arguments)) = words.split_first() else { bail!("an empty line came this far") };
    let mut arguments = Arguments(arguments);
    let step = match verb.text()?.as_str() {
        "setup" => Step::Setup(arguments.text()?),
        "connect" => connect(&mut arguments)?,
        "open" => Step::Open { name: arguments.text()? },
        "on" => Step::On(arguments.text()?),
        "cycles" => Step::Cycles(arguments.text()?.parse()?),
        "send" => Step::Send,
        "read" => Step::Read { letters: arguments.optional_text()? },
        "take" => Step::Take { letters: arguments.text()? },
        "takebyte" => Step::TakeByte { expected: *arguments.text()?.as_bytes().first().context("a byte is missing")? },
        "cancel" => Step::Cancel { name: arguments.text()? },
        "finish" => Step::Finish,
        verb => queue(verb, &mut arguments)?,
    };
    arguments.end()?;
    Ok(step)
}

fn connect(arguments: &mut Arguments<'_>) -> Result<Step> {
    let (mut name, mut options, mut fails) = ("a".to_owned(), Vec::new(), false);
    while let Some(word) = arguments.optional_text()? {
        match word.split_once('=') {
            Some((key, value)) => options.push((key.to_owned(), value.to_owned())),
            None if word == "fails" => fails = true,
            None => name = word,
        }
    }
    Ok(Step::Connect { name, options, fails })
}

fn queue(verb: &str, arguments: &mut Arguments<'_>) -> Result<Step> {
    let bytes = match verb {
        "Query" => message(b'Q', &c_string(&arguments.text()?)),
        "Parse" => parse_message(arguments)?,
        "Bind" => bind_message(arguments)?,
        "Describe" => message(b'D', &target(arguments)?),
        "Close" => message(b'C', &target(arguments)?),
        "Execute" => {
            let portal = c_string(&arguments.text()?);
            let limit: i32 = arguments.optional_text()?.as_deref().unwrap_or("0").parse()?;
            message(b'E', &[&portal[..], &limit.to_be_bytes()].concat())
        }
        "Flush" => message(b'H', &[]),
        "Sync" => message(b'S', &[]),
        "Terminate" => message(b'X', &[]),
        "CopyData" => message(b'd', &arguments.bytes()?),
        "CopyDone" => message(b'c', &[]),
        "CopyFail" => message(b'f', &c_string(&arguments.text()?)),
        "FunctionCall" => function_call(arguments)?,
        "Message" => {
            let tag = *arguments.text()?.as_bytes().first().context("a message needs its letter")?;
            message(tag, &arguments.bytes()?)
        }
        "Bytes" => arguments.bytes()?,
        "SSLRequest" => login::request(80_877_103, &[]),
        "GSSENCRequest" => login::request(80_877_104, &[]),
        _ => bail!("no such step: {verb}"),
    };
    let cycles = usize::from(matches!(bytes.first(), Some(b'Q' | b'S' | b'F')) && !matches!(verb, "Bytes"));
    Ok(Step::Queue { bytes, cycles })
}

/// `Parse name "sql" [type oid …]`
fn parse_message(arguments: &mut Arguments<'_>) -> Result<Vec<u8>> {
    let mut body = c_string(&arguments.text()?);
    body.extend(c_string(&arguments.text()?));
    let mut types = Vec::new();
    while let Some(word) = arguments.optional_text()? {
        types.push(word.parse::<u32>()?.to_be_bytes());
    }
    body.extend(u16::try_from(types.len())?.to_be_bytes());
    body.extend(types.concat());
    Ok(message(b'P', &body))
}

/// `Bind portal statement [in format …] [values value …] [out format …]`
fn bind_message(arguments: &mut Arguments<'_>) -> Result<Vec<u8>> {
    let mut body = c_string(&arguments.text()?);
    body.extend(c_string(&arguments.text()?));
    let (inputs, values, outputs) = (arguments.section("in")?, arguments.section("values")?, arguments.section("out")?);
    body.extend(formats(inputs)?);
    body.extend(self::values(values)?);
    body.extend(formats(outputs)?);
    Ok(message(b'B', &body))
}

/// `FunctionCall oid [in format …] [values value …] out format`
fn function_call(arguments: &mut Arguments<'_>) -> Result<Vec<u8>> {
    let mut body = arguments.text()?.parse::<u32>()?.to_be_bytes().to_vec();
    let (inputs, values, outputs) = (arguments.section("in")?, arguments.section("values")?, arguments.section("out")?);
    body.extend(formats(inputs)?);
    body.extend(self::values(values)?);
    let output: i16 = outputs.first().map_or(Ok(0), |word| word.text()?.parse().context("a format is a number"))?;
    body.extend(output.to_be_bytes());
    Ok(message(b'F', &body))
}

fn formats(words: &[Word]) -> Result<Vec<u8>> {
    let mut bytes = u16::try_from(words.len())?.to_be_bytes().to_vec();
    for word in words {
        bytes.extend(word.text()?.parse::<i16>()?.to_be_bytes());
    }
    Ok(bytes)
}

fn values(words: &[Word]) -> Result<Vec<u8>> {
    let mut bytes = u16::try_from(words.len())?.to_be_bytes().to_vec();
    for word in words {
        match word {
            Word::Bare(text) if text == "null" => bytes.extend((-1_i32).to_be_bytes()),
            word => {
                let value = word.bytes();
                bytes.extend(i32::try_from(value.len())?.to_be_bytes());
                bytes.extend(value);
            }
        }
    }
    Ok(bytes)
}

/// `S name` or `P name`
fn target(arguments: &mut Arguments<'_>) -> Result<Vec<u8>> {
    let kind = arguments.text()?;
    Ok([kind.as_bytes(), &c_string(&arguments.text()?)].concat())
}

fn c_string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// The words of a line that are not read yet.
struct Arguments<'a>(&'a [Word]);

impl<'a> Arguments<'a> {
    fn next(&mut self) -> Option<&'a Word> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn text(&mut self) -> Result<String> {
        self.next().context("a word is missing")?.text()
    }

    fn optional_text(&mut self) -> Result<Option<String>> {
        self.next().map(Word::text).transpose()
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        Ok(self.next().context("bytes are missing")?.bytes())
    }

    /// The words after `name` up to the next section's name; none when the section is absent.
    fn section(&mut self, name: &str) -> Result<&'a [Word]> {
        let is_name = |word: &Word| matches!(word, Word::Bare(text) if matches!(text.as_str(), "in" | "values" | "out"));
        match self.0.first() {
            Some(Word::Bare(text)) if text == name => {}
            _ => return Ok(&[]),
        }
        let rest = &self.0[1..];
        let end = rest.iter().position(is_name).unwrap_or(rest.len());
        self.0 = &rest[end..];
        Ok(&rest[..end])
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { bail!("words too many: {:?}", self.0) }
    }
}
