//! What counts as out of use.

use std::sync::Arc;

use crate::catalog::activity::{Activity, Standing};
use crate::topology::moving::{BucketSet, Wave, WaveState};
use crate::topology::{Endpoint, Gate, MapVersion, Moving, Shard, ShardId, ShardMap};

/// Three shards, of which 0 and 1 have a wave between them.
fn map(version: u64, gate: Option<Gate>) -> ShardMap {
    let endpoint = Endpoint { host: "db".to_owned(), port: 5432, database: "app".to_owned() };
    let shard = |id: u16| Shard { id: ShardId(id), ordinal: id, name: format!("s{id}"), primary: endpoint.clone(), replicas: Vec::new() };
    let mut map = ShardMap::initial((0..3).map(shard).collect(), 12).expect("shards");
    let buckets = Arc::new(BucketSet::new(12));
    let wave = Wave { id: 1, source: ShardId(0), target: ShardId(1), state: WaveState::Open, buckets, held_since: None };
    map.moving = Moving::new(vec![wave], gate.map(|gate| (gate, MapVersion(version))), &map.owners);
    map.version = MapVersion(version);
    map
}

/// Under the map of version 7.
fn standing(acknowledged: u64, settled: u64) -> Standing {
    Standing { seen: MapVersion(7), acknowledged: MapVersion(acknowledged), settled: MapVersion(settled) }
}

#[test]
fn a_running_statement_keeps_its_map_in_use() {
    let activity = Activity::default();
    let (one, other) = (activity.slot(), activity.slot());
    assert_eq!(activity.standing(&map(7, None)), standing(7, 7));
    one.run(MapVersion(5));
    other.run(MapVersion(7));
    assert_eq!(activity.standing(&map(7, None)), standing(5, 5));
    one.rest();
    assert_eq!(activity.standing(&map(7, None)), standing(7, 7));
    one.run(MapVersion(5));
    drop(one);
    assert_eq!(activity.standing(&map(7, None)), standing(7, 7));
}

#[test]
fn an_open_transaction_counts_where_something_moves() {
    let activity = Activity::default();
    let slot = activity.slot();
    slot.run(MapVersion(5));
    slot.touch(ShardId(2), MapVersion(5));
    slot.rest();
    assert_eq!(activity.standing(&map(7, None)), standing(7, 7));
    // A later statement of it, by a newer map.
    slot.run(MapVersion(6));
    slot.touch(ShardId(1), MapVersion(6));
    assert_eq!(activity.standing(&map(7, None)), standing(6, 5));
    slot.rest();
    assert_eq!(activity.standing(&map(7, None)), standing(7, 5));
    slot.close();
    assert_eq!(activity.standing(&map(7, None)), standing(7, 7));
}

#[test]
fn a_definition_counts_while_there_is_a_gate() {
    let activity = Activity::default();
    let slot = activity.slot();
    slot.touch(ShardId(2), MapVersion(5));
    slot.touch_everywhere(MapVersion(6));
    assert_eq!(activity.standing(&map(7, None)), standing(7, 7));
    assert_eq!(activity.standing(&map(7, Some(Gate::Ddl))), standing(7, 5));
}

#[test]
fn a_switch_waits_for_no_read() {
    let activity = Activity::default();
    let slot = activity.slot();
    slot.run(MapVersion(5));
    slot.read_only(true);
    slot.touch(ShardId(1), MapVersion(5));
    assert_eq!(activity.standing(&map(7, None)), standing(5, 7));
    // A write behind it, in the same batch.
    slot.read_only(false);
    assert_eq!(activity.standing(&map(7, None)), standing(5, 5));
    slot.read_only(true);
    slot.close();
    slot.run(MapVersion(6));
    assert_eq!(activity.standing(&map(7, None)), standing(6, 6));
}
