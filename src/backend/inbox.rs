//! What waits to be told to one listening client.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::topology::ShardId;

/// Bytes that one waiting notification counts for besides its texts.
const OVERHEAD_BYTES: usize = 64;

/// What NOTIFY sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Notification {
    pub shard: ShardId,
    /// Of the server process that ran NOTIFY.
    pub process_id: i32,
    pub channel: String,
    pub payload: String,
}

/// Why a client cannot go on listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A connection that listened for it was lost, and with it perhaps notifications.
    Lost(ShardId),
    /// More waits for it than may.
    Full,
}

/// What has arrived since it was last taken, oldest first.
#[derive(Debug, Default)]
pub struct Arrived {
    /// `true`: by a server process that worked for this client then.
    pub notifications: Vec<(Arc<Notification>, bool)>,
    pub ended: Option<Ended>,
}

/// One listening client's notifications. Filled by the listeners, emptied by its session between transactions.
#[derive(Debug)]
pub struct Inbox {
    bytes_max: usize,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Arc<Notification>, bool)>,
    bytes: usize,
    /// Server processes that work for this client.
    own: Vec<(ShardId, i32)>,
    ended: Option<Ended>,
}

impl Inbox {
    /// `bytes_max` bounds what may wait in it.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default(), filled: Notify::new() }
    }

    pub(crate) fn push(&self, notification: &Arc<Notification>) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.bytes += notification.channel.len() + notification.payload.len() + OVERHEAD_BYTES;
        if state.bytes > self.bytes_max {
            state.ended = Some(Ended::Full);
        } else {
            let own = state.own.contains(&(notification.shard, notification.process_id));
            state.waiting.push_back((Arc::clone(notification), own));
        }
        drop(state);
        self.filled.notify_one();
    }

    pub(crate) fn end(&self, ended: Ended) {
        self.state.lock().ended.get_or_insert(ended);
        self.filled.notify_one();
    }

    /// From now on what this server process sends counts as the client's own.
    pub fn own(&self, server: (ShardId, i32)) {
        self.state.lock().own.push(server);
    }

    #[must_use]
    pub fn owns(&self, server: (ShardId, i32)) -> bool {
        self.state.lock().own.contains(&server)
    }

    /// The server process works for somebody else from now on.
    pub fn disown(&self, server: (ShardId, i32)) {
        self.state.lock().own.retain(|own| *own != server);
    }

    /// Takes what has arrived.
    #[must_use]
    pub fn take(&self) -> Arrived {
        let mut state = self.state.lock();
        state.bytes = 0;
        Arrived { notifications: std::mem::take(&mut state.waiting).into(), ended: state.ended }
    }

    /// Returns when something has arrived since the last return. For one task at a time. Cancel safe.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }
}
