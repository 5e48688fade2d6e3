//! What goes wrong around a move and is nobody's fault: a full disk, a replica that does not follow.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shardyard::catalog::connect;

use crate::fixture::{Fixture, block_on};
use crate::moves::{Site, on_a_site};

/// A disk that is full when a test says so: a small file system of its own where this process may mount one, else a trigger that says the same.
enum Disk {
    Mounted { folder: PathBuf },
    Pretended { database: String },
}

impl Disk {
    /// Makes the database `name` on it.
    async fn make(site: &Site, name: &str) -> Result<Self> {
        let folder = site.dir().join("small");
        std::fs::create_dir(&folder)?;
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs"]).arg(&folder).output();
        if !mount.is_ok_and(|output| output.status.success()) {
            return Ok(Self::Pretended { database: site.make_database(name).await? });
        }
        let data = folder.join("data");
        std::fs::create_dir(&data)?;
        // The servers run under an account of their own.
        for path in [&folder, &data] {
            let reference = format!("--reference={}", site.dir().join("servers").display());
            ensure!(Command::new("chown").arg(&reference).arg(path).status()?.success(), "chown {}", path.display());
        }
        let server = connect(site.more()).await?;
        server.batch_execute(&format!("create tablespace small location '{}'", data.display())).await?;
        server.batch_execute(&format!("create database {name} owner app tablespace small")).await?;
        Ok(Self::Mounted { folder })
    }

    /// Not a byte more fits on it.
    async fn fill(&self) -> Result<()> {
        match self {
            Self::Mounted { folder } => {
                let mut ballast = std::fs::File::create(folder.join("ballast"))?;
                let block = vec![0; 1 << 16];
                while ballast.write_all(&block).is_ok() {}
            }
            Self::Pretended { database } => {
                let full = "create function full_disk() returns trigger language plpgsql as
                                'begin raise exception ''No space left on device'' using errcode = ''53100''; end';
                            create trigger full_disk before insert on tokens for each row execute function full_disk();
                            alter table tokens enable always trigger full_disk";
                connect(database).await?.batch_execute(full).await?;
            }
        }
        Ok(())
    }

    async fn make_room(&self) -> Result<()> {
        match self {
            Self::Mounted { folder } => std::fs::remove_file(folder.join("ballast"))?,
            Self::Pretended { database } => connect(database).await?.batch_execute("drop function full_disk() cascade").await?,
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Mounted { folder } = self {
            // The server may still use it: it goes when that ends.
            let _ = Command::new("umount").arg("-l").arg(Path::new(folder)).status();
        }
    }
}

/// The worker has stopped, and says which shard and why.
async fn is_told_of_the_disk(site: &Site) -> Result<()> {
    let catalog = site.catalog().await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let row = catalog.query_one("select wish, coalesce(error, '') from shardyard.move order by id desc limit 1", &[]).await?;
        let (wish, error): (&str, &str) = (row.get(0), row.get(1));
        if wish == "pause" {
            ensure!(error.contains("to shard small") && error.contains("53100") && error.contains("No space left"), "{error}");
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "it goes on: {wish}, {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A full disk of the target stops the move while it copies and while it catches up; writers of the source notice nothing, and with room
/// again `move resume` goes on. Then a move waits for a replica that is behind. Both are aborted without a trace.
pub(crate) fn moves_wait_for_disks_and_replicas(_: &Fixture) -> Result<()> {
    block_on(on_a_site(&["--replicas", "1"], async |site| {
        let home = site.home().await?;
        let noise = "insert into tokens select md5(g::text)::uuid, (select string_agg(sha512((g + n)::text::bytea), '') from generate_series(1, 60) n)
                     from generate_series(10001, 11500) g";
        home.batch_execute(noise).await?;
        let disk = Disk::make(site, "small").await?;
        for point in ["prepare.after", "copy.after", "verify.after"] {
            site.arm(point)?;
        }
        site.done(&["shard", "add", "small", "--primary", &site.dsn("small")?])?;
        let file = site.reached("prepare.after")?;
        disk.fill().await?;
        std::fs::remove_file(file)?;
        is_told_of_the_disk(site).await?;
        home.batch_execute("update tokens set v = v || 'z'").await?;
        disk.make_room().await?;
        site.done(&["move", "resume"])?;

        let file = site.reached("copy.after")?;
        home.batch_execute("update tokens set v = v || v").await?;
        disk.fill().await?;
        std::fs::remove_file(file)?;
        is_told_of_the_disk(site).await?;
        home.batch_execute("update tokens set v = v || 'y'").await?;
        disk.make_room().await?;
        site.done(&["move", "resume"])?;
        let file = site.reached("verify.after")?;
        site.done(&["move", "abort"])?;
        std::fs::remove_file(file)?;
        site.wait_for("aborted").await?;
        let now = site.sums().await?;
        ensure!(now["tokens"].0 == 2000, "{now:?}");

        let replica = site.status()["shards"][0]["replicas"][0].as_str().context("a replica")?.to_owned();
        waits_for_a_replica(site, &replica).await?;
        ensure!(site.sums().await? == now, "rows differ after an abort");
        Ok(())
    }))
}

async fn waits_for_a_replica(site: &Site, replica: &str) -> Result<()> {
    let (home, replica) = (site.home().await?, connect(replica).await?);
    replica.batch_execute("select pg_wal_replay_pause()").await?;
    home.batch_execute("create table ballast as select repeat(md5(g::text), 10) from generate_series(1, 5000) g; drop table ballast")
        .await?;
    site.arm("copy.after")?;
    site.add("followed", &["--lag-bytes-max", "500000"]).await?;
    let waits = async || -> Result<Option<String>> {
        let select = "select detail ->> 'waits' from shardyard.wave_progress order by wave_id desc limit 1";
        Ok(site.catalog().await?.query_opt(select, &[]).await?.and_then(|row| row.get(0)))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while waits().await?.is_none_or(|text| !text.contains("bytes behind")) {
        ensure!(Instant::now() < deadline, "it does not wait for the replica");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown: Value = serde_json::from_str(&site.done(&["move", "show", "--json"])?)?;
    ensure!(shown["waves"].to_string().contains("bytes behind"), "{shown}");
    let copied = connect(&site.dsn("followed")?).await?.query_one("select count(*) from orders", &[]).await?;
    ensure!(copied.get::<_, i64>(0) == 0, "rows were copied all the same");
    replica.batch_execute("select pg_wal_replay_resume()").await?;
    let file = site.reached("copy.after")?;
    ensure!(waits().await?.is_none(), "it is still said to wait");
    site.done(&["move", "abort"])?;
    std::fs::remove_file(file)?;
    site.wait_for("aborted").await
}
