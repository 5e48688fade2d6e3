//! Where rows live: keys, buckets, shards, tables. Pure data and pure functions.

pub mod endpoint;
pub mod hash;
pub mod id;
pub mod key;
pub mod moving;
pub mod schema;
pub mod shard_map;

pub use endpoint::Endpoint;
pub use id::{BucketId, MapVersion, ShardId};
pub use moving::{Gate, Moving};
pub use schema::{KeyType, Placement, Relation, Schema};
pub use shard_map::{Shard, ShardMap};
