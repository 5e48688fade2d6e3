//! Finishes commits over several shards that a crash has left in doubt (DESIGN section 10).
//!
//! A prepared transaction of ours that is older than a commit takes is decided by its anchor's record: `commit`, or none. Where there is
//! none, `abort` is recorded first: the record's primary key lets only one of us and the committing proxy win.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use deadpool_postgres::Client;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::backend::ControlRole;
use crate::catalog::View;
use crate::execute::two_phase::{GID_PREFIX, anchor_of};
use crate::proxy::control_pools::ControlPools;
use crate::topology::{ShardId, ShardMap};

/// How often prepared transactions are looked for.
const INTERVAL: Duration = Duration::from_secs(5);
/// A round that takes longer is given up; the next begins anew.
const ROUND_TIMEOUT: Duration = Duration::from_secs(30);
/// A younger prepared transaction may still be committed by its own proxy.
const AGE: &str = "10 seconds";
/// Decisions of gids that no shard holds any more are removed after this.
const DECISION_AGE: &str = "1 hour";

/// Looks for transactions in doubt until the process ends.
pub(super) async fn run(view: Arc<View>, control: ControlRole) {
    let mut servers = ControlPools::new(control);
    loop {
        sleep(INTERVAL).await;
        let map = Arc::clone(&view.map());
        match timeout(ROUND_TIMEOUT, round(&map, &mut servers)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(error = %format!("{error:#}"), "looking for transactions in doubt failed"),
            Err(_) => warn!("looking for transactions in doubt takes too long"),
        }
    }
}

async fn round(map: &ShardMap, servers: &mut ControlPools) -> anyhow::Result<()> {
    servers.retain(|endpoint| map.shards.iter().any(|shard| shard.primary == *endpoint));
    let mut clients = HashMap::new();
    let mut unreachable = false;
    for shard in &map.shards {
        match servers.connect(&shard.primary).await {
            Ok(client) => drop(clients.insert(shard.id, client)),
            Err(error) => {
                // Those of the others are decided all the same, unless it is their anchor.
                debug!(shard = %shard.id, error = %format!("{error:#}"), "shard not reached for its transactions in doubt");
                unreachable = true;
            }
        }
    }
    for (shard, client) in &clients {
        let query = format!(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE '{GID_PREFIX}%' AND prepared < now() - interval '{AGE}'"
        );
        for row in client.query(&query, &[]).await? {
            let gid: String = row.get(0);
            if let Err(error) = decide(&gid, client, &clients).await {
                warn!(gid, %shard, error = %format!("{error:#}"), "transaction in doubt could not be decided");
            }
        }
    }
    // A shard that was not asked may still hold a gid.
    if unreachable { Ok(()) } else { forget(&clients).await }
}

async fn decide(gid: &str, holder: &Client, clients: &HashMap<ShardId, Client>) -> anyhow::Result<()> {
    let anchor = anchor_of(gid).and_then(|shard| clients.get(&shard)).context("its anchor is not in the map")?;
    // Waits for an anchor's transaction that is just recording its own decision.
    anchor
        .execute("INSERT INTO shardyard.commit_decision (gid, decision) VALUES ($1, 'abort') ON CONFLICT (gid) DO NOTHING", &[&gid])
        .await?;
    let row = anchor.query_one("SELECT decision FROM shardyard.commit_decision WHERE gid = $1", &[&gid]).await?;
    let decision: String = row.get(0);
    let verb = if decision == "commit" { "COMMIT" } else { "ROLLBACK" };
    holder.batch_execute(&format!("{verb} PREPARED '{}'", gid.replace('\'', "''"))).await?;
    info!(gid, decision, "transaction in doubt decided");
    Ok(())
}

/// Removes decisions that nobody can ask for any more.
async fn forget(clients: &HashMap<ShardId, Client>) -> anyhow::Result<()> {
    let mut held: Vec<String> = Vec::new();
    for client in clients.values() {
        let rows = client.query(&format!("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE '{GID_PREFIX}%'"), &[]).await?;
        held.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    for client in clients.values() {
        let query =
            format!("DELETE FROM shardyard.commit_decision WHERE decided_at < now() - interval '{DECISION_AGE}' AND gid <> ALL ($1)");
        client.execute(&query, &[&held]).await?;
    }
    Ok(())
}
