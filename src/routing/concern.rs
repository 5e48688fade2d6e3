//! Which buckets a write concerns, so that only those wait which a move is about to switch over.

use crate::routing::copy::CopyPlan;
use crate::routing::decide::{Binding, Decision};
use crate::routing::each::EachTarget;
use crate::routing::feed::FeedTarget;
use crate::routing::plan::{Access, Plan};
use crate::routing::route::{Hint, Route, Values};
use crate::topology::hash::bucket;
use crate::topology::{BucketId, ShardId, ShardMap};

/// What a statement may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concern {
    /// No row of a sharded or reference table, as far as its text tells.
    Nothing,
    /// Rows of these buckets.
    Buckets(Vec<BucketId>),
    /// Any rows of these shards.
    Shards(Vec<ShardId>),
    /// A reference table.
    Reference,
}

impl Plan {
    /// What an execution with this route may write, or lock.
    #[must_use]
    pub fn concern(&self, values: &Values<'_>, hint: &Hint, (route, map): (&Route, &ShardMap)) -> Concern {
        if self.access == Access::Read {
            return Concern::Nothing;
        }
        let every = || Concern::Shards(map.shards.iter().map(|shard| shard.id).collect());
        let known =
            |buckets: Option<Vec<BucketId>>, shards: &[ShardId]| buckets.map_or_else(|| Concern::Shards(shards.to_vec()), Concern::Buckets);
        match route {
            Route::Home | Route::Any | Route::Gather(_) => Concern::Nothing,
            Route::One(shard) if self.target(hint).is_some() => Concern::Shards(vec![*shard]),
            Route::One(shard) => known(self.bound_buckets(values, map), &[*shard]),
            Route::Scatter { shards, .. } => known(self.bound_buckets(values, map), shards),
            Route::Everywhere | Route::Sequence(_) => Concern::Reference,
            Route::Each { plan, shards } => match plan.target {
                EachTarget::Sharded => known(plan.binding().and_then(|binding| buckets(binding, values, map)), shards),
                EachTarget::Single => Concern::Nothing,
                EachTarget::Reference => Concern::Reference,
            },
            Route::Split(split) => {
                let shards: Vec<ShardId> = split.parts.iter().map(|(shard, _)| *shard).collect();
                known(buckets(split.plan.binding(), values, map), &shards)
            }
            Route::Locked(_) | Route::Timed => every(),
            Route::Feed(plan) => match &plan.target {
                FeedTarget::ByKey(_) => every(),
                FeedTarget::Home => Concern::Nothing,
                FeedTarget::Every => Concern::Reference,
            },
            Route::Copy(plan) => match &**plan {
                CopyPlan::Split(_) => every(),
                CopyPlan::Same => Concern::Reference,
                CopyPlan::Concatenate { .. } => Concern::Nothing,
            },
        }
    }

    /// The buckets of all keys that bind the statement.
    fn bound_buckets(&self, values: &Values<'_>, map: &ShardMap) -> Option<Vec<BucketId>> {
        let Decision::Bound(bound) = &self.decision else { return None };
        let mut all = Vec::new();
        for binding in &bound.bindings {
            all.extend(buckets(binding, values, map)?);
        }
        Some(all)
    }
}

fn buckets(binding: &Binding, values: &Values<'_>, map: &ShardMap) -> Option<Vec<BucketId>> {
    let keys = binding.keys(values).ok()?;
    Some(keys.iter().map(|key| bucket(key, map.buckets())).collect())
}
