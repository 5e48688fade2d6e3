//! Are the rows where the rule says, and would every row be seen?

use anyhow::{Context, Result};
use tokio_postgres::Client;

use crate::cli::adopt::{Site, identifier, quoted, tables};
use crate::topology::{KeyType, Placement};

/// Keys that are listed of one table and shard.
const LISTED_MAX: usize = 20;

impl Site<'_> {
    /// Rows of sharded tables that are on another shard than the map says.
    pub(super) async fn misplaced(&self) -> Result<Vec<String>> {
        let (mut wrong, count) = (Vec::new(), self.map.shards.len());
        for table in tables(self.schema) {
            let Placement::Sharded { key_column, key_type } = &table.placement else { continue };
            let cast = match key_type {
                KeyType::SmallInt | KeyType::Integer | KeyType::BigInt => "bigint",
                KeyType::Uuid => "uuid",
                _ => "text",
            };
            let (name, key) = (quoted(table), identifier(key_column));
            for (number, (client, shard)) in self.shards().enumerate() {
                let astray = format!("shardyard.bucket({key}::{cast}) % {count} is distinct from {number}");
                let select = format!(
                    "select count(*), count(*) filter (where {astray}),
                            (array_agg(distinct coalesce({key}::text, 'NULL')) filter (where {astray}))[1:{LISTED_MAX}]
                     from (select {key} from only {name}{}) as rows",
                    self.limit()
                );
                let row = client.query_one(&select, &[]).await.with_context(|| format!("table {name} on shard {}", shard.name))?;
                let (seen, misplaced): (i64, i64) = (row.get(0), row.get(1));
                println!("{name} on shard {}: {seen} rows looked at, {misplaced} misplaced", shard.name);
                if misplaced > 0 {
                    let keys: Vec<String> = row.get::<_, Option<Vec<String>>>(2).unwrap_or_default();
                    wrong.push(format!(
                        "{misplaced} of {seen} rows of {name} on shard {} belong on another by md5 mod {count}, of the keys {}: \
                         move them, or put the shards of shards.toml in the application's order",
                        shard.name,
                        keys.join(", ")
                    ));
                }
            }
        }
        Ok(wrong)
    }

    /// Reference tables must be the same everywhere: a read takes any shard.
    pub(super) async fn references(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for table in tables(self.schema).filter(|table| table.placement == Placement::Reference) {
            let name = quoted(table);
            let mut first: Option<(i64, String)> = None;
            for (client, shard) in self.shards() {
                let sum = row_sum(client, &name).await.with_context(|| format!("table {name} on shard {}", shard.name))?;
                if first.get_or_insert_with(|| sum.clone()) != &sum {
                    wrong.push(format!("reference table {name} has other rows on shard {} than on the first: make them equal", shard.name));
                }
            }
        }
        Ok(wrong)
    }

    /// Rows of single tables beside the home shard: nobody would see them any more.
    pub(super) async fn hidden(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for table in tables(self.schema).filter(|table| table.placement == Placement::Single) {
            if self.rules.rule(&table.schema, &table.name).is_some() {
                // The operator has said it: the other shards' rows do not count.
                continue;
            }
            let name = quoted(table);
            for (client, shard) in self.others() {
                let there: bool = client.query_one("select to_regclass($1) is not null", &[&name]).await?.get(0);
                let select = format!("select exists (select from only {name})");
                if there && client.query_one(&select, &[]).await?.get(0) {
                    wrong.push(format!(
                        "{name} has no key column and has rows on shard {}, where nobody would see them: declare in tables.toml whether it is \
                         \"reference\" (the same everywhere), \"sharded\" by another column, or \"single\" (the home shard's rows are all)",
                        shard.name
                    ));
                }
            }
        }
        Ok(wrong)
    }
}

/// Count, and a sum of hashes that does not depend on the order.
async fn row_sum(client: &Client, name: &str) -> Result<(i64, String), tokio_postgres::Error> {
    let select = format!("select count(*), coalesce(sum(pg_catalog.hashtextextended(t::text, 0)), 0)::text from only {name} t");
    let row = client.query_one(&select, &[]).await?;
    Ok((row.get(0), row.get(1)))
}
