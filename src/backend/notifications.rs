//! Who listens to what, over all clients of this process; served by one connection per shard while anybody listens.
//!
//! NOTIFY runs on the home shard, but `pg_notify` may run wherever a row is: in a trigger of a sharded table, for one. So every shard is
//! listened to. A lost connection may have lost notifications, which no session of PostgreSQL's ever does: all who listen are told to end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::backend::ControlRole;
use crate::backend::inbox::{Ended, Inbox, Notification};
use crate::backend::listener::Listener;
use crate::catalog::View;
use crate::telemetry::task;
use crate::topology::{Endpoint, ShardId};
use crate::wire::{ClientError, SqlState};

/// All shards must listen within this.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// LISTEN failed.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("shard {0} cannot be listened to")]
    Unreachable(ShardId),
}

impl ClientError for ListenError {
    fn sqlstate(&self) -> SqlState {
        SqlState::CONNECTION_FAILURE
    }

    fn detail(&self) -> Option<String> {
        Some("Notifications may come from every shard, so LISTEN needs all of them.".to_owned())
    }
}

/// All channels that clients of this process listen to.
#[derive(Debug)]
pub struct Notifications {
    view: Arc<View>,
    control: ControlRole,
    /// Runs the listeners.
    runtime: Handle,
    inbox_bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    channels: HashMap<String, Vec<Arc<Inbox>>>,
    listeners: HashMap<ShardId, Running>,
    /// Of `channels`: grows with each change, and with each wish to be up to date.
    version: u64,
}

/// A listener as its clients see it.
#[derive(Debug)]
struct Running {
    endpoint: Endpoint,
    wake: Arc<Notify>,
    /// The version of `channels` that its server has listened to; closed when it has ended.
    settled: watch::Receiver<u64>,
}

/// What a listener has to do.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) version: u64,
    pub(crate) listen: Vec<String>,
    pub(crate) unlisten: Vec<String>,
}

impl Notifications {
    #[must_use]
    pub fn new(view: Arc<View>, control: ControlRole, inbox_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { view, control, runtime: Handle::current(), inbox_bytes_max, state: Mutex::default() })
    }

    /// For a client that begins to listen.
    #[must_use]
    pub fn subscription(self: &Arc<Self>) -> Subscription {
        Subscription { hub: Arc::clone(self), inbox: Arc::new(Inbox::new(self.inbox_bytes_max)), channels: BTreeSet::new() }
    }

    /// Returns when what was sent by transactions that have ended on `shard` is in the inboxes. A loss is told there too.
    pub async fn settle(&self, shard: ShardId) {
        let waiting = {
            let mut state = self.state.lock();
            state.version += 1;
            let version = state.version;
            state.listeners.get(&shard).map(|running| {
                running.wake.notify_one();
                (shard, version, running.settled.clone())
            })
        };
        // What cannot be reached has told the inboxes.
        let _ = timeout(SETTLE_TIMEOUT, settled(waiting.into_iter().collect())).await;
    }

    /// Hands a notification to all who listen to its channel.
    pub(crate) fn deliver(&self, notification: Notification) {
        let state = self.state.lock();
        if let Some(inboxes) = state.channels.get(&notification.channel) {
            let notification = Arc::new(notification);
            inboxes.iter().for_each(|inbox| inbox.push(&notification));
        }
    }

    /// What the listener of `shard`, who listens to `listened`, has to do; `None`: it is not wanted any more.
    pub(crate) fn due(self: &Arc<Self>, shard: ShardId, settled: &watch::Sender<u64>, listened: &BTreeSet<String>) -> Option<Due> {
        let mut state = self.state.lock();
        self.follow_map(&mut state);
        if state.channels.is_empty() && is_of(&state, shard, settled) {
            state.listeners.remove(&shard);
        }
        if !is_of(&state, shard, settled) {
            return None;
        }
        let listen = state.channels.keys().filter(|channel| !listened.contains(*channel)).cloned().collect();
        let unlisten = listened.iter().filter(|channel| !state.channels.contains_key(*channel)).cloned().collect();
        Some(Due { version: state.version, listen, unlisten })
    }

    /// The listener of `shard` has lost its server.
    pub(crate) fn lost(&self, shard: ShardId, settled: &watch::Sender<u64>) {
        let mut state = self.state.lock();
        if is_of(&state, shard, settled) {
            end_all(&mut state, shard);
        }
    }

    /// Listeners for exactly the shards of the map.
    fn follow_map(self: &Arc<Self>, state: &mut State) {
        let map = Arc::clone(&self.view.map());
        let moved = map.shards.iter().find(|shard| state.listeners.get(&shard.id).is_some_and(|running| running.endpoint != shard.primary));
        if let Some(shard) = moved {
            end_all(state, shard.id);
        }
        state.listeners.retain(|id, running| {
            let known = map.shard(*id).is_some();
            if !known {
                running.wake.notify_one();
            }
            known
        });
        if state.channels.is_empty() {
            return;
        }
        for shard in &map.shards {
            state.listeners.entry(shard.id).or_insert_with(|| {
                let wake = Arc::new(Notify::new());
                let (sender, settled) = watch::channel(0);
                let listener = Listener {
                    hub: Arc::clone(self),
                    shard: shard.id,
                    endpoint: shard.primary.clone(),
                    control: self.control.clone(),
                    wake: Arc::clone(&wake),
                    settled: sender,
                };
                task::spawn_on(&self.runtime, "notifications", listener.run());
                Running { endpoint: shard.primary.clone(), wake, settled }
            });
        }
    }

    async fn listen(self: &Arc<Self>, inbox: &Arc<Inbox>, channels: &[String]) -> Result<(), ListenError> {
        let waiting: Vec<_> = {
            let mut state = self.state.lock();
            for channel in channels {
                state.channels.entry(channel.clone()).or_default().push(Arc::clone(inbox));
            }
            state.version += 1;
            self.follow_map(&mut state);
            let version = state.version;
            let listeners = state.listeners.iter();
            listeners
                .map(|(shard, running)| {
                    running.wake.notify_one();
                    (*shard, version, running.settled.clone())
                })
                .collect()
        };
        let first = waiting.first().map(|(shard, ..)| *shard);
        match timeout(SETTLE_TIMEOUT, settled(waiting)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(shard)) => Err(ListenError::Unreachable(shard)),
            Err(_) => Err(ListenError::Unreachable(first.unwrap_or(ShardId(0)))),
        }
    }

    fn unlisten<'a>(&self, inbox: &Arc<Inbox>, channels: impl Iterator<Item = &'a String>) {
        let mut state = self.state.lock();
        for channel in channels {
            if let Some(inboxes) = state.channels.get_mut(channel) {
                inboxes.retain(|other| !Arc::ptr_eq(other, inbox));
                if inboxes.is_empty() {
                    state.channels.remove(channel);
                }
            }
        }
    }
}

