//! Smaller versions of a query: each with one thing less, biggest first.

use crate::differential::generate::syntax::{Body, Distinct, Expression, Part, Query, Select, Table};
use crate::differential::generate::types::Type;

/// Everything that the query could be with one step less. Not all of them are valid; those fail alike on both servers.
pub(crate) fn smaller_queries(query: &Query) -> Vec<Query> {
    let mut found = Vec::new();
    if let Body::Set { left, right, .. } = &query.body {
        found.extend([(**left).clone(), (**right).clone()]);
        found.extend(smaller_queries(left).into_iter().map(|left| with_body(query, |body| replace_side(body, Some(left), None))));
        found.extend(smaller_queries(right).into_iter().map(|right| with_body(query, |body| replace_side(body, None, Some(right)))));
    }
    for at in 0..query.with.len() {
        found.push(changed(query, |query| drop(query.with.remove(at))));
    }
    if query.limit.is_some() || query.offset.is_some() {
        found.push(changed(query, |query| query.limit = None));
        found.push(changed(query, |query| query.offset = None));
    }
    if query.lock {
        found.push(changed(query, |query| query.lock = false));
    }
    // Without its order a LIMIT has many answers.
    if query.limit.is_none() && query.offset.is_none() {
        for at in 0..query.order.len() {
            found.push(changed(query, |query| drop(query.order.remove(at))));
        }
    }
    if let Body::Select(select) = &query.body {
        found.extend(smaller_selects(select).into_iter().map(|select| with_body(query, |body| *body = Body::Select(Box::new(select)))));
    }
    for (at, (_, inner)) in query.with.iter().enumerate() {
        for smaller in smaller_queries(inner) {
            found.push(changed(query, |query| {
                if let Some((_, inner)) = query.with.get_mut(at) {
                    *inner = smaller;
                }
            }));
        }
    }
    found
}

fn smaller_selects(select: &Select) -> Vec<Select> {
    let mut found = Vec::new();
    let mut without = |change: &dyn Fn(&mut Select)| {
        let mut smaller = select.clone();
        change(&mut smaller);
        found.push(smaller);
    };
    for at in (1..select.from.len()).rev() {
        without(&|select| drop(select.from.remove(at)));
    }
    for at in 0..select.filter.len() {
        without(&|select| drop(select.filter.remove(at)));
    }
    for at in 0..select.having.len() {
        without(&|select| drop(select.having.remove(at)));
    }
    if select.distinct != Distinct::No {
        without(&|select| select.distinct = Distinct::No);
    }
    if select.targets.len() > 1 {
        for at in 0..select.targets.len() {
            without(&|select| drop(select.targets.remove(at)));
        }
    }
    if !select.grouping.is_empty() {
        without(&|select| select.grouping = "");
    }
    for at in 0..select.group.len() {
        without(&|select| drop(select.group.remove(at)));
    }
    for at in 0..select.from.len() {
        let Some(source) = select.from.get(at) else { continue };
        for condition in 0..source.on.len() {
            without(&|select| drop(select.from.get_mut(at).map(|source| source.on.remove(condition))));
        }
        if let Table::Query { query, .. } = &source.table {
            for smaller in smaller_queries(query) {
                without(&|select| {
                    if let Some(Table::Query { query, .. }) = select.from.get_mut(at).map(|source| &mut source.table) {
                        **query = smaller.clone();
                    }
                });
            }
        }
    }
    let places: [fn(&mut Select) -> &mut Vec<Expression>; 3] = [targets, filter, having];
    for place in places {
        let expressions = place(&mut select.clone()).clone();
        for (at, expression) in expressions.iter().enumerate() {
            for smaller in smaller_expressions(expression) {
                let mut with = select.clone();
                if let Some(expression) = place(&mut with).get_mut(at) {
                    *expression = smaller;
                }
                found.push(with);
            }
        }
    }
    found
}

fn targets(select: &mut Select) -> &mut Vec<Expression> {
    &mut select.targets
}

fn filter(select: &mut Select) -> &mut Vec<Expression> {
    &mut select.filter
}

fn having(select: &mut Select) -> &mut Vec<Expression> {
    &mut select.having
}

fn smaller_expressions(expression: &Expression) -> Vec<Expression> {
    if expression.parts.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for part in &expression.parts {
        if let Part::Expression(inner) = part
            && inner.kind == expression.kind
        {
            found.push(inner.clone());
        }
    }
    if expression.kind == Type::Bool {
        found.push(Expression::text(Type::Bool, "true"));
    }
    for (at, part) in expression.parts.iter().enumerate() {
        let smaller: Vec<Part> = match part {
            Part::Expression(inner) => smaller_expressions(inner).into_iter().map(Part::Expression).collect(),
            Part::Query(query) => smaller_queries(query).into_iter().map(|query| Part::Query(Box::new(query))).collect(),
        };
        for part in smaller {
            let mut with = expression.clone();
            if let Some(place) = with.parts.get_mut(at) {
                *place = part;
            }
            found.push(with);
        }
    }
    found
}

fn changed(query: &Query, change: impl FnOnce(&mut Query)) -> Query {
    let mut smaller = query.clone();
    change(&mut smaller);
    smaller
}

fn with_body(query: &Query, change: impl FnOnce(&mut Body)) -> Query {
    changed(query, |query| change(&mut query.body))
}

fn replace_side(body: &mut Body, one: Option<Query>, other: Option<Query>) {
    if let Body::Set { left, right, .. } = body {
        if let Some(query) = one {
            **left = query;
        }
        if let Some(query) = other {
            **right = query;
        }
    }
}
