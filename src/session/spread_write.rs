//! Writes on several shards: the same on each, or the rows of an INSERT by their keys; in one transaction, answered as one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};

use crate::backend::Reply;
use crate::execute::ask::ask_value;
use crate::execute::part::{Keep, Part, take_part};
use crate::routing::each::{EachPlan, EachTarget};
use crate::routing::owned::cannot_leave_out;
use crate::routing::split::Split;
use crate::routing::{Access, Route};
use crate::session::Session;
use crate::session::commands::not_yet;
use crate::session::failure::Failure;
use crate::session::feed::row_description;
use crate::session::gather::Kept;
use crate::session::prepared::Prepared;
use crate::session::spread::SpreadPortal;
use crate::sql::clock::Moment;
use crate::sql::cursor::Tokens;
use crate::sql::splice::{Replacement, Spliced};
use crate::topology::ShardId;
use crate::topology::moving::not_owned;
use crate::wire::reader::Reader;
use crate::wire::{ServerError, SqlState, error_body, frame, from_client, from_server, to_client, to_server};

/// A statement's texts by shard.
pub(super) struct Texts {
    pub(super) parts: Vec<(ShardId, Spliced)>,
    /// RETURNING: rows are answered in the order of the INSERT's rows, as far as each row has one.
    pub(super) order: Option<Vec<Vec<usize>>>,
    pub(super) returning: bool,
    /// RowDescription, for the case that no shard has a part.
    pub(super) described: Bytes,
    /// All shards did the same: the first one's answer is the answer.
    pub(super) first_only: bool,
}

/// How the texts are sent.
enum Protocol<'a> {
    Simple,
    Extended { types: Vec<u32>, tail: &'a Bytes },
}

impl Session {
    /// Simple protocol.
    pub(super) async fn spread_write(&mut self, text: &[u8], route: &Route) -> Result<(), Failure> {
        let alone = !self.transaction.is_open();
        if alone {
            self.transaction.open_internal(self.settings.snapshot());
        }
        let texts = self.texts(text, route, None).await?;
        let tag = self.run_texts(text, &texts, &Protocol::Simple).await?;
        if alone && !self.commit_links().await? {
            return Err(Failure::Relayed);
        }
        to_client::command_complete(&mut self.client.output, &tag);
        Ok(())
    }