/// Whether the listener of `shard` is the one that `settled` belongs to.
fn is_of(state: &State, shard: ShardId, settled: &watch::Sender<u64>) -> bool {
    state.listeners.get(&shard).is_some_and(|running| running.settled.same_channel(&settled.subscribe()))
}

/// Everybody who listens is told; those who listen from now on begin anew.
fn end_all(state: &mut State, shard: ShardId) {
    for inbox in std::mem::take(&mut state.channels).into_values().flatten() {
        inbox.end(Ended::Lost(shard));
    }
    for running in std::mem::take(&mut state.listeners).into_values() {
        running.wake.notify_one();
    }
}

/// Waits until each has reached its version; the shard that will not.
async fn settled(waiting: Vec<(ShardId, u64, watch::Receiver<u64>)>) -> Result<(), ShardId> {
    for (shard, version, mut settled) in waiting {
        settled.wait_for(|reached| *reached >= version).await.map_err(|_| shard)?;
    }
    Ok(())
}

/// One client's channels. They are forgotten when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Notifications>,
    pub inbox: Arc<Inbox>,
    channels: BTreeSet<String>,
}

impl Subscription {
    /// Returns when everything that is sent to the channels from now on will arrive.
    ///
    /// # Errors
    /// When a shard cannot be listened to. The channels stay the client's until [`Subscription::keep`].
    pub async fn listen(&mut self, channels: Vec<String>) -> Result<(), ListenError> {
        let new: Vec<String> = channels.into_iter().filter(|channel| self.channels.insert(channel.clone())).collect();
        if new.is_empty() { Ok(()) } else { self.hub.listen(&self.inbox, &new).await }
    }

    /// Forgets all channels but these.
    pub fn keep(&mut self, wanted: &BTreeSet<String>) {
        self.hub.unlisten(&self.inbox, self.channels.difference(wanted));
        self.channels.retain(|channel| wanted.contains(channel));
    }

    /// As [`Notifications::settle`].
    pub async fn settle(&self, shard: ShardId) {
        self.hub.settle(shard).await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.unlisten(&self.inbox, self.channels.iter());
    }
}
