//! EXPLAIN (ROUTE): the route of a statement as rows.

use crate::routing::decide::Decision;
use crate::routing::plan::{Access, Plan};
use crate::routing::route::{Hint, Route, Values};
use crate::topology::ShardMap;
use crate::wire::error::ClientError;

impl Plan {
    /// Rows (name, value): route, shards, access, keys, or the refusal.
    #[must_use]
    pub fn explain(&self, values: &Values<'_>, hint: &Hint, map: &ShardMap) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        let shown = |ids: Vec<crate::topology::ShardId>| {
            let names = ids.into_iter().map(|id| map.shard(id).map_or_else(|| id.to_string(), |shard| format!("{id} ({})", shard.name)));
            names.collect::<Vec<_>>().join(", ")
        };
        let mut merge = Vec::new();
        let every = || map.shards.iter().map(|shard| shard.id).collect::<Vec<_>>();
        match self.route(values, hint, map) {
            Ok(route) => {
                let mut gathered = None;
                let (kind, shards) = match route {
                    Route::Home => ("home", shown(vec![map.home])),
                    Route::Any => ("any", shown(every())),
                    Route::One(shard) => ("one", shown(vec![shard])),
                    Route::Everywhere => ("everywhere", shown(every())),
                    Route::Scatter { plan, shards } => {
                        merge = plan.steps(values);
                        ("scatter", shown(shards))
                    }
                    Route::Gather(plan) => {
                        let concerned = plan.shards.clone().unwrap_or_else(every);
                        gathered = Some(plan);
                        ("gather", shown(concerned))
                    }
                    Route::Each { shards, .. } => ("each", shown(shards)),
                    Route::Split(split) => ("split", shown(split.parts.iter().map(|(shard, _)| *shard).collect())),
                    Route::Feed(_) => ("feed", shown(every())),
                    Route::Copy(_) => ("copy", shown(every())),
                };
                row("route", kind.to_owned());
                row("shards", shards);
                for table in gathered.iter().flat_map(|plan| &plan.tables) {
                    row("gathers", table.shown());
                }
                for view in gathered.iter().flat_map(|plan| &plan.views) {
                    row("view", format!("{}.{}", view.schema, view.name));
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
        for step in merge {
            row("merge", step);
        }
        row("access", if self.access(hint) == Access::Read { "read".to_owned() } else { "write".to_owned() });
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
