//! From an application's own sequences to the cluster's: each shard takes numbers of its own class.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio_postgres::Client;

use crate::catalog::sequences::{self, STRIDE};
use crate::cli::adopt::{identifier, quoted, tables};
use crate::topology::{Placement, Schema, ShardMap};

/// Name of the sequence, last value, increment, type, and the column that it feeds.
const OWNED: &str =
    "select distinct sn.nspname::text, s.relname::text, coalesce(pg_catalog.pg_sequence_last_value(s.oid), 0), q.seqincrement,
                     pg_catalog.format_type(q.seqtypid, null), a.attname::text
              from pg_catalog.pg_depend d join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
              join pg_catalog.pg_namespace sn on sn.oid = s.relnamespace join pg_catalog.pg_sequence q on q.seqrelid = s.oid
              join pg_catalog.pg_class t on t.oid = d.refobjid join pg_catalog.pg_namespace n on n.oid = t.relnamespace
              join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
              where d.deptype in ('a', 'i') and n.nspname = $1 and t.relname = $2 order by 1, 2";

/// Above all numbers that were given on any shard, and all that are in the column, however they came there.
pub(super) async fn set_apart(clients: &[Client], map: &ShardMap, schema: &Schema) -> Result<()> {
    for table in tables(schema).filter(|table| matches!(table.placement, Placement::Sharded { .. })) {
        // By name: the greatest number, and whether every shard has our increment already.
        let mut highest: BTreeMap<(String, String), (i64, bool)> = BTreeMap::new();
        for client in clients {
            for row in client.query(OWNED, &[&table.schema, &table.name]).await? {
                let (sequence, increment, kind): ((String, String), i64, String) = ((row.get(0), row.get(1)), row.get(3), row.get(4));
                if kind != "bigint" {
                    println!(
                        "{}.{} is {kind}: it will be used up soon, as each shard takes every {STRIDE}th value; make it bigint",
                        sequence.0, sequence.1
                    );
                }
                let column = identifier(row.get(5));
                let select = format!("select coalesce(max({column})::pg_catalog.int8, 0) from only {}", quoted(table));
                let in_rows: i64 = client.query_one(&select, &[]).await?.get(0);
                let known = highest.entry(sequence).or_insert((0, true));
                *known = (known.0.max(row.get(2)).max(in_rows), known.1 && increment == STRIDE);
            }
        }
        for ((schema, name), (last, _)) in highest.iter().filter(|(_, (_, done))| !done) {
            for (client, shard) in clients.iter().zip(&map.shards) {
                let statement = sequences::set_apart(schema, name, shard.ordinal, *last);
                client.batch_execute(&statement).await.with_context(|| format!("sequence {schema}.{name} on shard {}", shard.name))?;
            }
        }
    }
    Ok(())
}
