//! COPY of a table whose rows are on several shards, in both directions and both protocols.

use std::sync::Arc;

use crate::execute::copy_split::{DataEnd, Receiver, RowError, Sharing, share_out};
use crate::execute::part::{BINARY_HEADER_BYTES, CopyCut, Keep, Part};
use crate::routing::Access;
use crate::routing::copy::{CopyKey, CopyPlan, CopySource};
use crate::routing::owned::cannot_leave_out;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::spread_write::summed;
use crate::sql::copy::{CopyFormat, DataError, LineLog};
use crate::topology::ShardId;
use crate::wire::{ClientError, ServerError, SqlState, error_body, from_server, to_client, to_server};

/// What is known of the shards' sides when the data has ended.
struct Sides {
    logs: Vec<(ShardId, LineLog)>,
    end: DataEnd,
    /// Lines of the client's data.
    line: u64,
}

impl Session {
    /// Runs a COPY over several shards. The client gets everything but ReadyForQuery; of the extended protocol all replies before are sent.
    pub(super) async fn copy_over(&mut self, text: &[u8], plan: &CopyPlan, access: Access) -> Result<(), Failure> {
        match plan {
            CopyPlan::Concatenate { format, header, source } => self.copy_out((text, source), (*format, *header), access).await,
            CopyPlan::Split(key) => self.copy_in_over(text, Some(key)).await,
            CopyPlan::Same => self.copy_in_over(text, None).await,
        }
    }

    async fn copy_in_over(&mut self, text: &[u8], key: Option<&CopyKey>) -> Result<(), Failure> {
        let alone = !self.transaction.is_open();
        if alone {
            self.transaction.open_internal(self.settings.snapshot());
        }
        let shards = self.home_first();
        let wrote: Vec<ShardId> = self.links.iter().filter(|link| link.wrote).map(|link| link.shard).collect();
        let copied = self.copy_rows(text, &shards, key).await;
        let (answers, filled) = copied.inspect_err(|_| self.transaction.fail())?;
        if key.is_some() {
            // A shard that got no row has written nothing.
            for link in self.links.iter_mut().filter(|link| !filled.contains(&link.shard)) {
                link.wrote = wrote.contains(&link.shard);
            }
        }
        if alone && !self.commit_links().await? {
            return Err(Failure::Relayed);
        }
        let tag = if key.is_some() { summed(&answers) } else { answers.first().and_then(|part| part.tag.clone()).unwrap_or_default() };
        to_client::command_complete(&mut self.client.output, &tag);
        Ok(())
    }

    /// Has every shard ask for data, shares it out, and waits for the answers; and which shards got rows.
    async fn copy_rows(&mut self, text: &[u8], shards: &[ShardId], key: Option<&CopyKey>) -> Result<(Vec<Part>, Vec<ShardId>), Failure> {
        for shard in shards {
            let at = self.link(*shard, Access::Write).await?;
            self.queue_query(at, text, true, false);
            if let Some(link) = self.links.get_mut(at) {
                // A server that cannot be sent to says why when its reply is read.
                let _ = link.server.send().await;
            }
        }
        let mut asks = None;
        let mut failed = None;
        for shard in shards {
            match self.part_of(*shard, Keep::default()).await {
                Ok(Part { copy_in: Some(message), .. }) => asks = Some(asks.unwrap_or(message)),
                Ok(Part { error: Some(error), .. }) => failed = Some(failed.unwrap_or(Failure::Report(error))),
                Ok(_) => {}
                Err(failure) => failed = Some(failed.unwrap_or(failure)),
            }
        }
        if let Some(failure) = failed {
            self.end_copies(Some(b"another shard has failed"));
            self.answers_of(shards).await;
            return Err(failure);
        }
        self.client.output.extend_from_slice(&asks.unwrap_or_default());
        self.client.send().await.map_err(|_| Failure::End(crate::session::failure::End::Left))?;
        let sides = self.share(shards, key).await?;
        self.finish_copies(shards, sides).await
    }

