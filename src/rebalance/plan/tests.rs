//! The shares after a plan, and what it moves.

use std::collections::BTreeMap;

use crate::rebalance::plan::{self, Transfer};
use crate::topology::ShardId;
use crate::topology::hash::initial_buckets;

fn initial(shards: u16) -> Vec<ShardId> {
    let buckets = initial_buckets(u32::from(shards));
    (0..buckets).map(|bucket| ShardId((bucket % u32::from(shards)) as u16)).collect()
}

fn ids(shards: u16) -> Vec<ShardId> {
    (0..shards).map(ShardId).collect()
}

fn apply(owners: &mut [ShardId], transfers: &[Transfer]) -> usize {
    for transfer in transfers {
        for bucket in &transfer.buckets {
            assert_eq!(owners[bucket.0 as usize], transfer.source, "moved from where it is not");
            owners[bucket.0 as usize] = transfer.target;
        }
    }
    transfers.iter().map(|transfer| transfer.buckets.len()).sum()
}

fn spread(owners: &[ShardId], shards: &[ShardId]) -> (usize, usize) {
    let mut counts: BTreeMap<ShardId, usize> = shards.iter().map(|id| (*id, 0)).collect();
    owners.iter().for_each(|owner| *counts.entry(*owner).or_default() += 1);
    (*counts.values().min().unwrap(), *counts.values().max().unwrap())
}

#[test]
fn one_more_takes_its_share_and_no_more() {
    for shards in 1..=64 {
        let mut owners = initial(shards);
        let transfers = plan::add(&owners, &ids(shards), ShardId(shards));
        let moved = apply(&mut owners, &transfers);
        assert_eq!(moved, owners.len() / (usize::from(shards) + 1));
        assert!(transfers.iter().all(|transfer| transfer.target == ShardId(shards)));
        let (least, most) = spread(&owners, &ids(shards + 1));
        assert!(most - least <= 1, "{shards} shards and one more: {least} to {most}");
    }
}

#[test]
fn removed_it_gives_only_its_own() {
    for shards in 2..=65 {
        let mut owners = initial(shards);
        let gone = ShardId(1);
        let rest: Vec<ShardId> = ids(shards).into_iter().filter(|id| *id != gone).collect();
        let own = owners.iter().filter(|owner| **owner == gone).count();
        let transfers = plan::remove(&owners, &rest, gone);
        assert_eq!(apply(&mut owners, &transfers), own);
        let (least, most) = spread(&owners, &rest);
        assert!(most - least <= 1 && !owners.contains(&gone), "{shards} shards less one: {least} to {most}");
    }
}

#[test]
fn twenty_moves_keep_the_shares_equal() {
    let mut owners = initial(4);
    let mut shards = ids(4);
    for round in 0..20u16 {
        if round % 2 == 0 {
            let new = ShardId(100 + round);
            let transfers = plan::add(&owners, &shards, new);
            apply(&mut owners, &transfers);
            shards.push(new);
        } else {
            let gone = shards.remove(usize::from(round) % shards.len());
            let transfers = plan::remove(&owners, &shards, gone);
            apply(&mut owners, &transfers);
        }
        let (least, most) = spread(&owners, &shards);
        assert!(most - least <= 1, "round {round}: {least} to {most}");
    }
}

#[test]
fn weights_are_followed() {
    let mut owners = initial(4);
    let weights = [(ShardId(0), 1), (ShardId(1), 1), (ShardId(2), 2), (ShardId(3), 0)];
    let transfers = plan::rebalance(&owners, &weights);
    let moved = apply(&mut owners, &transfers);
    let count = |id: u16| owners.iter().filter(|owner| **owner == ShardId(id)).count();
    assert_eq!([count(0), count(1), count(2), count(3)], [13_860, 13_860, 27_720, 0]);
    assert_eq!(moved, 13_860);
    assert!(plan::rebalance(&owners, &weights).is_empty(), "what is balanced stays");
}

#[test]
fn waves_are_intervals_of_a_transfer() {
    let transfer = plan::add(&initial(2), &ids(2), ShardId(2)).remove(0);
    let waves = plan::waves(&transfer, 7);
    let joined: Vec<_> = waves.iter().flat_map(|wave| wave.buckets.clone()).collect();
    assert_eq!((waves.len(), joined), (7, transfer.buckets.clone()));
    assert_eq!(plan::waves(&transfer, usize::MAX).len(), transfer.buckets.len());
}
