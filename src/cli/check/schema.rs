//! Do all shards have the sharded and reference tables, in one shape?

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::catalog::{TableRules, schema};
use crate::cli::check::Findings;
use crate::cli::cluster::Cluster;
use crate::topology::schema::RelationKind;
use crate::topology::{Placement, Relation, Schema, ShardMap};

pub(crate) async fn look(cluster: &Cluster, map: &ShardMap, rules: &TableRules, findings: &mut Findings) {
    let mut schemas = Vec::new();
    for shard in &map.shards {
        let Ok(client) = cluster.server(&shard.primary).await else { return };
        match (schema::load(&client, rules, 0).await, details(&client).await) {
            (Ok(schema), Ok(details)) => schemas.push((shard, everywhere(&schema, &details), schema)),
            _ => return findings.error(&format!("shard {}", shard.name), "its schema cannot be read", "look into its log"),
        }
    }
    let Some((_, wanted, home)) = schemas.iter().find(|(shard, ..)| shard.id == map.home) else { return };
    for rule in &rules.rules {
        if home.relation(Some(&rule.schema), &rule.name, &[]).is_none() {
            let text = format!("table {}.{} is declared and does not exist", rule.schema, rule.name);
            findings.warning("tables", text, "make it, or take it out of tables.toml");
        }
    }
    for (shard, found, _) in schemas.iter().filter(|(shard, ..)| shard.id != map.home) {
        let place = format!("shard {}", shard.name);
        for (name, shape) in wanted {
            match found.get(name) {
                None => findings.error(&place, format!("lacks table {name}"), "make it there as it is on the home shard"),
                Some(other) if other != shape => {
                    findings.error(
                        &place,
                        format!("has another table {name}; it {}", difference(shape, other)),
                        "alter it there to be as on the home shard",
                    );
                }
                Some(_) => {}
            }
        }
        for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
            findings.warning(&place, format!("has table {name}, which the home shard lacks"), "drop it there, if nothing needs it");
        }
    }
}

/// The tables that must be alike on every shard: name, and all that makes their shape.
fn everywhere(schema: &Schema, details: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_table = |relation: &&Relation| matches!(relation.kind, RelationKind::Table | RelationKind::PartitionedTable);
    schema
        .relations()
        .map(AsRef::as_ref)
        .filter(is_table)
        .filter(|relation| relation.placement != Placement::Single)
        .map(|relation| {
            let name = format!("{}.{}", relation.schema, relation.name);
            let shape = details.get(&name).cloned().unwrap_or_default();
            (name, shape)
        })
        .collect()
}

/// Of every table: its columns, constraints, indexes and triggers, as PostgreSQL prints them, one a line in alphabetical order.
async fn details(client: &Client) -> Result<BTreeMap<String, String>, tokio_postgres::Error> {
    let select = "select n.nspname || '.' || c.relname, string_agg(d.line, E'\\n' order by d.line collate \"C\")
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        cross join lateral (
            select 'column ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
                || coalesce(' default ' || pg_get_expr(f.adbin, f.adrelid), '')
            from pg_attribute a left join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            union all select 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint where conrelid = c.oid
            union all select pg_get_indexdef(indexrelid) || case when indisvalid then '' else ' (invalid)' end from pg_index where indrelid = c.oid
            union all select pg_get_triggerdef(oid) from pg_trigger where tgrelid = c.oid and not tgisinternal
        ) d (line)
        where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema', 'shardyard')
        group by 1";
    Ok(client.query(select, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The first line that one of the two lacks.
fn difference(home: &str, other: &str) -> String {
    let lacks = |one: &str, two: &str| one.lines().find(|line| !two.lines().any(|known| known == *line)).map(str::to_owned);
    match (lacks(home, other), lacks(other, home)) {
        (Some(line), _) => format!("lacks: {line}"),
        (None, Some(line)) => format!("has, and the home shard lacks: {line}"),
        (None, None) => "has something twice".to_owned(),
    }
}
