//! A pass: makes the target's rows of every touched key equal to the source's at one snapshot.
//!
//! The target commits first, then the source, which deletes the keys it has read. Done twice it does no harm.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio_postgres::{GenericClient, IsolationLevel, Transaction};

use crate::rebalance::copy::Chunk;
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::fault;
use crate::rebalance::handful::{self, Prepared};
use crate::rebalance::link::Link;
use crate::rebalance::prepared::Side;
use crate::rebalance::table::{Pair, list};
use crate::rebalance::transfer::{Amount, copies, pipe_prepared};
use crate::rebalance::verify::{self, Difference};

/// More keys than these are joined as the server's planner thinks best; fewer are looked up one by one.
const FEW_KEYS: i64 = 20_000;

/// Passes that are not quick: the fence must be tried all the same.
const READY_MAX: usize = 5;
const QUICK: Duration = Duration::from_millis(50);

/// What becomes of the touched keys in the source's logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    Forgotten,
    /// They stay: inside the fence their deletion would only take time. Should there be another pass, it does the same again.
    Kept,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    pub(crate) keys: u64,
    pub(crate) rows: u64,
    pub(crate) took: Duration,
}

/// The two shards of a wave in the direction in which rows go.
pub(crate) struct Sides<'a> {
    pub(crate) from: &'a mut Link,
    pub(crate) to: &'a mut Link,
    pub(crate) pairs: &'a [Pair],
    pub(crate) wave: i32,
}

impl Sides<'_> {
    /// One pass. The rows of the keys it has copied are compared on both sides before the source forgets the keys.
    pub(crate) async fn pass(&mut self) -> Result<Passed, StepError> {
        Ok(self.pass_and_verify(None, false).await?.0)
    }

    /// What the last pass need not do any more: its statements are planned, and the logs have no dead rows to be read over. Then passes until
    /// one is quick, for whoever still reads by an old snapshot keeps the dead rows.
    pub(crate) async fn get_ready(&mut self) -> Result<Passed, StepError> {
        let mut passed = Passed::default();
        for _ in 0..READY_MAX {
            for pair in self.pairs {
                self.from
                    .client()
                    .batch_execute(&format!("vacuum (skip_locked, truncate false) {}", pair.from.log()))
                    .await
                    .map_err(doing(format!("getting ready for the last pass of wave {}", self.wave)))?;
            }
            passed = self.short_pass(Keys::Forgotten).await?;
            if passed.took < QUICK {
                break;
            }
        }
        Ok(passed)
    }

    /// As [`Self::pass`], over few keys with the fewest ways to the servers and back; over many it is one.
    pub(crate) async fn short_pass(&mut self, keys: Keys) -> Result<Passed, StepError> {
        let began = Instant::now();
        let short = if self.pairs.iter().all(handful::is_suited) { self.handful(keys).await? } else { None };
        match short {
            Some((keys, rows)) => Ok(Passed { keys, rows, took: began.elapsed() }),
            None => self.pass().await,
        }
    }

    /// `None`: there are too many.
    async fn handful(&mut self, keys: Keys) -> Result<Option<(u64, u64)>, StepError> {
        let action = || doing(format!("a short pass of wave {}", self.wave));
        let (of_source, of_target) = (self.from.statements(), self.to.statements());
        let both = tokio::try_join!(self.from.start(IsolationLevel::RepeatableRead), self.to.start(IsolationLevel::ReadCommitted))?;
        let ((source, source_token), (target, target_token)) = both;
        let from = Side { transaction: &source, statements: of_source, few: true };
        let to = Side { transaction: &target, statements: of_target, few: true };
        let settings = async { prefer_look_ups(&source, &target, true).await.map_err(action()) };
        let reading = async {
            let prepared = try_join_all(self.pairs.iter().map(|pair| Prepared::new(&from, &to, pair))).await?;
            let found = handful::read(&from, &prepared, self.wave).await?;
            Ok((prepared, found))
        };
        let (.., (prepared, found)) = tokio::try_join!(settings, source_token.check(&source), target_token.check(&target), reading)?;
        let Some(found) = found else {
            tokio::try_join!(source.rollback(), target.rollback()).map_err(action())?;
            return Ok(None);
        };
        let passed = handful::write(&to, &prepared, &found, keys == Keys::Forgotten).await?;
        fault::point("pass.target-commits").await;
        if keys == Keys::Kept {
            tokio::try_join!(target.commit(), source.rollback()).map_err(action())?;
            return Ok(Some(passed));
        }
        target.commit().await.map_err(action())?;
        fault::point("pass.source-commits").await;
        let pairs: Vec<&Pair> = self.pairs.iter().collect();
        source.batch_execute(&forget(&pairs, self.wave)).await.map_err(action())?;
        source.commit().await.map_err(action())?;
        Ok(Some(passed))
    }

    /// The same; then the rows of `chunk` are compared at the pass's snapshot. With `repair` those that differ count as touched.
    pub(crate) async fn pass_and_verify(
        &mut self,
        chunk: Option<&Chunk<'_>>,
        repair: bool,
    ) -> Result<(Passed, Option<Difference>), StepError> {
        let began = Instant::now();
        let action = || doing(format!("a pass of wave {}", self.wave));
        let (of_source, of_target) = (self.from.statements(), self.to.statements());
        let (source, target) = tokio::try_join!(self.from.begin_snapshot(), self.to.begin())?;
        let touched = touched(&source, self.pairs, self.wave).await?;
        let mut passed = Passed::default();
        if touched.is_empty() && chunk.is_none() {
            tokio::try_join!(source.rollback(), target.rollback()).map_err(action())?;
            return Ok((Passed { took: began.elapsed(), ..passed }, None));
        }
        let few = touched.iter().all(|(_, keys)| *keys < FEW_KEYS);
        prefer_look_ups(&source, &target, few).await.map_err(action())?;
        let carried = Carried {
            from: Side { transaction: &source, statements: of_source, few },
            to: Side { transaction: &target, statements: of_target, few },
            wave: self.wave,
        };
        for (keys, rows) in carried.carry_all(&touched).await? {
            passed.keys += keys;
            passed.rows += rows;
        }
        let mut difference = None;
        if let Some(chunk) = chunk {
            let planned =
                "set local enable_hashjoin to default; set local enable_mergejoin to default; set local enable_seqscan to default";
            source.batch_execute(planned).await.map_err(action())?;
            target.batch_execute(planned).await.map_err(action())?;
            difference = verify::compare(&source, &target, chunk).await?;
        }
        fault::point("pass.target-commits").await;
        target.commit().await.map_err(action())?;
        fault::point("pass.source-commits").await;
        let pairs: Vec<&Pair> = touched.iter().map(|(pair, _)| *pair).collect();
        source.batch_execute(&forget(&pairs, self.wave)).await.map_err(action())?;
        if let (Some(chunk), Some(difference), true) = (chunk, &difference, repair) {
            let buckets = chunk.buckets.without(|bucket| !difference.buckets.contains(&bucket));
            verify::touch(&source, self.to, chunk.pair, (self.wave, &buckets)).await?;
        }
        source.commit().await.map_err(action())?;
        passed.took = began.elapsed();
        Ok((passed, difference))
    }
}

