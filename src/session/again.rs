//! A batch of the extended protocol that a shard refuses because its bucket is closed there, and that is run again by the next map.
//!
//! While something moves, the messages of a batch are kept up to its Sync, and its replies with them: so long as the client has been told nothing
//! and the batch has done nothing but plain statements of one shard each, all of it can be rolled back and read once more.

use bytes::{Bytes, BytesMut};

use crate::routing::{Plan, Route};
use crate::session::Session;
use crate::session::failure::{End, Failure};
use crate::session::hold::Patience;
use crate::sql::command::Command;

/// A longer batch is not kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The messages of a batch so far.
#[derive(Debug, Default)]
pub(super) struct Kept {
    messages: BytesMut,
    /// Statements that it has given names.
    parsed: Vec<Box<[u8]>>,
    parsed_unnamed: bool,
    /// It has bound the unnamed statement of before.
    bound_former: bool,
    /// A shard has refused one of its writes. The error is nobody's.
    pub(super) refused: bool,
}

impl Session {
    /// A message of the extended protocol is about to be handled.
    pub(super) async fn keep_message(&mut self, tag: u8, message: &Bytes) -> Result<(), End> {
        if self.batch.kept.is_none() {
            let starts = matches!(tag, b'P' | b'B') && self.pools.map.moving.is_some() && !self.batch.has_bound && self.listening.is_none();
            let idle = self.links.iter().all(|link| link.server.expected.is_empty()) && self.batch.pending.is_empty();
            if !starts || !idle || self.transaction.is_open() || self.pinned || self.client.keeps() {
                self.batch.has_bound |= tag == b'B';
                return Ok(());
            }
            self.client.send().await.map_err(|_| End::Left)?;
            self.batch.kept = Some(Box::default());
            self.client.corked = true;
            self.client.replied = false;
            self.statements.repeats_closed = true;
        }
        self.batch.has_bound |= tag == b'B';
        let room = |kept: &Kept| kept.messages.len() + message.len() <= KEPT_BYTES_MAX;
        match self.batch.kept.as_mut().filter(|kept| room(kept) && matches!(tag, b'P' | b'B' | b'D' | b'E' | b'S')) {
            Some(kept) => kept.messages.extend_from_slice(message),
            None => self.forget_messages(),
        }
        Ok(())
    }

    /// From now on the batch cannot be run again.
    pub(super) fn forget_messages(&mut self) {
        if self.batch.kept.take().is_some() {
            self.client.corked = false;
            self.statements.repeats_closed = false;
        }
    }

    pub(super) fn note_parsed(&mut self, name: &[u8]) {
        let Some(kept) = &mut self.batch.kept else { return };
        if !name.is_empty() {
            kept.parsed.push(name.into());
        } else if kept.bound_former {
            self.forget_messages();
        } else {
            kept.parsed_unnamed = true;
        }
    }

    pub(super) fn note_bound(&mut self, name: &[u8], plan: &Plan, route: &Route) {
        let whole = matches!(plan.command, Command::Query) && self.shard_of(route).is_some();
        match &mut self.batch.kept {
            Some(kept) if whole => kept.bound_former |= name.is_empty() && !kept.parsed_unnamed,
            Some(_) => self.forget_messages(),
            None => {}
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.batch.kept.as_ref().is_some_and(|kept| kept.refused)
    }

    /// Rolls the refused batch back, waits for another map, and gives its messages to be read once more.
    pub(super) async fn repeat_batch(&mut self) -> Result<(), End> {
        let kept = self.batch.kept.take().unwrap_or_default();
        self.batch.skip = true;
        self.batch.pending.clear();
        // What failed is known, and what else may fail is undone with its connection.
        let _ = self.sync_all().await;
        self.roll_back_links().await;
        self.client.output.clear();
        self.client.corked = false;
        self.statements.repeats_closed = false;
        kept.parsed.iter().for_each(|name| drop(self.statements.forget(name)));
        self.batch.forget_portals();
        (self.batch.open, self.batch.skip, self.batch.has_bound, self.batch.current) = (false, false, false, None);
        let mut input = kept.messages;
        input.unsplit(std::mem::take(&mut self.client.input));
        self.client.input = input;
        let mut patience = self.batch.patience.take().unwrap_or_else(|| Box::new(Patience::default()));
        let waited = self.wait_while_closed(&mut patience).await;
        self.batch.patience = Some(patience);
        match waited {
            Ok(()) => Ok(()),
            Err(Failure::End(end)) => Err(end),
            // All its messages up to Sync are skipped.
            Err(failure) => self.fail_batch(failure).await,
        }
    }
}
