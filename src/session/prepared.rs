//! A client's prepared statements and cursors: names of its own for what servers know by the proxy's names.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::backend::connection::statement_name;
use crate::backend::{Reply, ServerConnection};
use crate::cache::{PreparedRegistry, Statement};
use crate::execute::StatementNames;
use crate::routing::{ParameterValues, Plan, Route, Values};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::sql::command::Command;
use crate::topology::ShardId;
use crate::wire::from_client::Parse;
use crate::wire::{SqlState, to_client, to_server};

/// One name's statement, with its plan.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) statement: Arc<Statement>,
    pub(super) plan: Arc<Plan>,
    /// The context the plan was made in; in another it is made anew.
    pub(super) context: u64,
    /// Made by SQL's PREPARE: types as SQL text.
    pub(super) sql_types: Option<String>,
    /// It has a name, so servers keep it under one of ours.
    pub(super) kept: bool,
}

impl Prepared {
    /// Whether the message names this text and these types.
    pub(super) fn is_parsed_by(&self, message: &Parse<'_>) -> bool {
        *self.statement.text == *message.text && self.statement.types == message.types
    }

    /// Whether a server that has it can be sent Bind with our name for it.
    pub(super) fn is_bound_by_name(&self) -> bool {
        self.kept && self.sql_types.is_none()
    }
}

/// An unnamed statement that is parsed again so often with the same text is kept by the servers, which then need not parse it anew.
const REPEATS_KEPT: u32 = 3;

/// Names of one client.
#[derive(Debug, Default)]
pub(super) struct ClientStatements {
    named: HashMap<Box<[u8]>, Prepared, foldhash::fast::RandomState>,
    unnamed: Option<Prepared>,
    /// The unnamed statement is gone, by a simple query, and only remembered for the case that it comes again.
    unnamed_dropped: bool,
    /// How often the unnamed statement was parsed again with nothing changed.
    repeats: u32,
    /// The unnamed statement as servers keep it, once it has come often enough. Only the short way uses it.
    repeated: Option<Arc<Statement>>,
    /// See [`StatementNames::asks_again`].
    pub(super) asks_again: bool,
    /// See [`StatementNames::repeats_closed`].
    pub(super) repeats_closed: bool,
    /// See [`StatementNames::is_reworded`].
    pub(super) is_reworded: bool,
    /// See [`StatementNames::reads_replica`].
    pub(super) reads_replica: bool,
    cursors: HashMap<String, ShardId>,
    /// See [`StatementNames::position_shift`].
    position_shift: usize,
    /// Characters of the client's text before the statement that runs, where it is one of several.
    pub(super) position_base: usize,
}

impl ClientStatements {
    pub(super) fn get(&self, name: &[u8]) -> Option<&Prepared> {
        if name.is_empty() { self.unnamed.as_ref().filter(|_| !self.unnamed_dropped) } else { self.named.get(name) }
    }

    /// The unnamed statement, also when a simple query has dropped it since.
    pub(super) fn last_unnamed(&self) -> Option<&Prepared> {
        self.unnamed.as_ref()
    }

    /// As exec_simple_query does.
    pub(super) fn drop_unnamed(&mut self) {
        self.unnamed_dropped = true;
    }

    /// The unnamed statement is parsed again where servers keep it.
    pub(super) fn revive_unnamed(&mut self) {
        self.unnamed_dropped = false;
    }

    /// The unnamed statement as servers keep it.
    pub(super) fn repeated(&self) -> Option<&Arc<Statement>> {
        self.repeated.as_ref()
    }

    /// The unnamed statement is parsed again with nothing changed.
    pub(super) fn repeat_unnamed(&mut self, registry: &PreparedRegistry) -> Option<Prepared> {
        self.unnamed_dropped = false;
        self.repeats += 1;
        let unnamed = self.unnamed.as_ref()?;
        if self.repeats == REPEATS_KEPT && matches!(unnamed.plan.command, Command::Query) {
            let statement = &unnamed.statement;
            self.repeated = Some(registry.shared(statement.text.clone(), statement.types.clone(), &statement.literals));
        }
        Some(unnamed.clone())
    }

    pub(super) fn insert(&mut self, name: &[u8], prepared: Prepared) {
        if name.is_empty() {
            self.unnamed = Some(prepared);
            self.unnamed_dropped = false;
            self.repeats = 0;
            self.repeated = None;
        } else {
            self.named.insert(name.into(), prepared);
        }
    }

    pub(super) fn forget(&mut self, name: &[u8]) -> Option<Prepared> {
        if name.is_empty() {
            self.repeated = None;
            return self.unnamed.take();
        }
        self.named.remove(name)
    }

    fn name_of(&self, id: u64) -> Option<&[u8]> {
        self.named.iter().find(|(_, prepared)| prepared.statement.id == id).map(|(name, _)| &**name)
    }