/// What has been read of the logs goes.
fn forget(pairs: &[&Pair], wave: i32) -> String {
    pairs.iter().map(|pair| format!("delete from {} where wave = {wave}", pair.from.log())).collect::<Vec<_>>().join("; ")
}

/// The tables with touched keys in the snapshot, and how many.
async fn touched<'a, C: GenericClient>(source: &C, pairs: &'a [Pair], wave: i32) -> Result<Vec<(&'a Pair, i64)>, StepError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let count = |pair: &Pair| format!("(select count(*) from {} where wave = {wave})", pair.from.log());
    let select = format!("select array[{}]", list(pairs.iter().map(count)));
    let counts: Vec<i64> = source.query_one(&select, &[]).await.map_err(doing("counting touched keys"))?.get(0);
    Ok(pairs.iter().zip(counts).filter(|(_, count)| *count > 0).collect())
}

/// Neither log nor keys have statistics: the planner would read whole tables.
async fn prefer_look_ups(source: &Transaction<'_>, target: &Transaction<'_>, few: bool) -> Result<(), tokio_postgres::Error> {
    let look_up = if few {
        "; set local plan_cache_mode = force_generic_plan; set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off"
    } else {
        ""
    };
    let settings = format!("set local session_replication_role = replica{look_up}");
    tokio::try_join!(source.batch_execute(look_up.trim_start_matches("; ")), target.batch_execute(&settings)).map(drop)
}

/// The two transactions of a pass.
struct Carried<'a> {
    from: Side<'a>,
    to: Side<'a>,
    wave: i32,
}

