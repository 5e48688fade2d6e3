//! EXPLAIN (ROUTE): the route of a statement as rows.

use crate::routing::decide::Decision;
use crate::routing::plan::{Access, Plan};
use crate::routing::route::{Hint, Route, Values};
use crate::sql::cursor::Tokens;
use crate::topology::{ShardId, ShardMap};
use crate::wire::error::ClientError;

impl Plan {
    /// Rows (name, value): route, shards, access, keys, or the refusal.
    #[must_use]
    pub fn explain(&self, values: &Values<'_>, hint: &Hint, map: &ShardMap) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        let shown = |ids: Vec<ShardId>| {
            let names = ids.into_iter().map(|id| map.shard(id).map_or_else(|| id.to_string(), |shard| format!("{id} ({})", shard.name)));
            names.collect::<Vec<_>>().join(", ")
        };
        match self.route(values, hint, map) {
            Ok(route) => {
                let (kind, shards) = way(&route, map);
                row("route", kind.to_owned());
                let parted = |shard: &ShardId| {
                    let count = map.moving.as_ref().map_or(0, |moving| moving.left_out_count(*shard));
                    (count > 0 && reads_several(&route))
                        .then(|| format!("{}: {count} buckets that another shard owns", shown(vec![*shard])))
                };
                let left_out: Vec<String> = shards.iter().filter_map(parted).collect();
                row("shards", shown(shards));
                for text in left_out {
                    row("leaves out", text);
                }
                for (name, value) in details(&route, values) {
                    row(name, value);
                }
            }
            Err(refusal) => {
                row("route", "refused".to_owned());
                row("sqlstate", refusal.sqlstate.to_string());
                row("reason", refusal.to_string());
                for (name, value) in [("detail", refusal.detail()), ("hint", refusal.hint())] {
                    if let Some(value) = value {
                        row(name, value);
                    }
                }
            }
        }
        row("access", if self.access(hint) == Access::Read { "read".to_owned() } else { "write".to_owned() });
        rows.extend(self.because(values));
        rows
    }

    /// What the decision rests on.
    fn because(&self, values: &Values<'_>) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        match &self.decision {
            Decision::Home(reason) => row("because", (*reason).to_owned()),
            Decision::Any => row("because", "only reference tables".to_owned()),
            Decision::Everywhere => row("because", "a reference table is written".to_owned()),
            Decision::Bound(bound) => {
                for binding in &bound.bindings {
                    let keys = binding.keys(values).map(|keys| {
                        let texts: Vec<_> = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
                        if texts.is_empty() { "no row".to_owned() } else { texts.join(", ") }
                    });
                    row(
                        "key",
                        format!("{}.{} = {}", binding.table, binding.key_column, keys.unwrap_or_else(|refusal| refusal.to_string())),
                    );
                }
            }
            Decision::Refused(_) => {}
        }
        for (way, reason) in &self.spreading.not_provable {
            row("not provable", format!("{way}: {reason}"));
        }
        rows
    }
}

/// The route's name and the shards it concerns.
fn way(route: &Route, map: &ShardMap) -> (&'static str, Vec<ShardId>) {
    let every = || map.shards.iter().map(|shard| shard.id).collect();
    match route {
        Route::Home => ("home", vec![map.home]),
        Route::Any => ("any", every()),
        Route::One(shard) => ("one", vec![*shard]),
        Route::Everywhere => ("everywhere", every()),
        Route::Scatter { shards, .. } => ("scatter", shards.clone()),
        Route::Gather(plan) => ("gather", plan.shards.clone().unwrap_or_else(every)),
        Route::Each { shards, .. } => ("each", shards.clone()),
        Route::Split(split) => ("split", split.parts.iter().map(|(shard, _)| *shard).collect()),
        Route::Feed(_) => ("feed", every()),
        Route::Locked(_) => ("locked", every()),
        Route::Timed => ("timed", every()),
        Route::Copy(_) => ("copy", every()),
        Route::Sequence(_) => ("sequence", every()),
    }
}

/// Whether rows that are on two shards have to be told apart.
fn reads_several(route: &Route) -> bool {
    match route {
        Route::Scatter { .. } | Route::Gather(_) | Route::Each { .. } | Route::Feed(_) | Route::Locked(_) | Route::Timed => true,
        Route::Copy(plan) => !plan.writes(),
        Route::Home | Route::Any | Route::One(_) | Route::Everywhere | Route::Split(_) | Route::Sequence(_) => false,
    }
}

/// What is merged or gathered.
fn details(route: &Route, values: &Values<'_>) -> Vec<(&'static str, String)> {
    match route {
        Route::Scatter { plan, .. } => plan.steps(values).into_iter().map(|step| ("merge", step)).collect(),
        Route::Gather(plan) => {
            let tables = plan.tables.iter().map(|table| ("gathers", table.shown()));
            tables.chain(plan.views.iter().map(|view| ("view", format!("{}.{}", view.schema, view.name)))).collect()
        }
        Route::Locked(plan) => {
            let tokens = Tokens::new(values.text, true).ok();
            let source = |span| tokens.as_ref().and_then(|tokens| tokens.source(span));
            let queries = plan.queries.iter().filter_map(|query| source(&query.span));
            queries.map(|query| ("first", String::from_utf8_lossy(query).into_owned())).collect()
        }
        _ => Vec::new(),
    }
}
