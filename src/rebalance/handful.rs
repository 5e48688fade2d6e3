//! The rows of a few touched keys, read in one flight of statements and written in another.
//!
//! Inside a fence time goes by on the way to the servers and back, on machines that everybody keeps busy: each answer that is waited for
//! costs the worker and a server their turns. So what `pass` does step by step for many keys, this does without looking in between.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::rebalance::error::{StepError, doing};
use crate::rebalance::prepared::Side;
use crate::rebalance::table::{Column, Pair, Table, identifier, list};

/// What is more than this goes by COPY, which needs no memory.
const KEYS_MAX: usize = 5_000;
const ROWS_MAX: usize = 5_000;
const BYTES_MAX: usize = 16 << 20;

/// What a table's touched keys have at the source.
pub(crate) struct Handful<'a> {
    pair: &'a Pair,
    /// Rows of the log, as PostgreSQL writes a row.
    keys: Vec<String>,
    /// The table's rows, likewise, in the order of the target's columns.
    rows: Vec<String>,
    /// Of the rows' hashes.
    sum: i128,
}

/// The statements of one table, prepared.
pub(crate) struct Prepared<'a> {
    pair: &'a Pair,
    keys: Statement,
    rows: Statement,
    delete: Statement,
    insert: Statement,
    sum: Statement,
}

type Request<'a, T> = Pin<Box<dyn Future<Output = Result<T, tokio_postgres::Error>> + Send + 'a>>;

impl<'a> Prepared<'a> {
    /// Nothing is asked of a server that has been asked before on the same connection.
    pub(crate) async fn new(from: &Side<'_>, to: &Side<'_>, pair: &'a Pair) -> Result<Self, StepError> {
        let key = format!("row(k.wave, {})::pg_catalog.text", pair.from.identity_list("k."));
        let log = format!("{} as k where k.wave = $1", pair.from.log());
        let keys = format!("select distinct {key} from {log} limit {}", KEYS_MAX + 1);
        let rows = format!(
            "select {}, {} from only {} as t where ({}{}) in (select {}{} from {log}) limit {}",
            whole_row(pair),
            pair.from.row_hash(),
            pair.from.quoted(),
            pair.from.identity_list("t."),
            of_bucket(&pair.from, "t."),
            pair.from.identity_list("k."),
            of_bucket(&pair.from, "k."),
            ROWS_MAX + 1
        );
        let these = format!("pg_catalog.unnest($1::pg_catalog.text[]::{}[]) as k", pair.to.log());
        let table = pair.to.quoted();
        let same = match of_bucket(&pair.to, "t.") {
            none if none.is_empty() => pair.to.same_identity(),
            _ => format!("{} and {} = {}", pair.to.same_identity(), pair.to.bucket("t."), pair.to.bucket("k.")),
        };
        let delete = format!("delete from only {table} as t using {these} where {same}");
        let insert = format!(
            "insert into {table} ({}) overriding system value select {} from pg_catalog.unnest($1::pg_catalog.text[]::{table}[]) as t",
            pair.from.column_list(),
            pair.from.values()
        );
        let sum = format!(
            "select count(*), coalesce(sum({}), 0)::pg_catalog.text from only {table} as t where exists (select from {these} where {same})",
            pair.from.row_hash()
        );
        let reads = async { tokio::try_join!(from.prepare(keys), from.prepare(rows)) };
        let writes = async { tokio::try_join!(to.prepare(delete), to.prepare(insert), to.prepare(sum)) };
        let both = async { tokio::try_join!(reads, writes) };
        let ((keys, rows), (delete, insert, sum)) = both.await.map_err(doing(format!("preparing the last pass over {table}")))?;
        Ok(Self { pair, keys, rows, delete, insert, sum })
    }
}

/// Whether a table's rows can go in this way: a generated column is nothing there at first, which a domain may refuse.
pub(crate) fn is_suited(pair: &Pair) -> bool {
    pair.to.columns.iter().all(|column| !column.generated || column.portable)
}

