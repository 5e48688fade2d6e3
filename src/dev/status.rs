//! What a cluster consists of and whether it runs.

use std::path::Path;

use serde_json::{Value, json};

use crate::dev::DevError;
use crate::dev::account::Account;
use crate::dev::binaries::Binaries;
use crate::dev::folder::Folder;
use crate::dev::proxy_process;
use crate::dev::record::Record;
use crate::dev::server::Site;
use crate::dev::worker_process;

/// A cluster and the state of its processes.
pub struct Status {
    pub record: Record,
    pub config: String,
    pub proxy_pid: Option<i32>,
    pub worker_pid: Option<i32>,
    /// Name, port and whether it runs, of every server.
    pub servers: Vec<(String, u16, bool)>,
}

/// Looks at the processes of the cluster in `dir`.
///
/// # Errors
/// When there is no cluster, or it cannot be looked at.
pub async fn status(dir: &Path) -> Result<Status, DevError> {
    let folder = Folder::open(dir)?;
    let site = Site { record: folder.record()?, account: Account::for_servers()?, binaries: Binaries::find()?, folder };
    let mut servers = Vec::new();
    for server in site.record.servers() {
        servers.push((server.name.clone(), server.port, site.server(server).is_running().await?));
    }
    Ok(Status {
        config: site.folder.config().display().to_string(),
        proxy_pid: proxy_process::running(&site.folder),
        worker_pid: worker_process::running(&site.folder),
        servers,
        record: site.record,
    })
}

impl Status {
    /// Whether the proxy and every server run.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.proxy_pid.is_some() && self.servers.iter().all(|(_, _, running)| *running)
    }

    /// The command-line contract's JSON, and what runs.
    #[must_use]
    pub fn json(&self) -> Value {
        let record = &self.record;
        let shard = |shard: &crate::dev::record::ShardRecord| {
            let replicas: Vec<String> = shard.replicas.iter().map(|replica| record.server_dsn(replica)).collect();
            json!({"id": shard.id, "name": shard.name, "primary": record.server_dsn(&shard.primary), "replicas": replicas})
        };
        let extra: Vec<Value> = record.extra.iter().map(|server| json!({"name": server.name, "dsn": record.server_dsn(server)})).collect();
        let servers: Vec<Value> =
            self.servers.iter().map(|(name, port, running)| json!({"name": name, "port": port, "running": running})).collect();
        json!({
            "dsn": record.app_dsn(),
            "admin_dsn": record.admin_dsn(),
            "catalog": record.catalog_dsn(),
            "config": self.config,
            "shards": record.shards.iter().map(shard).collect::<Vec<_>>(),
            "extra": extra,
            "proxy": {"running": self.proxy_pid.is_some(), "pid": self.proxy_pid},
            "worker": {"running": self.worker_pid.is_some(), "pid": self.worker_pid},
            "servers": servers,
        })
    }

    /// Lines for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![match self.proxy_pid {
            Some(pid) => format!("proxy                running  {} (process {pid})", self.record.app_dsn()),
            None => "proxy                stopped".to_owned(),
        }];
        lines.push(match self.worker_pid {
            Some(pid) => format!("worker               running  (process {pid})"),
            None => "worker               stopped".to_owned(),
        });
        for (name, port, running) in &self.servers {
            lines.push(format!("{name:<20} {}  127.0.0.1:{port}", if *running { "running" } else { "stopped" }));
        }
        lines
    }
}
