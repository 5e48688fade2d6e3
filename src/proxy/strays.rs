//! Sees the end of server connections that were given up with something under way on them (`catalog::Stray`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::backend::ControlRole;
use crate::catalog::{Stray, View};
use crate::proxy::control_pools::ControlPools;
use crate::topology::Endpoint;

/// Between two looks; doubled up to [`INTERVAL_MAX`] while nothing new strays.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(1);
/// A server that takes longer is asked again.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// The backends of these that are still there. One that runs a statement may finish it, as in PostgreSQL when a client vanishes; one that
/// waits for us has nothing to wait for any more, and what is still on its way to it must not arrive.
const LOOK: &str = "select pid, case when state is distinct from 'active' and state is distinct from 'fastpath function call'
            then pg_catalog.pg_terminate_backend(pid) end
     from pg_catalog.pg_stat_activity where backend_type = 'client backend' and pid = any ($1) and usename::text = any ($2)";

/// Looks after strays until the process ends.
pub(super) async fn run(view: Arc<View>, control: ControlRole) {
    let mut servers = ControlPools::new(control);
    let mut interval = INTERVAL_MIN;
    loop {
        if view.attendance.strays().is_empty() {
            servers.retain(|_| false);
            view.attendance.strayed().await;
            interval = INTERVAL_MIN;
        }
        look(&view, &mut servers).await;
        tokio::select! {
            () = sleep(interval) => interval = (interval * 2).min(INTERVAL_MAX),
            () = view.attendance.strayed() => interval = INTERVAL_MIN,
        }
    }
}

/// Asks each server for its strays, side by side: one that does not answer holds up no other.
async fn look(view: &View, servers: &mut ControlPools) {
    let map = Arc::clone(&view.map());
    view.attendance.retain_strays(|stray| map.names(&stray.endpoint));
    let mut strays: HashMap<Endpoint, Vec<Stray>> = HashMap::new();
    for stray in view.attendance.strays() {
        strays.entry(stray.endpoint.clone()).or_default().push(stray);
    }
    let mut looks = JoinSet::new();
    for (endpoint, strays) in strays {
        match servers.pool(&endpoint) {
            Ok(pool) => {
                looks.spawn(async move {
                    let looked = timeout(LOOK_TIMEOUT, gone(&pool, strays)).await.unwrap_or_else(|late| Err(late.into()));
                    (endpoint, looked)
                });
            }
            Err(error) => debug!(server = %endpoint, error = %format!("{error:#}"), "no control connection"),
        }
    }
    while let Some(looked) = looks.join_next().await {
        match looked {
            Ok((_, Ok(gone))) => view.attendance.retain_strays(|stray| !gone.contains(stray)),
            Ok((lost, Err(error))) => {
                debug!(server = %lost, error = %format!("{error:#}"), "the end of a server connection cannot be seen");
                servers.retain(|endpoint| *endpoint != lost);
            }
            Err(error) => debug!(%error, "a look after strays broke off"),
        }
    }
}

/// Those of one server's strays whose backend is not there any more.
async fn gone(pool: &Pool, mut strays: Vec<Stray>) -> anyhow::Result<Vec<Stray>> {
    let client = pool.get().await?;
    let process_ids: Vec<i32> = strays.iter().map(|stray| stray.process_id).collect();
    let users: Vec<&str> = strays.iter().map(|stray| stray.user.as_str()).collect();
    let there: Vec<i32> = client.query(LOOK, &[&process_ids, &users]).await?.iter().map(|row| row.get(0)).collect();
    strays.retain(|stray| !there.contains(&stray.process_id));
    Ok(strays)
}
