//! The server connections a client holds: taken, prepared for it, and given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, error};

use crate::backend::{Checkout, LoginError, Reply};
use crate::execute::ask::{AskError, ask};
use crate::execute::copy::copy_in;
use crate::execute::deadlock;
use crate::execute::relay::{Outcome, Progress, RelayError, relay};
use crate::routing::{Access, Plan};
use crate::session::Session;
use crate::session::failure::{End, Failure};
use crate::topology::{MapVersion, ShardId};
use crate::wire::{PlainError, SqlState, TransactionStatus, to_client, to_server};

/// What is left of a transaction when its client has gone is rolled back within this, or the connection closed.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(2);

/// One server connection held for the client.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) shard: ShardId,
    /// The shard's primary; else one of its replicas.
    pub(super) primary: bool,
    /// Something that may write was sent in this transaction.
    pub(super) wrote: bool,
    /// Has messages of the present batch, and no Sync behind them.
    pub(super) unsynced: bool,
    /// Has told an error in the present batch and skips all up to Sync.
    pub(super) broken: bool,
    /// Its transaction has touched temporary tables or sent notifications: it cannot be prepared, so it is the anchor.
    pub(super) anchors: bool,
    /// The map's version when its part of the transaction began.
    pub(super) since: MapVersion,
    pub(super) server: Checkout,
}

impl Link {
    /// Whether something is under way on it: a transaction, or messages without their replies.
    pub(super) fn is_busy(&self) -> bool {
        self.unsynced || self.server.status != TransactionStatus::Idle || !self.server.expected.is_empty()
    }
}

impl Session {
    /// The place in `links` of a connection to `shard` that may serve `access`; taken from its pool if none is held.
    pub(super) async fn link(&mut self, shard: ShardId, access: Access) -> Result<usize, Failure> {
        let held = self.links.iter().position(|link| link.shard == shard && (link.primary || access == Access::Read));
        let at = match held {
            Some(at) => {
                self.refresh_settings(at).await?;
                at
            }
            None => self.take(shard, access).await?,
        };
        let version = self.pools.map.version;
        self.activity.touch(shard, version);
        self.note_era();
        if let Some(link) = self.links.get_mut(at) {
            link.wrote |= access == Access::Write;
            if !link.is_busy() {
                link.since = version;
            }
        }
        if access == Access::Write && self.listening.is_some() {
            Box::pin(self.own_notifications(at)).await;
        }
        self.enter_transaction(at).await?;
        self.bound_locks(at);
        Ok(at)
    }

    /// Once in a session.
    fn tell_of_snapshots(&mut self) {
        if !self.told_of_snapshots && self.transaction.wants_one_snapshot() {
            self.told_of_snapshots = true;
            let notice = PlainError::new(SqlState(*b"00000"), "this transaction is on several shards, each of which has its own snapshot");
            let notice = notice.detail("REPEATABLE READ and SERIALIZABLE hold for each shard by itself.");
            to_client::notice(&mut self.client.output, "NOTICE", &notice);
        }
    }

    /// A transaction that writes and is on several shards may wait for another one crosswise, which no server sees.
    fn bound_locks(&mut self, at: usize) {
        let busy = |link: &&Link| link.server.status != TransactionStatus::Idle || !link.server.expected.is_empty();
        if !self.transaction.is_open() || self.links.iter().filter(busy).count() < 2 {
            return;
        }
        // The home shard does not count: it is also asked what concerns no rows, SHOW for one.
        let home = self.pools.map.home;
        if self.links.iter().filter(|link| busy(link) && link.shard != home).count() > 1 {
            self.tell_of_snapshots();
        }
        if !self.links.iter().any(|link| link.wrote) || self.settings.current.get("lock_timeout").is_some() {
            return;
        }
        let fit = |link: &&mut Link| !link.unsynced && !link.server.lock_bound && link.server.status != TransactionStatus::Failed;
        let Some(link) = self.links.get_mut(at).filter(fit) else { return };
        link.server.lock_bound = true;
        // A simple query drops the unnamed statement.
        link.server.unnamed = 0;
        let bound = deadlock::bound(self.shared.options.lock_wait_max);
        self.queue_query(at, bound.as_bytes(), false, false);
    }

    /// A connection to the home shard's primary for what writes no rows.
    pub(super) async fn link_home(&mut self) -> Result<usize, Failure> {
        self.link_unwritten(self.pools.map.home).await
    }

