//! LISTEN and UNLISTEN, and how notifications reach the client: between its transactions, as PostgreSQL tells them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::backend::inbox::{Arrived, Ended};
use crate::backend::notifications::Subscription;
use crate::session::Session;
use crate::session::commands::not_yet;
use crate::session::failure::{End, Failure};
use crate::sql::command::Listen;
use crate::topology::ShardId;
use crate::wire::{PlainError, SqlState, TransactionStatus, to_client};

/// Channels of one client, and changes of them in one transaction.
const CHANNELS_MAX: usize = 10_000;

/// A client that listens, or will when its transaction is committed.
#[derive(Debug)]
pub(super) struct Listening {
    subscription: Subscription,
    channels: BTreeSet<String>,
    /// Of the open transaction, in order.
    changes: Vec<Listen>,
}

impl Listening {
    /// What is listened to once the changes are committed.
    fn after_changes(&self) -> BTreeSet<String> {
        let mut channels = self.channels.clone();
        for change in &self.changes {
            match change {
                Listen::To(channel) => drop(channels.insert(channel.clone())),
                Listen::Not(channel) => drop(channels.remove(channel)),
                Listen::NotAny => channels.clear(),
                Listen::Unclear => {}
            }
        }
        channels
    }
}

impl Session {
    pub(super) async fn listen(&mut self, text: &[u8], change: &Listen) -> Result<(), Failure> {
        if *change != Listen::NotAny {
            Box::pin(self.check_syntax(text)).await?;
        }
        let tag = match change {
            Listen::Unclear => return Err(not_yet("this form of LISTEN", "Write the channel as a plain or quoted name.")),
            Listen::To(_) if self.settings.other_encoding => {
                return Err(not_yet("LISTEN with this client_encoding", "SET client_encoding = 'UTF8' first."));
            }
            Listen::To(_) => "LISTEN",
            Listen::Not(_) | Listen::NotAny => "UNLISTEN",
        };
        if tag == "LISTEN" || self.listening.is_some() {
            let notifications = Arc::clone(&self.shared.notifications);
            let start = || Listening { subscription: notifications.subscription(), channels: BTreeSet::new(), changes: Vec::new() };
            let listening = self.listening.get_or_insert_with(|| Box::new(start()));
            if listening.changes.len() + listening.channels.len() >= CHANNELS_MAX {
                return Err(Failure::plain(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("more than {CHANNELS_MAX} channels")));
            }
            listening.changes.push(change.clone());
        }
        if !self.transaction.is_open() {
            if let Err(failure) = self.prepare_listening().await {
                self.discard_listening();
                return Err(failure);
            }
            self.finish_listening();
        }
        to_client::command_complete(&mut self.client.output, tag);
        Ok(())
    }

    /// Outside of a transaction.
    pub(super) fn unlisten_all(&mut self) {
        self.listening = None;
    }

    /// Before a commit: from now on nothing is missed of what the transaction has begun to listen to, its own notifications included.
    pub(super) async fn prepare_listening(&mut self) -> Result<(), Failure> {
        let Some(listening) = self.listening.as_mut().filter(|listening| !listening.changes.is_empty()) else { return Ok(()) };
        let wanted = listening.after_changes();
        let new = wanted.difference(&listening.channels).cloned().collect();
        Box::pin(listening.subscription.listen(new)).await.map_err(Failure::report)?;
        let inbox = &listening.subscription.inbox;
        for link in self.links.iter().filter(|link| link.wrote && link.primary) {
            let server = (link.shard, link.server.identity.process_id);
            if !inbox.owns(server) {
                inbox.own(server);
            }
        }
        Ok(())
    }

    /// After a commit.
    pub(super) fn finish_listening(&mut self) {
        let Some(listening) = self.listening.as_mut().filter(|listening| !listening.changes.is_empty()) else { return };
        listening.channels = listening.after_changes();
        listening.changes.clear();
        self.forget_unwanted();
    }

