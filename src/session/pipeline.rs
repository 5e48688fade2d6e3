//! A batch of the extended protocol: replies in order whatever servers they come from, and all of it or nothing up to Sync.

use bytes::Bytes;

use crate::backend::Reply;
use crate::routing::Access;
use crate::session::Session;
use crate::session::extended::Pending;
use crate::session::failure::{End, Failure};
use crate::session::prepared::{Prepared, prepare_quietly};
use crate::topology::ShardId;
use crate::wire::{Severity, to_client, to_server};

/// A batch without Sync or Flush is sent on at this much.
const UNSENT_BYTES_MAX: usize = 64 * 1024;

impl Session {
    /// The link for the batch's next message. Replies of another link are relayed first: order is what the client sees.
    pub(super) async fn pipeline_link(&mut self, shard: ShardId, access: Access) -> Result<usize, Failure> {
        if let Some(current) = self.batch.current {
            let same = self.links.get(current).is_some_and(|link| link.shard == shard && (link.primary || access == Access::Read));
            let full = self.links.get(current).is_some_and(|link| link.server.output.len() > UNSENT_BYTES_MAX);
            if !same || full {
                self.settle_current().await?;
            }
        }
        let elsewhere = self.links.iter().any(|link| link.unsynced && link.wrote && link.shard != shard);
        if access == Access::Write && elsewhere && !self.transaction.is_open() {
            // A second shard is written in one implicit transaction: from now on it is one of ours, committed in two phases.
            self.make_transaction_internal();
        }
        let at = self.link(shard, access).await?;
        self.batch.current = Some(at);
        if let Some(link) = self.links.get_mut(at) {
            link.unsynced = true;
        }
        Ok(at)
    }

    /// Makes the batch's implicit transaction one that the session commits at Sync.
    pub(super) fn make_transaction_internal(&mut self) {
        self.transaction.open_internal(self.settings.snapshot());
        for at in 0..self.links.len() {
            if self.links.get(at).is_some_and(|link| link.unsynced) {
                // As BeginTransactionBlock does in a started transaction: what the batch did so far is in the block.
                self.queue_query(at, b"BEGIN", false, false);
            }
        }
    }

    /// Waits until every reply so far has been relayed.
    pub(super) async fn settle_order(&mut self) -> Result<(), Failure> {
        if !self.batch.pending.is_empty() {
            let at = self.any_link().await?;
            self.send_pending(at).await?;
        }
        self.settle_current().await
    }

    /// Waits for the replies of the batch's link; what is pending comes behind them, on whatever link is next.
    pub(super) async fn settle_current(&mut self) -> Result<(), Failure> {
        let Some(at) = self.batch.current else { return Ok(()) };
        let Some(link) = self.links.get_mut(at).filter(|link| !link.server.expected.is_empty()) else { return Ok(()) };
        to_server::flush(&mut link.server.output);
        self.relay_or_fail(at).await
    }

    /// A link for messages that any server can answer: Parse and Describe of a statement.
    async fn any_link(&mut self) -> Result<usize, Failure> {
        let shard = self.links.iter().find(|link| link.primary).map_or(self.pools.map.home, |link| link.shard);
        Box::pin(self.pipeline_link(shard, Access::Read)).await
    }

    /// Sends what was waiting for a server.
    pub(super) async fn send_pending(&mut self, at: usize) -> Result<(), Failure> {
        if self.batch.pending.is_empty() {
            return Ok(());
        }
        let mut waiting = std::mem::take(&mut self.batch.pending);
        for pending in waiting.drain(..) {
            match pending {
                Pending::Parse { name, prepared } => self.send_parse(at, &name, &prepared),
                Pending::Describe(prepared) => {
                    self.prepare_in_pipeline(at, &prepared).await?;
                    let Some(link) = self.links.get_mut(at) else { continue };
                    let name = if link.server.unnamed == prepared.statement.id { "" } else { &prepared.statement.name };
                    to_server::describe_statement(&mut link.server.output, name.as_bytes());
                    link.server.expect(Reply::Describe, true);
                }
                Pending::Own(bytes) => {
                    if let Some(link) = self.links.get_mut(at) {
                        link.server.expect(Reply::Own(bytes), true);
                    }
                }
            }
        }
        // Its memory serves the next batch.
        self.batch.pending = waiting;
        Ok(())
    }

    /// The client's Parse, under the name that the server knows it by.
    fn send_parse(&mut self, at: usize, name: &[u8], prepared: &Prepared) {
        let Some(link) = self.links.get_mut(at) else { return };
        let server = &mut *link.server;
        let statement = &prepared.statement;
        if !prepared.kept {
            to_server::parse(&mut server.output, b"", &statement.text, &statement.types);
            server.expect(Reply::Parse(Some(name.into()), statement.id), true);
            server.unnamed = statement.id;
        } else if server.prepared.has(statement.id) {
            let mut done = bytes::BytesMut::new();
            to_client::parse_complete(&mut done);
            server.expect(Reply::Own(done.freeze()), true);
        } else {
            to_server::parse(&mut server.output, statement.name.as_bytes(), &statement.text, &statement.types);
            server.expect(Reply::Parse(Some(name.into()), statement.id), true);
            self.remember_prepared(at, statement.id);
        }
    }

