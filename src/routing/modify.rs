//! INSERT, UPDATE, DELETE and MERGE: which rows they touch, and that they keep the shard key.

use std::sync::Arc;

use crate::routing::analyze::{Analyzer, Output, Place};
use crate::routing::facts::{KeyUpdate, Merged, UseKey};
use crate::routing::from::{From, Named, family_of};
use crate::routing::refusal::Refusal;
use crate::routing::region::{RegionId, ValueSet};
use crate::routing::scope::{Range, Ranges, Scope};
use crate::sql::ast::{Assignment, Body, Conflict, Delete, Expr, Insert, Merge, MergeAction, Query, Source, Update};
use crate::sql::command::ObjectName;
use crate::topology::Placement;
use crate::topology::schema::{Relation, RelationKind};

/// A table that is written, as it stands in the statement.
struct Target {
    relation: Option<Arc<Relation>>,
    range: Range,
}

impl Analyzer<'_> {
    pub(crate) fn update(&mut self, update: &Update, scope: &Scope<'_>, parent: RegionId) -> Output {
        let mut output = Output::default();
        self.with(&update.with, scope, parent, &mut |analyzer, scope| {
            let region = analyzer.regions.region(Some(parent));
            let target = analyzer.target(&update.table, update.alias.as_ref(), Some(region));
            let (ranges, padded) = analyzer.joined(&target, &update.from, scope, region);
            let inside = scope.within(&ranges);
            analyzer.assignments(&update.sets, &target, &inside, region);
            if !update.from.is_empty() {
                analyzer.facts.differs("UPDATE … FROM");
            }
            analyzer.filter(update.filter.as_ref(), update.current_of, &inside, region);
            analyzer.regions.reduce(&padded);
            output = analyzer.returning(&update.returning, &ranges, &inside, Place { region, parent, link: false });
        });
        output
    }

    pub(crate) fn delete(&mut self, delete: &Delete, scope: &Scope<'_>, parent: RegionId) -> Output {
        let mut output = Output::default();
        self.with(&delete.with, scope, parent, &mut |analyzer, scope| {
            let region = analyzer.regions.region(Some(parent));
            let target = analyzer.target(&delete.table, delete.alias.as_ref(), Some(region));
            let (ranges, padded) = analyzer.joined(&target, &delete.using, scope, region);
            let inside = scope.within(&ranges);
            analyzer.filter(delete.filter.as_ref(), delete.current_of, &inside, region);
            analyzer.regions.reduce(&padded);
            output = analyzer.returning(&delete.returning, &ranges, &inside, Place { region, parent, link: false });
        });
        output
    }

    /// The source's rows are all read; the target's only where ON holds.
    pub(crate) fn merge(&mut self, merge: &Merge, scope: &Scope<'_>, parent: RegionId) -> Output {
        let mut output = Output::default();
        self.with(&merge.with, scope, parent, &mut |analyzer, scope| {
            analyzer.facts.differs("MERGE");
            let region = analyzer.regions.region(Some(parent));
            let matched = analyzer.regions.region(Some(region));
            let target = analyzer.target(&merge.table, merge.alias.as_ref(), Some(matched));
            let mut padded = Vec::new();
            let nothing = Ranges::default();
            let read = analyzer.facts.sharded.len();
            let mut ranges = analyzer.ranges_of(&merge.source, From { scope, before: &nothing, region }, &mut padded);
            let source = ranges.clone();
            let source_uses = read..analyzer.facts.sharded.len();
            let mut inserted = Vec::new();
            ranges.list.push(target.range.clone());
            let inside = scope.within(&ranges);
            analyzer.condition(&merge.on, &inside, matched);
            let sources = scope.within(&source);
            for clause in &merge.clauses {
                analyzer.inspect_all(&clause.condition, &inside, region);
                match &clause.action {
                    MergeAction::Nothing | MergeAction::Delete => {}
                    MergeAction::Update(sets) => analyzer.assignments(sets, &target, &inside, matched),
                    MergeAction::Insert { columns, values } => {
                        analyzer.inspect_all(values, &inside, region);
                        inserted.push(analyzer.merge_insert(&target, columns.as_deref(), values, (&sources, region)));
                    }
                }
            }
            output = analyzer.returning(&merge.returning, &ranges, &inside, Place { region, parent, link: false });
            let key =
                sharded(&target).and_then(|(_, key)| target.range.columns.iter().find(|(name, _)| *name == key).map(|(_, term)| *term));
            analyzer.facts.merged = Some(Merged { key, matched, region, source: source.clone(), source_uses, inserted });
        });
        output
    }

    /// The source's column that becomes the key.
    fn merge_insert(
        &mut self,
        target: &Target,
        columns: Option<&[String]>,
        values: &[Expr],
        (sources, region): (&Scope<'_>, RegionId),
    ) -> Option<usize> {
        let (relation, key) = sharded(target)?;
        let Some(expr) = key_position(&relation, columns, &key).and_then(|at| values.get(at)) else {
            self.facts.refuse(Refusal::missing_key(&relation.name, &key));
            return None;
        };
        let by = match (self.value(expr), sources.term(expr)) {
            (Some(value), _) => UseKey::Rows(vec![value]),
            (None, Some(term)) if is_not_null(&relation, &key) || self.regions.is_never_null(term, region) => UseKey::Term { term, region },
            (None, _) => UseKey::Unknown,
        };
        let term = if let UseKey::Term { term, .. } = by { Some(term) } else { None };
        self.sharded_use(&relation, by);
        term
    }

    pub(crate) fn insert(&mut self, insert: &Insert, scope: &Scope<'_>, parent: RegionId) -> Output {
        let mut output = Output::default();
        self.with(&insert.with, scope, parent, &mut |analyzer, scope| {
            let region = analyzer.regions.region(Some(parent));
            let target = analyzer.target(&insert.table, insert.alias.as_ref(), None);
            analyzer.insert_rows(insert, &target, scope, region);
            let ranges = Ranges { list: vec![target.range.clone()], ..Ranges::default() };
            let inside = scope.within(&ranges);
            if let Some(conflict) = &insert.conflict {
                analyzer.conflict(conflict, &target, &inside, region);
                if conflict.sets.is_empty() && !is_values(&insert.source) {
                    analyzer.facts.differs("ON CONFLICT DO NOTHING");
                }
            }
            output = analyzer.returning(&insert.returning, &ranges, &inside, Place { region, parent, link: false });
        });
        output
    }

    fn insert_rows(&mut self, insert: &Insert, target: &Target, scope: &Scope<'_>, region: RegionId) {
        self.check_defaults(insert, target);
        let key = sharded(target);
        let at = key.as_ref().and_then(|(relation, key)| key_position(relation, insert.columns.as_deref(), key));
        let Source::Query(query) = &insert.source else {
            if let Some((relation, key)) = key {
                self.facts.refuse(Refusal::missing_key(&relation.name, &key));
            }
            return;
        };
        let rows = plain_rows(query);
        let by = if let Some(rows) = rows {
            self.stored_values(target, insert.columns.as_deref(), rows);
            self.inspect_all(rows.iter().flatten(), scope, region);
            at.map(|at| self.rows(rows, at))
        } else {
            let first = self.regions.next();
            let output = self.query(query, scope, region, true);
            self.facts.stored = at.and_then(|at| output.at(at)).map(|column| (column.term, first));
            // A null key would be stored on whichever shard this is; PostgreSQL refuses it only where the column says NOT NULL.
            let not_null = key.as_ref().is_some_and(|(relation, key)| is_not_null(relation, key));
            let column = at.and_then(|at| output.at(at)).filter(|column| column.strict || not_null);
            let sets = column.map_or_else(Vec::new, |column| column.sets.clone());
            at.map(|_| if sets.is_empty() { UseKey::Unknown } else { UseKey::Sets(sets) })
        };
        let Some((relation, key)) = key else { return };
        match by {
            Some(UseKey::Rows(set)) if set.is_empty() => self.facts.refuse(Refusal::missing_key(&relation.name, &key)),
            Some(by) => self.sharded_use(&relation, by),
            None => self.facts.refuse(Refusal::missing_key(&relation.name, &key)),
        }
    }

    /// Parameters among VALUES whose column gives them a key's type.
    fn stored_values(&mut self, target: &Target, columns: Option<&[String]>, rows: &[Vec<Expr>]) {
        let Some(relation) = &target.relation else { return };
        let column = |at: usize| match columns {
            Some(columns) => columns.get(at).and_then(|name| relation.columns.iter().find(|column| column.name == *name)),
            None => relation.columns.get(at),
        };
        for (at, expr) in rows.iter().flat_map(|row| row.iter().enumerate()) {
            let family = column(at).and_then(|column| family_of(column.type_oid));
            let value = self.value(expr);
            self.typed_use(family, value.as_slice());
        }
    }

    /// The keys of VALUES; no values where a row has none, DEFAULT included.
    fn rows(&mut self, rows: &[Vec<Expr>], at: usize) -> UseKey {
        if rows.iter().any(|row| matches!(row.get(at), None | Some(Expr::Default))) {
            return UseKey::Rows(Vec::new());
        }
        let set: Option<ValueSet> = rows.iter().map(|row| self.value(row.get(at)?)).collect();
        set.map_or(UseKey::Unknown, UseKey::Rows)
    }

    /// A column that an INSERT leaves to a volatile default differs from shard to shard.
    fn check_defaults(&mut self, insert: &Insert, target: &Target) {
        let Some(relation) = &target.relation else { return };
        let given = |at: usize, name: &String| match (&insert.columns, &insert.source) {
            (_, Source::DefaultValues) => false,
            (Some(columns), _) => columns.contains(name),
            (None, Source::Query(query)) => plain_rows(query).is_none_or(|rows| rows.iter().all(|row| at < row.len())),
        };
        let left = relation.columns.iter().enumerate().find(|(at, column)| column.volatile_default && !given(*at, &column.name));
        if let Some((_, column)) = left {
            self.facts.differs(&format!("the default of column \"{}\"", column.name));
        }
        if let Source::Query(query) = &insert.source {
            let defaults = plain_rows(query).is_some_and(|rows| rows.iter().flatten().any(|expr| matches!(expr, Expr::Default)));
            if defaults && relation.columns.iter().any(|column| column.volatile_default) {
                self.facts.differs("DEFAULT");
            }
            let rows = plain_rows(query).unwrap_or_default();
            let place = |at: usize, name: &String| match &insert.columns {
                Some(columns) => columns.iter().position(|column| column == name),
                None => Some(at),
            };
            let by_default = |place: usize| rows.iter().any(|row| matches!(row.get(place), Some(Expr::Default)));
            for (at, column) in relation.columns.iter().enumerate().filter(|(_, column)| column.moment_default) {
                if place(at, &column.name).is_some_and(by_default) {
                    self.facts.differs(&format!("DEFAULT for column \"{}\"", column.name));
                }
            }
        }
    }

    fn conflict(&mut self, conflict: &Conflict, target: &Target, scope: &Scope<'_>, region: RegionId) {
        self.inspect_all(conflict.target.iter().chain(&conflict.filter), scope, region);
        if let Some((relation, key)) = sharded(target) {
            // `excluded.key` is the key by which the statement came to its shard.
            let kept = |set: &Assignment| keeps_key(set, &key) || is_excluded(set, &key);
            if !conflict.sets.iter().all(kept) {
                self.facts.refuse(Refusal::key_update(&relation.name, &key));
            }
        }
        self.inspect_all(conflict.sets.iter().map(|set| &set.value), scope, region);
    }

    /// SET: the shard key may only be set to the constant that the statement is bound to.
    fn assignments(&mut self, sets: &[Assignment], target: &Target, scope: &Scope<'_>, region: RegionId) {
        self.inspect_all(sets.iter().map(|set| &set.value), scope, region);
        if sets.iter().any(|set| matches!(set.value, Expr::Default)) {
            self.facts.differs("DEFAULT");
        }
        let Some((relation, key)) = sharded(target) else { return };
        for set in sets.iter().filter(|set| set.columns.contains(&key)) {
            let value = if set.columns.len() == 1 { self.value(&set.value) } else { None };
            match (value, &relation.placement) {
                (Some(value), Placement::Sharded { key_type, .. }) => {
                    self.typed_use(Some(key_type.family()), &[value]);
                    self.facts.key_updates.push(KeyUpdate {
                        table: relation.name.clone(),
                        key_column: key.clone(),
                        key_type: *key_type,
                        value,
                    });
                }
                _ if keeps_key(set, &key) => {}
                _ => self.facts.refuse(Refusal::key_update(&relation.name, &key)),
            }
        }
    }

    fn filter(&mut self, filter: Option<&Expr>, current_of: bool, scope: &Scope<'_>, region: RegionId) {
        if current_of {
            self.facts.differs("WHERE CURRENT OF");
        }
        if let Some(filter) = filter {
            self.condition(filter, scope, region);
        }
    }

    fn joined(
        &mut self,
        target: &Target,
        items: &[crate::sql::ast::FromItem],
        scope: &Scope<'_>,
        region: RegionId,
    ) -> (Ranges, Vec<RegionId>) {
        let mut padded = Vec::new();
        let mut ranges = Ranges { list: vec![target.range.clone()], ..Ranges::default() };
        for item in items {
            let more = self.ranges_of(item, From { scope, before: &ranges, region }, &mut padded);
            ranges.add(more);
        }
        (ranges, padded)
    }

    fn returning(&mut self, targets: &[crate::sql::ast::Target], ranges: &Ranges, scope: &Scope<'_>, place: Place) -> Output {
        self.inspect_all(targets.iter().map(|target| &target.expr), scope, place.region);
        self.outputs(targets, ranges, scope, place)
    }

    /// The table that is written. `read`: the region in which its rows are looked for; INSERT looks for none.
    fn target(&mut self, name: &ObjectName, alias: Option<&String>, read: Option<RegionId>) -> Target {
        self.facts.writes = true;
        let shown = alias.cloned().unwrap_or_else(|| name.name.clone());
        let schema = |relation: &Relation| alias.is_none().then(|| relation.schema.clone());
        let Named::Relation(relation) = self.resolve(name) else {
            let range = Range { name: shown, schema: name.schema.clone(), columns: Vec::new(), open: true, shifted: true };
            return Target { relation: None, range };
        };
        self.facts.session_state |= relation.triggers_leave_state;
        match &relation.placement {
            Placement::Reference => self.facts.reference_writes.push(relation.name.clone()),
            Placement::Sharded { .. } if relation.kind == RelationKind::View => {
                self.not_provable(&relation.name, "It is a view that is written to")
            }
            Placement::Sharded { .. } | Placement::Single => {}
        }
        let region = read.unwrap_or_else(|| self.regions.region(None));
        let uses = self.facts.sharded.len();
        let range = Range { name: shown, schema: schema(&relation), ..self.base_table(&relation, region) };
        if let Placement::Sharded { key_column, .. } = &relation.placement {
            self.written_keys.extend(range.columns.iter().find(|(name, _)| name == key_column).map(|(_, term)| *term));
        }
        if read.is_none() {
            // The rows of an INSERT say where it goes, not conditions on what is there.
            self.facts.sharded.truncate(uses);
        }
        Target { relation: Some(relation), range }
    }
}

