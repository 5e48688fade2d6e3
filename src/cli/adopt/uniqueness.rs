//! What is unique on each database must be unique on all, or no shard could ever be added: rows of several would meet.

use std::pin::Pin;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use tokio_postgres::{Client, RowStream};

use crate::cli::adopt::{Site, identifier, quoted, tables};
use crate::topology::Placement;

/// Unique indexes without the key column, which keep values apart on one shard only: name, expressions, condition.
const LOCAL: &str = "select c.relname::text,
           array(select pg_catalog.pg_get_indexdef(i.indexrelid, k, true) from pg_catalog.generate_series(1, i.indnkeyatts) k),
           coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid), 'true')
    from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
    where i.indrelid = pg_catalog.to_regclass($1) and i.indisunique
      and not exists (select from pg_catalog.pg_attribute a
                      where a.attrelid = i.indrelid and a.attname = $2
                        and a.attnum = any ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]))";

impl Site<'_> {
    /// Values of unique columns that are on two shards, of tables that do not allow it.
    pub(super) async fn not_unique(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let Some((home, _)) = self.shards().find(|(_, shard)| shard.id == self.map.home) else { return Ok(wrong) };
        for table in tables(self.schema) {
            let Placement::Sharded { key_column, .. } = &table.placement else { continue };
            if self.rules.rule(&table.schema, &table.name).is_some_and(|rule| rule.local_unique) {
                continue;
            }
            let name = quoted(table);
            for row in home.query(LOCAL, &[&name, key_column]).await? {
                let (index, values, condition): (String, Vec<String>, String) = (row.get(0), row.get(1), row.get(2));
                let not_null: String = values.iter().map(|value| format!(" and ({value}) is not null")).collect();
                let values = values.join(", ");
                let select = format!(
                    "select row({values})::text collate \"C\" from only {name} where ({condition}){not_null} order by 1{}",
                    self.limit()
                );
                if let Some(value) = self.first_twice(&select).await.with_context(|| format!("the unique index {index}"))? {
                    wrong.push(format!(
                        "{value} is on two shards in {name}, whose unique index {} does not contain the key {key_column}: add the key to it, \
                         or set local_unique = true for the table in tables.toml (then rows cannot move to another shard)",
                        identifier(&index)
                    ));
                }
            }
        }
        Ok(wrong)
    }

    /// The first value that two shards have. The query gives each shard's in order; they are read side by side and not kept.
    async fn first_twice(&self, select: &str) -> Result<Option<String>> {
        let mut streams = Vec::new();
        for (client, _) in self.shards() {
            streams.push(Values::open(client, select).await?);
        }
        loop {
            let Some(least) = streams.iter().filter_map(|values| values.next.clone()).min() else { return Ok(None) };
            let mut found = 0;
            for values in streams.iter_mut().filter(|values| values.next.as_ref() == Some(&least)) {
                found += 1;
                values.advance().await?;
            }
            if found > 1 {
                return Ok(Some(least));
            }
        }
    }
}

/// One shard's values in order, one ahead.
struct Values {
    rows: Pin<Box<RowStream>>,
    next: Option<String>,
}

impl Values {
    async fn open(client: &Client, select: &str) -> Result<Self> {
        let none: [&str; 0] = [];
        let mut values = Self { rows: Box::pin(client.query_raw(select, none).await?), next: None };
        values.advance().await?;
        Ok(values)
    }

    async fn advance(&mut self) -> Result<()> {
        self.next = self.rows.try_next().await?.map(|row| row.get(0));
        Ok(())
    }
}
