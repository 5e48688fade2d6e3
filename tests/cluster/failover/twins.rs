//! One shard's two servers, and the tool beside Shardyard that promotes one when the other is dead, and makes the dead one a replica again.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::connection::Connection;
use crate::dsn::Dsn;
use crate::plain;
use crate::resharding::stage::lock;
use crate::shardyard::{Shard, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// One server, as the superuser reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) dsn: Dsn,
    pub(crate) data: PathBuf,
}

impl Server {
    pub(crate) fn kill(&self) -> Result<()> {
        Ok(kill(postmaster(&self.data)?, Signal::SIGKILL)?)
    }

    /// As it is, after it was killed.
    pub(crate) fn start(&self) -> Result<()> {
        // Its pid may still be there for a moment.
        eventually(PATIENCE, || plain::restart(&self.data))
    }
}

/// The primary and its synchronous replica.
pub(crate) struct Twins(Mutex<[Server; 2]>);

impl Twins {
    /// Of a shard with one replica; from now on a commit waits for it.
    pub(crate) fn of(shard: &Shard) -> Result<Self> {
        let replica = shard.replicas.first().context("the shard has no replica")?;
        let server = |dsn: &Dsn| -> Result<Server> {
            Ok(Server { dsn: dsn.clone(), data: PathBuf::from(Connection::connect(dsn)?.value("show data_directory")?) })
        };
        let twins = Self(Mutex::new([server(&shard.primary)?, server(replica)?]));
        twins.wait_for_each_other()?;
        Ok(twins)
    }

    pub(crate) fn primary(&self) -> Server {
        lock(&self.0)[0].clone()
    }

    pub(crate) fn other(&self) -> Server {
        lock(&self.0)[1].clone()
    }

    /// The primary is killed and its replica promoted. Answers with the dead one.
    pub(crate) fn fail_over(&self) -> Result<Server> {
        let dead = self.primary();
        dead.kill()?;
        self.promote()?;
        Ok(dead)
    }

    /// The replica is promoted, whatever the primary does.
    pub(crate) fn promote(&self) -> Result<()> {
        plain::pg_ctl(&self.other().data, &["promote", "-w", "-t", "30"])?;
        lock(&self.0).swap(0, 1);
        Ok(())
    }

    /// The other one, which is dead, begins anew as a copy of the primary; from then on a commit waits for it.
    pub(crate) fn rejoin(&self) -> Result<()> {
        let (primary, dead) = (self.primary(), self.other());
        let settings = dead.data.join("shardyard.conf");
        let text = std::fs::read_to_string(&settings).with_context(|| settings.display().to_string())?;
        // The dead server's children hold its memory for a moment.
        eventually(PATIENCE, || Ok(std::fs::remove_dir_all(&dead.data)?))?;
        let mut connection = Connection::connect(&primary.dsn)?;
        connection.query("select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'twin' and not active")?;
        plain::base_backup(&primary.dsn, &dead.data, "twin")?;
        std::fs::write(&settings, text)?;
        // What is left of the dead one may hold its port.
        eventually(PATIENCE, || plain::start(&dead.data))?;
        self.wait_for_each_other()
    }

    /// Commits wait for the replica, which is there.
    fn wait_for_each_other(&self) -> Result<()> {
        let mut primary = Connection::connect(&self.primary().dsn)?;
        primary.query("alter system set synchronous_standby_names = '*'")?;
        primary.query("select pg_reload_conf()")?;
        eventually(PATIENCE, || {
            let state = primary.value("select count(*) from pg_stat_replication where sync_state = 'sync'")?;
            ensure!(state == "1", "{state} synchronous replicas");
            Ok(())
        })
    }
}

/// The server's first process.
fn postmaster(data: &Path) -> Result<Pid> {
    let file = data.join("postmaster.pid");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(Pid::from_raw(text.lines().next().context("an empty postmaster.pid")?.trim().parse()?))
}
