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

/// One statement that locks and takes its jobs, in several forms and both protocols: each job is taken once, and none is left over.
pub(crate) fn every_job_is_taken_by_one_statement(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.cluster()?;
    let mut client = lay(cluster, "claimed_jobs")?;
    client.query("alter table claimed_jobs add column by int")?;
    let locked = "select user_id from claimed_jobs where state = 'new' order by urgency limit";
    let forms = [
        format!("update claimed_jobs set state = 'taken', by = BY where user_id in ({locked} 2 for update skip locked)"),
        format!("update claimed_jobs set state = 'taken', by = BY where user_id = ({locked} 1 for update skip locked) returning urgency"),
        format!(
            "with picked as ({locked} 3 for update skip locked) update claimed_jobs j set state = 'taken', by = BY from picked p \
             where j.user_id = p.user_id returning j.user_id, j.urgency"
        ),
        format!("with picked as ({locked} 2 for update skip locked) delete from claimed_jobs j using picked p where j.user_id = p.user_id"),
    ];
    let work = |number: usize, form: &str| -> Result<usize> {
        let mut client = cluster.connect()?;
        let mut taken = 0;
        while client.value("select count(*) from claimed_jobs where state = 'new'")? != "0" {
            send(&mut client, &form.replace("BY", &number.to_string()), number.is_multiple_of(2))?;
            let (_, outcome) = finish(&mut client)?;
            let tag = outcome.map_err(|error| anyhow::anyhow!("{form}: {error}"))?;
            taken += tag.rsplit_once(' ').map_or(Ok(0), |(_, count)| count.parse::<usize>())?;
        }
        Ok(taken)
    };
    let taken: Vec<usize> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..8).map(|number| (number, &forms[number / 2])).map(|(number, form)| scope.spawn(move || work(number, form))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).collect::<Result<_>>()
    })?;
    ensure!(taken.iter().sum::<usize>() == JOBS, "{taken:?} of {JOBS}");
    for (number, taken) in taken.iter().enumerate().take(6) {
        let rows = client.value(&format!("select count(*) from claimed_jobs where by = {number}"))?;
        ensure!(rows == taken.to_string(), "worker {number} has taken {taken} and owns {rows}");
    }
    ensure!(client.value("select count(*) from claimed_jobs")? == (JOBS - taken[6] - taken[7]).to_string());
    // More rows than may be kept in the proxy.
    let proxy = cluster.proxy(&[("SHARDYARD__SESSION__KEPT_BYTES_MAX", "65536")])?;
    client.query("create table claimed_much (user_id bigint primary key, t text)")?;
    client.query("insert into claimed_much select n, repeat('x', 9000) from generate_series(1, 20) n")?;
    let mut client = Connection::connect(&proxy.dsn)?;
    let all = "update claimed_much set t = '' where t in (select t from claimed_much limit 20 for update)";
    let error = client.error(all)?;
    ensure!(error.sqlstate() == "53400", "{error}");
    ensure!(client.value("select count(*) from claimed_much where t = ''")? == "0");
    Ok(())
}
