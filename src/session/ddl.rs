//! DDL: run where the objects live, in one transaction over all of those shards.

use std::sync::Arc;

use crate::catalog::{DdlRefusal, Inspection, TableRule, TableRuleKind, TableRules, ddl_check, sequences};
use crate::execute::ask::ask_value;
use crate::routing::Access;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::sql::command::{Ddl, DdlObject, DdlVerb, ObjectName};
use crate::sql::tables::names_in;
use crate::topology::schema::{Column, RelationKind};
use crate::topology::{Placement, Relation, Schema, ShardId};
use crate::wire::{PlainError, SqlState, to_client};

/// Views over views over views: PostgreSQL has no bound, and none is this deep.
const VIEWS_DEEP_MAX: usize = 16;

/// Where a DDL statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Home,
    All,
}

impl Session {
    /// Runs a DDL or utility statement.
    pub(super) async fn ddl(&mut self, text: &[u8], ddl: &Ddl) -> Result<(), Failure> {
        if ddl.object == DdlObject::Server {
            let error =
                PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, "databases, tablespaces and the like cannot be changed through the proxy");
            return Err(Failure::report(error.hint("Connect to each server's primary.")));
        }
        self.refuse_beside_gate()?;
        self.touch_everywhere();
        if ddl.outside_transaction {
            return self.outside_transaction(text, ddl).await;
        }
        let alone = !self.transaction.is_open();
        if alone {
            self.transaction.open_internal(self.settings.snapshot());
        }
        if ddl.object == DdlObject::Sequence && ddl.verb != DdlVerb::Create {
            return self.sequence_ddl(text, ddl, alone).await;
        }
        if ddl.verb == DdlVerb::Alter && ddl.object == DdlObject::Table {
            self.refuse_sequence_options(text, ddl)?;
        }
        let creates_table = ddl.verb == DdlVerb::Create && matches!(ddl.object, DdlObject::Table | DdlObject::TableAs);
        let reply = if creates_table {
            self.refuse_rows_of_shards(ddl)?;
            let reply = self.withheld(text, &self.shards(Reach::Home)).await?;
            self.create_table(text, ddl).await?;
            reply
        } else {
            let reach = self.reach(ddl)?;
            let shards = if is_of_index(ddl) { self.shards_with_indexes(ddl).await? } else { self.shards(reach) };
            let reply = self.withheld(text, &shards).await?;
            if matches!((ddl.verb, ddl.object), (DdlVerb::Alter, DdlObject::Table) | (DdlVerb::Create, DdlObject::Index)) {
                self.inspect_changed(ddl).await?;
            }
            self.note_objects(ddl, reach);
            reply
        };
        self.transaction.changes_schema = true;
        if alone {
            self.commit_links().await?;
        }
        self.client.output.unsplit(reply);
        Ok(())
    }

    fn shards(&self, reach: Reach) -> Vec<ShardId> {
        match reach {
            Reach::Home => vec![self.pools.map.home],
            Reach::All => self.home_first(),
        }
    }

    /// All shards, the home shard first: its reply is the client's.
    pub(super) fn home_first(&self) -> Vec<ShardId> {
        let home = self.pools.map.home;
        let mut shards: Vec<ShardId> = self.pools.map.shards.iter().map(|shard| shard.id).collect();
        shards.sort_by_key(|shard| *shard != home);
        shards
    }

    /// CREATE TABLE AS can only take the home shard's rows.
    fn refuse_rows_of_shards(&self, ddl: &Ddl) -> Result<(), Failure> {
        let sharded =
            ddl.uses.iter().find(|name| self.placement(name).is_some_and(|placement| matches!(placement, Placement::Sharded { .. })));
        if let (DdlObject::TableAs, Some(name)) = (ddl.object, sharded) {
            return Err(spans(
                &format!("CREATE TABLE AS from sharded table \"{}\"", name.name),
                "Create the table first, then insert its rows by key.",
            ));
        }
        Ok(())
    }

    /// CREATE TABLE: made on the home shard already; it is looked at, and made on the others if its rows live there too.
    async fn create_table(&mut self, text: &[u8], ddl: &Ddl) -> Result<(), Failure> {
        for name in &ddl.relations {
            let rules = self.rules_with(ddl, name);
            let Some(inspection) = self.inspect(name).await? else { continue };
            // Not what the path finds under that name: another schema's table may be hidden by the new one.
            let known = inspection.name().and_then(|name| self.placement(&name));
            let judgement = inspection.judge(&rules, known.as_ref()).map_err(Failure::report)?;
            if let Some(notice) = &judgement.notice {
                to_client::notice(&mut self.client.output, "NOTICE", &PlainError::new(SqlState(*b"00000"), notice.clone()));
            }
            if ddl.object == DdlObject::TableAs && judgement.placement != Placement::Single {
                // Every shard would run the query and keep all of its rows.
                return Err(spans(
                    &format!("CREATE TABLE AS of \"{}\"", name.name),
                    "Create the table first, then insert its rows by key.",
                ));
            }
            if judgement.placement != Placement::Single && known.is_none() {
                let others: Vec<ShardId> = self.home_first().into_iter().skip(1).collect();
                self.on_others(text, &others).await?;
                if matches!(judgement.placement, Placement::Sharded { .. }) {
                    self.set_sequences_apart(&judgement.sequences).await?;
                }
            }
            if ddl.as_reference {
                let rule = TableRule {
                    schema: judgement.schema.clone(),
                    name: judgement.name.clone(),
                    kind: TableRuleKind::Reference,
                    local_unique: false,
                };
                self.transaction.declares.push(rule);
            }
            self.overlay_table(&inspection, judgement.placement.clone(), (&judgement.schema, &judgement.name));
        }
        Ok(())
    }

    /// As [`Session::on_shards`], where no reply is the client's.
    pub(super) async fn on_others(&mut self, text: &[u8], shards: &[ShardId]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(text).into_owned();
        for shard in shards {
            let at = self.link(*shard, Access::Write).await?;
            self.queue_query(at, text.as_bytes(), false, false);
            if let Some(link) = self.links.get_mut(at) {
                // A server that cannot be sent to says why when its reply is read.
                let _ = link.server.send().await;
            }
        }
        let mut result = Ok(());
        for shard in shards {
            let Some(at) = self.links.iter().position(|link| link.shard == *shard && link.primary) else { continue };
            let outcome = self.drain_link(at).await;
            if result.is_ok() {
                result = outcome;
            }
        }
        result
    }

    async fn set_sequences_apart(&mut self, found: &[ddl_check::InspectedSequence]) -> Result<(), Failure> {
        let map = Arc::clone(&self.pools.map);
        for shard in &map.shards {
            for sequence in found {
                let at = self.link(shard.id, Access::Write).await?;
                self.ask_link(at, &sequences::set_apart(&sequence.schema, &sequence.name, shard.ordinal, sequence.last_value)).await?;
            }
        }
        Ok(())
    }

    pub(super) fn rules_with(&self, ddl: &Ddl, name: &ObjectName) -> TableRules {
        let rules = self.shared.view.rules();
        let mut rules = TableRules::clone(&rules);
        if ddl.as_reference {
            for schema in name.schema.iter().chain(self.settings.search_path.iter()) {
                rules.rules.retain(|rule| rule.schema != *schema || rule.name != name.name);
                rules.rules.push(TableRule {
                    schema: schema.clone(),
                    name: name.name.clone(),
                    kind: TableRuleKind::Reference,
                    local_unique: false,
                });
            }
        }
        rules
    }

    /// After ALTER TABLE: what it is now must still hold its promises.
    async fn inspect_changed(&mut self, ddl: &Ddl) -> Result<(), Failure> {
        for name in &ddl.relations {
            let Some(known) = self.relation(name) else { continue };
            let Some(inspection) = self.inspect(name).await? else {
                // Renamed or moved to another schema; until it is committed its new name is not known.
                self.transaction.opaque = true;
                self.overlay(|schema| schema.without_relation(&known.schema, &known.name));
                continue;
            };
            let rules = self.rules_with(ddl, name);
            let judgement = inspection.judge(&rules, Some(&known.placement)).map_err(Failure::report)?;
            self.overlay_table(&inspection, judgement.placement.clone(), (&judgement.schema, &judgement.name));
        }
        Ok(())
    }

    pub(super) async fn inspect(&mut self, name: &ObjectName) -> Result<Option<Inspection>, Failure> {
        let home = self.pools.map.home;
        let at = self.link(home, Access::Write).await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(None) };
        let answer = ask_value(&mut link.server, &ddl_check::query(name)).await?.unwrap_or_default();
        Inspection::read(&answer).map_err(|error| Failure::plain(SqlState::INTERNAL_ERROR, error.to_string()))
    }

    /// What the transaction itself must see before the other proxies do.
    fn overlay_table(&mut self, inspection: &Inspection, placement: Placement, (schema, name): (&str, &str)) {
        let columns = inspection.column_names().into_iter().map(|(name, type_oid, has_default)| Column {
            name,
            type_oid,
            not_null: false,
            volatile_default: has_default,
            moment_default: has_default,
            generated: false,
            unique: false,
        });
        let relation = Relation {
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind: RelationKind::Table,
            placement,
            columns: columns.collect(),
            view_query: None,
            // Not looked up before the commit.
            row_security: true,
            triggers_leave_state: false,
        };
        self.overlay(|schema| schema.with_relation(relation));
    }

    fn note_objects(&mut self, ddl: &Ddl, reach: Reach) {
        match (ddl.verb, ddl.object) {
            (DdlVerb::Drop, _) => {
                for name in &ddl.relations {
                    if let Some(known) = self.relation(name) {
                        self.overlay(|schema| schema.without_relation(&known.schema, &known.name));
                    }
                }
            }
            (DdlVerb::Create, DdlObject::View | DdlObject::MaterializedView) => {
                // Its query is known once it is committed; until then a view of sharded tables cannot be planned.
                self.transaction.opaque |= reach == Reach::All;
            }
            (DdlVerb::Create, DdlObject::Trigger) => {
                // What its function does is looked up after the commit.
                for known in ddl.relations.iter().filter_map(|name| self.relation(name)).collect::<Vec<_>>() {
                    self.overlay(|schema| schema.with_relation(Relation { triggers_leave_state: true, ..Relation::clone(&known) }));
                }
            }
            _ => {}
        }
    }

    fn overlay(&mut self, change: impl FnOnce(&Schema) -> Schema) {
        let schema = match &self.transaction.schema {
            Some(schema) => change(schema),
            None => change(&self.shared.view.schema()),
        };
        self.transaction.schema = Some(Arc::new(schema));
        self.transaction.schema_context = rand::random();
    }

    /// The relation as this transaction sees it.
    pub(super) fn relation(&self, name: &ObjectName) -> Option<Arc<Relation>> {
        let find = |schema: &Schema| schema.relation(name.schema.as_deref(), &name.name, &self.settings.search_path).cloned();
        match &self.transaction.schema {
            Some(schema) => find(schema),
            None => find(&self.shared.view.schema()),
        }
    }

    pub(super) fn placement(&self, name: &ObjectName) -> Option<Placement> {
        self.relation(name).map(|relation| relation.placement.clone())
    }

    /// Where DDL finds a relation: a view that reads anything on the home shard only is there only, whatever else it reads.
    fn ddl_placement(&self, name: &ObjectName, depth: usize) -> Option<Placement> {
        let relation = self.relation(name)?;
        let query = relation.view_query.as_deref().filter(|_| depth < VIEWS_DEEP_MAX);
        let used = query.map_or_else(Vec::new, names_in);
        let at_home = used.iter().any(|used| used.name != relation.name && self.ddl_placement(used, depth + 1) == Some(Placement::Single));
        Some(if at_home { Placement::Single } else { relation.placement.clone() })
    }

    /// Where a statement about existing objects, or about no table at all, runs.
    fn reach(&self, ddl: &Ddl) -> Result<Reach, Failure> {
        let over_shards = |placement: &Placement| *placement != Placement::Single;
        let named: Vec<(&ObjectName, Option<Placement>)> = ddl.relations.iter().map(|name| (name, self.ddl_placement(name, 0))).collect();
        let makes_view = matches!(ddl.object, DdlObject::View | DdlObject::MaterializedView) && ddl.verb == DdlVerb::Create;
        if makes_view {
            let used: Vec<Placement> = ddl.uses.iter().filter_map(|name| self.ddl_placement(name, 0)).collect();
            let sharded = ddl.uses.iter().any(|name| matches!(self.placement(name), Some(Placement::Sharded { .. })));
            if ddl.object == DdlObject::MaterializedView && sharded {
                return Err(spans("a materialized view of sharded tables", "Use a view."));
            }
            let everywhere = !used.is_empty() && used.iter().all(over_shards);
            return Ok(if everywhere { Reach::All } else { Reach::Home });
        }
        if ddl.object == DdlObject::Global || named.is_empty() {
            return Ok(if ddl.object == DdlObject::Sequence { Reach::Home } else { Reach::All });
        }
        let known: Vec<&Placement> = named.iter().filter_map(|(_, placement)| placement.as_ref()).collect();
        match (known.iter().any(|placement| over_shards(placement)), known.iter().any(|placement| !over_shards(placement))) {
            (true, true) => Err(Failure::report(
                PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, "one statement for tables on all shards and tables on the home shard")
                    .hint("Send one statement for each kind of table."),
            )),
            (true, false) => Ok(Reach::All),
            _ => Ok(Reach::Home),
        }
    }

    /// CREATE INDEX CONCURRENTLY, VACUUM and the like: each shard by itself.
    async fn outside_transaction(&mut self, text: &[u8], ddl: &Ddl) -> Result<(), Failure> {
        let reach = self.reach(ddl)?;
        let shards = match reach {
            _ if is_of_index(ddl) && !self.transaction.is_open() => self.shards_with_indexes(ddl).await?,
            Reach::All if !self.transaction.is_open() => self.home_first(),
            // Inside a transaction block PostgreSQL itself says that it cannot be.
            _ => vec![self.pools.map.home],
        };
        let result = if ddl.object == DdlObject::Index && ddl.verb == DdlVerb::Create && shards.len() > 1 {
            self.index_concurrently(text, ddl, &shards).await
        } else {
            self.on_shards(text, &shards).await
        };
        self.settle_all().await?;
        result?;
        self.shared.view.changed().await;
        Ok(())
    }

    async fn settle_all(&mut self) -> Result<(), Failure> {
        for at in (0..self.links.len()).rev() {
            self.settle(at).await?;
        }
        Ok(())
    }

    /// Before the commit: whoever sees the tables finds in the catalog what they are. A rule without its table, left by a failed
    /// commit, does no harm and is named by `shardyard check`.
    pub(super) async fn declare_tables(&mut self) -> Result<(), Failure> {
        for rule in std::mem::take(&mut self.transaction.declares) {
            if let Err(reason) = self.shared.view.declare(rule.clone()).await {
                let message = format!("table \"{}\" could not be declared a reference table: {reason}", rule.name);
                return Err(Failure::report(PlainError::new(SqlState::CONNECTION_FAILURE, message)));
            }
        }
        Ok(())
    }
}

/// Whether indexes themselves are named, not their table.
fn is_of_index(ddl: &Ddl) -> bool {
    ddl.object == DdlObject::Index && ddl.verb != DdlVerb::Create
}

fn spans(what: &str, hint: &str) -> Failure {
    Failure::report(PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} spans shards")).hint(hint))
}

impl From<DdlRefusal> for Failure {
    fn from(refusal: DdlRefusal) -> Self {
        Self::report(refusal)
    }
}
