//! A small disk for the server of the added shards, which can be filled.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::connection::Connection;
use crate::dsn::Dsn;
use crate::plain;
use crate::resharding::stage::{Stage, lock};
use crate::shardyard::eventually;

const SIZE: &str = "size=1g,mode=0700";
const PATIENCE: Duration = Duration::from_secs(60);

/// Dropping makes room again.
pub(crate) struct Full {
    ballast: PathBuf,
}

impl Stage {
    /// Puts the added server's data on a disk of its own. Whether that may be done: it needs the right to mount.
    pub(crate) fn give_small_disk(&self) -> Result<bool> {
        let (dsn, data) = self.added_server()?;
        let before = data.with_extension("before");
        stop(&data)?;
        std::fs::rename(&data, &before)?;
        std::fs::create_dir(&data)?;
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&data));
        if let Err(error) = &mounted {
            println!("moves: no small disk: {error:#}");
            std::fs::remove_dir(&data)?;
            std::fs::rename(&before, &data)?;
        } else {
            run(Command::new("cp").arg("-a").arg(before.join(".")).arg(&data))?;
            std::fs::remove_dir_all(&before)?;
            *lock(&self.disk) = Some(data.clone());
        }
        plain::restart(&data)?;
        // Or its own log would fill it.
        for setting in ["max_wal_size = '96MB'", "min_wal_size = '32MB'"] {
            Connection::connect(&dsn)?.query(&format!("alter system set {setting}"))?;
        }
        Connection::connect(&dsn)?.query("select pg_reload_conf()")?;
        Ok(mounted.is_ok())
    }

    /// Not a byte more fits on the disk.
    pub(crate) fn fill_disk(&self) -> Result<Full> {
        let (_, data) = self.added_server()?;
        let full = Full { ballast: data.join("ballast") };
        let mut ballast = File::create(&full.ballast)?;
        let block = vec![0; 1 << 20];
        while ballast.write_all(&block).is_ok() {}
        Ok(full)
    }

    /// The disk has room again; the server may have given up meanwhile.
    pub(crate) fn empty_disk(&self, full: Full) -> Result<()> {
        drop(full);
        let (dsn, data) = self.added_server()?;
        let answers = || Connection::connect(&dsn).map(drop);
        if eventually(Duration::from_secs(2), answers).is_ok() {
            return Ok(());
        }
        eventually(PATIENCE, || plain::restart(&data))?;
        eventually(PATIENCE, answers)
    }

    /// Before the server's folder is removed.
    pub(super) fn take_disk(&self) {
        let Some(data) = lock(&self.disk).take() else { return };
        let _ = stop(&data);
        if let Err(error) = run(Command::new("umount").arg(&data)).or_else(|_| run(Command::new("umount").arg("-l").arg(&data))) {
            eprintln!("the small disk is still mounted: {error:#}");
        }
    }

    fn added_server(&self) -> Result<(Dsn, PathBuf)> {
        let dsn = lock(&self.added).clone().context("no server was added yet")?;
        let data = lock(&self.data).get(&dsn.port).cloned().context("its folder is not known")?;
        Ok((dsn, data))
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ballast);
    }
}

fn stop(data: &Path) -> Result<()> {
    plain::run_as_servers(plain::command("pg_ctl").arg("-D").arg(data).args(["-m", "immediate", "-w", "stop"]))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{:?}: {}", command.get_program(), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