    async fn share(&mut self, shards: &[ShardId], key: Option<&CopyKey>) -> Result<Sides, Failure> {
        let map = Arc::clone(&self.pools.map);
        let mut receivers: Vec<Receiver<'_>> = self
            .links
            .iter_mut()
            .filter(|link| !link.server.expected.is_empty() && shards.contains(&link.shard))
            .map(|link| Receiver::new(link.shard, &mut link.server))
            .collect();
        receivers.sort_by_key(|receiver| shards.iter().position(|shard| *shard == receiver.shard));
        let mut sharing = match key {
            Some(key) => Sharing::ByKey { key, rows: Box::new(key.rows()), map: &map, other_encoding: self.settings.other_encoding },
            None => Sharing::Same,
        };
        let mut line = 0;
        let end = share_out(&mut self.client, &mut receivers, &mut sharing, &mut line).await;
        let logs =
            receivers.into_iter().filter(|receiver| receiver.rows > 0 || key.is_none()).map(|receiver| (receiver.shard, receiver.lines));
        let logs = logs.collect();
        match end {
            Ok(end) => Ok(Sides { logs, end, line }),
            Err(error) => {
                // Some of them wait for data, in the middle of a message perhaps.
                self.links.retain(|link| link.server.expected.is_empty());
                self.batch.current = None;
                Err(error.into())
            }
        }
    }

    async fn finish_copies(&mut self, shards: &[ShardId], sides: Sides) -> Result<(Vec<Part>, Vec<ShardId>), Failure> {
        match &sides.end {
            DataEnd::Done => self.end_copies(None),
            DataEnd::Failed(reason) => self.end_copies(Some(reason)),
            DataEnd::ServerSpoke => self.end_copies(Some(b"another shard has failed")),
            DataEnd::Refused(error) => self.end_copies(Some(error.to_string().as_bytes())),
        }
        let answers = self.answers_of(shards).await;
        if let DataEnd::Refused(error) = &sides.end {
            return Err(Failure::Report(Box::new(told(error, &sides))));
        }
        let mut parts = Vec::with_capacity(answers.len());
        let mut first: Option<(u64, Failure)> = None;
        for (shard, answer) in shards.iter().zip(answers) {
            let failure = match answer {
                Ok(Part { error: Some(error), .. }) => {
                    // What we told a shard to fail with is nobody's error.
                    let ours = error.sqlstate() == SqlState::QUERY_CANCELED && matches!(sides.end, DataEnd::ServerSpoke);
                    let (error, line) = relined(*error, *shard, &sides);
                    Some((if ours { u64::MAX } else { line }, Failure::report(error)))
                }
                Ok(part) => {
                    parts.push(part);
                    None
                }
                Err(failure) => Some((0, failure)),
            };
            if let Some(failure) = failure
                && first.as_ref().is_none_or(|(line, _)| failure.0 < *line)
            {
                first = Some(failure);
            }
        }
        match first {
            Some((_, failure)) => Err(failure),
            None => Ok((parts, sides.logs.into_iter().map(|(shard, _)| shard).collect())),
        }
    }

    /// CopyDone, or CopyFail with a reason, to every shard that takes data.
    fn end_copies(&mut self, failure: Option<&[u8]>) {
        for link in self.links.iter_mut().filter(|link| !link.server.expected.is_empty()) {
            match failure {
                None => to_server::copy_done(&mut link.server.output),
                Some(reason) => to_server::copy_fail(&mut link.server.output, reason),
            }
        }
    }

    async fn answers_of(&mut self, shards: &[ShardId]) -> Vec<Result<Part, Failure>> {
        for link in &mut self.links {
            // A server that cannot be sent to says why when its reply is read.
            let _ = link.server.send().await;
        }
        let mut answers = Vec::with_capacity(shards.len());
        for shard in shards {
            let busy = self.links.iter().any(|link| link.shard == *shard && !link.server.expected.is_empty());
            if busy {
                answers.push(self.part_of(*shard, Keep { collect: true, ..Keep::default() }).await);
            }
        }
        answers
    }

    /// Gives back what a read has taken; within a batch its Sync does.
    async fn settle_shards(&mut self) -> Result<(), Failure> {
        if self.batch.is_open() {
            self.links.iter_mut().for_each(|link| link.unsynced = true);
            return Ok(());
        }
        for at in (0..self.links.len()).rev() {
            self.settle(at).await?;
        }
        Ok(())
    }