    pub(super) fn len(&self) -> usize {
        self.named.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn clear_statements(&mut self) {
        self.named.clear();
    }

    pub(super) fn note_cursor(&mut self, name: &str, shard: ShardId) {
        self.cursors.insert(name.to_owned(), shard);
    }

    pub(super) fn cursor(&self, name: &str) -> Option<ShardId> {
        self.cursors.get(name).copied()
    }

    pub(super) fn close_cursor(&mut self, name: Option<&str>) {
        match name {
            Some(name) => drop(self.cursors.remove(name)),
            None => self.cursors.clear(),
        }
    }
}

impl StatementNames for ClientStatements {
    fn client_name(&self, id: u64) -> Option<&[u8]> {
        self.name_of(id)
    }

    fn position_shift(&self) -> isize {
        let [shift, base] = [self.position_shift, self.position_base].map(|count| isize::try_from(count).unwrap_or(0));
        shift - base
    }

    fn asks_again(&self) -> bool {
        self.asks_again
    }

    fn repeats_closed(&self) -> bool {
        self.repeats_closed
    }

    fn is_reworded(&self) -> bool {
        self.is_reworded
    }

    fn reads_replica(&self) -> bool {
        self.reads_replica
    }
}

impl Session {
    /// The error for a name that is taken, or one name too many.
    pub(super) fn check_new_name(&self, name: &[u8]) -> Result<(), Failure> {
        if name.is_empty() {
            return Ok(());
        }
        if self.statements.get(name).is_some() {
            let name = String::from_utf8_lossy(name);
            return Err(Failure::plain(SqlState::DUPLICATE_PREPARED_STATEMENT, format!("prepared statement \"{name}\" already exists")));
        }
        let bound = self.shared.options.prepared_max;
        if self.statements.len() >= bound {
            return Err(Failure::plain(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("more than {bound} prepared statements in one session")));
        }
        Ok(())
    }

    /// PREPARE: kept here; a server hears of it at EXECUTE.
    pub(super) async fn prepare(
        &mut self,
        text: &[u8],
        name: &str,
        types: Option<Range<usize>>,
        statement: Range<usize>,
    ) -> Result<(), Failure> {
        self.check_new_name(name.as_bytes())?;
        let body = Bytes::copy_from_slice(text.get(statement).unwrap_or_default());
        let types = types.and_then(|range| text.get(range)).map(|types| String::from_utf8_lossy(types).into_owned());
        let _ = self.scan.scan(&body, self.settings.standard_strings);
        let statement = self.shared.prepared.fresh(body.clone(), SmallVec::new(), self.scan.literals());
        let plan = self.plan_scanned(&body, 0, &[]).await?;
        self.statements.insert(
            name.as_bytes(),
            Prepared { statement, plan, context: self.context(), sql_types: types.or(Some(String::new())), kept: true },
        );
        to_client::command_complete(&mut self.client.output, "PREPARE");
        Ok(())
    }

    /// EXECUTE: on the shard that its arguments name.
    pub(super) async fn execute_prepared(&mut self, text: &[u8], name: &str, arguments: Option<Range<usize>>) -> Result<(), Failure> {
        let Some(prepared) = self.statements.get(name.as_bytes()).cloned() else {
            return Err(unknown_statement(name.as_bytes()));
        };
        let start = arguments.as_ref().map_or(0, |range| range.start);
        let written = String::from_utf8_lossy(arguments.and_then(|range| text.get(range)).unwrap_or_default()).into_owned();
        let plan = self.fresh_plan(&prepared).await?;
        let arguments = self.literal_arguments(&written);
        let Some(arguments) = arguments.or_else(|| (!plan.needs_parameters()).then(Vec::new)) else {
            return Err(crate::session::commands::not_yet(
                "EXECUTE with an argument that is not a literal",
                "Write the arguments as literals, or use prepared statements of the extended query protocol.",
            ));
        };
        let values: Vec<Option<&[u8]>> = arguments.iter().map(|value| value.as_deref().map(str::as_bytes)).collect();
        let statement = &prepared.statement;
        let parameters = ParameterValues { values: &values, formats: &[], types: &statement.types, types_unknown: true };
        let values =
            Values { text: &statement.text, literals: &statement.literals, parameters, other_encoding: self.settings.other_encoding };
        let (route, access) = self.route_when_free(&plan, &values).await?;
        if let Route::Gather(plan) = &route {
            return Box::pin(self.gather_prepared(&prepared, &written, (plan, access))).await;
        }
        let Some(shard) = self.shard_of(&route) else {
            return Box::pin(self.spread_prepared(&prepared, &written)).await;
        };
        let at = self.link(shard, access).await?;
        let mut result = self.prepare_on_server(at, &prepared).await;
        if result.is_ok() {
            let name = &statement.name;
            let head = format!("EXECUTE {name} (");
            let call = if written.is_empty() { format!("EXECUTE {name}") } else { format!("{head}{written})") };
            self.queue_query(at, call.as_bytes(), true, false);
            self.statements.position_shift = head.len().saturating_sub(start);
            result = self.relay_or_fail(at).await;
            self.statements.position_shift = 0;
        }
        if at < self.links.len() {
            self.settle(at).await?;
        }
        result
    }

