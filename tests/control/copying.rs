//! How a move copies, and what its last pass brings over: on a small cluster of its own without a proxy.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use shardyard::catalog::connect;
use tokio_postgres::Client;

use crate::fixture::{Fixture, block_on};
use crate::moves::{SHARDED, Site, on_a_site};

const PATIENCE: Duration = Duration::from_secs(60);

/// While one part of a table waits for its commit, others are copied; nothing on the target takes COPY's many rows at once away; and all the
/// same nobody else may write there.
pub(crate) fn copies_run_at_once(_: &Fixture) -> Result<()> {
    block_on(on_a_site(&["--replicas", "0"], async |site| {
        let before = site.sums().await?;
        site.arm("copy.target-commits")?;
        site.add("wider", &["--finalize", "--copy-jobs", "2"]).await?;
        let file = site.reached("copy.target-commits")?;
        let target = connect(&site.dsn("wider")?).await?;
        wait_for_pairs(&target).await?;
        nothing_slows_the_copy(&target).await?;
        strangers_are_refused(site, &target).await?;
        std::fs::remove_file(file)?;
        site.wait_for("finished").await?;
        ensure!(site.sums().await? == before, "rows differ after the move");
        Ok(())
    }))
}

/// Over connections of their own; one stands still.
async fn wait_for_pairs(target: &Client) -> Result<()> {
    let select = "select count(*) from pg_stat_activity where datname = current_database() and application_name like 'shardyard worker%'";
    let deadline = Instant::now() + PATIENCE;
    while target.query_one(select, &[]).await?.get::<_, i64>(0) < 2 {
        ensure!(Instant::now() < deadline, "nothing is copied beside the part that stands still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn nothing_slows_the_copy(target: &Client) -> Result<()> {
    // 1: of rows, 2: before, 4: of INSERT.
    let before_rows = "select count(*) from pg_trigger where tgname like '~~%' and tgtype & 7 = 7";
    ensure!(target.query_one(before_rows, &[]).await?.get::<_, i64>(0) == 0, "a guard fires before rows are inserted");
    let indexes = "select count(*) from pg_class where relname like 'shardyard_bucket_%'";
    ensure!(target.query_one(indexes, &[]).await?.get::<_, i64>(0) == 0, "the buckets have an index already");
    Ok(())
}

async fn strangers_are_refused(site: &Site, target: &Client) -> Result<()> {
    let select = "select array_agg(bucket) from shardyard.wave_bucket where wave_id = (select min(id) from shardyard.wave)";
    let buckets: Vec<i32> = site.catalog().await?.query_one(select, &[]).await?.get(0);
    let select = "select min(user_id) from generate_series(5000, 6000) user_id where shardyard.bucket(user_id) = any ($1)";
    let user: i32 = target.query_one(select, &[&buckets]).await?.get(0);
    for write in [
        "insert into secrets values (U, 'x')",
        "insert into secrets values (U, 'x') on conflict do nothing",
        "insert into secrets values (U, 'x') on conflict (user_id) do update set v = 'y'",
        "insert into visits select U, '/' from generate_series(1, 3)",
        "with new as (insert into visits values (U, '/') returning 1) select count(*) from new",
    ] {
        let refused = target.batch_execute(&write.replace('U', &user.to_string())).await;
        let code = refused.err().and_then(|error| Some(error.code()?.code().to_owned()));
        ensure!(code.as_deref() == Some("SY001"), "{write} of user {user} ended with {code:?}");
    }
    Ok(())
}

/// What was written behind the verification: a few rows of every kind of table and type, which go over while writers are held.
pub(crate) fn the_last_pass_carries_every_type(_: &Fixture) -> Result<()> {
    block_on(on_a_site(&["--replicas", "0"], async |site| {
        site.arm("fence.published")?;
        site.add("late", &["--finalize"]).await?;
        let file = site.reached("fence.published")?;
        let home = site.home().await?;
        let write = "
            update wide set always_null = 1, far = repeat('ü\\\"(),', 50), flags = '010', floats = '{0.1,-Infinity}', doc = '[1,  2]' where user_id % 10 = 0;
            insert into wide (user_id, packed, pairs) select g, '', array[row(null, 'a,\"b\"')::pair, null] from generate_series(1000, 1100) g;
            update orders set total = total + 0.5, note = null where user_id % 30 = 0;
            delete from items where user_id % 31 = 0;
            insert into items select user_id, -id, null, array['{}', '', null] from orders where user_id % 30 = 0;
            insert into visits select g, '/twice' from generate_series(1, 200) g, generate_series(1, 2);
            delete from visits where user_id % 40 = 0 and path = '/3';
            update \"Odd; 'name\" set mood = null, moods = '{}', both_of = row(null, '')::pair where user_id like '%7';
            update codes set v = '\"\\u00fc\"' where user_id like '%5 ' or user_id like '%5';
            update tokens set v = '\\x5c00ff' where user_id::text like '0%';
            update days set v = 'NaN' where user_id % 20 = 0;
            insert into \"Mixed Case\".\"Rows\" (user_id, \"se\"\"lect\") select g, '' from generate_series(1, 100) g;
            delete from drafts where user_id = 1;
            update secrets set v = '' where user_id % 3 = 0";
        home.batch_execute(write).await?;
        let written = sums(&home).await?;
        std::fs::remove_file(file)?;
        site.wait_for("finished").await?;
        ensure!(site.sums().await? == written, "rows differ after the move");
        Ok(())
    }))
}

/// As the site's own, of one shard that has all rows.
async fn sums(home: &Client) -> Result<BTreeMap<&'static str, (i64, i128)>> {
    let mut sums = BTreeMap::new();
    for (table, _) in SHARDED {
        let select = format!("select count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text from {table} t");
        let row = home.query_one(&select, &[]).await?;
        sums.insert(*table, (row.get(0), row.get::<_, &str>(1).parse()?));
    }
    Ok(sums)
}