    /// The shards' rows one after another. Each shard answers as of its own moment, as for any read over several.
    async fn copy_out(
        &mut self,
        (text, source): (&[u8], &CopySource),
        (format, header): (CopyFormat, bool),
        access: Access,
    ) -> Result<(), Failure> {
        let shards = self.home_first();
        let mut owned = Vec::with_capacity(shards.len());
        for shard in &shards {
            owned.push(match self.left_out(*shard) {
                Some(left_out) => {
                    let text = source.text_without(text, &left_out, self.settings.standard_strings);
                    Some(text.ok_or_else(|| Failure::report(cannot_leave_out()))?)
                }
                None => None,
            });
        }
        for (shard, owned) in shards.iter().zip(&owned) {
            let at = self.link(*shard, access).await?;
            self.queue_query(at, owned.as_deref().unwrap_or(text), true, false);
            if let Some(link) = self.links.get_mut(at) {
                // A server that cannot be sent to says why when its reply is read.
                let _ = link.server.send().await;
            }
        }
        let mut parts = Vec::with_capacity(shards.len());
        let mut result = Ok(());
        for (order, shard) in shards.iter().enumerate() {
            let (first, last) = (order == 0, order + 1 == shards.len());
            let binary = format == CopyFormat::Binary;
            let copy = CopyCut {
                first_message: header && !binary && !first,
                first_bytes: if binary && !first { BINARY_HEADER_BYTES } else { 0 },
                trailer: binary && !last,
            };
            match self.part_of(*shard, Keep { description: first, copy, ..Keep::default() }).await {
                Ok(Part { error: Some(error), .. }) if result.is_ok() => {
                    result = Err(Failure::Report(error));
                    self.cancel.slot.cancel().await;
                }
                Ok(part) => parts.push(part),
                Err(failure) if result.is_ok() => result = Err(failure),
                Err(_) => {}
            }
        }
        self.settle_shards().await?;
        result?;
        to_client::copy_done(&mut self.client.output);
        to_client::command_complete(&mut self.client.output, &summed(&parts));
        Ok(())
    }
}

/// A shard's error with the client's line in its context, and that line.
fn relined(error: ServerError, shard: ShardId, sides: &Sides) -> (ServerError, u64) {
    let log = sides.logs.iter().find(|(other, _)| *other == shard).map(|(_, log)| log);
    let mut line = u64::MAX - 1;
    let body = error_body::with_field(&error.body, b'W', |context| {
        let (before, number, behind) = line_of(context)?;
        line = match &sides.end {
            DataEnd::Failed(_) => sides.line + 1,
            _ => log?.client_line(number)?,
        };
        Some(format!("{before}{line}{behind}"))
    });
    (from_server::error(&body).unwrap_or(error), line)
}

/// `… COPY table, line N…` in its parts.
fn line_of(context: &str) -> Option<(&str, u64, &str)> {
    let copy = context.find("COPY ")?;
    let at = copy + context.get(copy..)?.find(", line ")? + ", line ".len();
    let (before, rest) = context.split_at_checked(at)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, behind) = rest.split_at_checked(digits)?;
    Some((before, number.parse().ok()?, behind))
}

/// An error that we find ourselves, as PostgreSQL would tell it.
fn told(error: &RowError, sides: &Sides) -> ServerError {
    let (code, detail, hint) = match error {
        RowError::Key(refusal) => (refusal.sqlstate, refusal.detail(), refusal.hint()),
        RowError::Data(DataError::TooLong) => (SqlState::PROGRAM_LIMIT_EXCEEDED, None, None),
        RowError::Data(error) => (SqlState(*b"22P04"), None, hint_of(*error)),
    };
    let message = error.to_string();
    let context = format!("COPY, line {}", sides.line);
    let mut fields = vec![(b'S', "ERROR"), (b'V', "ERROR"), (b'C', code.as_str()), (b'M', message.as_str())];
    fields.extend(detail.as_deref().map(|text| (b'D', text)));
    fields.extend(hint.as_deref().map(|text| (b'H', text)));
    fields.push((b'W', context.as_str()));
    let body = error_body::body(&fields);
    from_server::error(&body).unwrap_or_else(|_| ServerError {
        severity: "ERROR".to_owned(),
        code,
        message: message.clone(),
        detail: None,
        hint: None,
        routine: None,
        body: body.clone(),
    })
}

fn hint_of(error: DataError) -> Option<String> {
    Some(
        match error {
            DataError::CarriageReturn => "Use \"\\r\" to represent carriage return.",
            DataError::Newline => "Use \"\\n\" to represent newline.",
            DataError::UnquotedCarriageReturn => "Use quoted CSV field to represent carriage return.",
            DataError::UnquotedNewline => "Use quoted CSV field to represent newline.",
            DataError::TooLong => return None,
        }
        .to_owned(),
    )
}
