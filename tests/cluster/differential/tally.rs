//! What became of a run's statements, by kind; and the ratchet that keeps refusals from rising.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::differential::pair::Verdict;

/// Refusals allowed, a line per run: its name and their number.
const RATCHET: &str = "tests/differential/refusals.txt";
/// Tests run side by side, and the file is one.
static RATCHET_LOCK: Mutex<()> = Mutex::new(());
const FAILURES_SHOWN: usize = 15;

/// Counts of one run.
#[derive(Default)]
pub(crate) struct Tally {
    /// Statements run, each once by each protocol that it was sent by.
    pub(crate) statements: usize,
    pub(crate) same: usize,
    pub(crate) skipped: usize,
    /// By the proxy's words for the route.
    paths: BTreeMap<String, usize>,
    /// Errors among the same, by SQLSTATE.
    errors: BTreeMap<String, usize>,
    /// By reason.
    refused: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Tally {
    pub(crate) fn count(&mut self, verdict: &Verdict, path: Option<String>, place: impl FnOnce() -> String) {
        self.statements += 1;
        match verdict {
            Verdict::Same | Verdict::SameError(_) => {
                self.same += 1;
                if let Verdict::SameError(state) = verdict {
                    *self.errors.entry(state.clone()).or_default() += 1;
                }
                *self.paths.entry(path.unwrap_or_else(|| "other".to_owned())).or_default() += 1;
            }
            Verdict::Skipped => self.skipped += 1,
            Verdict::Refused(reason) => *self.refused.entry(without_names(reason)).or_default() += 1,
            Verdict::Different(difference) => self.failures.push(format!("{}\n{difference}", place())),
        }
    }

    pub(crate) fn fail(&mut self, failure: String) {
        self.failures.push(failure);
    }

    pub(crate) fn refusals(&self) -> usize {
        self.refused.values().sum()
    }

    pub(crate) fn different(&self) -> usize {
        self.failures.len()
    }

    /// The reasons of refusals, most frequent first.
    pub(crate) fn reasons(&self) -> String {
        let mut reasons: Vec<_> = self.refused.iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), (*reason).clone()));
        reasons.iter().map(|(reason, count)| format!("  {count:>6}  {reason}\n")).collect()
    }

    /// Prints the counts; an error if an answer was different or more was refused than before.
    pub(crate) fn conclude(&self, name: &str) -> Result<()> {
        let held = ratchet(name, self.refusals()).with_context(|| format!("refused:\n{}", self.reasons()));
        self.tell(name).and(held)
    }

    /// Prints the counts; an error if an answer was different.
    pub(crate) fn tell(&self, name: &str) -> Result<()> {
        println!("differential {name}: {self}");
        if std::env::var_os("SHARDYARD_REASONS").is_some() {
            println!("  errors on both: {:?}", self.errors);
            print!("{}", self.reasons());
        }
        let shown = self.failures.iter().take(FAILURES_SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
        ensure!(self.failures.is_empty(), "{} answers differ:\n{shown}", self.failures.len());
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} statements, {} same (", self.statements, self.same)?;
        let paths: Vec<String> = self.paths.iter().map(|(path, count)| format!("{path} {count}")).collect();
        write!(f, "{}), {} refused", paths.join(", "), self.refusals())?;
        if self.skipped > 0 {
            write!(f, ", {} not reached", self.skipped)?;
        }
        write!(f, ", {} different", self.failures.len())
    }
}

/// Reasons are counted without the names of tables and columns, and without numbers.
fn without_names(reason: &str) -> String {
    let unquoted: Vec<&str> = reason.split('"').enumerate().map(|(at, part)| if at % 2 == 1 { "…" } else { part }).collect();
    unquoted.join("\"").chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// The allowed number only falls: by hand, or under `UPDATE_EXPECT=1`.
fn ratchet(name: &str, refusals: usize) -> Result<()> {
    let _one_at_a_time = RATCHET_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(RATCHET);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut allowed: BTreeMap<String, usize> = BTreeMap::new();
    for line in text.lines() {
        let (name, count) = line.split_once(' ').with_context(|| format!("{RATCHET}: {line}"))?;
        allowed.insert(name.to_owned(), count.trim().parse()?);
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        allowed.insert(name.to_owned(), refusals);
        let text: String = allowed.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
        return Ok(std::fs::write(&path, text)?);
    }
    let allowed = allowed.get(name).copied().unwrap_or(0);
    ensure!(refusals <= allowed, "{refusals} statements are refused, {RATCHET} allows {allowed}: it only falls");
    if refusals < allowed {
        println!("differential {name}: {refusals} refusals, {allowed} allowed: lower it with UPDATE_EXPECT=1");
    }
    Ok(())
}