    /// A connection to the shard's primary for what a commit need not wait for.
    pub(super) async fn link_unwritten(&mut self, shard: ShardId) -> Result<usize, Failure> {
        let wrote = self.links.iter().any(|link| link.shard == shard && link.wrote);
        let at = self.link(shard, Access::Write).await?;
        if let Some(link) = self.links.get_mut(at) {
            link.wrote = wrote;
        }
        Ok(at)
    }

    /// A pinned connection may have been left with older settings.
    pub(super) async fn refresh_settings(&mut self, at: usize) -> Result<(), Failure> {
        match self.links.get_mut(at) {
            Some(link) if self.pinned && !self.transaction.is_open() && link.server.expected.is_empty() => {
                self.settings.apply(&mut link.server, None).await
            }
            _ => Ok(()),
        }
    }

    /// Takes a connection from its pool, with the settings that the client's transaction began with.
    pub(super) async fn take(&mut self, shard: ShardId, access: Access) -> Result<usize, Failure> {
        if self.links.is_empty() && self.activity.running().is_none() {
            self.follow_map();
        }
        let pools = Arc::clone(&self.pools);
        let Some(servers) = pools.shard(shard) else {
            return Err(Failure::plain(SqlState::INTERNAL_ERROR, format!("shard {shard} is not in the map")));
        };
        let any = access == Access::Read && servers.has_replicas() && !self.transaction.is_open() && !self.pinned;
        let (server, primary) = if any { self.reader(servers).await? } else { (self.primary(servers).await?, true) };
        if server.incarnation != self.incarnation {
            // The statement was routed before this proxy was fenced out, and others have not waited for it.
            server.release();
            return Err(Failure::report(LoginError::Fenced));
        }
        self.cancel.slot.enter(&server.identity);
        let since = pools.map.version;
        self.activity.touch(shard, since);
        let mut link = Link { shard, primary, wrote: false, unsynced: false, broken: false, anchors: false, since, server };
        let schema_version = self.shared.view.schema_version();
        let mut ready = Ok(());
        if link.server.schema_version != schema_version {
            ready = forget_prepared(&mut link.server).await;
            link.server.schema_version = schema_version;
        }
        if ready.is_ok() {
            ready = self.settings.apply(&mut link.server, self.transaction.settings_at_start()).await;
        }
        if let Err(failure) = ready {
            self.discard(link);
            return Err(failure);
        }
        self.links.push(link);
        Ok(self.links.len() - 1)
    }

    /// Begins a statement, which goes by the newest map from its route to its end; in the midst of one, does nothing.
    pub(super) fn follow_map(&mut self) {
        if self.map_kept || self.is_under_way() {
            return;
        }
        self.close_era();
        // Before the map: a new incarnation comes after a map that is newer than it.
        self.incarnation = self.shared.servers.incarnation();
        let read_only = self.activity.is_read_only();
        if self.shared.view.begin(&self.activity) != self.pools.map.version {
            self.pools = self.shared.servers.pools(&self.server_user, &self.shared.view.map());
        }
        if read_only && !self.links.is_empty() {
            // Nobody has waited for what its batch has only read: it counts as begun now.
            self.activity.close();
            self.links.iter_mut().for_each(|link| link.since = self.pools.map.version);
        }
    }

    /// Whether messages that went by the present map are still to be sent or answered.
    fn is_under_way(&self) -> bool {
        self.activity.running().is_some()
            && self.links.iter().any(|link| !link.server.expected.is_empty() || !link.server.output.is_empty())
    }

    /// Between statements: the map they went by is out of use here.
    pub(super) fn rest(&mut self) {
        if self.is_under_way() {
            return;
        }
        self.activity.rest();
        self.close_era();
    }

    /// Takes again the lock by which whoever fences this proxy finds its connections: DISCARD ALL and pg_advisory_unlock_all give it up.
    pub(super) async fn enter_again(&mut self) -> Result<(), End> {
        let ready = |link: &Link| link.server.expected.is_empty() && !link.unsynced && link.server.status != TransactionStatus::Failed;
        if self.incarnation == 0 || !self.links.iter().all(ready) {
            self.reenters = self.incarnation != 0;
            return Ok(());
        }
        self.reenters = false;
        let enter = format!("SELECT shardyard.enter({})", self.incarnation);
        for at in (0..self.links.len()).rev() {
            if self.ask_link(at, &enter).await.is_err() {
                // Its session's state is lost with it.
                self.links.clear();
                return Err(End::Fatal(Box::new(LoginError::Fenced)));
            }
        }
        Ok(())
    }

    /// Forgets what an open transaction goes by, if none is open.
    fn close_era(&mut self) {
        if !self.links.iter().any(Link::is_busy) {
            self.activity.close();
            self.era = None;
        }
    }

