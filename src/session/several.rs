//! Several statements in one simple query.

use std::ops::Range;

use bytes::Bytes;

use crate::backend::Reply;
use crate::execute::ask::{AskError, drain};
use crate::routing::{Access, Route, Values};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::query::Ready;
use crate::sql::command::Command;
use crate::sql::literal::{Literal, LiteralKind};
use crate::topology::ShardId;
use crate::wire::{TransactionStatus, to_server};

/// An integer of fewer digits is one for the grammar too.
const INTEGER_DIGITS: u32 = 10;

impl Session {
    /// Several statements in one message: PostgreSQL runs them as one transaction, unless they say otherwise.
    pub(super) async fn several(&mut self, text: &Bytes, ranges: Vec<Range<usize>>) -> Result<Ready, Failure> {
        self.follow_map();
        if !self.transaction.has_failed()
            && let Some(shard) = self.one_shard_for_all(text, &ranges).await?
        {
            return self.whole(text, shard).await;
        }
        self.parse_all(text, &ranges).await?;
        self.refuse_in_failed_unless_ended(text, &ranges).await?;
        let ran = self.one_by_one(text, ranges).await;
        self.statements.position_base = 0;
        ran?;
        if self.transaction.is_internal() && !self.commit_links().await? {
            return Err(Failure::Relayed);
        }
        Ok(Ready::Ours)
    }

    /// As PostgreSQL parses the whole text before it runs any of it: a server is asked whether it can, unless all parts are known.
    async fn parse_all(&mut self, text: &Bytes, ranges: &[Range<usize>]) -> Result<(), Failure> {
        if ranges.iter().all(|range| self.is_known(text, range)) {
            return Ok(());
        }
        match self.link_to_parse(text, ranges).await? {
            (at, true) => {
                let parsed = self.parse_guarded(at, text).await;
                if at < self.links.len() {
                    self.give_back(at).await;
                }
                parsed?;
            }
            (at, false) => self.parse_guarded(at, text).await?,
        }
        for range in ranges {
            let _ = self.scan.scan(text.get(range.clone()).unwrap_or_default(), self.settings.standard_strings);
            self.plans.parsed.insert(self.scan.template());
        }
        Ok(())
    }

    /// Whether a statement of this template is known to be PostgreSQL's grammar, and its literals cannot make a difference.
    fn is_known(&mut self, text: &[u8], range: &Range<usize>) -> bool {
        let scanned = self.scan.scan(text.get(range.clone()).unwrap_or_default(), self.settings.standard_strings);
        let plain = |literal: &Literal| match literal.kind {
            // Escapes may be invalid.
            LiteralKind::Escape | LiteralKind::Unicode => false,
            // The grammar takes it for another kind of number when it is out of range.
            LiteralKind::Integer => literal.end - literal.start < INTEGER_DIGITS,
            _ => true,
        };
        scanned.is_ok() && self.scan.literals().iter().all(plain) && self.plans.parsed.contains(self.scan.template())
    }

    /// A link that the client holds, or one taken for this only (true) from a shard that the text is for anyway.
    async fn link_to_parse(&mut self, text: &Bytes, ranges: &[Range<usize>]) -> Result<(usize, bool), Failure> {
        if !self.links.is_empty() {
            self.refresh_settings(0).await?;
            return Ok((0, false));
        }
        let mut shard = None;
        for range in ranges {
            let statement = text.slice(range.clone());
            let _ = self.scan.scan(&statement, self.settings.standard_strings);
            // What is wrong with it is told when its turn comes.
            let Ok(plan) = self.plan_scanned(&statement, 0, &[]).await else { break };
            if plan.command != Command::Query {
                continue;
            }
            let literals = self.scan.literals();
            let values = Values { text: &statement, literals, other_encoding: self.settings.other_encoding, ..Values::default() };
            if let Ok((Route::One(one), _)) = self.route(&plan, &values) {
                shard = Some(one);
                break;
            }
        }
        Ok((self.take(shard.unwrap_or(self.pools.map.home), Access::Write).await?, true))
    }

