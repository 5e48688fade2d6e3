//! Asks a shard's servers once who is the primary, and tells the catalog when another has been promoted. For those who keep no monitor: the
//! worker, the commands, a proxy that starts.

use futures_util::future::join_all;
use tokio_postgres::Client;
use tracing::{info, warn};

use crate::backend::ControlRole;
use crate::backend::probe::Probe;
use crate::backend::roles::{Verdict, judge};
use crate::catalog::roles::{self, Followed, Promotion};
use crate::catalog::store::StoreError;
use crate::topology::{Shard, ShardId};

/// What a promotion, or its lack, means for the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The listed primary is it, or it is away and nobody has taken its place.
    AsListed,
    /// The catalog names another now.
    Changed,
    /// It cannot be told who is the primary: the reason.
    Unclear(String),
}

/// Who is the primary of `shard`, by its servers; `known` as for [`judge`].
pub async fn survey(shard: &Shard, control: &ControlRole, known: u32) -> Verdict {
    let endpoints = || std::iter::once(&shard.primary).chain(shard.replicas.iter().map(|replica| &replica.endpoint));
    let mut probes: Vec<Probe> = endpoints().map(|endpoint| Probe::new(endpoint, control, None)).collect();
    let statuses = join_all(probes.iter_mut().map(Probe::status)).await;
    let answers: Vec<_> = endpoints().zip(statuses.iter().map(|status| status.map(|status| status.role))).collect();
    judge(&shard.primary, known, &answers)
}

/// Follows a promotion, if there was one. A shard without replicas is not asked.
///
/// # Errors
/// When the catalog does not answer.
pub async fn follow(catalog: &Client, shard: &Shard, control: &ControlRole) -> Result<Outcome, StoreError> {
    if shard.replicas.is_empty() {
        return Ok(Outcome::AsListed);
    }
    let verdict = survey(shard, control, roles::timeline(catalog, shard.id).await?).await;
    record(catalog, shard, &verdict).await
}

/// Writes down what was found.
///
/// # Errors
/// When the catalog does not answer.
pub async fn record(catalog: &Client, shard: &Shard, verdict: &Verdict) -> Result<Outcome, StoreError> {
    match verdict {
        Verdict::Stands { timeline } => {
            roles::note_timeline(catalog, shard.id, *timeline).await?;
            Ok(Outcome::AsListed)
        }
        Verdict::Absent => Ok(Outcome::AsListed),
        Verdict::Unclear(reason) => Ok(Outcome::Unclear(reason.clone())),
        Verdict::Promoted { primary, timeline, proven } => {
            let (listed, promoted) = (shard.primary.clone(), primary.clone());
            let promotion = Promotion { shard: shard.id, listed, promoted, timeline: *timeline, proven: *proven };
            let followed = roles::follow(catalog, &promotion).await?;
            tell(shard.id, &promotion, followed);
            match followed {
                Followed::Done | Followed::Other => Ok(Outcome::Changed),
                Followed::Unproven => Ok(Outcome::Unclear(unproven(&promotion))),
            }
        }
    }
}

fn unproven(promotion: &Promotion) -> String {
    let Promotion { listed, promoted, timeline, .. } = promotion;
    format!(
        "{promoted} takes writes on timeline {timeline}, but nobody has noted that it is newer than that of {listed}, which does not answer"
    )
}

fn tell(shard: ShardId, promotion: &Promotion, followed: Followed) {
    let (from, to, timeline) = (&promotion.listed, &promotion.promoted, promotion.timeline);
    match followed {
        Followed::Done => info!(%shard, %from, %to, timeline, "the promoted server is the shard's primary"),
        Followed::Other => info!(%shard, %from, %to, "the catalog names another primary by now"),
        Followed::Unproven => warn!(%shard, %from, %to, timeline, "not followed: its timeline is not known to be newer"),
    }
}
