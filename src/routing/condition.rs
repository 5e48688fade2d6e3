//! Conditions joined by AND: what they say of keys.

use crate::routing::analyze::Analyzer;
use crate::routing::region::{RegionId, Term, ValueSet};
use crate::routing::scope::Scope;
use crate::routing::value::Value;
use crate::sql::ast::{Expr, Query, TypeName};
use crate::topology::key::KeyFamily;

/// One side of a comparison.
enum Operand {
    Term(Term),
    Value(Value),
    Other,
}

impl Analyzer<'_> {
    /// `expr` is true for every row that `region` lets through.
    pub(crate) fn condition(&mut self, expr: &Expr, scope: &Scope<'_>, region: RegionId) {
        if !matches!(expr, Expr::And(_)) {
            self.note_filter(expr, scope, region);
        }
        match expr {
            Expr::And(parts) => parts.iter().for_each(|part| self.condition(part, scope, region)),
            Expr::Equal { left, right, null_safe } => self.equal((left, right), *null_safe, scope, region),
            Expr::InList { value, list } => self.in_list(value, list, scope, region),
            Expr::AnyOf { value, array } => self.any_of(value, array, scope, region),
            Expr::InQuery { value, query } => self.in_query(value, query, scope, region),
            other => self.inspect(other, scope, region),
        }
    }

    fn equal(&mut self, (left, right): (&Expr, &Expr), null_safe: bool, scope: &Scope<'_>, region: RegionId) {
        if let (Expr::Row(lefts), Expr::Row(rights)) = (left, right)
            && lefts.len() == rights.len()
        {
            return lefts.iter().zip(rights).for_each(|pair| self.equal(pair, null_safe, scope, region));
        }
        let left = self.operand(left, scope, region);
        let right = self.operand(right, scope, region);
        match (left, right) {
            (Operand::Term(left), Operand::Term(right)) if !null_safe => self.regions.equate(region, left, right),
            (Operand::Term(term), Operand::Value(value)) | (Operand::Value(value), Operand::Term(term)) => {
                self.typed_use(self.regions.family(term), &[value]);
                self.regions.bind(region, term, vec![Value { null_safe, ..value }], !null_safe);
            }
            _ => {}
        }
    }

    fn in_list(&mut self, value: &Expr, list: &[Expr], scope: &Scope<'_>, region: RegionId) {
        if let Expr::Row(parts) = value {
            for (at, part) in parts.iter().enumerate() {
                let set: Option<ValueSet> = list.iter().map(|item| self.value(part_of(item, at, parts.len())?)).collect();
                self.bind_operand(part, set, scope, region);
            }
        } else {
            let set: Option<ValueSet> = list.iter().map(|item| self.value(item)).collect();
            self.bind_operand(value, set, scope, region);
        }
        self.inspect_all(list, scope, region);
    }

    fn any_of(&mut self, value: &Expr, array: &Expr, scope: &Scope<'_>, region: RegionId) {
        let set = match array_of_elements(array) {
            Some((items, cast)) => items.iter().map(|item| self.value(&as_element(item, cast))).collect(),
            None if self.views > 0 => None,
            None => Value::array(array).map(|array| vec![array]),
        };
        self.bind_operand(value, set, scope, region);
        self.inspect(array, scope, region);
    }

    fn bind_operand(&mut self, value: &Expr, set: Option<ValueSet>, scope: &Scope<'_>, region: RegionId) {
        if let (Operand::Term(term), Some(set)) = (self.operand(value, scope, region), set) {
            self.typed_use(self.regions.family(term), &set);
            self.regions.bind(region, term, set, true);
        }
    }

    /// `value IN (query)`: the query's rows that equal no value that matters may be left out, so it knows what is known of the value.
    fn in_query(&mut self, value: &Expr, query: &Query, scope: &Scope<'_>, region: RegionId) {
        let values = if let Expr::Row(parts) = value { parts.as_slice() } else { std::slice::from_ref(value) };
        let output = self.query(query, scope, region, true);
        for (at, value) in values.iter().enumerate() {
            let operand = self.operand(value, scope, region);
            let Some(column) = output.at(at) else { continue };
            match operand {
                Operand::Term(term) => self.regions.equate(region, term, column.term),
                Operand::Value(value) => self.regions.bind(region, column.term, vec![value], true),
                Operand::Other => {}
            }
        }
    }

    fn operand(&mut self, expr: &Expr, scope: &Scope<'_>, region: RegionId) -> Operand {
        if let Some(value) = self.value(expr) {
            return Operand::Value(value);
        }
        if let Some(term) = scope.term(expr) {
            return Operand::Term(term);
        }
        match expr {
            Expr::Cast { value, to } => match self.operand(value, scope, region) {
                Operand::Term(term) if keeps_equality(to, self.regions.family(term)) => Operand::Term(term),
                _ => Operand::Other,
            },
            Expr::Subquery { query, scalar: true } => {
                let output = self.query(query, scope, region, false);
                output.at(0).map_or(Operand::Other, |column| Operand::Term(column.term))
            }
            other => {
                self.inspect(other, scope, region);
                Operand::Other
            }
        }
    }
}

/// Part `at` of a row of `width` parts.
fn part_of(row: &Expr, at: usize, width: usize) -> Option<&Expr> {
    match row {
        Expr::Row(parts) if parts.len() == width => parts.get(at),
        _ => None,
    }
}

/// `ARRAY[…]`, cast to an array type or not.
fn array_of_elements(array: &Expr) -> Option<(&[Expr], Option<&TypeName>)> {
    match array {
        Expr::Array(items) => Some((items, None)),
        Expr::Cast { value, to } if to.array => match value.as_ref() {
            Expr::Array(items) => Some((items, Some(to))),
            _ => None,
        },
        _ => None,
    }
}

/// An element of an array that is cast as a whole.
fn as_element(item: &Expr, cast: Option<&TypeName>) -> Expr {
    match cast {
        Some(to) => Expr::Cast { value: Box::new(item.clone()), to: TypeName { array: false, ..to.clone() } },
        None => item.clone(),
    }
}

/// Whether equal values stay equal and different ones different under the cast, or it fails.
fn keeps_equality(to: &TypeName, family: Option<KeyFamily>) -> bool {
    let plain = to.builtin && !to.modified && !to.array;
    plain
        && match family {
            Some(KeyFamily::Integer) => matches!(to.name.as_str(), "int2" | "int4" | "int8"),
            Some(KeyFamily::Text) => matches!(to.name.as_str(), "text" | "varchar"),
            Some(KeyFamily::Uuid) => to.name == "uuid",
            Some(KeyFamily::Char) | None => false,
        }
}
