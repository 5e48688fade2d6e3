//! Names in a query: which table's column `user_id` or `o.user_id` means at a place.

use crate::routing::analyze::Output;
use crate::routing::region::{Term, ValueSet};
use crate::sql::ast::{CommonTable, Expr};
use crate::topology::key::KeyFamily;

/// One table, subquery or function of a FROM.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub name: String,
    pub schema: Option<String>,
    pub columns: Vec<(String, Term)>,
    /// It may have further columns, of unknown names.
    pub open: bool,
    /// The columns' order is unknown.
    pub shifted: bool,
}

/// What a FROM, or a part of it, makes visible.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    pub list: Vec<Range>,
    /// Columns of USING and NATURAL: visible once, `None` where their value is neither side's.
    pub merged: Vec<(String, Option<Term>)>,
    /// A NATURAL join of unknown columns: names without a table mean nothing certain.
    pub unclear: bool,
}

impl Ranges {
    pub(crate) fn add(&mut self, other: Self) {
        self.list.extend(other.list);
        self.merged.extend(other.merged);
        self.unclear |= other.unclear;
    }

    /// The column `name` without a table.
    pub(crate) fn column(&self, name: &str) -> Found {
        if self.unclear {
            return Found::Unclear;
        }
        if let Some((_, term)) = self.merged.iter().find(|(merged, _)| merged == name) {
            return term.map_or(Found::Unclear, Found::Term);
        }
        let mut found = self.list.iter().flat_map(|range| &range.columns).filter(|(column, _)| column == name);
        match (found.next(), found.next()) {
            (Some((_, term)), None) => Found::Term(*term),
            (Some(_), Some(_)) => Found::Unclear,
            (None, _) if self.list.iter().any(|range| range.open || range.name == name) => Found::Unclear,
            (None, _) => Found::No,
        }
    }

    /// The column that an expression is, if it is certainly one of these.
    pub(crate) fn term(&self, expr: &Expr) -> Option<Term> {
        let Expr::Column { qualifier, name } = expr else { return None };
        match if qualifier.is_empty() { self.column(name) } else { self.qualified(qualifier, name) } {
            Found::Term(term) => Some(term),
            Found::Unclear | Found::No => None,
        }
    }

    fn qualified(&self, qualifier: &[String], name: &str) -> Found {
        let (schema, table) = match qualifier {
            [table] => (None, table),
            [.., schema, table] => (Some(schema), table),
            [] => return Found::No,
        };
        let mut ranges = self.list.iter().filter(|range| range.name == *table && (schema.is_none() || range.schema.as_ref() == schema));
        match (ranges.next(), ranges.next()) {
            (Some(range), None) => match range.columns.iter().find(|(column, _)| column == name) {
                Some((_, term)) => Found::Term(*term),
                None => Found::Unclear,
            },
            (Some(_), Some(_)) => Found::Unclear,
            (None, _) => Found::No,
        }
    }
}

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Term(Term),
    /// Something, but not certainly a column the proxy follows.
    Unclear,
    No,
}

/// The names visible at a place: a block's own, then those of the blocks around it.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'e> {
    pub parent: Option<&'e Scope<'e>>,
    pub layer: Layer<'e>,
}

#[derive(Clone, Copy)]
pub(crate) enum Layer<'e> {
    Nothing,
    Ranges(&'e Ranges),
    /// One table of a WITH.
    Common(&'e Common<'e>),
}

/// A table of a WITH that a name may mean.
pub(crate) struct Common<'e> {
    pub table: &'e CommonTable,
    /// Its own query may name it.
    pub recursive: bool,
    /// What RETURNING gives, when it writes: it runs once, where it is defined.
    pub returned: Option<Output>,
    /// How often it has been named.
    pub uses: std::cell::Cell<usize>,
    /// It is being planned: a name of it inside means itself, of whose columns this much is taken for granted.
    pub itself: std::cell::RefCell<Option<Vec<Assumed>>>,
}

/// A column of a recursive table as its own query sees it.
#[derive(Clone, Debug)]
pub(crate) struct Assumed {
    pub name: String,
    pub family: Option<KeyFamily>,
    /// Holds all its values, by the part that is not recursive; the recursive part has to keep to it.
    pub set: Option<ValueSet>,
}

impl<'e> Scope<'e> {
    pub(crate) const EMPTY: Scope<'static> = Scope { parent: None, layer: Layer::Nothing };

    pub(crate) fn within<'s>(&'s self, ranges: &'s Ranges) -> Scope<'s> {
        Scope { parent: Some(self), layer: Layer::Ranges(ranges) }
    }

    /// What the FROM of each block makes visible, the innermost first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Ranges> {
        let mut scope = Some(self);
        std::iter::from_fn(move || {
            while let Some(here) = scope {
                scope = here.parent;
                if let Layer::Ranges(ranges) = here.layer {
                    return Some(ranges);
                }
            }
            None
        })
    }

    /// The term that an expression is: a column and nothing more.
    pub(crate) fn term(&self, expr: &Expr) -> Option<Term> {
        let Expr::Column { qualifier, name } = expr else { return None };
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Layer::Ranges(ranges) = here.layer {
                let found = if qualifier.is_empty() { ranges.column(name) } else { ranges.qualified(qualifier, name) };
                match found {
                    Found::Term(term) => return Some(term),
                    Found::Unclear => return None,
                    Found::No => {}
                }
            }
            scope = here.parent;
        }
        None
    }

    /// The WITH table that `name` means, and the scope it was defined in.
    pub(crate) fn common(&self, name: &str) -> Option<(&'e Common<'e>, &Self)> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Layer::Common(common) = here.layer
                && common.table.name == name
            {
                return Some((common, here));
            }
            scope = here.parent;
        }
        None
    }
}
