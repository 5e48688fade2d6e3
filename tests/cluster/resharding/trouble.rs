//! What clients may be told under which fault, and for how long after it. Everything else is a mistake.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::resharding::load::Load;
use crate::resharding::ordeal::Played;
use crate::resharding::stage::lock;

/// An error of a client.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// After the load's beginning.
    pub(crate) at: Duration,
    /// Its SQLSTATE, or [`LOST`], or [`NO_ENTRY`].
    pub(crate) class: String,
    pub(crate) text: String,
}

/// The connection ended without a word.
pub(crate) const LOST: &str = "lost";
/// No connection was made.
pub(crate) const NO_ENTRY: &str = "no entry";

/// A server that has ended, ends or begins; whether it has done what it was told may be open.
const GONE: &[&str] = &[LOST, "08006", "08007", "57P01", "57P02", "57P03"];
/// Locks of transactions that another proxy has to decide: those who wait for them give up after five seconds.
const DOUBT: &[&str] = &["40P01"];
const MOVED: &[&str] = &["40001"];
const FULL: &[&str] = &["53100"];

const MOMENT: Duration = Duration::from_secs(5);
/// A transaction in doubt is decided after ten seconds.
const DECIDED: Duration = Duration::from_secs(20);

/// A fault by the beginning of its name; what may be told, and until when after it is over. Whatever becomes of a worker or of the catalog
/// is nobody's concern.
const EXCUSES: &[(&str, &[&str], Duration)] = &[
    ("proxy killed", &[LOST, NO_ENTRY], MOMENT),
    ("proxy killed", DOUBT, DECIDED),
    // Fenced out.
    ("proxy stopped for long", GONE, MOMENT),
    ("proxy stopped for long", DOUBT, DECIDED),
    ("proxy cut off from the catalog silently for long", GONE, MOMENT),
    ("proxy cut off from the catalog by resets for long", GONE, MOMENT),
    ("proxy cut off from the shards", GONE, MOMENT),
    ("proxy cut off from the shards", DOUBT, DECIDED),
    ("source killed", GONE, MOMENT),
    ("source killed", MOVED, MOMENT),
    ("source killed", DOUBT, DECIDED),
    ("target killed", GONE, MOMENT),
    ("target killed", MOVED, MOMENT),
    ("target killed", DOUBT, DECIDED),
    ("source failed over", GONE, MOMENT),
    ("source failed over", MOVED, MOMENT),
    ("source failed over", DOUBT, DECIDED),
    ("target failed over", GONE, MOMENT),
    ("target failed over", MOVED, MOMENT),
    ("target failed over", DOUBT, DECIDED),
    ("disk full", GONE, MOMENT),
    ("disk full", FULL, MOMENT),
    ("disk full", MOVED, MOMENT),
    ("disk full", DOUBT, DECIDED),
];

/// Of all cycles.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// By fault and class.
    excused: BTreeMap<(String, String), usize>,
    /// By class, text and the faults of the time.
    mistakes: BTreeMap<String, usize>,
}

impl Trouble {
    /// What clients were told in one cycle.
    pub(crate) fn judge(&mut self, load: &Load<'_>, played: &[Played]) {
        for told in lock(&load.told).iter() {
            let excuse = played.iter().find(|(kind, from, to)| {
                EXCUSES.iter().any(|(name, classes, grace)| {
                    kind.starts_with(name) && classes.contains(&told.class.as_str()) && (*from..=*to + *grace).contains(&told.at)
                })
            });
            match excuse {
                Some((kind, _, _)) => *self.excused.entry((kind.clone(), told.class.clone())).or_default() += 1,
                None => {
                    let recent = played.iter().rfind(|(_, from, _)| *from <= told.at);
                    let recent = recent.map(|(kind, _, to)| format!("{kind}, over for {:.0} s", told.at.saturating_sub(*to).as_secs_f64()));
                    let text = format!("{} {}, after {}", told.class, told.text, recent.unwrap_or_else(|| "nothing".to_owned()));
                    *self.mistakes.entry(text).or_default() += 1;
                }
            }
        }
    }

    /// What was told, and whether it should have been.
    pub(crate) fn verdict(&self) -> Result<()> {
        for ((kind, class), count) in &self.excused {
            println!("moves: {count} × {class} by {kind}");
        }
        let mistakes: Vec<String> = self.mistakes.iter().map(|(text, count)| format!("{count} × {text}")).collect();
        ensure!(mistakes.is_empty(), "clients were told what no fault excuses:\n{}", mistakes.join("\n"));
        Ok(())
    }
}