    /// Sees to it that the server knows the statement by the proxy's name for it. Waits for the server.
    pub(super) async fn prepare_on_server(&mut self, at: usize, prepared: &Prepared) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        let statement = &prepared.statement;
        if link.server.prepared.has(statement.id) {
            return Ok(());
        }
        let name = &statement.name;
        match &prepared.sql_types {
            Some(types) => {
                let types = if types.is_empty() { String::new() } else { format!(" ({types})") };
                let body = String::from_utf8_lossy(&statement.text);
                self.ask_link(at, &format!("PREPARE {name}{types} AS {body}")).await?;
            }
            None => {
                to_server::parse(&mut link.server.output, name.as_bytes(), &statement.text, &statement.types);
                to_server::sync(&mut link.server.output);
                link.server.expect(Reply::Parse(None, statement.id), false);
                link.server.expect(Reply::Sync, false);
                self.drain_link(at).await?;
            }
        }
        self.remember_prepared(at, statement.id);
        Ok(())
    }

    /// Notes that the server has the statement; the least recently used one is closed when it has too many.
    pub(super) fn remember_prepared(&mut self, at: usize, id: u64) {
        if let Some(link) = self.links.get_mut(at) {
            remember(&mut link.server, id);
        }
    }

    /// The values of arguments that are plain literals; `None` if one is not.
    fn literal_arguments(&mut self, written: &str) -> Option<Vec<Option<String>>> {
        self.scan.scan(written.as_bytes(), self.settings.standard_strings).ok()?;
        let mut arguments = Vec::new();
        let mut literals = self.scan.literals().iter().peekable();
        let mut position = 0;
        while position < written.len() {
            let literal = literals.next_if(|literal| {
                let before = written.get(position..literal.start as usize).unwrap_or(",");
                !before.contains(',')
            });
            let end_of_literal = literal.map_or(position, |literal| literal.end as usize);
            let end = written.get(end_of_literal..)?.find(',').map_or(written.len(), |at| end_of_literal + at);
            let piece = written.get(position..end)?.trim();
            let value = match literal {
                Some(literal) => {
                    let sign = written.get(position..literal.start as usize)?.trim();
                    let rest = written.get(end_of_literal..end)?.trim();
                    if !matches!(sign, "" | "-" | "+") || !(rest.is_empty() || rest.starts_with("::")) {
                        return None;
                    }
                    let value = literal.value(written.as_bytes())?;
                    Some(format!("{}{}", sign.trim_start_matches('+'), String::from_utf8_lossy(&value)))
                }
                None if piece.eq_ignore_ascii_case("null") => None,
                None if piece.eq_ignore_ascii_case("true") || piece.eq_ignore_ascii_case("false") => Some(piece.to_owned()),
                None => return None,
            };
            arguments.push(value);
            position = end + 1;
        }
        Some(arguments)
    }

    pub(super) fn deallocate(&mut self, name: Option<&str>) -> Result<(), Failure> {
        match name {
            None => {
                self.statements.clear_statements();
                to_client::command_complete(&mut self.client.output, "DEALLOCATE ALL");
            }
            Some(name) => {
                self.statements.forget(name.as_bytes()).ok_or_else(|| unknown_statement(name.as_bytes()))?;
                to_client::command_complete(&mut self.client.output, "DEALLOCATE");
            }
        }
        Ok(())
    }
}

fn remember(server: &mut ServerConnection, id: u64) {
    if let Some(evicted) = server.prepared.insert(id) {
        to_server::close_statement(&mut server.output, statement_name(evicted).as_bytes());
        server.expect(Reply::Close, false);
    }
}

/// Queues Parse of a statement under our name for it; the client hears of it only if it fails.
pub(super) fn prepare_quietly(server: &mut ServerConnection, statement: &Statement) {
    to_server::parse(&mut server.output, statement.name.as_bytes(), &statement.text, &statement.types);
    server.expect(Reply::Parse(None, statement.id), false);
    remember(server, statement.id);
}

pub(super) fn unknown_statement(name: &[u8]) -> Failure {
    let message = if name.is_empty() {
        "unnamed prepared statement does not exist".to_owned()
    } else {
        format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name))
    };
    Failure::plain(SqlState::INVALID_SQL_STATEMENT_NAME, message)
}
