//! SELECT … FOR UPDATE with LIMIT over shards, as job queues send it: what is answered is locked, and nothing else.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::connection::{Connection, Rows};
use crate::fixture::Fixture;
use crate::scatter::{finish, send};
use crate::shardyard::Cluster;

const JOBS: usize = 40;

/// Jobs of keys of all shards, the least urgent first in the table.
fn lay(cluster: &Cluster, table: &str) -> Result<Connection> {
    let mut client = cluster.connect()?;
    client.query(&format!("create table {table} (user_id bigint primary key, urgency int, state text default 'new')"))?;
    client.query(&format!("insert into {table} (user_id, urgency) select n, {JOBS} - n from generate_series(1, {JOBS}) n"))?;
    Ok(client)
}

fn numbers(rows: Rows) -> Result<Vec<usize>> {
    rows.into_iter().flatten().flatten().map(|value| Ok(value.parse()?)).collect()
}

/// In either protocol, with rows left over on some shards, on all, or on none.
pub(crate) fn only_what_is_answered_is_locked(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut worker = lay(cluster, "locked_jobs")?;
    let mut other = cluster.connect()?;
    let free = "select urgency from locked_jobs order by urgency for update skip locked";
    for (ends, locked) in [
        ("order by urgency limit 1 for update", 1),
        ("order by urgency limit 7 for update skip locked", 7),
        ("order by urgency fetch first 7 rows only for no key update", 7),
        ("order by urgency limit 3 offset 2 for update skip locked", 5),
        ("order by urgency limit 0 for update", 0),
        ("order by urgency limit 100 for share", JOBS),
        ("limit 1 for update skip locked", 1),
        ("limit 7 for update", 7),
        ("limit 3 offset 9 for update skip locked", 12),
        ("limit 30 for update nowait", 30),
        ("limit 100 for update skip locked", JOBS),
        ("limit 0 for update", 0),
    ] {
        for extended in [false, true] {
            worker.query("begin")?;
            send(&mut worker, &format!("select urgency from locked_jobs {ends}"), extended)?;
            let (rows, outcome) = finish(&mut worker)?;
            let skipped =
                ends.split_once("offset ").map_or(0, |(_, rest)| rest.split(' ').next().map_or(0, |count| count.parse().unwrap_or(0)));
            ensure!(rows == locked - skipped, "{ends}: {rows} rows");
            ensure!(matches!(&outcome, Ok(tag) if *tag == format!("SELECT {rows}")), "{ends}: {outcome:?}");
            let left = numbers(other.query(free)?)?;
            ensure!(left.len() == JOBS - locked, "{ends}: {} rows are not locked", left.len());
            if ends.starts_with("order") {
                ensure!(left.iter().copied().eq(locked..JOBS), "{ends}: others than the first are locked, {left:?} are not");
                let next = numbers(other.query("select urgency from locked_jobs order by 1 limit 2 for update skip locked")?)?;
                ensure!(next.iter().copied().eq((locked..JOBS).take(2)), "{ends}: next come {next:?}");
            }
            worker.query("commit")?;
            ensure!(other.query(free)?.len() == JOBS, "{ends}: rows are locked after the transaction");
        }
    }
    // What was locked before stays locked.
    worker.query("begin; select from locked_jobs where urgency < 6 for update")?;
    ensure!(numbers(worker.query("select urgency from locked_jobs order by urgency limit 2 for update skip locked")?)? == [0, 1]);
    ensure!(other.query(free)?.len() == JOBS - 6);
    let error = other.error("select urgency from locked_jobs order by urgency limit 1 for update nowait")?;
    ensure!(error.sqlstate() == "55P03", "{error}");
    worker.query("rollback")?;
    Ok(())
}

/// Workers that take jobs in batches: each job is done once, and none is left over.
pub(crate) fn every_job_is_taken_once(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = lay(cluster, "taken_jobs")?;
    let work = |order: &str| -> Result<Vec<usize>> {
        let mut client = cluster.connect()?;
        let mut done = Vec::new();
        while client.value("select count(*) from taken_jobs")? != "0" {
            client.query("begin")?;
            let batch = numbers(client.query(&format!("select user_id from taken_jobs {order} limit 3 for update skip locked"))?)?;
            for job in &batch {
                client.query(&format!("delete from taken_jobs where user_id = {job}"))?;
            }
            client.query("commit")?;
            done.extend(batch);
        }
        Ok(done)
    };
    let done: Vec<Vec<usize>> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            ["order by urgency", "", "order by urgency desc", ""].map(|order| scope.spawn(move || work(order))).into_iter().collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).collect::<Result<_>>()
    })?;
    let all: BTreeSet<usize> = done.iter().flatten().copied().collect();
    ensure!(done.iter().map(Vec::len).sum::<usize>() == JOBS && all.len() == JOBS, "{done:?}");
    ensure!(client.value("select count(*) from taken_jobs")? == "0");
    Ok(())
}
