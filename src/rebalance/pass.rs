//! A pass: makes the target's rows of every touched key equal to the source's at one snapshot.
//!
//! The target commits first, then the source, which deletes the keys it has read. Done twice it does no harm.

use std::time::{Duration, Instant};

use tokio_postgres::{GenericClient, Transaction};

use crate::rebalance::copy::Chunk;
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::fault;
use crate::rebalance::link::Link;
use crate::rebalance::prepared::Side;
use crate::rebalance::table::{Pair, list};
use crate::rebalance::transfer::{Amount, copies, pipe_prepared};
use crate::rebalance::verify::{self, Difference};

/// More keys than these are joined as the server's planner thinks best; fewer are looked up one by one.
const FEW_KEYS: i64 = 20_000;

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

    /// What the last pass need not do any more: its tables are made, and the logs have no dead rows to be read over. Then a pass.
    pub(crate) async fn get_ready(&mut self) -> Result<Passed, StepError> {
        let action = || doing(format!("getting ready for the last pass of wave {}", self.wave));
        let target = self.to.begin().await?;
        for pair in self.pairs {
            target.batch_execute(&keys_table(pair)).await.map_err(action())?;
        }
        target.commit().await.map_err(action())?;
        for pair in self.pairs {
            self.from
                .client()
                .batch_execute(&format!("vacuum (skip_locked, truncate false) {}", pair.from.log()))
                .await
                .map_err(action())?;
        }
        self.pass().await
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
        let source = self.from.begin_snapshot().await?;
        let touched = touched(&source, self.pairs, self.wave).await?;
        if touched.is_empty() && chunk.is_none() {
            source.rollback().await.map_err(action())?;
            return Ok((Passed { took: began.elapsed(), ..Passed::default() }, None));
        }
        let target = self.to.begin().await?;
        let mut passed = Passed::default();
        let few = touched.iter().all(|(_, keys)| *keys < FEW_KEYS);
        prefer_look_ups(&source, &target, few).await.map_err(action())?;
        let carried = Carried {
            from: Side { transaction: &source, statements: of_source, few },
            to: Side { transaction: &target, statements: of_target, few },
            wave: self.wave,
        };
        for (pair, _) in &touched {
            passed.keys += carried.fetch_keys(pair).await?;
        }
        for (pair, _) in &touched {
            passed.rows += carried.fetch_rows(pair).await?;
        }
        for (pair, _) in &touched {
            carried.compare(pair).await?;
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
        for (pair, _) in &touched {
            let forget = format!("delete from {} where wave = $1", pair.from.log());
            source.execute(&forget, &[&self.wave]).await.map_err(action())?;
        }
        if let (Some(chunk), Some(difference), true) = (chunk, &difference, repair) {
            let buckets = chunk.buckets.without(|bucket| !difference.buckets.contains(&bucket));
            verify::touch(&source, self.to, chunk.pair, (self.wave, &buckets)).await?;
        }
        source.commit().await.map_err(action())?;
        passed.took = began.elapsed();
        Ok((passed, difference))
    }
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
    let look_up =
        if few { "; set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off" } else { "" };
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
