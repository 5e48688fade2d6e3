//! From a decision and values to the one shard.

use crate::routing::decide::{Binding, Bound};
use crate::routing::refusal::Refusal;
use crate::routing::route::{Route, Values};
use crate::routing::value::{Constant, Keys, NoKeys, Value, Wanted};
use crate::topology::hash::bucket;
use crate::topology::key::KeyText;
use crate::topology::{ShardId, ShardMap};

impl Bound {
    /// The shard of all keys; the home shard if no row can match anywhere.
    pub(crate) fn route(&self, values: &Values<'_>, map: &ShardMap) -> Result<Route, Refusal> {
        let mut shard: Option<(ShardId, &Binding)> = None;
        for binding in &self.bindings {
            let Some(found) = binding.shard(values, map)? else { continue };
            match shard {
                Some((other, first)) if other != found => return Err(Refusal::spans(&first.table, &binding.table)),
                Some(_) => {}
                None => shard = Some((found, binding)),
            }
        }
        self.check_updates(values)?;
        Ok(Route::One(shard.map_or(map.home, |(shard, _)| shard)))
    }

    /// SET of the key column has to leave it as it is.
    fn check_updates(&self, values: &Values<'_>) -> Result<(), Refusal> {
        for update in &self.updates {
            let set = update.keys(values)?;
            let same = self.bindings.iter().filter(|binding| binding.table == update.table && !binding.assigned);
            for binding in same {
                if set.len() != 1 || binding.keys(values)?.iter().any(|key| !set.contains(key)) {
                    return Err(Refusal::key_update(&update.table, &update.key_column));
                }
            }
        }
        Ok(())
    }
}

impl Binding {
    /// The shard of this table's keys, `None` if there are none.
    pub(crate) fn shard(&self, values: &Values<'_>, map: &ShardMap) -> Result<Option<ShardId>, Refusal> {
        if let [set] = self.sets.as_slice()
            && let [value] = set.as_slice()
            && let Some(key) = value.written(self.key_type, values)
        {
            return Ok(Some(map.owner(bucket(key, map.buckets()))));
        }
        let keys = self.keys(values)?;
        if let [one] = keys.as_slice() {
            return Ok(Some(map.owner(bucket(one, map.buckets()))));
        }
        match owners(&keys, map).as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            several => Err(Refusal::several_shards(&self.table, &self.key_column, several.len())),
        }
    }

    /// The shard of one value among those that are stored; `None` for one that is no key.
    pub(crate) fn row_shard(&self, value: Value, values: &Values<'_>, map: &ShardMap) -> Result<Option<ShardId>, Refusal> {
        match self.set_keys(&[value], values) {
            Ok(keys) => Ok(keys.first().map(|key| map.owner(bucket(key, map.buckets())))),
            Err(NoKeys::Unproven(reason)) => Err(Refusal::unproven(&self.table, &self.key_column, reason)),
            Err(NoKeys::Refused(refusal)) => Err(refusal),
        }
    }

    /// The shards of this table's keys, in the map's order.
    pub(crate) fn shards(&self, values: &Values<'_>, map: &ShardMap) -> Result<Vec<ShardId>, Refusal> {
        Ok(owners(&self.keys(values)?, map))
    }

    /// The keys that every set allows.
    pub(crate) fn keys(&self, values: &Values<'_>) -> Result<Keys, Refusal> {
        let mut kept: Option<Keys> = None;
        let mut unproven = None;
        for set in &self.sets {
            match self.set_keys(set, values) {
                Ok(keys) => match &mut kept {
                    None => kept = Some(keys),
                    Some(kept) => kept.retain(|key| keys.binary_search(key).is_ok()),
                },
                // Another set may do.
                Err(NoKeys::Unproven(reason)) => unproven = Some(reason),
                Err(NoKeys::Refused(refusal)) => return Err(refusal),
            }
        }
        kept.ok_or_else(|| Refusal::unproven(&self.table, &self.key_column, unproven.unwrap_or("it has no value")))
    }

    fn set_keys(&self, set: &[crate::routing::value::Value], values: &Values<'_>) -> Result<Keys, NoKeys> {
        let wanted = Wanted { key_type: self.key_type, assigned: self.assigned };
        let mut keys = Keys::new();
        for value in set {
            if self.assigned && is_null(value.of, values) {
                return Err(NoKeys::Refused(Refusal::null_key(&self.table, &self.key_column)));
            }
            value.keys(wanted, values, &mut keys)?;
        }
        if keys.len() > 1 {
            keys.sort_unstable();
            keys.dedup();
        }
        Ok(keys)
    }
}

fn owners(keys: &[KeyText], map: &ShardMap) -> Vec<ShardId> {
    let mut shards: Vec<ShardId> = keys.iter().map(|key| map.owner(bucket(key, map.buckets()))).collect();
    shards.sort_unstable();
    shards.dedup();
    shards
}

fn is_null(constant: Constant, values: &Values<'_>) -> bool {
    match constant {
        Constant::Null => true,
        Constant::Literal(_) => false,
        Constant::Parameter(number) => matches!(values.parameters.values.get(number.saturating_sub(1)), Some(None)),
    }
}
