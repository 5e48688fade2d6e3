//! WITH: tables that are planned where they are named, once where they write, by induction where they are recursive.

use std::cell::{Cell, RefCell};

use crate::routing::analyze::{Analyzer, Output, OutputColumn};
use crate::routing::region::{RegionId, ValueSet};
use crate::routing::scope::{Assumed, Common, Layer, Scope};
use crate::routing::written::{ReturnedUse, WrittenTable};
use crate::sql::ast::{Body, CommonTable, Query, Statement, With};

impl Analyzer<'_> {
    /// Makes the tables of a WITH visible, one after another, and runs `then` in the innermost scope.
    pub(crate) fn with(&mut self, with: &With, scope: &Scope<'_>, region: RegionId, then: &mut dyn FnMut(&mut Self, &Scope<'_>)) {
        self.with_rest(&with.tables, with.recursive, (scope, region), then);
    }

    fn with_rest(
        &mut self,
        tables: &[CommonTable],
        recursive: bool,
        at: (&Scope<'_>, RegionId),
        then: &mut dyn FnMut(&mut Self, &Scope<'_>),
    ) {
        let (scope, region) = at;
        let Some((table, rest)) = tables.split_first() else { return then(self, scope) };
        let writes = !matches!(table.statement, Statement::Query(_));
        let returned = writes.then(|| self.written(&table.statement, scope, region));
        let common = Common { table, recursive, returned, uses: Cell::new(0), itself: RefCell::new(None) };
        let inner = Scope { parent: Some(scope), layer: Layer::Common(&common) };
        self.with_rest(rest, recursive, (&inner, region), then);
        if !writes && common.uses.get() == 0 {
            let root = self.regions.region(None);
            self.expand(&common, &inner, root);
        }
    }

    /// A table that writes.
    fn written(&mut self, statement: &Statement, scope: &Scope<'_>, region: RegionId) -> Output {
        let (uses, returned) = (self.facts.sharded.len(), self.facts.returned.len());
        let output = self.nested_statement(statement, scope, region);
        let stored = self.facts.stored.take();
        let (uses, returned) = (uses..self.facts.sharded.len(), returned..self.facts.returned.len());
        self.facts.written.push(WrittenTable { uses, returned, stored });
        output
    }

    /// The query of a WITH table, planned anew at each place that names it.
    pub(crate) fn expand(&mut self, common: &Common<'_>, defined: &Scope<'_>, region: RegionId) -> Output {
        let first = common.uses.get() == 0;
        common.uses.set(common.uses.get() + 1);
        let counted = self.key_parameters.len();
        let output = self.expanded(common, defined, region);
        if !first {
            // The same text once more.
            self.key_parameters.truncate(counted);
        }
        output
    }

    fn expanded(&mut self, common: &Common<'_>, defined: &Scope<'_>, region: RegionId) -> Output {
        if let Some(returned) = &common.returned {
            let mut output = returned.clone();
            let mut key = None;
            for column in &mut output.columns {
                let is_key = self.returned_keys.contains(&column.term);
                column.term = self.regions.term(self.regions.family(column.term), region);
                self.export(region, column.term, &column.sets, column.strict);
                key = key.or(Some(column.term).filter(|_| is_key));
            }
            self.facts.returned.push(ReturnedUse { key, region });
            return output;
        }
        let Statement::Query(query) = &common.table.statement else { return Output::default() };
        if !common.recursive {
            let Some(outer) = defined.parent else { return Output::default() };
            return self.query(query, outer, region, true);
        }
        let Some((first, rest)) = recursive_arms(query) else {
            *common.itself.borrow_mut() = Some(Vec::new());
            let output = self.query(query, defined, region, false);
            *common.itself.borrow_mut() = None;
            return output;
        };
        self.recursive((first, rest), common, defined, region)
    }

    /// A recursive table. By induction: what the first arm says of a column holds for all rows if the other arms, given rows of which it
    /// holds, make only such rows. What they do not keep is given up, and they are planned once more without.
    fn recursive(&mut self, (first, rest): (&Query, &[Query]), common: &Common<'_>, defined: &Scope<'_>, region: RegionId) -> Output {
        let inside = self.regions.region(Some(region));
        *common.itself.borrow_mut() = Some(Vec::new());
        let base = self.query(first, defined, inside, false);
        *common.itself.borrow_mut() = None;
        let named = |at: usize, name: &String| common.table.columns.get(at).unwrap_or(name).clone();
        let mut assumed: Vec<Assumed> = Vec::new();
        for (at, column) in base.columns.iter().enumerate().filter(|_| !base.shifted) {
            let family = self.regions.family(column.term);
            assumed.push(Assumed { name: named(at, &column.name), family, set: column.sets.first().cloned() });
        }
        let counted = self.key_parameters.len();
        for _ in 0..=assumed.len() {
            let mut kept = assumed.clone();
            self.key_parameters.truncate(counted);
            for arm in rest {
                let inside = self.regions.region(Some(region));
                *common.itself.borrow_mut() = Some(assumed.clone());
                let output = self.query(arm, defined, inside, false);
                *common.itself.borrow_mut() = None;
                for (at, column) in kept.iter_mut().enumerate() {
                    let keeps = output
                        .at(at)
                        .is_some_and(|made| column.set.as_ref().is_some_and(|set| made.sets.iter().any(|made| is_within(made, set))));
                    column.set = column.set.take().filter(|_| keeps);
                }
            }
            let unchanged = kept.iter().zip(&assumed).all(|(kept, assumed)| kept.set == assumed.set);
            assumed = kept;
            if unchanged {
                break;
            }
        }
        let open = base.open || assumed.is_empty();
        Output { open, shifted: base.shifted, ..self.itself(&assumed, region) }
    }

    /// The columns of a recursive table where its name stands.
    pub(crate) fn itself(&mut self, assumed: &[Assumed], region: RegionId) -> Output {
        let mut output = Output { open: assumed.is_empty(), shifted: assumed.is_empty(), ..Output::default() };
        for column in assumed {
            let term = self.regions.term(column.family, region);
            let sets: Vec<_> = column.set.iter().cloned().collect();
            self.export(region, term, &sets, false);
            output.columns.push(OutputColumn { name: column.name.clone(), term, sets, strict: false });
        }
        output
    }
}

/// The arm that is not recursive, and the others.
fn recursive_arms(query: &Query) -> Option<(&Query, &[Query])> {
    match &query.body {
        Body::Arms(arms) if query.with.tables.is_empty() && query.order_by.is_empty() && !query.limited => arms.split_first(),
        _ => None,
    }
}

/// Whether every value of `made` is one of `set`.
fn is_within(made: &ValueSet, set: &ValueSet) -> bool {
    made.iter().all(|value| set.contains(value))
}
