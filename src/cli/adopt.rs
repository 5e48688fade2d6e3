//! `shardyard adopt`: takes databases that an application has sharded by md5 mod N, without moving a row.
//!
//! With B a multiple of N, `bucket mod N = hash mod N`: the first map is the application's own rule. The rows say whether that is true.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio_postgres::Client;

use crate::backend::probe::control_target;
use crate::catalog::{TableRules, migrate, schema};
use crate::cli::init;
use crate::config;
use crate::proxy::MapSource;
use crate::topology::schema::RelationKind;
use crate::topology::{Relation, Schema, Shard, ShardMap};

mod rows;
mod sequences;
mod uniqueness;

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
    let home = clients.iter().zip(&map.shards).find(|(_, shard)| shard.id == map.home);
    let (home, _) = home.context("shards.toml names no shard")?;
    let schema = schema::load(home, &options.tables, 0).await?;
    let site = Site { clients: &clients, map: &map, schema: &schema, rules: &options.tables, sample: adoption.sample };
    let wrong = [site.misplaced().await?, site.references().await?, site.hidden().await?, site.not_unique().await?].concat();
    if !wrong.is_empty() {
        bail!("these databases cannot be adopted as they are:\n  {}", wrong.join("\n  "));
    }
    if adoption.dry_run {
        println!("every row that was looked at is where md5 mod {count} says; nothing was written to the catalog");
        return Ok(0);
    }
    sequences::set_apart(&clients, &map, &schema).await?;
    init::run(adoption.folder, adoption.name).await
}

/// What is looked at. Each look answers with what is wrong, a line each, and what to do.
struct Site<'a> {
    /// In the order of the map's shards.
    clients: &'a [Client],
    map: &'a ShardMap,
    schema: &'a Schema,
    rules: &'a TableRules,
    /// Rows of a table and shard that are looked at; 0: all.
    sample: u64,
}

impl Site<'_> {
    /// The shards that are not the home shard.
    fn others(&self) -> impl Iterator<Item = (&Client, &Shard)> {
        self.shards().filter(|(_, shard)| shard.id != self.map.home)
    }

    fn shards(&self) -> impl Iterator<Item = (&Client, &Shard)> {
        self.clients.iter().zip(&self.map.shards)
    }

    /// ` limit N` of a query that looks at rows.
    fn limit(&self) -> String {
        if self.sample == 0 { String::new() } else { format!(" limit {}", self.sample) }
    }
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
