//! The bank's cluster, and how its processes are killed and started again.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bank::Victim;
use crate::bank::ledger::Transfer;
use crate::connection::Connection;
use crate::dsn::Dsn;
use crate::plain;
use crate::shardyard::{Cluster, Proxy, SHARDS, eventually};

/// How long a commit may take to come to a step, or a server to come back.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bank {
    cluster: Cluster,
    /// The one that clients use; the cluster's own does the recovery when it is dead.
    proxy: Mutex<Option<Proxy>>,
    faults: tempfile::TempDir,
    /// The primaries' data folders.
    data: Vec<PathBuf>,
    /// All transfers so far.
    pub(crate) ledger: Mutex<Vec<Transfer>>,
}

impl Bank {
    pub(crate) fn open(accounts: i64, start: i64) -> Result<Self> {
        let cluster = Cluster::start_with(0)?;
        let faults = tempfile::Builder::new().prefix("shardyard-faults-").tempdir()?;
        let mut client = cluster.connect()?;
        client.query("create table bank_accounts (user_id bigint primary key, amount bigint not null)")?;
        client.query(
            "create table bank_log (user_id bigint, client int, number int, amount bigint, primary key (user_id, client, number))",
        )?;
        client.query("begin")?;
        for account in 1..=accounts {
            client.query(&format!("insert into bank_accounts values ({account}, {start})"))?;
        }
        client.query("commit")?;
        let folder = |shard| Ok(PathBuf::from(cluster.primary(shard)?.value("show data_directory")?));
        let data = (0..SHARDS).map(folder).collect::<Result<_>>()?;
        let bank = Self { cluster, proxy: Mutex::new(None), faults, data, ledger: Mutex::new(Vec::new()) };
        bank.revive(Victim::Proxy)?;
        Ok(bank)
    }

    pub(crate) fn proxy_dsn(&self) -> Result<Dsn> {
        let proxy = self.proxy.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(proxy.as_ref().context("the proxy is dead")?.dsn.clone())
    }

    pub(crate) fn primary(&self, shard: usize) -> Result<Connection> {
        self.cluster.primary(shard)
    }

    /// The account after the first `number` of each shard.
    pub(crate) fn accounts_of_shards(&self, number: u64) -> Result<Vec<i64>> {
        let sql = format!("select user_id from bank_accounts order by user_id offset {number} limit 1");
        (0..SHARDS).map(|shard| Ok(self.primary(shard)?.value(&sql)?.parse()?)).collect()
    }

    /// The next commit stops at this step.
    pub(crate) fn arm(&self, step: &str) -> Result<()> {
        Ok(std::fs::write(self.faults.path().join(step), "")?)
    }

    /// Returns when a commit has stopped there.
    pub(crate) fn reached(&self, step: &str) -> Result<()> {
        let file = self.faults.path().join(step).with_extension("reached");
        eventually(PATIENCE, || {
            ensure!(file.exists(), "no commit came to {step}");
            Ok(())
        })
    }

    /// Lets the commit go on.
    pub(crate) fn release(&self, step: &str) -> Result<()> {
        let _ = std::fs::remove_file(self.faults.path().join(step));
        let _ = std::fs::remove_file(self.faults.path().join(step).with_extension("reached"));
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Proxy => {
                drop(self.proxy.lock().unwrap_or_else(PoisonError::into_inner).take());
                Ok(())
            }
            Victim::Primary(shard) => {
                let file = self.data.get(shard).context("no such shard")?.join("postmaster.pid");
                let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                let pid = text.lines().next().context("an empty postmaster.pid")?.trim().parse()?;
                Ok(kill(Pid::from_raw(pid), Signal::SIGKILL)?)
            }
        }
    }

    /// Starts it again and returns when it answers.
    pub(crate) fn revive(&self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Proxy => {
                let folder = self.faults.path().to_string_lossy().into_owned();
                let proxy = self.cluster.proxy(&[("SHARDYARD_FAULT_DIR", &folder)])?;
                *self.proxy.lock().unwrap_or_else(PoisonError::into_inner) = Some(proxy);
                Ok(())
            }
            Victim::Primary(shard) => {
                let data = self.data.get(shard).context("no such shard")?;
                // The dead server's children hold its memory for a moment.
                eventually(PATIENCE, || plain::restart(data))?;
                eventually(PATIENCE, || self.primary(shard).map(drop))
            }
        }
    }
}
