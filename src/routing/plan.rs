//! The plan of a statement's template: everything about its route that its values do not decide.

use std::sync::Arc;

use crate::routing::decide::Decision;
use crate::routing::point::PointRead;
use crate::routing::refusal::Refusal;
use crate::routing::route::{Hint, HintTarget, Route, Values};
use crate::routing::sequence::SettingPlan;
use crate::routing::spread::Spreading;
use crate::routing::value::Constant;
use crate::sql::command::Command;
use crate::sql::hint::CommentHint;
use crate::topology::hash::bucket;
use crate::topology::key::KeyValue;
use crate::topology::{KeyType, Schema, ShardId, ShardMap};
use crate::wire::error::SqlState;

/// Whether a replica may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// What the planner may ask about one client.
pub struct Planner<'a> {
    pub schema: &'a Schema,
    pub search_path: &'a [String],
    /// This client's temporary tables: they live on its pinned home connection.
    pub temporary: &'a [String],
}

/// One template's plan. Immutable, shared by all statements of the template.
#[derive(Debug)]
pub struct Plan {
    pub command: Command,
    /// Without hints.
    pub access: Access,
    pub(crate) decision: Decision,
    /// Where the decision refuses because of several shards.
    pub(crate) spreading: Spreading,
    pub(crate) comment: CommentHint,
    pub(crate) hinted: Hinted,
    /// The type that a hint's key is read as.
    pub(crate) key_type: KeyType,
    pub(crate) unknown_relations: bool,
    /// All that it does to rows is writing them, which a shard that does not own them refuses; a lock it would give.
    pub judged: bool,
    pub(crate) notifies: bool,
    /// It asks what the session has drawn from sequences.
    pub(crate) remembers: bool,
    pub(crate) sequence: Option<SettingPlan>,
    pub point: Option<PointRead>,
}

/// Which hints of a shard or key the statement obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hinted {
    /// It concerns all shards alike, or is refused wherever it runs.
    Never,
    /// Only those in its own text: by itself it belongs on the home shard.
    ByComment,
    Always,
}

impl Plan {
    /// Where this execution goes.
    ///
    /// # Errors
    /// When it is not provably right on one shard (or alike on all).
    pub fn route(&self, values: &Values<'_>, hint: &Hint, map: &ShardMap) -> Result<Route, Refusal> {
        if let Some(word) = &self.comment.unknown {
            return Err(invalid(format!("unrecognized routing hint \"{word}\"")));
        }
        if let Some(target) = self.target(hint) {
            return self.hinted_route(&target, values, map);
        }
        if let Some(sequence) = &self.sequence {
            return Ok(sequence.read(values)?.map_or(Route::Home, |setting| Route::Sequence(Arc::new(setting))));
        }
        let refusal = match &self.decision {
            Decision::Bound(bound) => match bound.route(values, map) {
                Ok(route) => return Ok(route),
                Err(refusal) => refusal,
            },
            Decision::Refused(refusal) => refusal.clone(),
            Decision::Home(_) => return Ok(Route::Home),
            Decision::Any => return Ok(Route::Any),
            Decision::Everywhere => return self.everywhere(values),
        };
        let bound = if let Decision::Bound(bound) = &self.decision { Some(bound) } else { None };
        self.spreading.route(refusal, values, (map, bound))
    }

    /// Whether a replica may answer, with the hints of the session and of the text.
    #[must_use]
    pub fn access(&self, hint: &Hint) -> Access {
        match (self.access, hint.access) {
            (Access::Write, _) => Access::Write,
            (Access::Read, _) if self.comment.primary => Access::Write,
            (Access::Read, Some(Access::Write)) if !self.comment.replica => Access::Write,
            (Access::Read, _) => Access::Read,
        }
    }

    /// Whether the route depends on parameters of Bind; `false`: it is known at Parse.
    #[must_use]
    pub fn needs_parameters(&self) -> bool {
        match &self.decision {
            Decision::Bound(bound) => bound.values().any(|value| matches!(value.of, Constant::Parameter(_))),
            // The parameters of a write everywhere are looked at, but it goes nowhere else for them.
            Decision::Everywhere | Decision::Home(_) | Decision::Any | Decision::Refused(_) => false,
        }
    }

    /// Whether the statement names a relation that the schema does not know: the session learns the schema anew.
    #[must_use]
    pub fn unknown_relations(&self) -> bool {
        self.unknown_relations
    }

    /// Whether it calls `pg_notify`: its transaction cannot be prepared on the server where it runs.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.notifies
    }

    /// Whether it asks for `currval` or `lastval`, which a server connection remembers.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    pub(crate) fn target(&self, hint: &Hint) -> Option<HintTarget> {
        let comment = match (self.comment.shard, &self.comment.key) {
            (Some(shard), _) => Some(HintTarget::Shard(shard)),
            (None, Some(key)) => Some(HintTarget::Key(key.clone())),
            (None, None) => None,
        };
        match self.hinted {
            Hinted::Never => None,
            Hinted::ByComment => comment,
            Hinted::Always => comment.or_else(|| hint.target.clone()),
        }
    }

    fn hinted_route(&self, target: &HintTarget, values: &Values<'_>, map: &ShardMap) -> Result<Route, Refusal> {
        let shard = match target {
            HintTarget::Shard(id) => ShardId(*id),
            HintTarget::Key(key) => match self.key_type.string(key.as_bytes()) {
                KeyValue::Key(key) => map.owner(bucket(&key, map.buckets())),
                KeyValue::Nothing | KeyValue::Unproven(_) => return Err(invalid(format!("invalid shard key in routing hint: \"{key}\""))),
            },
        };
        if map.shard(shard).is_none() {
            return Err(invalid(format!("shard {shard} of the routing hint does not exist")));
        }
        self.check_stored_keys(shard, values, map)?;
        Ok(Route::One(shard))
    }

    /// A hint does not store a row where its key does not belong.
    fn check_stored_keys(&self, hinted: ShardId, values: &Values<'_>, map: &ShardMap) -> Result<(), Refusal> {
        let Decision::Bound(bound) = &self.decision else { return Ok(()) };
        for binding in bound.bindings.iter().filter(|binding| binding.assigned) {
            if let Some(shard) = binding.shard(values, map)?.filter(|shard| *shard != hinted) {
                return Err(invalid(format!(
                    "routing hint names shard {hinted}, but the rows of \"{}\" belong on shard {shard}",
                    binding.table
                )));
            }
        }
        Ok(())
    }

    /// `'now'` and the like are read by each server at its own time.
    fn everywhere(&self, values: &Values<'_>) -> Result<Route, Refusal> {
        let literal = values
            .literals
            .iter()
            .filter(|literal| !literal.is_number())
            .any(|literal| literal.value(values.text).is_none_or(|value| is_clock(&value)));
        let parameter = values.parameters.values.iter().flatten().any(|value| is_clock(value));
        if literal || parameter {
            return Err(Refusal::unsupported(
                "write to a reference table may differ between shards".to_owned(),
                "A value such as 'now' is read by each server at its own time.".to_owned(),
                "Give the time as a constant.".to_owned(),
            ));
        }
        Ok(Route::Everywhere)
    }
}

fn invalid(message: String) -> Refusal {
    Refusal { sqlstate: SqlState::INVALID_PARAMETER_VALUE, message, detail: None, hint: None, maybe_syntax_error: false }
}

pub(crate) fn is_clock(value: &[u8]) -> bool {
    let value = value.trim_ascii_start();
    ["now", "today", "tomorrow", "yesterday"]
        .iter()
        .any(|word| value.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes())))
}
