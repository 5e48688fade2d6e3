//! What the proxy answers itself, as rows: EXPLAIN (ROUTE), SHOW of its own settings.

use std::ops::Range;

use crate::routing::Values;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::settings::OWN_PREFIX;
use crate::sql::command::Command;
use crate::wire::{SqlState, to_client};

impl Session {
    /// The columns of a command that answers with rows of our own.
    pub(super) fn own_columns(&self, command: &Command) -> Option<Vec<String>> {
        match command {
            Command::ExplainRoute { .. } => Some(vec!["property".to_owned(), "value".to_owned()]),
            Command::ShowOwn { name } => Some(vec![name.clone()]),
            _ => None,
        }
    }

    /// EXPLAIN (ROUTE): where the statement would go. It is not run.
    pub(super) async fn explain_route(&mut self, text: &[u8], statement: Range<usize>) -> Result<(), Failure> {
        let statement = text.get(statement).unwrap_or_default().to_vec();
        if let Err(error) = self.scan.scan(&statement, self.settings.standard_strings) {
            return Err(Failure::plain(SqlState::SYNTAX_ERROR, error.to_string()));
        }
        let plan = self.plan_scanned(&statement, 0, &[]).await?;
        let values =
            Values { text: &statement, literals: self.scan.literals(), other_encoding: self.settings.other_encoding, ..Values::default() };
        let rows = plan.explain(&values, &self.settings.own.hint, &self.pools.map);
        let out = &mut self.client.output;
        to_client::row_description(out, &["property", "value"]);
        for (property, value) in &rows {
            to_client::data_row(out, &[property, value]);
        }
        to_client::command_complete(out, "EXPLAIN");
        Ok(())
    }

    /// SHOW shardyard.name.
    pub(super) fn show_own(&mut self, name: &str) -> Result<(), Failure> {
        let short = name.strip_prefix(OWN_PREFIX).unwrap_or(name);
        let value = match short {
            "key" | "shard" | "access" | "freshness" => {
                let set = self.settings.own.texts.iter().find(|(known, _)| known == short);
                set.map_or(if short == "freshness" { "session" } else { "" }, |(_, text)| text).to_owned()
            }
            "version" => env!("CARGO_PKG_VERSION").to_owned(),
            "map_version" => self.pools.map.version.to_string(),
            "shards" => self.pools.map.shards.iter().map(|shard| format!("{} {}", shard.id, shard.name)).collect::<Vec<_>>().join(", "),
            _ => return Err(Failure::plain(SqlState(*b"42704"), format!("unrecognized configuration parameter \"{OWN_PREFIX}{short}\""))),
        };
        let out = &mut self.client.output;
        to_client::row_description(out, &[name]);
        to_client::data_row(out, &[&value]);
        to_client::command_complete(out, "SHOW");
        Ok(())
    }
}
