//! setval: what it does to a sequence of a sharded table belongs on every shard.

use crate::routing::refusal::Refusal;
use crate::routing::route::Values;
use crate::routing::setval::SetvalPlan;
use crate::sql::ast::{Body, Call, Distinct, Expr, Query, Select, Statement};
use crate::sql::cursor::Cursor;

/// `SELECT setval('name', number [, boolean])` and nothing else: the places of its literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SequencePlan {
    name: usize,
    value: usize,
    negative: bool,
    called: bool,
}

/// A setval that the proxy sends to every shard, if the sequence is a sharded table's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    Known(SequenceValue),
    /// Its values are asked for first.
    Computed(SetvalPlan),
}

/// The same before its values are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SettingPlan {
    Known(SequencePlan),
    Computed(SetvalPlan),
}

impl SettingPlan {
    pub(crate) fn find(statement: &Statement, cursor: Cursor<'_>) -> Option<Self> {
        SequencePlan::find(statement).map(Self::Known).or_else(|| SetvalPlan::find(statement, cursor).map(Self::Computed))
    }

    /// `None`: as [`SequencePlan::read`].
    pub(crate) fn read(&self, values: &Values<'_>) -> Result<Option<Setting>, Refusal> {
        match self {
            Self::Known(plan) => Ok(plan.read(values)?.map(Setting::Known)),
            Self::Computed(plan) => Ok(Some(Setting::Computed(plan.clone()))),
        }
    }
}

/// What it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceValue {
    /// As the statement writes it: with its schema, quotes and all.
    pub name: String,
    pub value: i64,
    /// The value counts as given: the next one is above it.
    pub called: bool,
}

impl SequencePlan {
    /// `None`: the statement has another form.
    pub(crate) fn find(statement: &Statement) -> Option<Self> {
        let Statement::Query(Query { body: Body::Select(select), order_by, limited: false, locking: false, with, .. }) = statement else {
            return None;
        };
        let Select { distinct: Distinct::No, targets, into: None, from, filter: None, group_by, having: None, windows, .. } =
            select.as_ref()
        else {
            return None;
        };
        let bare = with.tables.is_empty() && order_by.is_empty() && from.is_empty() && group_by.is_empty() && windows.is_empty();
        let [target] = targets.as_slice() else { return None };
        let Expr::Call(call) = &target.expr else { return None };
        if !bare || target.alias.is_some() || !is_setval(call) {
            return None;
        }
        let (name, value, called) = match call.arguments.as_slice() {
            [name, value] => (name, value, true),
            [name, value, Expr::Boolean(called)] => (name, value, *called),
            _ => return None,
        };
        let name = match name {
            Expr::Cast { value, to } if to.name == "regclass" && to.builtin && !to.array => value.as_ref(),
            name => name,
        };
        let (value, negative) = match value {
            Expr::Negative(value) => (value.as_ref(), true),
            value => (value, false),
        };
        match (name, value) {
            (Expr::Literal(name), Expr::Literal(value)) => Some(Self { name: *name, value: *value, negative, called }),
            _ => None,
        }
    }

    /// `None`: the value is no bigint, which PostgreSQL says.
    pub(crate) fn read(self, values: &Values<'_>) -> Result<Option<SequenceValue>, Refusal> {
        let text = |at: usize, number: bool| {
            let literal = values.literals.get(at).filter(|literal| literal.is_number() == number)?;
            String::from_utf8(literal.value(values.text)?.into_owned()).ok()
        };
        let (name, value) = text(self.name, false).zip(text(self.value, true)).ok_or_else(unclear)?;
        let sign = if self.negative { -1 } else { 1 };
        Ok(value.parse::<i64>().ok().map(|value| SequenceValue { name, value: sign * value, called: self.called }))
    }
}

pub(crate) fn is_setval(call: &Call) -> bool {
    call.name == "setval" && call.schema.as_deref().is_none_or(|schema| schema == "pg_catalog")
}

/// Of any other form, where sharded tables have sequences.
pub(crate) fn unclear() -> Refusal {
    Refusal::unsupported(
        "setval() of this form is not supported on a sharded database".to_owned(),
        "A sequence of a sharded table is set on every shard, for which its name and value must be known beforehand.".to_owned(),
        "Send SELECT setval(sequence, value) alone, with a sequence that no row tells.".to_owned(),
    )
}

/// Whether the expression calls a function of a session's own memory of sequences.
pub(crate) fn remembers(name: &str) -> bool {
    matches!(name, "currval" | "lastval")
}
