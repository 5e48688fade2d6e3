//! Sequences: one of a sharded table's is on every shard, each with numbers of its own, and is set on all of them.

use serde::Deserialize;

use crate::backend::settings::quoted_literal;
use crate::catalog::sequences;
use crate::execute::ask::ask_value;
use crate::routing::Access;
use crate::routing::sequence::{SequenceValue, Setting};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::spread::SpreadPortal;
use crate::session::spread_write::without_values;
use crate::sql::command::{Ddl, DdlVerb, ObjectName};
use crate::sql::cursor::{Cursor, Tokens};
use crate::topology::{Placement, ShardId};
use crate::wire::{PlainError, SqlState};

/// A sequence as the home shard knows it.
#[derive(Debug, Deserialize)]
struct Found {
    schema: String,
    name: String,
    /// Tables whose columns it fills.
    tables: Vec<(String, String)>,
}

/// What ALTER SEQUENCE asks of a sharded table's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alteration {
    /// The same on each shard.
    Alike,
    /// RESTART WITH this number.
    Restart(i64),
    /// It would leave the numbers that are this shard's.
    Impossible,
}

impl Session {
    /// Simple protocol: the client gets everything but ReadyForQuery.
    pub(super) async fn set_sequence(&mut self, text: &[u8], setting: &Setting) -> Result<(), Failure> {
        let alone = !self.transaction.is_open();
        if alone {
            self.transaction.open_internal(self.settings.snapshot());
        }
        let answer = match setting {
            Setting::Known(value) if self.set_on_shards(value).await? => returning(value).into_bytes(),
            Setting::Known(_) => text.to_vec(),
            Setting::Computed(plan) => self.set_computed((text, plan), None).await?.into_bytes(),
        };
        let at = self.link_home().await?;
        self.queue_query(at, &answer, true, false);
        self.relay_or_fail(at).await?;
        if alone {
            self.commit_links().await?;
        }
        Ok(())
    }

    /// Execute of a portal.
    pub(super) async fn execute_set_sequence(&mut self, portal: &SpreadPortal, setting: &Setting) -> Result<(), Failure> {
        self.settle_order().await?;
        let statement = &portal.prepared.statement;
        let answer = match setting {
            Setting::Known(value) => self.set_on_shards(value).await?.then(|| returning(value)),
            Setting::Computed(plan) => {
                let text = statement.text.clone();
                Some(self.set_computed((&text, plan), Some((&portal.prepared, &portal.tail))).await?)
            }
        };
        let at = self.link_home().await?;
        match answer {
            Some(answer) => self.queue_extended(at, (answer.as_bytes(), &[], &without_values(&portal.tail)), true),
            // Asking has closed the portal.
            None => self.queue_extended(at, (&statement.text, &statement.types, &portal.tail), true),
        }
        self.relay_or_fail(at).await
    }

    /// Sets a sharded table's sequence on every shard; false: it is none, or PostgreSQL will not have the value.
    pub(super) async fn set_on_shards(&mut self, value: &SequenceValue) -> Result<bool, Failure> {
        let Some(found) = self.find_sequence(&value.name).await?.filter(|_| value.value >= 1) else { return Ok(false) };
        if !self.is_sharded(&found) {
            return Ok(false);
        }
        let highest = if value.called { value.value } else { value.value - 1 };
        let map = std::sync::Arc::clone(&self.pools.map);
        let name = quoted_literal(&ObjectName { schema: Some(found.schema), name: found.name }.quoted());
        for shard in &map.shards {
            // Like PostgreSQL's, it is no part of the transaction, which need not be prepared for it.
            let at = self.link_unwritten(shard.id).await?;
            let next = sequences::first_above(shard.ordinal, highest);
            self.ask_link(at, &format!("SELECT pg_catalog.setval({name}, {next}, false)")).await?;
        }
        Ok(true)
    }