/// What the tables' touched keys have in the source's snapshot; `None`: more than a handful.
pub(crate) async fn read<'a>(from: &Side<'_>, prepared: &[Prepared<'a>], wave: i32) -> Result<Option<Vec<Handful<'a>>>, StepError> {
    let mut requests: Vec<Request<'_, Option<Vec<Row>>>> = Vec::with_capacity(prepared.len() * 2);
    for table in prepared {
        requests.push(Box::pin(bounded(from, &table.keys, wave, KEYS_MAX)));
        requests.push(Box::pin(bounded(from, &table.rows, wave, ROWS_MAX)));
    }
    let mut answers = in_order(requests).await.map_err(doing("reading the last touched rows"))?.into_iter();
    let mut found = Vec::with_capacity(prepared.len());
    for table in prepared {
        let (Some(Some(keys)), Some(Some(rows))) = (answers.next(), answers.next()) else { return Ok(None) };
        let sum = rows.iter().map(|row| i128::from(row.get::<_, i64>(1))).sum();
        let texts = |rows: Vec<Row>| rows.iter().map(|row| row.get(0)).collect();
        found.push(Handful { pair: table.pair, keys: texts(keys), rows: texts(rows), sum });
    }
    Ok(Some(found))
}

/// Makes the target's rows of the keys equal to those that were read, and compares. With `all` tables without touched keys are asked too, so
/// that they need not be planned later. Answers with keys and rows.
pub(crate) async fn write(to: &Side<'_>, prepared: &[Prepared<'_>], found: &[Handful<'_>], all: bool) -> Result<(u64, u64), StepError> {
    let found: Vec<_> = prepared.iter().zip(found).filter(|(_, handful)| all || !handful.keys.is_empty()).collect();
    let mut requests: Vec<Request<'_, Vec<Row>>> = Vec::with_capacity(found.len() * 3);
    for (table, handful) in &found {
        requests.push(Box::pin(ask(to, &table.delete, &handful.keys)));
        requests.push(Box::pin(ask(to, &table.insert, &handful.rows)));
        requests.push(Box::pin(ask(to, &table.sum, &handful.keys)));
    }
    let answers = in_order(requests).await.map_err(doing("writing the last touched rows"))?;
    for ((_, handful), answer) in found.iter().zip(answers.chunks(3)) {
        let row = answer.last().and_then(|rows| rows.first());
        let of_target: Option<(i64, String)> = row.map(|row| (row.get(0), row.get(1)));
        let of_source = (i64::try_from(handful.rows.len()).unwrap_or(i64::MAX), handful.sum.to_string());
        if of_target.as_ref() != Some(&of_source) {
            return Err(StepError::Operator(format!(
                "rows of {} differ on the two shards after a pass ({} and {} rows): see \"shardyard move repair\"",
                handful.pair.from.quoted(),
                of_source.0,
                of_target.map_or(0, |(count, _)| count)
            )));
        }
    }
    let count = |number: fn(&Handful<'_>) -> usize| found.iter().map(|(_, handful)| number(handful) as u64).sum();
    Ok((count(|handful| handful.keys.len()), count(|handful| handful.rows.len())))
}

/// `, bucket` where the key alone tells rows apart: there may be no index on it, but there is one on the bucket.
fn of_bucket(table: &Table, prefix: &str) -> String {
    if table.identity.len() == 1 { format!(", {}", table.bucket(prefix)) } else { String::new() }
}

/// A row of `t` as text, as the target's row type reads it.
fn whole_row(pair: &Pair) -> String {
    let value = |column: &Column| match column.generated {
        true => "null".to_owned(),
        false => format!("t.{}", identifier(&column.name)),
    };
    format!("row({})::pg_catalog.text", list(pair.to.columns.iter().map(value)))
}

async fn ask(to: &Side<'_>, statement: &Statement, values: &[String]) -> Result<Vec<Row>, tokio_postgres::Error> {
    to.transaction.query(statement, &[&values]).await
}

/// The rows of a wave; `None`: more than `rows_max`, or more bytes than are kept.
async fn bounded(from: &Side<'_>, statement: &Statement, wave: i32, rows_max: usize) -> Result<Option<Vec<Row>>, tokio_postgres::Error> {
    let mut stream = std::pin::pin!(from.transaction.query_raw(statement, [&wave as &(dyn ToSql + Sync)]).await?);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = stream.try_next().await? {
        bytes += row.raw_size_bytes();
        rows.push(row);
        if rows.len() > rows_max || bytes > BYTES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(rows))
}

/// Sends each request before the next, as a connection runs them in the order in which they are first polled; answers when all are answered.
pub(crate) async fn in_order<T>(mut requests: Vec<Request<'_, T>>) -> Result<Vec<T>, tokio_postgres::Error> {
    let mut answers: Vec<Option<T>> = requests.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut all = true;
        for (request, answer) in requests.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match request.as_mut().poll(context) {
                    Poll::Ready(Ok(ready)) => *answer = Some(ready),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => all = false,
                }
            }
        }
        if all { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    Ok(answers.into_iter().flatten().collect())
}
