//! How long writers waited, those of moving keys and the others.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::resharding::Span;
use crate::resharding::history::Outcome;
use crate::resharding::load::Load;
use crate::resharding::stage::lock;

/// Sorted.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub(crate) fn quantile(&self, thousandths: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last * thousandths).div_ceil(1000)).copied().unwrap_or_default()
    }

    fn at(&self, thousandths: usize) -> f64 {
        self.quantile(thousandths).as_secs_f64() * 1000.0
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, median) = (self.0.len(), self.at(500));
        write!(f, "{count}, p50 {median:.1} p99 {:.1} p99.9 {:.1} max {:.1} ms", self.at(990), self.at(999), self.at(1000))
    }
}

pub(crate) struct Pauses {
    moving: Times,
    others: Times,
    without_key: Times,
}

impl Pauses {
    /// Of the writes that were running at any time of the span.
    pub(crate) fn of(load: &Load, moving: &BTreeSet<i64>, (from, to): Span) -> Self {
        let times = |wanted: &dyn Fn(i64) -> bool| {
            let writes = lock(&load.writes);
            let within = writes
                .iter()
                .filter(|write| write.outcome == Outcome::Acknowledged && write.began + write.took >= from && write.began <= to);
            Times::new(within.filter(|write| wanted(write.user)).map(|write| write.took).collect())
        };
        Self {
            moving: times(&|user| moving.contains(&user)),
            others: times(&|user| user != 0 && !moving.contains(&user)),
            without_key: times(&|user| user == 0),
        }
    }
}

impl fmt::Display for Pauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "moving keys {}; others {}; keyless and text keys {}", self.moving, self.others, self.without_key)
    }
}
