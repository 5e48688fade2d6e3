//! A worker that a test plays by hand: it writes the catalog's tables, and waits for the proxies as the worker does.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::connection::Connection;
use crate::shardyard::{Cluster, eventually};

pub(crate) struct Worker {
    pub(crate) catalog: Connection,
}

/// A wave of the test's.
#[derive(Clone, Copy)]
pub(crate) struct Wave {
    id: i32,
    target: usize,
}

impl Worker {
    /// With nothing left of earlier tests.
    pub(crate) fn of(cluster: &Cluster) -> Result<Self> {
        let mut worker = Self { catalog: Connection::connect(&cluster.catalog)? };
        worker.bury()?;
        worker.clear()?;
        Ok(worker)
    }

    /// Forgets proxies of earlier tests, which were killed.
    fn bury(&mut self) -> Result<()> {
        self.catalog.query("create temporary table seen as select incarnation, heartbeat from shardyard.proxy")?;
        std::thread::sleep(Duration::from_millis(1000));
        self.catalog
            .query("delete from shardyard.proxy p using seen s where s.incarnation = p.incarnation and s.heartbeat = p.heartbeat")?;
        Ok(())
    }

    /// No wave, no gate, and every bucket where it was at the beginning.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.catalog.query(
            "begin; delete from shardyard.wave; delete from shardyard.move; update shardyard.cluster set gate = null;
             update shardyard.bucket_map b set shard_id = b.bucket % n.n, version = shardyard.bump()
             from (select count(*)::int as n from shardyard.shard) n where b.shard_id <> b.bucket % n.n; commit",
        )?;
        self.wait_acknowledged()
    }

    /// A wave of the buckets that `buckets`, a condition on `bucket`, chooses among the source's.
    pub(crate) fn wave(&mut self, (source, target): (usize, usize), buckets: &str, state: &str) -> Result<Wave> {
        let id = self.catalog.value(&format!(
            "with m as (insert into shardyard.move (kind, shard_id, state) values ('rebalance', {target}, 'moving') returning id),
                  w as (insert into shardyard.wave (move_id, source_id, target_id) select id, {source}, {target} from m returning id)
             insert into shardyard.wave_bucket select w.id, b.bucket from w, shardyard.bucket_map b
             where b.shard_id = {source} and ({buckets}) returning wave_id"
        ))?;
        let wave = Wave { id: id.parse()?, target };
        self.state(wave, state)?;
        Ok(wave)
    }

    pub(crate) fn state(&mut self, wave: Wave, state: &str) -> Result<()> {
        self.catalog.query(&format!("update shardyard.wave set state = '{state}' where id = {}", wave.id)).map(drop)
    }

    /// The commit point.
    pub(crate) fn flip(&mut self, wave: Wave) -> Result<()> {
        self.catalog
            .query(&format!(
                "begin; update shardyard.bucket_map set shard_id = {}, version = shardyard.bump()
                 where bucket in (select bucket from shardyard.wave_bucket where wave_id = {});
                 update shardyard.wave set state = 'flipped' where id = {}; commit",
                wave.target, wave.id, wave.id
            ))
            .map(drop)
    }

    /// Its rows are on one shard only.
    pub(crate) fn finish(&mut self, wave: Wave) -> Result<()> {
        self.catalog
            .query(&format!(
                "begin; update shardyard.wave set state = 'finished' where id = {};
                 update shardyard.move set state = 'finished' where state <> 'finished'; commit",
                wave.id
            ))
            .map(drop)
    }

    /// What the proxy that is furthest behind says.
    pub(crate) fn is_reached(&mut self, column: &str) -> Result<bool> {
        let sql = format!("select min({column}) >= (select version from shardyard.cluster) from shardyard.proxy");
        Ok(self.catalog.value(&sql)? == "t")
    }

    pub(crate) fn wait_for(&mut self, column: &str) -> Result<()> {
        eventually(Duration::from_secs(20), || {
            ensure!(self.is_reached(column)?, "{column} is not reached");
            Ok(())
        })
    }

    pub(crate) fn wait_acknowledged(&mut self) -> Result<()> {
        self.wait_for("acknowledged_version")
    }
}
