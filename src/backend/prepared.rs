//! Which statements a server connection has prepared: at most so many, the least recently used leaves.

use std::num::NonZeroUsize;

use foldhash::fast::RandomState;
use lru::LruCache;

/// Ids of the statements that one connection has prepared under their names.
#[derive(Debug)]
pub struct PreparedSet {
    by_use: LruCache<u64, (), RandomState>,
    /// The one used last, which needs no look-up; 0 for none.
    latest: u64,
}

impl PreparedSet {
    /// At most `bound` statements, at least one.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        let bound = NonZeroUsize::new(bound.max(1)).expect("at least one");
        Self { by_use: LruCache::with_hasher(bound, RandomState::default()), latest: 0 }
    }

    /// Whether the connection has the statement, which is going to be used if so.
    #[inline]
    pub fn has(&mut self, id: u64) -> bool {
        if id == self.latest {
            return true;
        }
        let known = self.by_use.get(&id).is_some();
        if known {
            self.latest = id;
        }
        known
    }

    /// Whether one more can be kept without another leaving.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.by_use.len() < self.by_use.cap().get()
    }

    /// Notes a statement; the one that has to be closed for it, if there are too many.
    pub fn insert(&mut self, id: u64) -> Option<u64> {
        self.latest = id;
        self.by_use.push(id, ()).map(|(evicted, ())| evicted).filter(|evicted| *evicted != id)
    }

    /// The connection does not have it after all.
    pub fn forget(&mut self, id: u64) {
        self.by_use.pop(&id);
        self.latest = 0;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.by_use.clear();
        self.latest = 0;
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_use.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use crate::backend::prepared::PreparedSet;

    #[test]
    fn the_least_recently_used_leaves() {
        let mut set = PreparedSet::new(2);
        assert_eq!((set.insert(1), set.insert(2)), (None, None));
        assert!(set.has(1) && set.has(1));
        assert_eq!(set.insert(3), Some(2));
        assert!(set.has(1) && !set.has(2) && set.has(3));
        set.forget(3);
        assert!(!set.has(3) && set.has(1));
        set.clear();
        assert!(set.is_empty() && !set.has(1));
    }
}
