//! Plans by template: two generations, so that what is used stays and the whole is bounded without a list to maintain.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::cache::ParsedTemplates;
use crate::routing::Plan;

/// Plans of one worker. The key is the template with its context: search path, schema version, temporary tables, parameter types.
#[derive(Debug)]
pub struct PlanCache {
    /// For texts of several statements.
    pub parsed: ParsedTemplates,
    hasher: RandomState,
    plans_max: usize,
    template_bytes_max: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashTable<Entry>,
    old: HashTable<Entry>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    context: u64,
    template: Box<[u8]>,
    plan: Arc<Plan>,
}

impl Entry {
    fn is(&self, context: u64, template: &[u8]) -> bool {
        self.context == context && *self.template == *template
    }
}

impl PlanCache {
    /// At most `plans_max` plans, of templates up to `template_bytes_max` bytes.
    #[must_use]
    pub fn new(plans_max: usize, template_bytes_max: usize) -> Self {
        Self {
            parsed: ParsedTemplates::new(plans_max),
            hasher: RandomState::default(),
            plans_max: plans_max.max(2),
            template_bytes_max,
            generations: Mutex::default(),
        }
    }

    fn hash(&self, template: &[u8], context: u64) -> u64 {
        self.hasher.hash_one((template, context))
    }

    /// The plan of `template` in `context`.
    #[must_use]
    pub fn get(&self, template: &[u8], context: u64) -> Option<Arc<Plan>> {
        let hash = self.hash(template, context);
        let mut generations = self.generations.lock();
        if let Some(entry) = generations.young.find(hash, |entry| entry.is(context, template)) {
            return Some(Arc::clone(&entry.plan));
        }
        let entry = match generations.old.find_entry(hash, |entry| entry.is(context, template)) {
            Ok(found) => found.remove().0,
            Err(_) => return None,
        };
        let plan = Arc::clone(&entry.plan);
        self.keep(&mut generations, entry);
        Some(plan)
    }

    /// Keeps a plan, if its template is not too long.
    pub fn insert(&self, template: &[u8], context: u64, plan: Arc<Plan>) {
        if template.len() > self.template_bytes_max {
            return;
        }
        let entry = Entry { hash: self.hash(template, context), context, template: template.into(), plan };
        self.keep(&mut self.generations.lock(), entry);
    }

    fn keep(&self, generations: &mut Generations, entry: Entry) {
        if generations.young.len() >= self.plans_max / 2 {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert_unique(entry.hash, entry, |entry| entry.hash);
    }

    /// Plans kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        let generations = self.generations.lock();
        generations.young.len() + generations.old.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