    /// Sees to it that the server has the statement before the next message names it.
    pub(super) async fn prepare_in_pipeline(&mut self, at: usize, prepared: &Prepared) -> Result<(), Failure> {
        let statement = &prepared.statement;
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        let server = &mut *link.server;
        if server.unnamed == statement.id || server.prepared.has(statement.id) {
            return Ok(());
        }
        if prepared.sql_types.is_some() {
            Box::pin(self.settle_order()).await?;
            return self.prepare_on_server(at, prepared).await;
        }
        if !prepared.kept {
            to_server::parse(&mut server.output, b"", &statement.text, &statement.types);
            server.unnamed = statement.id;
            server.expect(Reply::Parse(None, statement.id), false);
        } else {
            prepare_quietly(server, statement);
        }
        Ok(())
    }

    /// The home shard has executed a portal that is to run everywhere: now the other shards, then the replies so far are complete.
    pub(super) async fn execute_elsewhere(&mut self, prepared: &Prepared, tail: &Bytes) -> Result<(), Failure> {
        self.settle_order().await?;
        let home = self.pools.map.home;
        let others: Vec<ShardId> = self.pools.map.shards.iter().map(|shard| shard.id).filter(|shard| *shard != home).collect();
        for shard in &others {
            let at = self.link(*shard, Access::Write).await?;
            let statement = &prepared.statement;
            self.queue_extended(at, (&statement.text, &statement.types, tail), false);
            if let Some(link) = self.links.get_mut(at) {
                // A server that cannot be sent to says why when its reply is read.
                let _ = link.server.send().await;
            }
        }
        let mut result = Ok(());
        for shard in &others {
            let Some(at) = self.links.iter().position(|link| link.shard == *shard && link.primary) else { continue };
            let outcome = self.drain_link(at).await;
            if result.is_ok() {
                result = outcome;
            }
        }
        result
    }

    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        self.batch.open = true;
        self.settle_order().await?;
        self.client.send().await.map_err(|_| Failure::End(End::Left))
    }

    /// An error in the batch: told in its turn, then everything up to Sync is skipped.
    pub(super) async fn fail_batch(&mut self, failure: Failure) -> Result<(), End> {
        self.batch.open = true;
        let failure = match failure {
            Failure::Report(error) => match Box::pin(self.settle_order()).await {
                Ok(()) => Failure::Report(error),
                Err(earlier) => earlier,
            },
            failure => failure,
        };
        self.batch.pending.clear();
        self.batch.skip = true;
        self.tell(failure)?;
        if self.batch.kept.is_some() {
            // Its replies have been kept back, and who has got an error may wait for it before Sync.
            self.forget_messages();
            self.client.send().await.map_err(|_| End::Left)?;
        }
        Ok(())
    }

    /// COPY data in a batch that was not flushed: the server has long asked for it.
    pub(super) async fn copy_data(&mut self, message: Bytes) -> Result<(), End> {
        let waits = self.batch.current.and_then(|at| self.links.get(at)).is_some_and(|link| !link.server.expected.is_empty());
        if !waits || self.batch.skip {
            // As PostgresMain: what is left of a COPY that failed is ignored.
            return Ok(());
        }
        let mut input = bytes::BytesMut::from(message.as_ref());
        input.extend_from_slice(&self.client.input);
        self.client.input = input;
        match self.settle_order().await {
            Ok(()) => Ok(()),
            Err(Failure::End(end)) => Err(end),
            Err(failure) => self.fail_batch(failure).await,
        }
    }

    /// Query in the middle of a batch ends it, without an answer of its own. False: the batch has failed and goes on to its Sync.
    pub(super) async fn end_batch(&mut self) -> Result<bool, End> {
        if let Err(failure) = self.settle_order().await {
            self.fail_batch(failure).await?;
            return Ok(false);
        }
        self.close_batch(false).await?;
        Ok(true)
    }

    pub(super) async fn sync(&mut self) -> Result<(), End> {
        self.end_with_sync().await?;
        if self.is_refused() {
            return Box::pin(self.repeat_batch()).await;
        }
        self.forget_messages();
        Ok(())
    }

    async fn end_with_sync(&mut self) -> Result<(), End> {
        if !self.batch.pending.is_empty() {
            let sent = match self.any_link().await {
                Ok(at) => self.send_pending(at).await,
                Err(failure) => Err(failure),
            };
            if let Err(failure) = sent {
                if self.is_refused() {
                    return Ok(());
                }
                self.fail_batch(failure).await?;
            }
        }
        if !self.batch.skip && self.links.iter().filter(|link| link.unsynced).count() > 1 {
            // What the last of several servers has to say comes before their Syncs, whose replies nobody sees.
            if let Err(failure) = self.settle_order().await {
                if self.is_refused() {
                    return Ok(());
                }
                self.fail_batch(failure).await?;
            }
        }
        self.close_batch(true).await
    }

    /// Ends the batch on all its servers; `answer`: the client gets ReadyForQuery.
    async fn close_batch(&mut self, answer: bool) -> Result<(), End> {
        let unsynced = self.links.iter().filter(|link| link.unsynced).count();
        let plain = unsynced == 1 && !self.transaction.is_internal() && !self.batch.skip && !self.transaction.has_failed();
        let relayed = match self.batch.current {
            Some(at) if plain && self.links.get(at).is_some_and(|link| link.unsynced) => {
                // The common case: one server, whose ReadyForQuery is the client's.
                self.sync_link(at, answer && self.listening.is_none()).await
            }
            _ => self.sync_all().await.map(|()| false),
        };
        let relayed = match relayed {
            _ if self.is_refused() => return Ok(()),
            Ok(relayed) => relayed,
            Err(failure) => {
                self.tell(failure)?;
                if !self.transaction.is_explicit() {
                    self.roll_back_links().await;
                }
                false
            }
        };
        if std::mem::take(&mut self.batch.reopened) {
            // COPY data came where Sync was read; the client sends Sync again.
            self.batch.skip = self.batch.current.and_then(|at| self.links.get(at)).is_some_and(|link| link.broken);
            return Ok(());
        }
        self.batch.open = false;
        self.batch.skip = false;
        (self.batch.has_bound, self.batch.patience) = (false, None);
        self.batch.current = None;
        if !self.transaction.is_explicit() {
            self.batch.forget_portals();
        }
        if answer && !relayed {
            self.ready();
        }
        Ok(())
    }

    /// Sync on one link; true when its ReadyForQuery was relayed.
    async fn sync_link(&mut self, at: usize, forward: bool) -> Result<bool, Failure> {
        let mut answered = false;
        if let Some(link) = self.links.get_mut(at) {
            answered = !link.primary && link.server.expected.is_empty();
            to_server::sync(&mut link.server.output);
            link.server.expect(Reply::Sync, forward);
            link.unsynced = false;
        }
        let outcome = match self.relay_link(at).await {
            // A replica that has answered all is no loss.
            Err(Failure::Report(_)) if answered && !self.transaction.is_open() => return Ok(false),
            outcome => outcome?,
        };
        if outcome.sync_ignored {
            self.batch.reopened = true;
            if let Some(link) = self.links.get_mut(at) {
                link.unsynced = true;
            }
            return Ok(true);
        }
        self.settle(at).await?;
        if outcome.swallowed_error {
            return Err(outcome.error.map_or(Failure::Relayed, |error| Failure::Report(error)));
        }
        Ok(forward)
    }

    /// Sync on all links of the batch: an internal transaction is committed, one that failed rolled back everywhere.
    pub(super) async fn sync_all(&mut self) -> Result<(), Failure> {
        let failed = self.batch.skip || self.transaction.has_failed();
        let mut result = Ok(());
        for writers in [false, true] {
            let mut at = self.links.len();
            while at > 0 {
                at -= 1;
                let Some(link) = self.links.get_mut(at).filter(|link| link.unsynced && link.wrote == writers) else { continue };
                link.unsynced = false;
                if failed && !self.transaction.is_open() && !link.broken {
                    // An implicit transaction that its own server believes to be well.
                    to_server::query(&mut link.server.output, b"ROLLBACK");
                    link.server.expect(Reply::Query, false);
                }
                // A server that has told an error skips all up to here.
                let answered = !link.primary && link.server.expected.is_empty() && !self.transaction.is_open();
                to_server::sync(&mut link.server.output);
                link.broken = false;
                link.server.expect(Reply::Sync, false);
                let outcome = self.drain_link(at).await;
                // A replica that has answered all is no loss.
                if result.is_ok() && !failed && !answered {
                    result = outcome;
                }
                if at < self.links.len() && !self.transaction.is_internal() {
                    self.settle(at).await?;
                }
            }
        }
        result?;
        if self.transaction.is_internal() {
            if failed {
                self.roll_back_links().await;
            } else if !self.commit_links().await? {
                return Err(Failure::Relayed);
            }
        }
        Ok(())
    }

    /// FunctionCall runs on the home shard.
    pub(super) async fn function_call(&mut self, message: Bytes) -> Result<(), End> {
        let result = self.call_at_home(&message).await;
        if let Err(failure) = result {
            if let Failure::Report(error) = &failure {
                to_client::error(&mut self.client.output, Severity::Error, &**error);
            }
            if let Failure::End(end) = failure {
                return Err(end);
            }
            self.transaction.fail();
            self.ready();
        }
        Ok(())
    }

    async fn call_at_home(&mut self, message: &Bytes) -> Result<(), Failure> {
        self.refuse_in_failed()?;
        self.follow_map();
        let home = self.pools.map.home;
        let at = self.link(home, Access::Write).await?;
        if let Some(link) = self.links.get_mut(at) {
            link.server.output.extend_from_slice(message);
            link.server.expect(Reply::Query, true);
        }
        self.relay_link(at).await?;
        self.settle(at).await
    }
}