    /// After a rollback.
    pub(super) fn discard_listening(&mut self) {
        if let Some(listening) = &mut self.listening {
            listening.changes.clear();
            self.forget_unwanted();
        }
    }

    /// The number of changes so far, for ROLLBACK TO a savepoint that is made now.
    pub(super) fn listening_changes(&self) -> usize {
        self.listening.as_ref().map_or(0, |listening| listening.changes.len())
    }

    pub(super) fn truncate_listening(&mut self, changes: usize) {
        if let Some(listening) = &mut self.listening {
            listening.changes.truncate(changes);
        }
    }

    fn forget_unwanted(&mut self) {
        let Some(listening) = &mut self.listening else { return };
        listening.subscription.keep(&listening.channels);
        if listening.channels.is_empty() {
            self.listening = None;
        }
    }

    /// A listener's own notifications carry its own process id: what the server process sent for others is told apart from what it will
    /// send for this client.
    pub(super) async fn own_notifications(&mut self, at: usize) {
        let (Some(listening), Some(link)) = (&self.listening, self.links.get(at)) else { return };
        let server = (link.shard, link.server.identity.process_id);
        let inbox = &listening.subscription.inbox;
        if !inbox.owns(server) {
            listening.subscription.settle(link.shard).await;
            inbox.own(server);
        }
    }

    /// What the client's transaction has sent from this server process is told before its end is.
    pub(super) async fn settle_notifications(&mut self, server: (ShardId, i32)) {
        let Some(listening) = &self.listening else { return };
        listening.subscription.settle(server.0).await;
        listening.subscription.inbox.disown(server);
    }

    fn may_be_notified(&self) -> bool {
        self.transaction.status() == TransactionStatus::Idle && !self.transaction.is_open()
    }

    /// Appends what has arrived to what the client is sent, unless it is in a transaction.
    pub(super) fn put_notifications(&mut self) -> Option<Ended> {
        if !self.may_be_notified() {
            return None;
        }
        let listening = self.listening.as_ref()?;
        let Arrived { notifications, ended } = listening.subscription.inbox.take();
        for (notification, own) in notifications {
            if !listening.channels.contains(&notification.channel) {
                continue;
            }
            let process_id = match notification.process_id {
                _ if own => self.cancel.process_id,
                // Another's that looks like the client's own.
                other if other == self.cancel.process_id => other.wrapping_neg(),
                other => other,
            };
            to_client::notification(&mut self.client.output, process_id, (&notification.channel, &notification.payload));
        }
        ended
    }

    /// Waits for more from a client that listens; what arrives meanwhile is sent at once, unless it is in a transaction.
    pub(super) async fn receive_or_notify(&mut self) -> Result<bool, End> {
        loop {
            if !self.batch.is_open() {
                let ended = self.put_notifications();
                self.client.send().await.map_err(|_| End::Left)?;
                if let Some(ended) = ended {
                    return Err(End::Fatal(Box::new(farewell(ended))));
                }
            }
            let free = self.may_be_notified() && !self.batch.is_open();
            let Some(inbox) = self.listening.as_ref().map(|listening| Arc::clone(&listening.subscription.inbox)) else {
                return self.client.receive().await.map_err(|_| End::Left);
            };
            tokio::select! {
                more = self.client.receive() => return more.map_err(|_| End::Left),
                () = inbox.filled(), if free => {}
            }
        }
    }
}

fn farewell(ended: Ended) -> PlainError {
    match ended {
        Ended::Lost(shard) => PlainError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection because notifications may have been lost")
            .detail(format!("The connection that listens to shard {shard} was lost."))
            .hint("Connect and LISTEN again, then look for what has changed."),
        Ended::Full => {
            PlainError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, "terminating connection because too many notifications wait")
                .hint("Read notifications, end transactions, or raise \"notification_bytes_max\".")
        }
    }
}