    /// The sequence of that name; `None`: PostgreSQL knows what is wrong with it.
    async fn find_sequence(&mut self, name: &str) -> Result<Option<Found>, Failure> {
        let at = self.link_home().await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(None) };
        let answer = ask_value(&mut link.server, &QUERY.replace("{name}", &quoted_literal(name))).await?.unwrap_or_default();
        Ok(serde_json::from_str(&answer).ok())
    }

    fn placements<'a>(&'a self, found: &'a Found) -> impl Iterator<Item = Placement> + 'a {
        let names = found.tables.iter().map(|(schema, name)| ObjectName { schema: Some(schema.clone()), name: name.clone() });
        names.filter_map(|name| self.placement(&name))
    }

    fn is_sharded(&self, found: &Found) -> bool {
        self.placements(found).any(|placement| matches!(placement, Placement::Sharded { .. }))
    }

    /// ALTER, DROP, GRANT and the like of sequences: where the tables are that they fill. The transaction is open; `alone`: for this.
    pub(super) async fn sequence_ddl(&mut self, text: &[u8], ddl: &Ddl, alone: bool) -> Result<(), Failure> {
        let (mut spread, mut at_home, mut sharded) = (false, false, None);
        for name in &ddl.relations {
            let Some(found) = self.find_sequence(&name.quoted()).await? else {
                at_home = true;
                continue;
            };
            let everywhere = self.placements(&found).any(|placement| placement != Placement::Single);
            spread |= everywhere;
            at_home |= !everywhere;
            if self.is_sharded(&found) {
                sharded = Some(found);
            }
        }
        if spread && at_home {
            let error = "one statement for sequences on all shards and sequences on the home shard";
            return Err(Failure::report(PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, error).hint("Send one statement for each.")));
        }
        let home = self.pools.map.home;
        let reply = match sharded.filter(|_| ddl.verb == DdlVerb::Alter).map(|found| (self.alteration(text), found)) {
            Some((Alteration::Impossible, found)) => return Err(not_apart(&found.name)),
            Some((Alteration::Restart(number), found)) => {
                let reply = self.withheld(text, &[home]).await?;
                self.restart(&found, number).await?;
                reply
            }
            _ if spread => self.withheld(text, &self.home_first()).await?,
            _ => self.withheld(text, &[home]).await?,
        };
        self.transaction.changes_schema = true;
        if alone {
            self.commit_links().await?;
        }
        self.client.output.unsplit(reply);
        Ok(())
    }

    async fn restart(&mut self, found: &Found, number: i64) -> Result<(), Failure> {
        let map = std::sync::Arc::clone(&self.pools.map);
        let shards: Vec<(ShardId, u16)> = map.shards.iter().map(|shard| (shard.id, shard.ordinal)).collect();
        for (shard, ordinal) in shards {
            let at = self.link(shard, Access::Write).await?;
            self.ask_link(at, &sequences::set_apart(&found.schema, &found.name, ordinal, number - 1)).await?;
        }
        Ok(())
    }

    fn alteration(&self, text: &[u8]) -> Alteration {
        let Ok(tokens) = Tokens::new(text, self.settings.standard_strings) else { return Alteration::Impossible };
        let mut rest = tokens.cursor();
        rest.accept_words(&["alter", "sequence"]);
        rest.accept_words(&["if", "exists"]);
        while rest.any_name().is_some() && rest.accept_mark(b'.') {}
        alteration(rest)
    }

    /// ALTER TABLE … ALTER COLUMN … RESTART and the like of identity columns of sharded tables: every shard would give the same numbers.
    pub(super) fn refuse_sequence_options(&self, text: &[u8], ddl: &Ddl) -> Result<(), Failure> {
        let sharded = ddl.relations.iter().find(|name| matches!(self.placement(name), Some(Placement::Sharded { .. })));
        let (Some(table), Ok(tokens)) = (sharded, Tokens::new(text, self.settings.standard_strings)) else { return Ok(()) };
        let mut rest = tokens.cursor();
        while !rest.at_end() {
            if rest.accept_word("restart") {
                if !(rest.at_end() || rest.is_mark(b',') || rest.is_mark(b';')) {
                    return Err(not_apart(&table.name));
                }
            } else if rest.accept_word("set") {
                if rest.is_one_of(&["start", "minvalue", "maxvalue", "cycle", "increment"]) {
                    return Err(not_apart(&table.name));
                }
            } else {
                rest.advance();
            }
        }
        Ok(())
    }
}

fn alteration(mut rest: Cursor<'_>) -> Alteration {
    if rest.is_one_of(&["owner", "owned", "rename", "cache"]) || rest.is_words(&["set", "schema"]) || rest.is_words(&["set", "logged"]) {
        return Alteration::Alike;
    }
    if !rest.accept_word("restart") {
        return Alteration::Impossible;
    }
    rest.accept_word("with");
    let end = |mut rest: Cursor<'_>| {
        while rest.accept_mark(b';') {}
        rest.at_end()
    };
    if end(rest) {
        return Alteration::Alike;
    }
    let number = rest.literal_value().and_then(|value| value.parse().ok());
    rest.advance();
    match number {
        Some(number) if number >= 1 && end(rest) => Alteration::Restart(number),
        _ => Alteration::Impossible,
    }
}

/// setval's answer, under its name.
fn returning(value: &SequenceValue) -> String {
    format!("SELECT {}::pg_catalog.int8 AS setval", value.value)
}

fn not_apart(name: &str) -> Failure {
    let error = PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("sequence of \"{name}\" cannot be changed in this way"))
        .detail("Each shard draws from numbers of its own, so that no two shards give the same.")
        .hint("Use ALTER SEQUENCE … RESTART WITH number, or SELECT setval('sequence', number).");
    Failure::report(error)
}

/// A sequence with the tables that it fills, by a default or as an identity; no row if there is no such sequence.
const QUERY: &str = "select pg_catalog.json_build_object('schema', n.nspname, 'name', s.relname, 'tables', coalesce((
        select pg_catalog.json_agg(distinct pg_catalog.jsonb_build_array(tn.nspname, t.relname))
        from (select ad.adrelid as relation from pg_catalog.pg_depend d
              join pg_catalog.pg_attrdef ad on d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = ad.oid
              where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = s.oid
              union
              select d.refobjid from pg_catalog.pg_depend d
              where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = s.oid and d.deptype in ('a', 'i')
                    and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass) u
        join pg_catalog.pg_class t on t.oid = u.relation
        join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace), '[]'))::pg_catalog.text
    from pg_catalog.pg_class s join pg_catalog.pg_namespace n on n.oid = s.relnamespace
    where s.oid = pg_catalog.to_regclass({name}) and s.relkind = 'S'";
