//! What is on its way from one shard to another, at one version of the map.

use std::fmt::Write;
use std::sync::Arc;

use crate::topology::{BucketId, MapVersion, ShardId, ShardMap};

/// A batch of buckets with one cutover, from `arming` to `cleaning`: rows of its buckets may be on both shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wave {
    pub id: i32,
    pub source: ShardId,
    pub target: ShardId,
    pub state: WaveState,
    pub buckets: Arc<BucketSet>,
    /// New writes of its buckets wait, since the first version at which this process saw that they have to.
    pub held_since: Option<MapVersion>,
}

/// How far a wave is. What the proxies do depends on two things only; what the worker does is `rebalance`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaveState {
    /// Rows may be on both shards: what reads several shards leaves out on each what belongs to the other.
    Open,
    /// Moreover its buckets change their owner about now: new writes wait.
    Held,
}

impl WaveState {
    /// From the catalog's `wave.state`; `None` where nothing is on two shards.
    #[must_use]
    pub fn of(state: &str) -> Option<Self> {
        match state {
            "arming" | "copying" | "catching up" | "verifying" | "released" | "reversible" | "cleaning" => Some(Self::Open),
            "fencing" | "flipped" => Some(Self::Held),
            _ => None,
        }
    }
}

/// What must not run beside the making of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Definitions are refused.
    Ddl,
    /// Moreover writes of reference tables wait.
    Everywhere,
}

/// Everything that moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moving {
    pub waves: Vec<Wave>,
    pub gate: Option<Gate>,
    /// The first version at which this process saw the gate as it is.
    pub gate_since: MapVersion,
    foreign: Vec<Foreign>,
}

/// Buckets whose rows may be on a shard that does not own them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Foreign {
    shard: ShardId,
    buckets: BucketSet,
    /// The set as an SQL constant of type bytea.
    constant: Arc<str>,
}

impl Moving {
    /// `None` when nothing moves. `owners[bucket]` are those of the same version.
    #[must_use]
    pub fn new(waves: Vec<Wave>, gate: Option<(Gate, MapVersion)>, owners: &[ShardId]) -> Option<Arc<Self>> {
        if waves.is_empty() && gate.is_none() {
            return None;
        }
        let mut shards: Vec<ShardId> = waves.iter().flat_map(|wave| [wave.source, wave.target]).collect();
        shards.sort_unstable();
        shards.dedup();
        let foreign = shards.into_iter().map(|shard| Foreign::of(shard, &waves, owners)).collect();
        Some(Arc::new(Self {
            waves,
            gate: gate.map(|(gate, _)| gate),
            gate_since: gate.map_or_else(MapVersion::default, |(_, since)| since),
            foreign,
        }))
    }

    /// The buckets whose rows do not count on `shard`, though they may be there: an SQL constant for `get_bit`. `None`: all rows count.
    #[must_use]
    pub fn left_out(&self, shard: ShardId) -> Option<&Arc<str>> {
        self.foreign_of(shard).map(|foreign| &foreign.constant)
    }

    /// How many buckets [`Moving::left_out`] has.
    #[must_use]
    pub fn left_out_count(&self, shard: ShardId) -> usize {
        self.foreign_of(shard).map_or(0, |foreign| foreign.buckets.count())
    }

    fn foreign_of(&self, shard: ShardId) -> Option<&Foreign> {
        self.foreign.iter().find(|foreign| foreign.shard == shard && foreign.buckets.count() > 0)
    }

    /// Whether a wave has the shard as its source or target.
    #[must_use]
    pub fn concerns(&self, shard: ShardId) -> bool {
        self.foreign.iter().any(|foreign| foreign.shard == shard)
    }

    /// The shards that are source or target of a wave.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.foreign.iter().map(|foreign| foreign.shard)
    }

    /// The waves whose new writes wait.
    pub fn held(&self) -> impl Iterator<Item = (&Wave, MapVersion)> {
        self.waves.iter().filter_map(|wave| Some((wave, wave.held_since?)))
    }
}

