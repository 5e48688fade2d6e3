//! Another tool promotes a replica: the proxies write there within seconds, nothing acknowledged is lost, and the old primary is never
//! written to when it comes back.

pub(crate) mod twins;
mod writers;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::connection::Connection;
use crate::failover::twins::Twins;
use crate::failover::writers::Writers;
use crate::fixture::Fixture;
use crate::shardyard::{Cluster, eventually};

/// From the promotion to the next acknowledged write of every writer.
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// The home shard's primary is killed under load and its replica promoted; then the old one is started by hand.
pub(crate) fn writes_follow_a_promotion(_fixture: &Fixture) -> Result<()> {
    let cluster = Cluster::start_sized(2, 1)?;
    let twins = Twins::of(cluster.shards.first().context("no shard")?)?;
    let writers = Writers::new(&cluster)?;
    let (old, pause, left) = writers.run(|| {
        std::thread::sleep(Duration::from_millis(500));
        let old = twins.fail_over()?;
        let pause = writers.wait_for_all()?;
        old.start()?;
        let left = Connection::connect(&old.dsn)?.value("select count(*) from followed")?;
        std::thread::sleep(Duration::from_secs(1));
        Ok((old, pause, left))
    })?;
    println!("failover: writes went on {} ms after the promotion; {}", pause.as_millis(), writers.check()?);
    ensure!(pause < PAUSE_MAX, "writes went on after {} ms", pause.as_millis());
    let now = Connection::connect(&old.dsn)?.value("select count(*) from followed")?;
    ensure!(now == left, "the old primary has {now} rows, and had {left} when it came back");
    // What people are told.
    let port = twins.primary().dsn.port;
    let listed: serde_json::Value = serde_json::from_str(&cluster.command(&["shard", "list", "--json"])?.1)?;
    let primary = listed["shards"][0]["primary"].as_str().context("no primary is listed")?.to_owned();
    ensure!(primary.contains(&format!(":{port}/")), "{primary} is listed as the primary");
    let (_, found) = cluster.command(&["check"])?;
    ensure!(found.contains("takes writes"), "the old primary is not reported: {found}");
    // It is of use again once it follows.
    old.kill()?;
    twins.rejoin()?;
    let mut reader = cluster.connect()?;
    eventually(Duration::from_secs(10), || {
        let server = reader.value("select inet_server_port() from followed where user_id = 1 limit 1")?;
        let home = reader.value("/* shardyard: shard=0 */ select inet_server_port() from followed limit 1")?;
        ensure!([server, home].contains(&old.dsn.port.to_string()), "the old primary serves no reads");
        Ok(())
    })?;
    cluster.stop();
    Ok(())
}
