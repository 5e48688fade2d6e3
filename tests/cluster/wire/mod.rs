//! Conversations of `tests/wire/*.txt`, played to a plain server and through the proxy; the replies must agree.

pub(crate) mod compare;
pub(crate) mod hurry;
pub(crate) mod play;
pub(crate) mod script;
pub(crate) mod words;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::connection::Connection;
use crate::dsn::Dsn;
use crate::fixture::Fixture;
use crate::wire::play::{Transcript, play};
use crate::wire::script::Step;

/// Times that each conversation is held without waiting (`SHARDYARD_SEEDS`: another number).
const HURRIES: u64 = 1;

/// The scripts, by name.
pub(crate) fn scripts() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut scripts: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path.clone())))
        .collect();
    scripts.sort();
    scripts
}

/// Makes the tables that all scripts share.
pub(crate) fn lay_tables(dsn: &Dsn) -> Result<()> {
    let mut connection = Connection::connect(dsn)?;
    for statement in include_str!("../../wire/tables.sql").split_inclusive(";\n") {
        connection.query(statement).with_context(|| statement.to_owned())?;
    }
    Ok(())
}

/// Plays the script to both and compares.
pub(crate) fn converse(path: &Path, fixture: &Fixture) -> Result<()> {
    let steps = script::parse(&std::fs::read_to_string(path)?)?;
    let (plain, subject) = (fixture.plain()?, fixture.wire_subject()?);
    set_up(&steps, plain)?;
    set_up(&steps, subject)?;
    fixture.wait_for_replicas()?;
    let (expected, outcome) = play(&steps, plain);
    outcome.with_context(|| format!("the plain server; it said\n{}", tell(&expected)))?;
    ensure!(!expected.is_empty(), "the script reads nothing");
    let (actual, outcome) = play(&steps, subject);
    if let Some(difference) = compare::difference(&expected, &actual) {
        let broke = outcome.err().map_or_else(String::new, |error| format!("\nthe proxy's side ended with: {error:#}"));
        bail!("{difference}{broke}");
    }
    if std::env::var_os("SHARDYARD_WIRE_PRINT").is_some() {
        println!("{}\n{}", path.display(), tell(&expected));
    }
    outcome?;
    hurry_through(&steps, fixture)
}

/// The same once more by a client that does not wait for replies. Both servers are as the conversation has left them.
fn hurry_through(steps: &[(usize, Step)], fixture: &Fixture) -> Result<()> {
    let (plain, subject) = (fixture.plain()?, fixture.wire_subject()?);
    let Some(messages) = hurry::without_waiting(steps) else { return Ok(()) };
    let seeds = std::env::var("SHARDYARD_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(HURRIES);
    for seed in 0..seeds {
        fixture.wait_for_replicas()?;
        let (expected, actual) = (hurry::play(&messages, plain, seed)?, hurry::play(&messages, subject, seed)?);
        if let Some(difference) = compare::difference(&expected, &actual) {
            bail!("without waiting, seed {seed}: {difference}");
        }
    }
    Ok(())
}

fn set_up(steps: &[(usize, Step)], dsn: &Dsn) -> Result<()> {
    for (line, step) in steps {
        if let Step::Setup(sql) = step {
            Connection::connect(dsn)?.query(sql).with_context(|| format!("line {line}: setup {sql}"))?;
        }
    }
    Ok(())
}

/// The transcript without what each login says.
fn tell(transcript: &Transcript) -> String {
    let told = transcript.iter().filter(|(_, reply)| !matches!(reply.letter, 'R' | 'K'));
    told.map(|(line, reply)| format!("  {line:>3} {} {reply}\n", reply.letter)).collect()
}
