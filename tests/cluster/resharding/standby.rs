//! Synchronous replicas of the stage's shards, and what happens when one takes its primary's place.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::connection::Connection;
use crate::dsn::Dsn;
use crate::plain;
use crate::resharding::stage::{Stage, Victim, lock};
use crate::shardyard::eventually;

const PATIENCE: Duration = Duration::from_secs(30);
/// Between a primary's death and its replica's promotion.
const DEAD: Duration = Duration::from_millis(300);
/// Between the promotion and the new replica's beginning.
const ALONE: Duration = Duration::from_secs(2);

impl Stage {
    /// From now on a commit is acknowledged when the shard's replica has it.
    pub(super) fn wait_synchronously(&self) -> Result<()> {
        let shards: Vec<String> = lock(&self.standbys).keys().cloned().collect();
        shards.iter().try_for_each(|shard| self.wait_synchronously_on(shard))
    }

    fn wait_synchronously_on(&self, shard: &str) -> Result<()> {
        let (_, primary) = self.servers().into_iter().find(|(name, _)| name == shard).context("no such shard")?;
        let mut primary = Connection::connect(&primary)?;
        eventually(PATIENCE, || {
            let streaming = primary.value("select count(*) from pg_stat_replication where state = 'streaming'")?;
            ensure!(streaming != "0", "no replica of {shard} follows");
            Ok(())
        })?;
        primary.query("alter system set synchronous_standby_names = '*'")?;
        primary.query("select pg_reload_conf()").map(drop)
    }

    /// Whether this server has a replica that can take its place.
    pub(crate) fn has_standby(&self, at: usize) -> bool {
        self.servers().get(at).is_some_and(|(name, _)| lock(&self.standbys).contains_key(name))
    }

    /// The primary dies and does not come back; its replica takes its place. In the end another replica stands where the primary was.
    pub(crate) fn fail_over(&self, at: usize) -> Result<()> {
        let (name, old) = self.servers().get(at).context("no such server")?.clone();
        let (_, data) = self.server(Victim::Primary(at))?;
        let new = lock(&self.standbys).get(&name).cloned().with_context(|| format!("{name} has no replica"))?;
        self.kill(Victim::Primary(at))?;
        std::thread::sleep(DEAD);
        ensure!(Connection::connect(&new)?.value("select pg_promote(true, 30)")? == "t", "the replica of {name} is not promoted");
        lock(&self.servers).iter_mut().filter(|(shard, _)| *shard == name).for_each(|(_, dsn)| *dsn = new.clone());
        lock(&self.standbys).insert(name.clone(), old.clone());
        std::thread::sleep(ALONE);
        follow(&data, &old, &new).with_context(|| format!("making a replica of {name}"))?;
        self.wait_synchronously_on(&name)
    }
}

/// Makes the dead server's folder a replica of `primary`, on the same port as before.
fn follow(data: &Path, dead: &Dsn, primary: &Dsn) -> Result<()> {
    // The dead server's children hold its files for a moment.
    eventually(PATIENCE, || Ok(std::fs::remove_dir_all(data)?))?;
    let slot = format!("follower_{}", dead.port);
    let mut drop_slot = Connection::connect(primary)?;
    drop_slot.query(&format!("select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{slot}'"))?;
    let mut copy = plain::command("pg_basebackup");
    copy.env("PGPASSWORD", &primary.password).args(["--host", &primary.host, "--port", &primary.port.to_string()]);
    copy.args(["--username", &primary.user, "--no-password", "--no-sync", "--checkpoint=fast", "--wal-method=stream"]);
    copy.args(["--write-recovery-conf", "--create-slot", "--slot", &slot]).arg("--pgdata").arg(data);
    plain::run_as_servers(&mut copy)?;
    let settings = data.join("shardyard.conf");
    let text = std::fs::read_to_string(&settings)?;
    std::fs::write(&settings, text.replace(&format!("port = {}\n", primary.port), &format!("port = {}\n", dead.port)))?;
    eventually(PATIENCE, || plain::start(data))
}
