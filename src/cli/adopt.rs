//! `shardyard adopt`: takes databases that an application has sharded by md5 mod N, without moving a row.
//!
//! With B a multiple of N, `bucket mod N = hash mod N`: the first map is the application's own rule. The rows say whether that is true.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio_postgres::Client;

use crate::backend::health::control_target;
use crate::catalog::sequences::{STRIDE, set_apart};
use crate::catalog::{migrate, schema};
use crate::cli::init;
use crate::config;
use crate::proxy::MapSource;
use crate::topology::schema::RelationKind;
use crate::topology::{KeyType, Placement, Relation, Schema, ShardMap};

/// What the operator asks.
pub(crate) struct Adoption {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    /// Rows of each table and shard that are looked at; 0: all.
    pub(crate) sample: u64,
    pub(crate) dry_run: bool,
}

/// Looks at the rows, sets the sequences apart, and writes the catalog as `init` does.
pub(crate) async fn run(adoption: Adoption) -> Result<u8> {
    let wrong = |mistakes| anyhow!("the configuration is wrong:\n{mistakes}");
    let options = config::read(&adoption.folder, None).map_err(wrong)?;
    ensure!(matches!(options.source, MapSource::Catalog(_)), "proxy.toml names no catalog: name an empty database for it");
    let map = config::read_shards(&adoption.folder, None, &options.database).map_err(wrong)?;
    let count = u32::try_from(map.shards.len()).context("too many shards")?;
    ensure!(map.buckets() % count == 0, "{} buckets are no multiple of {count} shards: another rule than md5 mod {count}", map.buckets());
    let mut clients = Vec::new();
    for shard in &map.shards {
        let mut client =
            control_target(&shard.primary, &options.control).connect().await.with_context(|| format!("shard {}", shard.name))?;
        // Functions only, in a schema of their own: harmless where the adoption ends here.
        migrate::shard(&mut client, map.buckets()).await.with_context(|| format!("shard {}", shard.name))?;
        clients.push(client);
    }
    let home = clients.first().context("shards.toml names no shard")?;
    let schema = schema::load(home, &options.tables, 0).await?;
    let misplaced = look(&clients, &map, &schema, adoption.sample).await?;
    tell_others(&schema);
    if misplaced > 0 {
        bail!(
            "{misplaced} rows are on another shard than md5 mod {count} says: the shards of shards.toml stand in another order, or the rule is another"
        );
    }
    if adoption.dry_run {
        println!("every row that was looked at is where md5 mod {count} says; nothing was written to the catalog");
        return Ok(0);
    }
    set_sequences_apart(&clients, &map, &schema).await?;
    init::run(adoption.folder, adoption.name).await
}

/// How many rows are not where the map says.
async fn look(clients: &[Client], map: &ShardMap, schema: &Schema, sample: u64) -> Result<i64> {
    let mut all = 0;
    for table in tables(schema) {
        let Placement::Sharded { key_column, key_type } = &table.placement else { continue };
        let cast = match key_type {
            KeyType::SmallInt | KeyType::Integer | KeyType::BigInt => "bigint",
            KeyType::Uuid => "uuid",
            _ => "text",
        };
        let (name, key) = (quoted(table), identifier(key_column));
        let from =
            if sample == 0 { format!("select {key} from only {name}") } else { format!("select {key} from only {name} limit {sample}") };
        for (number, (client, shard)) in clients.iter().zip(&map.shards).enumerate() {
            let select = format!(
                "select count(*), count(*) filter (where shardyard.bucket({key}::{cast}) % {} is distinct from {number}),
                        min({key}::text) filter (where shardyard.bucket({key}::{cast}) % {} is distinct from {number})
                 from ({from}) as rows",
                map.shards.len(),
                map.shards.len()
            );
            let row = client.query_one(&select, &[]).await.with_context(|| format!("table {name} on shard {}", shard.name))?;
            let (seen, misplaced): (i64, i64) = (row.get(0), row.get(1));
            let example = row.get::<_, Option<&str>>(2).map(|key| format!(", as key {key}")).unwrap_or_default();
            println!("{name} on shard {}: {seen} rows looked at, {misplaced} misplaced{example}", shard.name);
            all += misplaced;
        }
    }
    Ok(all)
}

/// Tables without the key: the operator must say what they are.
fn tell_others(schema: &Schema) {
    let single: Vec<String> = tables(schema).filter(|table| table.placement == Placement::Single).map(quoted).collect();
    if !single.is_empty() {
        println!(
            "without the key column, so taken from the home shard only: {}. Declare those that are the same everywhere in tables.toml as reference tables first",
            single.join(", ")
        );
    }
}

/// From now on each shard takes numbers of its own class, above all that were given.
async fn set_sequences_apart(clients: &[Client], map: &ShardMap, schema: &Schema) -> Result<()> {
    let select = "select distinct sn.nspname::text, s.relname::text, coalesce(pg_catalog.pg_sequence_last_value(s.oid), 0), q.seqincrement,
                         pg_catalog.format_type(q.seqtypid, null)
                  from pg_catalog.pg_depend d join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
                  join pg_catalog.pg_namespace sn on sn.oid = s.relnamespace join pg_catalog.pg_sequence q on q.seqrelid = s.oid
                  join pg_catalog.pg_class t on t.oid = d.refobjid join pg_catalog.pg_namespace n on n.oid = t.relnamespace
                  where d.deptype in ('a', 'i') and n.nspname = $1 and t.relname = $2 order by 1, 2";
    for table in tables(schema).filter(|table| matches!(table.placement, Placement::Sharded { .. })) {
        let mut highest = std::collections::BTreeMap::new();
        for client in clients {
            for row in client.query(select, &[&table.schema, &table.name]).await? {
                let (sequence, last, increment, kind): ((String, String), i64, i64, String) =
                    ((row.get(0), row.get(1)), row.get(2), row.get(3), row.get(4));
                if kind != "bigint" {
                    println!(
                        "{}.{} is {kind}: it will be used up soon, as each shard takes every {STRIDE}th value; make it bigint",
                        sequence.0, sequence.1
                    );
                }
                let known = highest.entry(sequence).or_insert((0, increment));
                *known = (known.0.max(last), known.1);
            }
        }
        for ((schema, name), (last, _)) in highest.iter().filter(|(_, (_, increment))| *increment != STRIDE) {
            for (client, shard) in clients.iter().zip(&map.shards) {
                client
                    .batch_execute(&set_apart(schema, name, shard.ordinal, *last))
                    .await
                    .with_context(|| format!("sequence {schema}.{name}"))?;
            }
        }
    }
    Ok(())
}

/// Those that have rows of their own, in order of name.
fn tables(schema: &Schema) -> impl Iterator<Item = &Relation> {
    let mut tables: Vec<&Relation> =
        schema.relations().map(AsRef::as_ref).filter(|relation| relation.kind == RelationKind::Table).collect();
    tables.sort_by(|one, other| (&one.schema, &one.name).cmp(&(&other.schema, &other.name)));
    tables.into_iter()
}

fn quoted(table: &Relation) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.name))
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
