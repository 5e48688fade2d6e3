//! Which buckets move: the fewest that make the shares equal, and in which waves.

use std::collections::BTreeMap;

use crate::topology::{BucketId, ShardId};

/// Buckets that go from one shard to another, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub source: ShardId,
    pub target: ShardId,
    pub buckets: Vec<BucketId>,
}

/// What a new shard takes: B/(N+1) buckets, from those that have the most. `shards` are those that stay, without the new one.
#[must_use]
pub fn add(owners: &[ShardId], shards: &[ShardId], new: ShardId) -> Vec<Transfer> {
    let mut owned = owned(owners, shards);
    let before: usize = owned.values().map(Vec::len).sum();
    let wanted = before / (shards.len() + 1);
    let mut given: BTreeMap<ShardId, usize> = BTreeMap::new();
    for _ in 0..wanted {
        // The fullest gives; of equals the first.
        let left = |id: &ShardId| owned.get(id).map_or(0, Vec::len) - given.get(id).copied().unwrap_or(0);
        let Some(fullest) = owned.keys().copied().max_by_key(|id| (left(id), std::cmp::Reverse(*id))) else { break };
        *given.entry(fullest).or_default() += 1;
    }
    let take = |(source, count): (ShardId, usize)| {
        let buckets = owned.get_mut(&source)?;
        Some(Transfer { source, target: new, buckets: buckets.split_off(buckets.len().saturating_sub(count)) })
    };
    given.into_iter().filter_map(take).collect()
}

/// Where the buckets of a shard go that is removed: to those that have the fewest. `shards` are those that stay.
#[must_use]
pub fn remove(owners: &[ShardId], shards: &[ShardId], gone: ShardId) -> Vec<Transfer> {
    let owned_by_rest = owned(owners, shards);
    let buckets: Vec<BucketId> = buckets_of(owners, gone);
    let mut taken: BTreeMap<ShardId, usize> = BTreeMap::new();
    for _ in &buckets {
        let has = |id: &ShardId| owned_by_rest.get(id).map_or(0, Vec::len) + taken.get(id).copied().unwrap_or(0);
        let Some(emptiest) = owned_by_rest.keys().copied().min_by_key(|id| (has(id), *id)) else { break };
        *taken.entry(emptiest).or_default() += 1;
    }
    let mut rest = buckets.into_iter();
    taken.into_iter().map(|(target, count)| Transfer { source: gone, target, buckets: rest.by_ref().take(count).collect() }).collect()
}

/// The fewest transfers that give each shard its share by weight; a shard of weight 0 keeps nothing.
#[must_use]
pub fn rebalance(owners: &[ShardId], weights: &[(ShardId, u32)]) -> Vec<Transfer> {
    let ids: Vec<ShardId> = weights.iter().map(|(id, _)| *id).collect();
    let mut owned = owned(owners, &ids);
    let quotas = quotas(&owned, weights);
    let mut givers: Vec<(ShardId, usize)> = Vec::new();
    let mut takers: Vec<(ShardId, usize)> = Vec::new();
    for (id, quota) in &quotas {
        let has = owned.get(id).map_or(0, Vec::len);
        if has > *quota {
            givers.push((*id, has - quota));
        } else if has < *quota {
            takers.push((*id, quota - has));
        }
    }
    let mut transfers = Vec::new();
    let mut takers = takers.into_iter();
    let mut taker = takers.next();
    for (source, mut surplus) in givers {
        while let Some((target, lacks)) = taker.as_mut().filter(|_| surplus > 0) {
            let count = surplus.min(*lacks);
            let Some(buckets) = owned.get_mut(&source) else { break };
            transfers.push(Transfer { source, target: *target, buckets: buckets.split_off(buckets.len().saturating_sub(count)) });
            surplus -= count;
            *lacks -= count;
            if *lacks == 0 {
                taker = takers.next();
            }
        }
    }
    transfers
}

/// Cuts a transfer into `count` waves of nearly equal size, each an interval of the source's own buckets. None is empty.
#[must_use]
pub fn waves(transfer: &Transfer, count: usize) -> Vec<Transfer> {
    let count = count.clamp(1, transfer.buckets.len().max(1));
    let cut = |wave: usize| wave * transfer.buckets.len() / count;
    let part = |wave: usize| transfer.buckets.get(cut(wave)..cut(wave + 1)).unwrap_or_default().to_vec();
    let wave = |at: usize| Transfer { source: transfer.source, target: transfer.target, buckets: part(at) };
    (0..count).map(wave).filter(|wave| !wave.buckets.is_empty()).collect()
}

/// The buckets of each shard, in order; shards without any too.
fn owned(owners: &[ShardId], shards: &[ShardId]) -> BTreeMap<ShardId, Vec<BucketId>> {
    let mut owned: BTreeMap<ShardId, Vec<BucketId>> = shards.iter().map(|id| (*id, Vec::new())).collect();
    for (bucket, owner) in (0u32..).zip(owners) {
        if let Some(buckets) = owned.get_mut(owner) {
            buckets.push(BucketId(bucket));
        }
    }
    owned
}

fn buckets_of(owners: &[ShardId], shard: ShardId) -> Vec<BucketId> {
    (0u32..).zip(owners).filter(|(_, owner)| **owner == shard).map(|(bucket, _)| BucketId(bucket)).collect()
}

/// Each shard's whole number of buckets; what the division leaves goes to those that lose the most by rounding, first to those that have more.
fn quotas(owned: &BTreeMap<ShardId, Vec<BucketId>>, weights: &[(ShardId, u32)]) -> BTreeMap<ShardId, usize> {
    let buckets: u64 = owned.values().map(|buckets| buckets.len() as u64).sum();
    let total: u64 = weights.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>().max(1);
    let mut quotas: BTreeMap<ShardId, usize> = BTreeMap::new();
    let mut losses: Vec<(u64, usize, ShardId)> = Vec::new();
    for (id, weight) in weights {
        let share = buckets * u64::from(*weight);
        quotas.insert(*id, usize::try_from(share / total).unwrap_or(usize::MAX));
        losses.push((share % total, owned.get(id).map_or(0, Vec::len), *id));
    }
    let left = usize::try_from(buckets).unwrap_or(usize::MAX).saturating_sub(quotas.values().sum());
    losses.sort_by(|one, other| (other.0, other.1, one.2).cmp(&(one.0, one.1, other.2)));
    for (_, _, id) in losses.into_iter().take(left) {
        *quotas.entry(id).or_default() += 1;
    }
    quotas
}

#[cfg(test)]
mod tests;