impl Carried<'_> {
    /// Keys and rows of each table. Where they are few the tables go side by side: what takes time then is the way to the servers and back,
    /// on machines that are busy with everybody's writes, and these wait. Each connection still does one thing after the other, and no order
    /// of them hangs: a COPY into the target is begun when its COPY out of the source, and so all before it, has been answered.
    async fn carry_all(&self, touched: &[(&Pair, i64)]) -> Result<Vec<(u64, u64)>, StepError> {
        if self.from.few {
            return try_join_all(touched.iter().map(|(pair, _)| self.carry(pair))).await;
        }
        let mut carried = Vec::with_capacity(touched.len());
        for (pair, _) in touched {
            carried.push(self.carry(pair).await?);
        }
        Ok(carried)
    }

    async fn carry(&self, pair: &Pair) -> Result<(u64, u64), StepError> {
        let keys = self.fetch_keys(pair).await?;
        let rows = self.fetch_rows(pair).await?;
        self.compare(pair).await?;
        Ok((keys, rows))
    }

    async fn pipe(&self, (query, into, binary): (&str, &str, bool)) -> Result<Amount, StepError> {
        let (query, fill) = copies(query, into, binary);
        let both = async { tokio::try_join!(self.from.prepare(query), self.to.prepare(fill)) };
        let (query, fill) = both.await.map_err(doing(format!("copying rows into {into}")))?;
        pipe_prepared(self.from.transaction, &query, self.to.transaction, &fill, into).await
    }

    /// The touched keys, each once, into a temporary table of the target; the target's rows of them are deleted.
    async fn fetch_keys(&self, pair: &Pair) -> Result<u64, StepError> {
        let target = self.to.transaction;
        let keys = format!("pg_temp.keys_{}", pair.to.oid);
        target.batch_execute(&keys_table(pair)).await.map_err(doing("making a table for touched keys"))?;
        let query = format!("select distinct {} from {} where wave = {}", pair.from.identity_list(""), pair.from.log(), self.wave);
        let into = format!("{keys} ({})", pair.to.identity_list(""));
        let amount = self.pipe((&query, &into, false)).await?;
        if amount.rows > FEW_KEYS.unsigned_abs() {
            target.batch_execute(&format!("analyze {keys}")).await.map_err(doing("analyzing touched keys"))?;
        }
        let delete = format!("delete from only {} as t using {keys} as k where {}", pair.to.quoted(), pair.to.same_identity());
        let deleted = async { target.execute(&self.to.prepare(delete).await?, &[]).await };
        deleted.await.map_err(doing(format!("deleting {} keys' rows", amount.rows)))?;
        Ok(amount.rows)
    }

    async fn fetch_rows(&self, pair: &Pair) -> Result<u64, StepError> {
        let query = format!("select {} from only {} as t where {}", pair.from.values(), pair.from.quoted(), is_touched(pair, self.wave));
        let into = format!("{} ({})", pair.to.quoted(), pair.from.column_list());
        Ok(self.pipe((&query, &into, pair.from.is_portable())).await?.rows)
    }

    /// The rows of the touched keys must now be the same: anything else is a row that neither copy nor pass has made.
    async fn compare(&self, pair: &Pair) -> Result<(), StepError> {
        let hash = pair.from.row_hash();
        let sum = format!("select count(*), coalesce(sum({hash}), 0)::pg_catalog.text from only");
        let of_source = format!("{sum} {} as t where {}", pair.from.quoted(), is_touched(pair, self.wave));
        let of_target = format!(
            "{sum} {} as t where exists (select from pg_temp.keys_{} as k where {})",
            pair.to.quoted(),
            pair.to.oid,
            pair.to.same_identity()
        );
        let summed = async |side: &Side<'_>, sql: String| {
            let row = side.transaction.query_one(&side.prepare(sql).await?, &[]).await?;
            Ok::<(i64, String), tokio_postgres::Error>((row.get(0), row.get(1)))
        };
        let both = async { tokio::try_join!(summed(&self.from, of_source), summed(&self.to, of_target)) };
        let (one, other) = both.await.map_err(doing(format!("comparing rows of {}", pair.from.quoted())))?;
        if one == other {
            return Ok(());
        }
        Err(StepError::Operator(format!(
            "rows of {} differ on the two shards after a pass ({} and {} rows): see \"shardyard move repair\"",
            pair.from.quoted(),
            one.0,
            other.0
        )))
    }
}

/// Made once for each connection and table.
fn keys_table(pair: &Pair) -> String {
    format!(
        "create temporary table if not exists keys_{} on commit delete rows as select {} from {} as t with no data",
        pair.to.oid,
        pair.to.identity_list("t."),
        pair.to.quoted()
    )
}

fn is_touched(pair: &Pair, wave: i32) -> String {
    format!(
        "({}) in (select {} from {} as k where k.wave = {wave})",
        pair.from.identity_list("t."),
        pair.from.identity_list("k."),
        pair.from.log()
    )
}
