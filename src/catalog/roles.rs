//! Who is a shard's primary, as the catalog knows it: the one place that all proxies and workers go by.
//!
//! Another tool promotes. Whoever finds it first, a proxy or a worker, writes it here; the rest is a new version of the map like any other.
//! `shardyard.follow_primary` lets a server take another's place only if it is on a newer timeline.

use tokio_postgres::GenericClient;

use crate::catalog::store::{StoreError, unsigned};
use crate::topology::{Endpoint, ShardId};

/// A server found in the place of a shard's primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    pub shard: ShardId,
    /// Whom the map names.
    pub listed: Endpoint,
    pub promoted: Endpoint,
    pub timeline: u32,
    /// `listed` itself has shown an older timeline.
    pub proven: bool,
}

/// What became of a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It is the primary now, or was already.
    Done,
    /// The catalog names a third one: look again.
    Other,
    /// Not newer than the timeline that the shard has been on, as far as anybody has noted.
    Unproven,
}

/// Notes that the shard's primary is on `timeline`; answers with the highest that was noted.
///
/// # Errors
/// When the catalog does not answer.
pub async fn note_timeline<C: GenericClient>(client: &C, shard: ShardId, timeline: u32) -> Result<u32, StoreError> {
    let upsert = "insert into shardyard.shard_timeline (shard_id, timeline) values ($1, $2)
                  on conflict (shard_id) do update set timeline = greatest(shard_timeline.timeline, excluded.timeline) returning timeline";
    let row = client.query_one(upsert, &[&i32::from(shard.0), &number(timeline)]).await?;
    unsigned(row.get::<_, i32>(0))
}

/// The highest timeline that was noted, 0 for none.
///
/// # Errors
/// When the catalog does not answer.
pub async fn timeline<C: GenericClient>(client: &C, shard: ShardId) -> Result<u32, StoreError> {
    let select = "select timeline from shardyard.shard_timeline where shard_id = $1";
    let row = client.query_opt(select, &[&i32::from(shard.0)]).await?;
    row.map_or(Ok(0), |row| unsigned(row.get::<_, i32>(0)))
}

/// Makes the promoted server the shard's primary and the former one its replica, in one transaction, or leaves all as it is.
///
/// # Errors
/// When the catalog does not answer.
pub async fn follow<C: GenericClient>(client: &C, promotion: &Promotion) -> Result<Followed, StoreError> {
    let select = "select shardyard.follow_primary($1, $2, $3, $4, $5, $6, $7)";
    let Promotion { shard, listed, promoted, timeline, proven } = promotion;
    let (listed_port, promoted_port) = (i32::from(listed.port), i32::from(promoted.port));
    let row = client
        .query_one(select, &[&i32::from(shard.0), &listed.host, &listed_port, &promoted.host, &promoted_port, &number(*timeline), proven])
        .await?;
    match row.get::<_, &str>(0) {
        "done" => Ok(Followed::Done),
        "other" => Ok(Followed::Other),
        _ => Ok(Followed::Unproven),
    }
}

/// How often any shard's primary has changed.
///
/// # Errors
/// When there is no cluster, or the catalog does not answer.
pub async fn changes<C: GenericClient>(client: &C) -> Result<i64, StoreError> {
    let row = client.query_opt("select primary_changes from shardyard.cluster", &[]).await?.ok_or(StoreError::NoCluster)?;
    Ok(row.get(0))
}

fn number(timeline: u32) -> i32 {
    i32::try_from(timeline).unwrap_or(i32::MAX)
}