    /// A replica could not answer: until they have replayed all up to now, the primary does.
    pub(super) fn pass_over_replicas(&mut self, shard: ShardId) {
        debug!(%shard, "recovery of a replica was in a statement's way");
        self.note_write(shard);
    }

    pub(super) fn note_write(&mut self, shard: ShardId) {
        if !self.pools.shard(shard).is_some_and(crate::backend::ShardPools::has_replicas) {
            return;
        }
        let now = self.shared.servers.epoch.now();
        match self.writes.iter_mut().find(|(id, _)| *id == shard) {
            Some((_, at)) => *at = now,
            None => self.writes.push((shard, now)),
        }
    }

    /// A transaction that has sent notifications cannot be prepared.
    pub(super) fn note_anchor(&mut self, at: usize, plan: &Plan) {
        if let Some(link) = self.links.get_mut(at) {
            link.anchors |= plan.notifies();
        }
    }

    /// Sends what is queued for the link and relays all its replies.
    pub(super) async fn relay_link(&mut self, at: usize) -> Result<Outcome, Failure> {
        let Some(link) = self.links.get_mut(at) else { return Ok(Outcome::default()) };
        let mut forgotten = Vec::new();
        let mut sync_ignored = false;
        loop {
            match relay(&mut self.client, &mut link.server, &self.statements).await {
                Ok(outcome) if outcome.progress == Progress::CopyIn => {
                    forgotten.extend(outcome.forgotten);
                    sync_ignored |= outcome.sync_ignored;
                    copy_in(&mut self.client, &mut link.server).await?;
                    if link.server.expected.front().is_some_and(|front| front.reply == Reply::Execute) {
                        // Else the server keeps its CommandComplete until Sync, which comes only after it.
                        to_server::flush(&mut link.server.output);
                    }
                }
                Ok(mut outcome) => {
                    link.broken = link.unsynced && outcome.error.is_some();
                    if let (true, Some(kept)) = (outcome.closed, &mut self.batch.kept) {
                        kept.refused = true;
                    }
                    outcome.sync_ignored |= sync_ignored;
                    outcome.forgotten.append(&mut forgotten);
                    if outcome.parameters_told {
                        self.reported.follow(&link.server.parameters);
                    }
                    for name in &outcome.forgotten {
                        self.statements.forget(name);
                    }
                    return Ok(outcome);
                }
                Err(error) => return Err(self.lose(at, error)),
            }
        }
    }

    /// As [`Session::relay_link`]; an error that the client got is an error here too.
    pub(super) async fn relay_or_fail(&mut self, at: usize) -> Result<(), Failure> {
        let outcome = self.relay_link(at).await?;
        match outcome.error {
            None => Ok(()),
            Some(error) if outcome.swallowed_error => Err(Failure::Report(error)),
            Some(_) => Err(Failure::Relayed),
        }
    }