fn sharded(target: &Target) -> Option<(Arc<Relation>, String)> {
    let relation = target.relation.as_ref()?;
    match &relation.placement {
        Placement::Sharded { key_column, .. } => Some((Arc::clone(relation), key_column.clone())),
        _ => None,
    }
}

/// Where the key stands among the values of a row.
fn key_position(relation: &Relation, columns: Option<&[String]>, key: &String) -> Option<usize> {
    match columns {
        Some(columns) => columns.iter().position(|column| column == key),
        None => relation.columns.iter().position(|column| column.name == *key),
    }
}

fn is_not_null(relation: &Relation, key: &String) -> bool {
    relation.columns.iter().any(|column| column.name == *key && column.not_null)
}

/// The rows of a VALUES with nothing around it.
fn plain_rows(query: &Query) -> Option<&[Vec<Expr>]> {
    let plain = query.with.tables.is_empty() && query.order_by.is_empty() && !query.limited && !query.locking;
    match &query.body {
        Body::Values(rows) if plain => Some(rows),
        _ => None,
    }
}

fn is_values(source: &Source) -> bool {
    match source {
        Source::DefaultValues => true,
        Source::Query(query) => plain_rows(query).is_some(),
    }
}

/// `SET key = table.key`, the same column.
fn keeps_key(set: &Assignment, key: &String) -> bool {
    let own = |qualifier: &[String]| qualifier.is_empty();
    !set.columns.contains(key)
        || (set.columns.len() == 1 && matches!(&set.value, Expr::Column { qualifier, name } if name == key && own(qualifier)))
}

fn is_excluded(set: &Assignment, key: &String) -> bool {
    set.columns.len() == 1 && matches!(&set.value, Expr::Column { qualifier, name } if name == key && qualifier.as_slice() == ["excluded"])
}
