//! Canonical text, md5 and bucket of a shard key.

use md5::{Digest, Md5};

use crate::topology::BucketId;

/// The first 4 bytes, big endian, of the md5 of a key's canonical text.
#[must_use]
pub fn key_hash(text: &[u8]) -> u32 {
    let digest = Md5::digest(text);
    digest.iter().take(4).fold(0, |hash, byte| hash << 8 | u32::from(*byte))
}

/// The bucket, of `buckets`, of a key with this canonical text.
#[must_use]
pub fn bucket(text: &[u8], buckets: u32) -> BucketId {
    BucketId(key_hash(text).checked_rem(buckets).unwrap_or(0))
}

/// B of a new cluster of `shards` shards: 55,440 if `shards` divides it, else 1,024 × `shards`.
#[must_use]
pub fn initial_buckets(shards: u32) -> u32 {
    const DIVISIBLE: u32 = 55_440;
    if DIVISIBLE.checked_rem(shards) == Some(0) { DIVISIBLE } else { shards.saturating_mul(1_024) }
}
