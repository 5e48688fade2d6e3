//! Finishes commits over several shards that a crash has left in doubt (DESIGN section 10).
//!
//! A prepared transaction of ours that is older than a commit takes is decided by its anchor's record: `commit`, or none. Where there is
//! none, `abort` is recorded first: the record's primary key lets only one of us and the committing proxy win.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tracing::{debug, info, warn};

use crate::backend::ControlRole;
use crate::backend::health::control_target;
use crate::catalog::View;
use crate::execute::two_phase::{GID_PREFIX, anchor_of};
use crate::telemetry::task;
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
    loop {
        sleep(INTERVAL).await;
        let map = Arc::clone(&view.map());
        match timeout(ROUND_TIMEOUT, round(&map, &control)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(error = %format!("{error:#}"), "looking for transactions in doubt failed"),
            Err(_) => warn!("looking for transactions in doubt takes too long"),
        }
    }
}

async fn round(map: &ShardMap, control: &ControlRole) -> anyhow::Result<()> {
    let mut clients = HashMap::new();
    for shard in &map.shards {
        clients.insert(shard.id, connect(map, shard.id, control).await?);
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
    forget(&clients).await
}

async fn connect(map: &ShardMap, shard: ShardId, control: &ControlRole) -> anyhow::Result<Client> {
    let shard = map.shard(shard).context("not in the map")?;
    let (client, connection) = control_target(&shard.primary, control).open().await?;
    task::spawn("recovery connection", async move {
        // The client's calls report what broke.
        let _ = connection.await;
    });
    Ok(client)
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
