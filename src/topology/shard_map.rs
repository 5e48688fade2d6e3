//! The versioned map from bucket to shard, immutable once made.

use std::sync::Arc;

use crate::topology::{BucketId, Endpoint, MapVersion, Moving, ShardId};

/// One shard: a primary and its replicas, holding one set of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub id: ShardId,
    /// Congruence class of the shard's sequences, 0 to 1023. Never reused.
    pub ordinal: u16,
    pub name: String,
    pub primary: Endpoint,
    pub replicas: Vec<Replica>,
}

/// One streaming replica of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub endpoint: Endpoint,
    /// Share of the reads under `weighted_round_robin`; 1 is the default.
    pub weight: u32,
}

/// Which shard owns which bucket, at one version. A statement routes by one map from start to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    pub version: MapVersion,
    /// In order of id.
    pub shards: Vec<Shard>,
    /// Keeps the single tables and runs gathers.
    pub home: ShardId,
    /// `owners[bucket]`; its length is B.
    pub owners: Box<[ShardId]>,
    /// What moves, if anything does.
    pub moving: Option<Arc<Moving>>,
}

impl ShardMap {
    /// B, the number of buckets.
    #[must_use]
    pub fn buckets(&self) -> u32 {
        u32::try_from(self.owners.len()).unwrap_or(u32::MAX)
    }

    /// The shard that owns `bucket`; the home shard for a bucket out of range, which the hash cannot produce.
    #[must_use]
    pub fn owner(&self, bucket: BucketId) -> ShardId {
        self.owners.get(bucket.0 as usize).copied().unwrap_or(self.home)
    }

    #[must_use]
    pub fn shard(&self, id: ShardId) -> Option<&Shard> {
        self.shards.binary_search_by_key(&id, |shard| shard.id).ok().and_then(|at| self.shards.get(at))
    }

    /// Whether the server is one of a shard's.
    #[must_use]
    pub fn names(&self, endpoint: &Endpoint) -> bool {
        let has = |shard: &Shard| shard.primary == *endpoint || shard.replicas.iter().any(|replica| replica.endpoint == *endpoint);
        self.shards.iter().any(has)
    }

    /// The map of a new cluster: `owner(b) = shards[b mod N]`, so that shard = h mod N.
    #[must_use]
    pub fn initial(shards: Vec<Shard>, buckets: u32) -> Option<Self> {
        let home = shards.first()?.id;
        let owners = (0..buckets as usize).filter_map(|bucket| shards.get(bucket % shards.len()).map(|shard| shard.id)).collect();
        Some(Self { version: MapVersion(1), shards, home, owners, moving: None })
    }
}
