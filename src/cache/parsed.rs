//! Templates of which a server has said that PostgreSQL can parse them: two generations, as for plans.

use std::collections::HashSet;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// Two hashes by different seeds stand for a template, so that long ones cost no memory.
type Key = (u64, u64);

/// What one worker knows to be PostgreSQL's grammar.
#[derive(Debug)]
pub struct ParsedTemplates {
    hashers: (RandomState, RandomState),
    templates_max: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Key>,
    old: HashSet<Key>,
}

impl ParsedTemplates {
    #[must_use]
    pub fn new(templates_max: usize) -> Self {
        Self { hashers: Default::default(), templates_max: templates_max.max(2), generations: Mutex::default() }
    }

    #[must_use]
    pub fn contains(&self, template: &[u8]) -> bool {
        let key = self.key(template);
        let mut generations = self.generations.lock();
        if generations.young.contains(&key) {
            return true;
        }
        let found = generations.old.remove(&key);
        if found {
            self.keep(&mut generations, key);
        }
        found
    }

    pub fn insert(&self, template: &[u8]) {
        self.keep(&mut self.generations.lock(), self.key(template));
    }

    fn key(&self, template: &[u8]) -> Key {
        (self.hashers.0.hash_one(template), self.hashers.1.hash_one(template))
    }

    fn keep(&self, generations: &mut Generations, key: Key) {
        if generations.young.len() >= self.templates_max / 2 {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key);
    }
}