impl Foreign {
    fn of(shard: ShardId, waves: &[Wave], owners: &[ShardId]) -> Self {
        let mut buckets = BucketSet::new(owners.len());
        for wave in waves.iter().filter(|wave| wave.source == shard || wave.target == shard) {
            for bucket in wave.buckets.iter() {
                if owners.get(bucket.0 as usize) != Some(&shard) {
                    buckets.insert(bucket);
                }
            }
        }
        let constant = buckets.constant().into();
        Self { shard, buckets, constant }
    }
}

/// Some of the cluster's buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketSet {
    /// Bucket 0 is the lowest bit of the first byte, as `get_bit` of a bytea counts.
    bits: Vec<u8>,
}

impl BucketSet {
    /// None of `buckets` buckets.
    #[must_use]
    pub fn new(buckets: usize) -> Self {
        Self { bits: vec![0; buckets.div_ceil(8)] }
    }

    /// A bucket out of range is not taken in.
    pub fn insert(&mut self, bucket: BucketId) {
        if let Some(byte) = self.bits.get_mut(bucket.0 as usize / 8) {
            *byte |= 1 << (bucket.0 % 8);
        }
    }

    #[must_use]
    pub fn contains(&self, bucket: BucketId) -> bool {
        self.bits.get(bucket.0 as usize / 8).is_some_and(|byte| byte & 1 << (bucket.0 % 8) != 0)
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.bits.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = BucketId> {
        let whole = (0..u32::try_from(self.bits.len()).unwrap_or(0)).flat_map(|byte| (0..8).map(move |bit| BucketId(byte * 8 + bit)));
        whole.filter(|bucket| self.contains(*bucket))
    }

    /// Means the same whatever `standard_conforming_strings` and `search_path` say.
    fn constant(&self) -> String {
        let mut constant = String::with_capacity(self.bits.len() * 2 + 24);
        constant.push_str("E'\\\\x");
        for byte in &self.bits {
            let _ = write!(constant, "{byte:02x}");
        }
        constant.push_str("'::pg_catalog.bytea");
        constant
    }
}

/// The condition that a row counts on a shard, of whose buckets `left_out` ([`Moving::left_out`]) do not. `key`: the shard key, as SQL.
#[must_use]
pub fn owned(key: &str, left_out: &str) -> String {
    format!("(pg_catalog.get_bit({left_out}, shardyard.bucket({key})) OPERATOR(pg_catalog.=) 1) IS NOT TRUE")
}

/// The buckets of all other shards, for [`owned`].
#[must_use]
pub fn not_owned(map: &ShardMap, shard: ShardId) -> String {
    let count = map.buckets();
    let mut buckets = BucketSet::new(count as usize);
    (0..count).map(BucketId).filter(|bucket| map.owner(*bucket) != shard).for_each(|bucket| buckets.insert(bucket));
    buckets.constant()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::topology::moving::{BucketSet, Moving, Wave, WaveState};
    use crate::topology::{BucketId, ShardId};

    #[test]
    fn each_row_counts_on_one_shard() {
        let mut buckets = BucketSet::new(20);
        [1, 8, 19].into_iter().for_each(|bucket| buckets.insert(BucketId(bucket)));
        let wave =
            Wave { id: 1, source: ShardId(0), target: ShardId(7), state: WaveState::Open, buckets: Arc::new(buckets), held_since: None };
        let mut owners = vec![ShardId(0); 20];
        owners[8] = ShardId(7);
        let moving = Moving::new(vec![wave], None, &owners).expect("something moves");
        let left_out = |shard| moving.left_out(ShardId(shard)).map(|constant| &**constant);
        assert_eq!(left_out(0), Some("E'\\\\x000100'::pg_catalog.bytea"));
        assert_eq!(left_out(7), Some("E'\\\\x020008'::pg_catalog.bytea"));
        assert_eq!((left_out(3), moving.left_out_count(ShardId(7))), (None, 2));
        assert!(Moving::new(Vec::new(), None, &owners).is_none());
    }
}