    /// Runs a statement of our own on the link.
    pub(super) async fn ask_link(&mut self, at: usize, sql: &str) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        match ask(&mut link.server, sql).await {
            Ok(()) => Ok(()),
            Err(AskError::Lost(error)) => Err(self.lose(at, error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Drops a link whose connection is lost or of unknown state.
    pub(super) fn lose(&mut self, at: usize, error: RelayError) -> Failure {
        let link = self.links.remove(at);
        match &error {
            RelayError::Client(_) | RelayError::TooLarge(_) => {}
            RelayError::Server { .. } => {
                debug!(shard = %link.shard, server = %link.server.identity.endpoint, %error, "server connection lost")
            }
            RelayError::Protocol(_) => {
                error!(shard = %link.shard, server = %link.server.identity.endpoint, %error, "replies do not match requests; server connection closed");
            }
        }
        if matches!(error, RelayError::Client(_)) {
            // Nobody waits for the answer any more; a statement that still runs is cancelled before its connection is closed.
            link.server.leave_behind();
            let slot = Arc::clone(&self.cancel.slot);
            crate::telemetry::task::spawn("cancel of a left statement", async move {
                slot.cancel().await;
                drop(link);
            });
        } else {
            self.discard(link);
        }
        self.batch.current = None;
        if self.transaction.is_open() {
            self.transaction.fail();
        }
        error.into()
    }

    /// Drops the links that are in the middle of something.
    pub(super) fn drop_unclear_links(&mut self) {
        while let Some(at) = self.links.iter().position(|link| !link.server.expected.is_empty()) {
            let link = self.links.remove(at);
            self.discard(link);
        }
        self.batch.current = None;
    }

    /// Ends the transaction of a link taken beside the client's, and gives it back.
    pub(super) async fn leave_side(&mut self, well: bool) {
        let Some(mut link) = self.links.pop() else { return };
        if well || link.server.expected.is_empty() {
            // A connection that cannot be rolled back is not clean, and closed.
            let _ = timeout(ROLLBACK_TIMEOUT, ask(&mut link.server, "ROLLBACK")).await;
        }
        if self.cancel.slot.leave(&link.server.identity) {
            self.cancel.slot.settle().await;
        }
        link.server.release();
    }

    fn discard(&mut self, link: Link) {
        // Nobody else will use this connection, so a cancel on its way can do no harm.
        let _ = self.cancel.slot.leave(&link.server.identity);
        drop(link);
    }

    /// After a statement: follows what the server says of the transaction; gives back what is not needed any more.
    pub(super) async fn settle(&mut self, at: usize) -> Result<(), Failure> {
        let Some(link) = self.links.get(at) else { return Ok(()) };
        match (self.transaction.is_open(), link.server.status) {
            (false, TransactionStatus::Idle) => self.give_back(at).await,
            // The statement's text opened a transaction: a multi-statement query with BEGIN.
            (false, status) => self.transaction.adopt(status == TransactionStatus::Failed, self.settings.snapshot()),
            (true, TransactionStatus::Failed) => self.transaction.fail(),
            (true, TransactionStatus::InTransaction) => {}
            // The statement's text closed it.
            (true, TransactionStatus::Idle) => {
                self.transaction.close();
                self.give_back_all().await;
            }
        }
        Ok(())
    }

    /// Gives one link back to its pool, or keeps it if it is pinned.
    pub(super) async fn give_back(&mut self, at: usize) {
        let Some(link) = self.links.get_mut(at) else { return };
        let shard = link.shard;
        link.anchors = false;
        link.server.lock_bound = false;
        let wrote = std::mem::take(&mut link.wrote) && link.primary;
        if wrote && self.listening.is_some() {
            let server = (shard, link.server.identity.process_id);
            Box::pin(self.settle_notifications(server)).await;
        }
        if !self.pinned {
            let link = self.links.swap_remove(at);
            if self.cancel.slot.leave(&link.server.identity) {
                self.cancel.slot.settle().await;
            }
            link.server.release();
        }
        if wrote {
            self.note_write(shard);
        }
    }

    /// Gives back what a command of the session's own has taken outside of a transaction.
    pub(super) async fn give_back_idle(&mut self) -> Result<(), Failure> {
        for at in (0..self.links.len()).rev() {
            let idle = |link: &Link| !link.unsynced && link.server.expected.is_empty();
            if !self.transaction.is_open() && self.links.get(at).is_some_and(idle) {
                self.settle(at).await?;
            }
        }
        Ok(())
    }

    /// Gives every link back, rolling back what is open.
    pub(super) async fn give_back_all(&mut self) {
        let mut at = self.links.len();
        while at > 0 {
            at -= 1;
            let Some(link) = self.links.get_mut(at) else { continue };
            if link.server.expected.is_empty() && link.server.status != TransactionStatus::Idle {
                // A connection that cannot be rolled back is not clean, and closed.
                let rolled_back = timeout(ROLLBACK_TIMEOUT, ask(&mut link.server, "ROLLBACK")).await;
                if matches!(rolled_back, Ok(Ok(()))) && self.reported.has_changes() {
                    self.reported.tell(&link.server.parameters);
                }
            }
            self.give_back(at).await;
        }
    }

    /// At the client's end: open transactions are rolled back, pinned connections closed.
    pub(super) async fn leave(&mut self) {
        if self.pinned && !self.temporary.is_empty() || self.pinned_state() {
            self.links.clear();
            return;
        }
        self.pinned = false;
        self.give_back_all().await;
    }

    /// Queues a simple query on the link; whether the client gets its replies, and its ReadyForQuery.
    pub(super) fn queue_query(&mut self, at: usize, text: &[u8], forward: bool, forward_ready: bool) {
        let Some(link) = self.links.get_mut(at) else { return };
        to_server::query(&mut link.server.output, text);
        link.server.expect(Reply::Query, forward);
        if let Some(expected) = link.server.expected.back_mut() {
            expected.forward_ready = forward_ready;
        }
    }
}

/// After DDL: statements prepared before it might fail with "cached plan must not change result type".
async fn forget_prepared(server: &mut Checkout) -> Result<(), Failure> {
    server.unnamed = 0;
    if !server.prepared.is_empty() {
        server.prepared.clear();
        ask(server, "DEALLOCATE ALL").await?;
    }
    Ok(())
}
