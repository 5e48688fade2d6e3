//! The buckets of a wave, and the SQL that picks their rows.

use std::fmt::Write as _;

use crate::topology::BucketId;

/// A set of buckets, in order; never empty in a wave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSet {
    buckets: Vec<BucketId>,
}

impl BucketSet {
    #[must_use]
    pub fn new(mut buckets: Vec<BucketId>) -> Self {
        buckets.sort_unstable();
        buckets.dedup();
        Self { buckets }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = BucketId> {
        self.buckets.iter().copied()
    }

    /// Numbers for `integer[]`.
    #[must_use]
    pub fn numbers(&self) -> Vec<i32> {
        self.buckets.iter().filter_map(|bucket| i32::try_from(bucket.0).ok()).collect()
    }

    /// Cuts the set into at most `count` intervals of nearly equal size.
    #[must_use]
    pub fn chunks(&self, count: usize) -> Vec<Self> {
        let size = self.buckets.len().div_ceil(count.max(1)).max(1);
        self.buckets.chunks(size).map(|buckets| Self { buckets: buckets.to_vec() }).collect()
    }

    /// The first and the last.
    #[must_use]
    pub fn interval(&self) -> (i32, i32) {
        let number = |bucket: Option<&BucketId>| bucket.and_then(|bucket| i32::try_from(bucket.0).ok()).unwrap_or(0);
        (number(self.buckets.first()), number(self.buckets.last()))
    }

    /// Those that are not `done`.
    #[must_use]
    pub fn without(&self, done: impl Fn(BucketId) -> bool) -> Self {
        Self { buckets: self.buckets.iter().copied().filter(|bucket| !done(*bucket)).collect() }
    }

    /// Whether a row's bucket is one of them. `bucket` is an expression of type integer. An index on it answers both parts; without statistics
    /// of it the interval alone has the server's planner use the index.
    #[must_use]
    pub fn condition(&self, bucket: &str) -> String {
        let (first, last) = self.interval();
        let all = self.buckets.iter().map(|bucket| bucket.0.to_string()).collect::<Vec<_>>().join(",");
        format!("{bucket} between {first} and {last} and {bucket} = any ($m${{{all}}}$m$::pg_catalog.int4[])")
    }
}

/// One byte for each of `of` buckets: 0, or 1 + the place in `sets` of the set that has it. The byte has room for 255 sets.
#[must_use]
pub fn slots(sets: &[&BucketSet], of: u32) -> String {
    let mut bytes = vec![0u8; of as usize];
    for (slot, set) in (1u8..=u8::MAX).zip(sets) {
        for bucket in &set.buckets {
            if let Some(byte) = bytes.get_mut(bucket.0 as usize) {
                *byte = slot;
            }
        }
    }
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::rebalance::bucket_set::{BucketSet, slots};
    use crate::topology::BucketId;

    fn set(buckets: &[u32]) -> BucketSet {
        BucketSet::new(buckets.iter().copied().map(BucketId).collect())
    }

    #[test]
    fn a_condition_names_every_bucket() {
        let condition = set(&[20, 9, 12]).condition("b");
        assert_eq!(condition, "b between 9 and 20 and b = any ($m${9,12,20}$m$::pg_catalog.int4[])");
    }

    #[test]
    fn each_bucket_names_its_set() {
        assert_eq!(slots(&[&set(&[1, 3]), &set(&[2])], 5), "0001020100");
    }

    #[test]
    fn chunks_cover_all() {
        let all: Vec<u32> = (0..10).collect();
        let chunks = set(&all).chunks(3);
        assert_eq!(chunks.iter().map(BucketSet::len).collect::<Vec<_>>(), [4, 4, 2]);
    }
}
