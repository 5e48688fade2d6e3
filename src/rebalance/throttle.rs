//! Keeps the worker's copying and deleting to the rates that the operator wants.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::rebalance::options::MoveOptions;
use crate::rebalance::transfer::Amount;

/// The operator's wish is looked at after so long.
const LONG: Duration = Duration::from_secs(1);

/// What has been done since the last pause.
#[derive(Debug)]
pub(crate) struct Throttle {
    since: Instant,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { since: Instant::now() }
    }
}

impl Throttle {
    /// Sleeps as long as what was just done is ahead of the rates.
    pub(crate) async fn pace(&mut self, options: &MoveOptions, done: Amount) {
        sleep(due(options, done)).await;
    }

    /// Whether it is time to look at the operator's wish; if so, time begins anew.
    pub(crate) fn has_worked_long(&mut self) -> bool {
        let long = self.since.elapsed() > LONG;
        if long {
            self.since = Instant::now();
        }
        long
    }
}

/// The time that so much takes at the wanted rates.
fn due(options: &MoveOptions, done: Amount) -> Duration {
    let time = |amount: u64, per_second: u64| match per_second {
        0 => Duration::ZERO,
        rate => Duration::from_micros(amount.saturating_mul(1_000_000) / rate),
    };
    time(done.rows, options.rows_per_second).max(time(done.bytes, options.bytes_per_second))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::rebalance::options::MoveOptions;
    use crate::rebalance::throttle::due;
    use crate::rebalance::transfer::Amount;

    #[test]
    fn the_slower_rate_counts() {
        let options = MoveOptions { rows_per_second: 1_000, bytes_per_second: 1 << 20, ..MoveOptions::default() };
        assert_eq!(due(&options, Amount { rows: 500, bytes: 0 }), Duration::from_millis(500));
        assert_eq!(due(&options, Amount { rows: 500, bytes: 2 << 20 }), Duration::from_secs(2));
        assert_eq!(due(&MoveOptions::default(), Amount { rows: 500, bytes: 2 << 20 }), Duration::ZERO);
    }
}
