//! Plays a script against one server and keeps every reply.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};

use crate::connection::{Connection, VERSION_3_0};
use crate::dsn::Dsn;
use crate::login;
use crate::reply::Reply;
use crate::wire::script::Step;

/// What came back, each with the line of the step it answers.
pub(crate) type Transcript = Vec<(usize, Reply)>;

/// The transcript, as far as the script could be played.
pub(crate) fn play(steps: &[(usize, Step)], dsn: &Dsn) -> (Transcript, Result<()>) {
    let mut player = Player { dsn, connections: HashMap::new(), current: "a".to_owned(), transcript: Vec::new(), line: 0 };
    let outcome = player.play(steps);
    (player.transcript, outcome)
}

struct Channel {
    connection: Connection,
    queued: Vec<u8>,
    /// ReadyForQuery still to come.
    cycles: usize,
}

struct Player<'a> {
    dsn: &'a Dsn,
    connections: HashMap<String, Channel>,
    current: String,
    transcript: Transcript,
    line: usize,
}

impl Player<'_> {
    fn play(&mut self, steps: &[(usize, Step)]) -> Result<()> {
        if !matches!(
            steps.iter().map(|(_, step)| step).find(|step| !matches!(step, Step::Setup(_))),
            Some(Step::Connect { .. } | Step::Open { .. })
        ) {
            self.connect("a", &[], false)?;
        }
        for (line, step) in steps {
            self.line = *line;
            self.take_step(step).with_context(|| format!("line {line}: {}", brief(step)))?;
        }
        Ok(())
    }

    fn take_step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Setup(_) => Ok(()),
            Step::Connect { name, options, fails } => self.connect(name, options, *fails),
            Step::Open { name } => self.open(name),
            Step::On(name) => {
                self.current.clone_from(name);
                self.channel().map(drop)
            }
            Step::Queue { bytes, cycles } => {
                let channel = self.channel()?;
                channel.queued.extend_from_slice(bytes);
                channel.cycles += cycles;
                Ok(())
            }
            Step::Cycles(count) => {
                self.channel()?.cycles = *count;
                Ok(())
            }
            Step::Send => self.channel()?.send(),
            Step::Read { letters } => self.read(letters.as_deref()),
            Step::Take { letters } => self.take(letters),
            Step::TakeByte { expected } => self.take_byte(*expected),
            Step::Cancel { name } => self.cancel(name),
            Step::Finish => {
                let channel = self.channel()?;
                channel.send()?;
                channel.connection.finish();
                Ok(())
            }
        }
    }

    fn channel(&mut self) -> Result<&mut Channel> {
        self.connections.get_mut(&self.current).with_context(|| format!("no connection {}", self.current))
    }

    fn open(&mut self, name: &str) -> Result<()> {
        let channel = Channel { connection: Connection::open(self.dsn)?, queued: Vec::new(), cycles: 0 };
        self.connections.insert(name.to_owned(), channel);
        name.clone_into(&mut self.current);
        Ok(())
    }

    /// Options other than `password` and `version` go into the startup packet.
    fn connect(&mut self, name: &str, options: &[(String, String)], fails: bool) -> Result<()> {
        self.open(name)?;
        let option = |key: &str| options.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let version = option("version").map_or(Ok(VERSION_3_0), |text| text.parse::<u32>().map(|minor| VERSION_3_0 + minor))?;
        let (user, password) = (option("user").unwrap_or(&self.dsn.user), option("password").unwrap_or(&self.dsn.password));
        let mut parameters = vec![("user", user), ("database", option("database").unwrap_or(&self.dsn.database))];
        parameters.extend(
            options
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "user" | "password" | "database" | "version"))
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
        let packet = login::startup(version, &parameters);
        let channel = self.connections.get_mut(name).context("just opened")?;
        channel.connection.send(&packet)?;
        let frames = login::log_in(&mut channel.connection, user, password)?;
        let ready = frames.last().is_some_and(|frame| frame.tag == b'Z');
        self.transcript.extend(frames.iter().map(|frame| (self.line, Reply::decode(frame))));
        if ready == fails {
            bail!("login {}", if fails { "did not fail" } else { "failed" });
        }
        Ok(())
    }

    fn read(&mut self, letters: Option<&str>) -> Result<()> {
        let line = self.line;
        let channel = self.channel()?;
        let writer = channel.send_beside()?;
        let mut replies = Vec::new();
        let mut closed = false;
        while channel.cycles > 0 || (letters.is_some_and(|letters| letters.ends_with('.')) && !closed) {
            let reply = match channel.connection.receive() {
                Ok(frame) => frame.map_or_else(Reply::closed, |frame| Reply::decode(&frame)),
                Err(error) => {
                    self.transcript.extend(replies.into_iter().map(|reply| (line, reply)));
                    return Err(error);
                }
            };
            closed = reply.letter == '.';
            channel.cycles = if closed { 0 } else { channel.cycles - usize::from(reply.letter == 'Z' && channel.cycles > 0) };
            replies.push(reply);
        }
        // A peer that closed early leaves the writer with an error, which ends it.
        let _ = writer.join();
        let seen = collapse(&replies);
        self.transcript.extend(replies.into_iter().map(|reply| (line, reply)));
        match letters {
            Some(letters) if letters != seen => bail!("expected {letters} but {seen} came"),
            _ => Ok(()),
        }
    }

    fn take(&mut self, letters: &str) -> Result<()> {
        let line = self.line;
        self.channel()?.send()?;
        for letter in letters.chars() {
            let channel = self.channel()?;
            let reply = channel.connection.receive()?.map_or_else(Reply::closed, |frame| Reply::decode(&frame));
            channel.cycles -= usize::from(reply.letter == 'Z' && channel.cycles > 0);
            let came = reply.letter;
            self.transcript.push((line, reply));
            if came != letter {
                bail!("expected {letter} of {letters} but {came} came");
            }
        }
        Ok(())
    }

    fn take_byte(&mut self, expected: u8) -> Result<()> {
        let channel = self.channel()?;
        channel.send()?;
        match channel.connection.take(1)?.as_deref() {
            Some([byte]) if *byte == expected => Ok(()),
            other => bail!("expected {:?} but {other:?} came", char::from(expected)),
        }
    }

    fn cancel(&mut self, name: &str) -> Result<()> {
        let channel = self.connections.get_mut(name).with_context(|| format!("no connection {name}"))?;
        let key = channel.connection.key.clone().context("no BackendKeyData came")?;
        let mut request = Connection::open(self.dsn)?;
        request.send(&login::request(80_877_102, &key))?;
        if request.receive()?.is_some() {
            bail!("a cancel request was answered");
        }
        Ok(())
    }
}

impl Channel {
    fn send(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.queued);
        self.connection.send(&bytes)
    }

    fn send_beside(&mut self) -> Result<std::thread::JoinHandle<()>> {
        let bytes = std::mem::take(&mut self.queued);
        self.connection.send_beside(bytes)
    }
}

/// The letters of the replies; a run of one letter is written once.
fn collapse(replies: &[Reply]) -> String {
    let mut letters: Vec<char> = replies.iter().map(|reply| reply.letter).collect();
    letters.dedup();
    letters.into_iter().collect()
}

fn brief(step: &Step) -> String {
    match step {
        Step::Queue { bytes, .. } => format!("Queue {}", crate::reply::show(bytes)),
        other => format!("{other:?}"),
    }
}