    /// Has the server parse the text, which it will not run. Its transaction is left as it is.
    async fn parse_guarded(&mut self, at: usize, text: &[u8]) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        let guarded = link.server.status == TransactionStatus::InTransaction;
        link.server.unnamed = 0;
        if guarded {
            // That the text is several statements is an error too.
            self.queue_query(at, b"SAVEPOINT shardyard_parse", false, false);
        }
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        to_server::parse(&mut link.server.output, b"", text, &[]);
        to_server::sync(&mut link.server.output);
        link.server.expect(Reply::Parse(None, 0), false);
        link.server.expect(Reply::Sync, false);
        if guarded {
            self.queue_query(at, b"ROLLBACK TO shardyard_parse; RELEASE shardyard_parse", false, false);
        }
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        match drain(&mut link.server).await {
            Err(AskError::Lost(error)) => Err(self.lose(at, error)),
            // As exec_parse_message: it counts the statements when it has parsed them.
            Err(AskError::Server(error)) if error.routine.as_deref() != Some("exec_parse_message") => {
                Err(Failure::report(AskError::Server(error)))
            }
            _ => Ok(()),
        }
    }

    async fn one_by_one(&mut self, text: &Bytes, ranges: Vec<Range<usize>>) -> Result<(), Failure> {
        for range in ranges {
            if !self.transaction.is_open() {
                self.transaction.open_internal(self.settings.snapshot());
            }
            self.statements.position_base = characters(text.get(..range.start).unwrap_or_default());
            let statement = text.slice(range);
            // The whole text had tokens, so each part has.
            let _ = self.scan.scan(&statement, self.settings.standard_strings);
            let plan = self.plan_scanned(&statement, 0, &[]).await?;
            match plan.command {
                Command::Query | Command::CopyFrom | Command::CopyTo => {
                    self.single(&statement, &plan, Ready::Ours).await?;
                }
                _ => Box::pin(self.command(&statement, &plan)).await?,
            }
        }
        Ok(())
    }

    /// The shard on which the whole text can run as it is: plain statements for one primary. Otherwise each runs by itself.
    async fn one_shard_for_all(&mut self, text: &Bytes, ranges: &[Range<usize>]) -> Result<Option<(ShardId, Access)>, Failure> {
        let mut all: Option<(ShardId, Access)> = None;
        for range in ranges {
            let statement = text.slice(range.clone());
            let _ = self.scan.scan(&statement, self.settings.standard_strings);
            let plan = self.plan_scanned(&statement, 0, &[]).await?;
            if plan.command != Command::Query {
                return Ok(None);
            }
            let values = Values {
                text: &statement,
                literals: self.scan.literals(),
                other_encoding: self.settings.other_encoding,
                ..Values::default()
            };
            // A refusal is told when the statement's turn comes.
            let Ok((route, access)) = self.route(&plan, &values) else { return Ok(None) };
            if self.held(&plan, &values, &route).is_some() || self.outlives_map(&plan, &values, &route) {
                return Ok(None);
            }
            let Some(shard) = self.shard_of(&route) else { return Ok(None) };
            all = match all {
                None => Some((shard, access)),
                Some((same, Access::Read)) if same == shard => Some((shard, access)),
                Some((same, Access::Write)) if same == shard => Some((shard, Access::Write)),
                Some(_) => return Ok(None),
            };
        }
        Ok(all)
    }

    async fn refuse_in_failed_unless_ended(&mut self, text: &Bytes, ranges: &[Range<usize>]) -> Result<(), Failure> {
        if !self.transaction.has_failed() {
            return Ok(());
        }
        let Some(first) = ranges.first() else { return Ok(()) };
        let statement = text.slice(first.clone());
        let _ = self.scan.scan(&statement, self.settings.standard_strings);
        let plan = self.plan_scanned(&statement, 0, &[]).await?;
        match plan.command {
            Command::Rollback { .. } | Command::RollbackTo(_) | Command::Commit { .. } => Ok(()),
            _ => self.refuse_in_failed(),
        }
    }

    /// Runs the text as it is on one shard.
    async fn whole(&mut self, text: &[u8], (shard, access): (ShardId, Access)) -> Result<Ready, Failure> {
        let at = self.link(shard, access).await?;
        self.shared.counters.single.add(1);
        let relayed = self.listening.is_none();
        self.queue_query(at, text, true, relayed);
        let outcome = self.relay_link(at).await?;
        self.settle(at).await?;
        match outcome.error {
            Some(error) if outcome.swallowed_error => Err(Failure::Report(error)),
            Some(_) if !relayed => Err(Failure::Relayed),
            _ => Ok(if relayed { Ready::Relayed } else { Ready::Ours }),
        }
    }
}

/// In UTF-8, as PostgreSQL counts the positions it tells of.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}
