//! How much the sharded tables of each shard hold, about: for plans and expectations.

use tokio_postgres::Client;

use crate::backend::ControlRole;
use crate::backend::probe::control_target;
use crate::catalog::{TableRules, store};
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::start::Sizes;
use crate::rebalance::table;

/// Rows and bytes of every shard that owns buckets, from the servers' statistics.
///
/// # Errors
/// When a shard does not answer.
pub async fn read(catalog: &Client, control: &ControlRole, file_rules: &TableRules) -> Result<Sizes, StepError> {
    let (_, rules) = store::rules(catalog).await?;
    let rules = rules.over(file_rules);
    let rows = store::shards(catalog).await?;
    let home =
        catalog.query_one("select coalesce(home_shard, 0) from shardyard.cluster", &[]).await.map_err(doing("reading the home shard"))?;
    let home: i32 = home.get(0);
    let mut schema = None;
    if let Some(row) = rows.iter().find(|row| i32::from(row.shard.id.0) == home) {
        let client = control_target(&row.shard.primary, control).connect().await?;
        schema = Some(table::sharded(&client, &rules).await?);
    }
    let Some(schema) = schema else { return Ok(Sizes::new()) };
    let mut sizes = Sizes::new();
    for row in rows.iter().filter(|row| row.state != "retired" && row.buckets > 0) {
        let client = control_target(&row.shard.primary, control).connect().await?;
        let tables = table::of_shard(&client, &schema, &row.shard.name).await?;
        let sum = |of: fn(&table::Table) -> i64| tables.iter().map(|table| u64::try_from(of(table)).unwrap_or(0)).sum::<u64>();
        sizes.insert(row.shard.id, (sum(|table| table.rows), sum(|table| table.bytes)));
    }
    Ok(sizes)
}