    /// Execute of a portal. The transaction is the batch's, and open.
    pub(super) async fn execute_spread_write(&mut self, body: &Bytes, portal: &SpreadPortal) -> Result<(), Failure> {
        self.settle_order().await?;
        let rows_max = from_client::execute(body).map_or(0, |message| message.rows_max);
        let rows_max = usize::try_from(rows_max).unwrap_or(0);
        let text = portal.prepared.statement.text.clone();
        if portal.done.load(Ordering::Relaxed) {
            // As PortalRun does.
            let name = from_client::execute(body).map(|message| String::from_utf8_lossy(message.portal).into_owned()).unwrap_or_default();
            return Err(Failure::plain(SqlState(*b"55000"), format!("portal \"{name}\" cannot be run")));
        }
        let kept = portal.kept.lock().take();
        if let Some(kept) = kept {
            self.hand_out(portal, kept, rows_max);
            return Ok(());
        }
        let texts = self.texts(&text, &portal.route, Some((&portal.prepared, &portal.tail))).await?;
        let prepared = &portal.prepared.statement;
        let (types, tail) = match portal.route {
            Route::Split(_) => {
                let described = self.describe_at_home(&text, &prepared.types).await?;
                (parameter_types(&described).unwrap_or_default(), portal.tail.clone())
            }
            // Its parameters are literals by now.
            Route::Feed(_) | Route::Locked(_) => (Vec::new(), without_values(&portal.tail)),
            _ => (prepared.types.to_vec(), portal.tail.clone()),
        };
        // What is returned in parts is computed at once, and the write with it.
        let keeps = rows_max > 0 && texts.returning;
        let before = self.client.output.len();
        let bytes_max = if keeps { self.shared.options.kept_bytes_max } else { self.client.kept_bytes_max };
        let outer = std::mem::replace(&mut self.client.kept_bytes_max, bytes_max);
        let tag = self.run_texts(&text, &texts, &Protocol::Extended { types, tail: &tail }).await;
        self.client.kept_bytes_max = outer;
        if keeps {
            let mut rows = BytesMut::new();
            for message in messages(self.client.output.split_off(before)) {
                // A notice is told at once.
                let to = if message.first() == Some(&b'D') { &mut rows } else { &mut self.client.output };
                to.extend_from_slice(&message);
            }
            self.hand_out(portal, Kept::returned(rows.freeze(), &tag?), rows_max);
            return Ok(());
        }
        let tag = tag?;
        to_client::command_complete(&mut self.client.output, &tag);
        if texts.returning {
            *portal.kept.lock() = Some(Kept::returned(Bytes::new(), &tag));
        } else {
            portal.done.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn texts(&mut self, text: &[u8], route: &Route, bound: Option<(&Prepared, &Bytes)>) -> Result<Texts, Failure> {
        match route {
            Route::Each { plan, shards } => self.texts_of_each((text, plan), shards, bound).await,
            Route::Split(split) => self.texts_of_split(text, split).await,
            Route::Feed(plan) => self.texts_of_feed((text, plan), bound).await,
            Route::Locked(plan) => Box::pin(self.texts_of_locked((text, plan), bound)).await,
            _ => Err(not_yet("this write on several shards", "Send one statement for each key.")),
        }
    }

    pub(super) async fn texts_of_each(
        &mut self,
        (text, plan): (&[u8], &EachPlan),
        shards: &[ShardId],
        bound: Option<(&Prepared, &Bytes)>,
    ) -> Result<Texts, Failure> {
        let replacements = if plan.clock { self.clock_replacements(text).await? } else { Vec::new() };
        let mut described = Bytes::new();
        let mut sent = None;
        if !plan.sent.is_empty() {
            // PostgreSQL judges the statement over the tables themselves, and names them in its columns.
            let types = bound.map(|(prepared, _)| prepared.statement.types.to_vec()).unwrap_or_default();
            described = row_description(&self.describe_at_home(text, &types).await?).freeze();
            sent = Some(self.sent_tables(text, &plan.sent).await?);
        }
        let whole = |replacements: &[Replacement]| {
            let mut spliced = Spliced::default();
            let place = sent.as_ref().map_or(0, |(place, _)| *place);
            if let Some((_, sent)) = &sent {
                spliced.keep(text, 0..place, replacements);
                spliced.insert(sent);
            }
            spliced.keep(text, place..text.len(), replacements);
            spliced
        };
        let first_only = plan.target == EachTarget::Reference;
        let order = if first_only { self.home_first() } else { shards.to_vec() };
        let mut parts = Vec::with_capacity(order.len());
        for shard in order {
            let left_out = self.left_out(shard).filter(|_| plan.target == EachTarget::Sharded);
            let parted = left_out.is_some() || plan.shares_rows();
            let text = if parted {
                whole(&self.owned_replacements((text, plan), (shard, left_out), &replacements)?)
            } else {
                whole(&replacements)
            };
            parts.push((shard, text));
        }
        Ok(Texts { parts, order: None, returning: plan.returning, described, first_only })
    }

    /// What is replaced in the text, with the condition that leaves out rows which another shard owns.
    fn owned_replacements(
        &self,
        (text, plan): (&[u8], &EachPlan),
        (shard, left_out): (ShardId, Option<Arc<str>>),
        replacements: &[Replacement],
    ) -> Result<Vec<Replacement>, Failure> {
        let tokens = Tokens::new(text, self.settings.standard_strings).ok();
        let others = if plan.shares_rows() { not_owned(&self.pools.map, shard) } else { String::new() };
        let insertions = tokens.and_then(|tokens| plan.insertions(&tokens, left_out.as_deref(), &others));
        let mut all = insertions.ok_or_else(|| Failure::report(cannot_leave_out()))?;
        all.extend_from_slice(replacements);
        all.sort_by_key(|replacement| replacement.place.start);
        Ok(all)
    }

    async fn texts_of_split(&mut self, text: &[u8], split: &Split) -> Result<Texts, Failure> {
        let replacements = if split.plan.clock { self.clock_replacements(text).await? } else { Vec::new() };
        let tokens = Tokens::new(text, self.settings.standard_strings).ok();
        let parts = tokens.and_then(|tokens| split.texts(text, &tokens, &replacements));
        let parts =
            parts.ok_or_else(|| Failure::plain(SqlState::INTERNAL_ERROR, "the rows of the statement are not where its plan has them"))?;
        let order = split.parts.iter().map(|(_, rows)| rows.clone()).collect();
        Ok(Texts { parts, order: Some(order), returning: split.plan.returning, described: Bytes::new(), first_only: false })
    }

    /// One moment for all shards: the home shard's, in the client's transaction.
    pub(super) async fn clock_replacements(&mut self, text: &[u8]) -> Result<Vec<Replacement>, Failure> {
        let at = self.link_home().await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(Vec::new()) };
        let answer = ask_value(&mut link.server, Moment::QUERY).await?.unwrap_or_default();
        let moment =
            Moment::read(&answer).ok_or_else(|| Failure::plain(SqlState::INTERNAL_ERROR, "the home shard does not tell the time"))?;
        Ok(Tokens::new(text, self.settings.standard_strings).map(|tokens| moment.replacements(&tokens)).unwrap_or_default())
    }

    /// Runs the texts at the same time and sends the client their rows; the tag, with all counts added.
    async fn run_texts(&mut self, text: &[u8], texts: &Texts, protocol: &Protocol<'_>) -> Result<String, Failure> {
        // What is the same everywhere runs on the first shard before it does on the others, so that two clients wait there and not crosswise.
        let (alone, together) = texts.parts.split_at(usize::from(texts.first_only).min(texts.parts.len()));
        let mut unsent = together;
        if alone.is_empty() {
            self.send_texts(std::mem::take(&mut unsent), protocol).await?;
        } else {
            self.send_texts(alone, protocol).await?;
        }
        let mut answers = Vec::with_capacity(texts.parts.len());
        let mut result = Ok(());
        for (order, (shard, spliced)) in texts.parts.iter().enumerate() {
            // Once it has failed, the other shards' rows are nobody's.
            let silent = texts.first_only && order > 0;
            let keep = Keep {
                description: order == 0,
                described: texts.described.clone(),
                collect: texts.order.is_some() || result.is_err() || silent,
                ..Keep::default()
            };
            match self.part_of(*shard, keep).await {
                Ok(Part { error: Some(error), .. }) if result.is_ok() => result = Err(Failure::report(placed(*error, text, spliced))),
                Ok(_) if silent => {}
                Ok(part) if !unsent.is_empty() => {
                    answers.push(part);
                    self.send_texts(std::mem::take(&mut unsent), protocol).await?;
                }
                Ok(part) => answers.push(part),
                Err(failure) if result.is_ok() => result = Err(failure),
                Err(_) => {}
            }
        }
        if result.is_err() {
            self.transaction.fail();
            return result.map(|()| String::new());
        }
        if answers.is_empty() && matches!(protocol, Protocol::Simple) {
            self.client.output.extend_from_slice(&texts.described);
        }
        if let Some(order) = &texts.order {
            self.send_in_order(&mut answers, order, matches!(protocol, Protocol::Simple));
        }
        Ok(summed(&answers))
    }

    async fn send_texts(&mut self, texts: &[(ShardId, Spliced)], protocol: &Protocol<'_>) -> Result<(), Failure> {
        for (shard, spliced) in texts {
            let at = self.link(*shard, Access::Write).await?;
            match protocol {
                Protocol::Simple => self.queue_query(at, &spliced.text, true, false),
                Protocol::Extended { types, tail } => self.queue_extended(at, (&spliced.text, types, tail), true),
            }
            if let Some(link) = self.links.get_mut(at) {
                // A server that cannot be sent to says why when its reply is read.
                let _ = link.server.send().await;
            }
        }
        Ok(())
    }

    /// The answer of a shard that was asked.
    pub(super) async fn part_of(&mut self, shard: ShardId, mut keep: Keep) -> Result<Part, Failure> {
        let Some(at) = self.links.iter().position(|link| link.shard == shard && !link.server.expected.is_empty()) else {
            return Err(Failure::plain(SqlState::CONNECTION_FAILURE, format!("the connection to shard {shard} is lost")));
        };
        let Some(link) = self.links.get_mut(at) else { return Ok(Part::default()) };
        match take_part(&mut self.client, &mut link.server, &mut keep).await {
            Ok(part) => Ok(part),
            Err(error) => Err(self.lose(at, error)),
        }
    }

    /// Queues a statement with all its messages; whether the client gets its rows and tag. `tail` is Bind's.
    pub(super) fn queue_extended(&mut self, at: usize, (text, types, tail): (&[u8], &[u32], &[u8]), forward: bool) {
        let Some(link) = self.links.get_mut(at) else { return };
        let server = &mut *link.server;
        to_server::parse(&mut server.output, b"", text, types);
        server.expect(Reply::Parse(None, 0), false);
        server.unnamed = 0;
        to_server::bind(&mut server.output, b"", b"", tail);
        server.expect(Reply::Bind, false);
        to_server::execute(&mut server.output, b"", 0);
        server.expect(Reply::Execute, forward);
        to_server::sync(&mut server.output);
        server.expect(Reply::Sync, false);
    }

    /// Sends rows that were kept: each shard's first row for its first row of the INSERT, and so on; one after another where some are missing.
    fn send_in_order(&mut self, answers: &mut [Part], order: &[Vec<usize>], describe: bool) {
        if let Some(first) = answers.first().filter(|_| describe) {
            self.client.output.extend_from_slice(&first.described);
        }
        let mut rows: Vec<Vec<BytesMut>> = answers.iter_mut().map(|part| messages(std::mem::take(&mut part.rows))).collect();
        if rows.iter().zip(order).any(|(rows, places)| rows.len() != places.len()) {
            rows.iter().flatten().for_each(|row| self.client.output.extend_from_slice(row));
            return;
        }
        let mut all: Vec<(usize, BytesMut)> =
            rows.drain(..).zip(order).flat_map(|(rows, places)| places.iter().copied().zip(rows)).collect();
        all.sort_by_key(|(place, _)| *place);
        all.iter().for_each(|(_, row)| self.client.output.extend_from_slice(row));
    }
}

/// The messages of a buffer that holds whole ones.
pub(super) fn messages(mut buffer: BytesMut) -> Vec<BytesMut> {
    let mut messages = Vec::new();
    while let Ok(Some(frame)) = frame::peek(&buffer) {
        if buffer.len() < frame.bytes {
            break;
        }
        messages.push(buffer.split_to(frame.bytes));
    }
    messages
}

/// The oids of a ParameterDescription message.
pub(super) fn parameter_types(message: &[u8]) -> Option<Vec<u32>> {
    let mut reader = Reader::new(message.get(frame::HEADER_BYTES..)?);
    let count = reader.i16().ok()?;
    (0..count).map(|_| reader.i32().ok().map(i32::cast_unsigned)).collect()
}

/// A server's error with its place in the client's text.
fn placed(error: ServerError, text: &[u8], spliced: &Spliced) -> ServerError {
    let body =
        error_body::with_field(&error.body, b'P', |position| Some(spliced.client_position(text, position.parse().ok()?).to_string()));
    from_server::error(&body).unwrap_or(error)
}

/// The tag of all: `UPDATE 3` and `UPDATE 4` are `UPDATE 7`.
pub(super) fn summed(answers: &[Part]) -> String {
    let mut tags = answers.iter().filter_map(|part| part.tag.as_deref());
    // No shard had a row.
    let Some(first) = tags.next() else { return "INSERT 0 0".to_owned() };
    let count = |tag: &str| tag.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok());
    let (Some(mut total), Some((words, _))) = (count(first), first.rsplit_once(' ')) else { return first.to_owned() };
    total += tags.filter_map(count).sum::<u64>();
    format!("{words} {total}")
}

/// Bind's tail without formats and values of parameters.
pub(super) fn without_values(tail: &[u8]) -> Bytes {
    let mut out = BytesMut::from(&[0_u8, 0, 0, 0][..]);
    out.extend_from_slice(tail.get(from_client::values_end(tail)..).unwrap_or_default());
    out.freeze()
}
