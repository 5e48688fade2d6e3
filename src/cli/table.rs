//! `shardyard table`: which table lives where, and declaring it.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::catalog::{TableRule, TableRuleKind, schema, store};
use crate::cli::arguments::TableCommand;
use crate::cli::cluster::Cluster;
use crate::cli::reference;
use crate::topology::schema::RelationKind;
use crate::topology::{Placement, Relation, Schema};

/// Runs one of the `table` commands.
pub(crate) async fn run(command: TableCommand) -> Result<u8> {
    match command {
        TableCommand::List { config, json } => list(&config.config, json).await,
        TableCommand::Reference { table, config, dry_run } => {
            let rule = rule(&table, TableRuleKind::Reference, false);
            reference::declare(&Cluster::open(&config.config)?, &rule, dry_run).await
        }
        TableCommand::Single { table, config, dry_run } => {
            declare(&config.config, &rule(&table, TableRuleKind::Single, false), dry_run).await
        }
        TableCommand::Shard { table, key, local_unique, config, dry_run } => {
            declare(&config.config, &rule(&table, TableRuleKind::Sharded { key_column: key }, local_unique), dry_run).await
        }
    }
}

/// `SCHEMA.NAME`, or `NAME` in `public`. Names are taken as they are: no folding, no quotes.
fn rule(table: &str, kind: TableRuleKind, local_unique: bool) -> TableRule {
    let (schema, name) = table.split_once('.').unwrap_or(("public", table));
    TableRule { schema: schema.to_owned(), name: name.to_owned(), kind, local_unique }
}

async fn list(folder: &Path, as_json: bool) -> Result<u8> {
    let cluster = Cluster::open(folder)?;
    let (map, rules) = cluster.state().await?;
    let schema = schema::load(&cluster.home(&map).await?, &rules, 0).await?;
    let mut tables: Vec<_> = schema.relations().filter(|relation| relation.kind != RelationKind::Sequence).collect();
    tables.sort_by(|one, other| (&one.schema, &one.name).cmp(&(&other.schema, &other.name)));
    if as_json {
        let tables: Vec<Value> = tables.iter().map(|relation| to_json(relation)).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "tables": tables }))?);
        return Ok(0);
    }
    for relation in tables {
        let (kind, key) = words(&relation.placement);
        println!("{kind:<9}  {}.{}{}", relation.schema, relation.name, key.map(|key| format!("  by {key}")).unwrap_or_default());
    }
    Ok(0)
}

fn to_json(relation: &Relation) -> Value {
    let (kind, key) = words(&relation.placement);
    let view = matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView);
    json!({ "schema": relation.schema, "name": relation.name, "kind": kind, "key_column": key, "view": view })
}

fn words(placement: &Placement) -> (&'static str, Option<&str>) {
    match placement {
        Placement::Sharded { key_column, .. } => ("sharded", Some(key_column)),
        Placement::Reference => ("reference", None),
        Placement::Single => ("single", None),
    }
}

/// Writes a rule for a table that does not exist yet, or that is already what the rule says.
async fn declare(folder: &Path, rule: &TableRule, dry_run: bool) -> Result<u8> {
    let cluster = Cluster::open(folder)?;
    let catalog = cluster.catalog().await?;
    let (map, rules) = cluster.state().await?;
    let schema = schema::load(&cluster.home(&map).await?, &rules, 0).await?;
    if let Some(relation) = existing(&schema, rule) {
        let same = match (&relation.placement, &rule.kind) {
            (Placement::Sharded { key_column: old, .. }, TableRuleKind::Sharded { key_column }) => old == key_column,
            (placement, TableRuleKind::Single) => *placement == Placement::Single,
            _ => false,
        };
        if !same {
            let (kind, _) = words(&relation.placement);
            bail!(
                "table {}.{} exists and is {kind}: its rows would have to move. Declare a new table, copy the rows, and rename it",
                rule.schema,
                rule.name
            );
        }
    }
    if dry_run {
        println!("would declare table {}.{}", rule.schema, rule.name);
        return Ok(0);
    }
    store::set_table_rule(&catalog, rule).await?;
    println!("declared table {}.{}", rule.schema, rule.name);
    Ok(0)
}

/// The relation that a rule speaks of.
pub(crate) fn existing<'a>(schema: &'a Schema, rule: &TableRule) -> Option<&'a Relation> {
    schema.relation(Some(&rule.schema), &rule.name, &[]).map(AsRef::as_ref)
}
