//! Rows on their way: COPY out of one shard straight into another.

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::{ToStatement, Transaction};

use crate::rebalance::error::{StepError, doing};

/// What went over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// Runs `COPY (query) TO STDOUT` here and `COPY into FROM STDIN` there, in the caller's transactions.
pub(crate) async fn pipe(from: &Transaction<'_>, query: &str, to: &Transaction<'_>, into: &str, binary: bool) -> Result<Amount, StepError> {
    let (query, fill) = copies(query, into, binary);
    pipe_prepared(from, query.as_str(), to, fill.as_str(), into).await
}

/// The two statements of [`pipe`].
pub(crate) fn copies(query: &str, into: &str, binary: bool) -> (String, String) {
    let format = if binary { "binary" } else { "text" };
    (format!("copy ({query}) to stdout (format {format})"), format!("copy {into} from stdin (format {format})"))
}

/// As [`pipe`], of two statements that are whole and perhaps prepared; `into` is for people.
pub(crate) async fn pipe_prepared<T: ?Sized + ToStatement>(
    from: &Transaction<'_>,
    query: &T,
    to: &Transaction<'_>,
    fill: &T,
    into: &str,
) -> Result<Amount, StepError> {
    let reading = || doing(format!("reading rows at the source for {into}"));
    let writing = || doing(format!("writing rows at the target into {into}"));
    let rows = from.copy_out(query).await.map_err(reading())?;
    let sink = to.copy_in::<_, Bytes>(fill).await.map_err(writing())?;
    let (mut rows, mut sink) = (std::pin::pin!(rows), std::pin::pin!(sink));
    let mut bytes = 0;
    while let Some(part) = rows.try_next().await.map_err(reading())? {
        bytes += part.len() as u64;
        sink.feed(part).await.map_err(writing())?;
    }
    let rows = sink.finish().await.map_err(writing())?;
    Ok(Amount { rows, bytes })
}
