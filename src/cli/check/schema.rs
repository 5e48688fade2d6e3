//! Do all shards have the sharded and reference tables, in one shape?

use std::collections::BTreeMap;

use crate::catalog::{TableRules, schema};
use crate::cli::check::Findings;
use crate::cli::cluster::Cluster;
use crate::topology::schema::RelationKind;
use crate::topology::{Placement, Relation, Schema, ShardMap};

pub(crate) async fn look(cluster: &Cluster, map: &ShardMap, rules: &TableRules, findings: &mut Findings) {
    let mut schemas = Vec::new();
    for shard in &map.shards {
        let Ok(client) = cluster.server(&shard.primary).await else { return };
        match schema::load(&client, rules, 0).await {
            Ok(schema) => schemas.push((shard, schema)),
            Err(error) => return findings.error(&format!("shard {}", shard.name), error.to_string(), "look into its log"),
        }
    }
    let Some((_, home)) = schemas.iter().find(|(shard, _)| shard.id == map.home) else { return };
    let wanted = everywhere(home);
    for rule in &rules.rules {
        if home.relation(Some(&rule.schema), &rule.name, &[]).is_none() {
            let text = format!("table {}.{} is declared and does not exist", rule.schema, rule.name);
            findings.warning("tables", text, "make it, or take it out of tables.toml");
        }
    }
    for (shard, schema) in schemas.iter().filter(|(shard, _)| shard.id != map.home) {
        let place = format!("shard {}", shard.name);
        let found = everywhere(schema);
        for (name, shape) in &wanted {
            match found.get(name) {
                None => findings.error(&place, format!("lacks table {name}"), "make it there as it is on the home shard"),
                Some(other) if other != shape => {
                    findings.error(&place, format!("has table {name} as ({other}), the home shard as ({shape})"), "alter one of them");
                }
                Some(_) => {}
            }
        }
        for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
            findings.warning(&place, format!("has table {name}, which the home shard lacks"), "drop it there, if nothing needs it");
        }
    }
}

/// The tables that must be alike on every shard: name, and columns with their types.
fn everywhere(schema: &Schema) -> BTreeMap<String, String> {
    let is_table = |relation: &&Relation| matches!(relation.kind, RelationKind::Table | RelationKind::PartitionedTable);
    schema
        .relations()
        .map(AsRef::as_ref)
        .filter(is_table)
        .filter(|relation| relation.placement != Placement::Single)
        .map(|relation| {
            let columns = relation.columns.iter().map(|column| {
                let null = if column.not_null { " not null" } else { "" };
                format!("{} {}{null}", column.name, column.type_oid)
            });
            (format!("{}.{}", relation.schema, relation.name), columns.collect::<Vec<_>>().join(", "))
        })
        .collect()
}
