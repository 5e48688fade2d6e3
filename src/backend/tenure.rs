//! Whether the server that the map names as a shard's primary is shown to be it.
//!
//! A primary that was away may have been replaced meanwhile. So from the moment that anybody loses it no new connection of a writer is
//! opened to it, until all of the shard's servers have been asked after that moment (`backend::health`).

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// Told to who waits in vain.
const IN_DOUBT: &str = "Its primary was lost, and whether another server has taken its place is being asked.";

/// Of one shard, as long as the map names the same server as its primary.
#[derive(Debug)]
pub struct Tenure {
    state: watch::Sender<State>,
    /// Wakes who asks the servers.
    wake: Notify,
}

#[derive(Debug)]
struct State {
    /// How often it came into doubt.
    doubts: u64,
    /// The last of them that an answer has settled.
    settled: u64,
    /// Why it is not the primary, as far as is known.
    refusal: Option<String>,
}

impl Tenure {
    /// Of a shard without replicas there is nothing to doubt.
    #[must_use]
    pub fn new(has_replicas: bool) -> Self {
        let state = State { doubts: u64::from(has_replicas), settled: 0, refusal: None };
        Self { state: watch::Sender::new(state), wake: Notify::new() }
    }

    /// The primary was lost, or could not be reached. Who asks its fellows is woken.
    pub fn doubt(&self) {
        let newly = |state: &mut State| {
            // A doubt that is being asked about may be older than this one: it counts anew.
            state.doubts += u64::from(state.doubts > 0);
            state.doubts > 0
        };
        if self.state.send_if_modified(newly) {
            self.wake.notify_one();
        }
    }

    /// Wakes who asks the servers.
    pub fn look(&self) {
        self.wake.notify_one();
    }

    /// Returns when somebody wants the servers to be asked. Cancel safe.
    pub async fn looked_for(&self) {
        self.wake.notified().await;
    }

    /// To be taken before the servers are asked.
    #[must_use]
    pub fn doubts(&self) -> u64 {
        self.state.borrow().doubts
    }

    /// All servers were asked after `doubts` was taken, and it is the primary.
    pub fn settle(&self, doubts: u64) {
        self.state.send_if_modified(|state| {
            let newly = state.settled != doubts;
            (state.settled, state.refusal) = (doubts, None);
            newly
        });
    }

    /// Why it is not shown to be the primary.
    pub fn explain(&self, reason: String) {
        self.state.send_modify(|state| state.refusal = Some(reason));
    }

    /// It is not the primary, or not the only one.
    pub fn refuse(&self, reason: String) {
        self.state.send_modify(|state| {
            // Counted once, while it was not in doubt already.
            state.doubts += u64::from(state.settled == state.doubts);
            state.refusal = Some(reason);
        });
    }

    /// Whether there is no doubt.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        let state = self.state.borrow();
        state.doubts == state.settled
    }

    /// Waits until there is no doubt, but not beyond the deadline: then the reason. Cancel safe.
    ///
    /// # Errors
    /// What is known of it.
    pub async fn certain(&self, deadline: Instant) -> Result<(), String> {
        let mut state = self.state.subscribe();
        let certain = state.wait_for(|state| state.doubts == state.settled);
        if timeout_at(deadline, certain).await.is_ok() {
            return Ok(());
        }
        Err(self.state.borrow().refusal.clone().unwrap_or_else(|| IN_DOUBT.to_owned()))
    }
}

impl Default for Tenure {
    /// Of a shard that has no replicas.
    fn default() -> Self {
        Self::new(false)
    }
}
