//! Generated queries: joins one to four deep, subqueries, aggregates, windows, set operations, CTEs, ORDER BY, LIMIT.

use crate::differential::generate::expression::{InScope, table_functions};
use crate::differential::generate::random::Random;
use crate::differential::generate::schema::{Kind, Relation, Schema};
use crate::differential::generate::syntax::{Body, Distinct, Expression, OrderKey, Part, Query, Select, Source, Table};
use crate::differential::generate::types::Type;

pub(crate) struct Generator<'a> {
    pub(crate) random: Random,
    pub(crate) schema: &'a Schema,
    /// How many subqueries the statement may still get.
    pub(crate) subqueries: usize,
    aliases: usize,
    /// WITH queries that may be named, and the types of their columns.
    with: Vec<(String, Vec<Type>)>,
}

/// What a subquery has to return.
pub(crate) enum Shape {
    Columns(Vec<Type>),
    /// One row: `min` or `max` of this type.
    Extreme(Type),
    /// One row: the first of an order by everything.
    First(Type),
}

const DIRECTIONS: &[&str] = &["", "", " desc", " nulls first", " desc nulls last", " asc nulls last"];
const JOINS: &[&str] = &["cross join", "join", "join", "join", "left join", "left join", "right join", "full join"];

impl<'a> Generator<'a> {
    pub(crate) fn new(schema: &'a Schema, random: Random) -> Self {
        Self { random, schema, subqueries: 0, aliases: 0, with: Vec::new() }
    }

    /// A whole statement.
    pub(crate) fn statement(&mut self) -> Query {
        self.subqueries = if self.random.chance(50) { 0 } else { 2 };
        self.aliases = 0;
        self.with.clear();
        let mut with = Vec::new();
        if self.random.chance(12) {
            for at in 0..1 + self.random.below(2) {
                let types: Vec<Type> = (0..2 + self.random.below(2)).map(|_| self.any_type()).collect();
                let query = self.columns(&types, &[], 1);
                with.push((format!("w{at}"), query));
                self.with.push((format!("w{at}"), types));
            }
        }
        let mut query = if self.random.chance(14) { self.set_operation() } else { self.select_query() };
        query.with = with;
        query
    }

    fn set_operation(&mut self) -> Query {
        let types: Vec<Type> = (0..1 + self.random.below(3)).map(|_| self.any_type()).collect();
        let operator = *self.random.pick(&["union", "union all", "union all", "intersect", "except", "intersect all", "except all"]);
        let left = self.columns(&types, &[], 1);
        let right = if self.random.chance(20) { self.ordered_limit(&types) } else { self.columns(&types, &[], 1) };
        let mut query = plain(Body::Set { operator, left: Box::new(left), right: Box::new(right) });
        self.order(&mut query, types.len(), &[]);
        query
    }

    fn select_query(&mut self) -> Query {
        let (from, scope) = self.from(&[], 2);
        let unique = unique_columns(self.schema, &from);
        let mut select = Select { from, ..empty_select() };
        self.filter(&mut select, &scope);
        let grouped = self.random.chance(38);
        if grouped {
            self.group(&mut select, &scope);
        } else {
            for _ in 0..1 + self.random.below(4) {
                let target = match self.random.below(10) {
                    0 if unique.len() < 9 => self.window(&scope, &unique),
                    0..=6 => self.any_column(&scope),
                    _ => {
                        let kind = self.any_type();
                        self.expression(kind, &scope, 2)
                    }
                };
                select.targets.push(target);
            }
        }
        let count = select.targets.len();
        let mut order_scope = if grouped { Vec::new() } else { scope };
        let choice = self.random.below(100);
        if choice < 12 {
            select.distinct = Distinct::Rows;
            order_scope.clear();
        } else if choice < 18 && select.targets.iter().all(Expression::has_columns) {
            select.distinct = Distinct::On(1 + self.random.below(count.min(2)));
            order_scope.clear();
        }
        let (distinct, lock) = (select.distinct, choice > 96 && !grouped && select.from.len() == 1 && lockable(&select));
        let mut query = plain(Body::Select(Box::new(select)));
        match distinct {
            Distinct::On(first) => self.order_for_distinct_on(&mut query, first, count),
            _ => self.order(&mut query, count, &order_scope),
        }
        query.lock = lock;
        query
    }

    fn filter(&mut self, select: &mut Select, scope: &[InScope]) {
        for _ in 0..self.random.below(3) {
            let condition = self.condition(scope, 2);
            select.filter.push(condition);
        }
    }

    fn group(&mut self, select: &mut Select, scope: &[InScope]) {
        for _ in 0..self.random.below(4) {
            let key = if self.random.chance(75) {
                self.any_column(scope)
            } else {
                let kind = *self.random.pick(&[Type::Int, Type::Text, Type::Bool, Type::Date]);
                self.expression(kind, scope, 1)
            };
            // A constant would be the number of a column.
            if key.has_columns() {
                select.group.push(key);
            }
        }
        if select.group.len() > 1 && self.random.chance(10) {
            select.grouping = *self.random.pick(&["rollup", "cube"]);
        }
        for at in 0..select.group.len() {
            if let Some(key) = select.group.get(at).filter(|_| self.random.chance(80)) {
                select.targets.push(key.clone());
            }
        }
        for _ in 0..1 + self.random.below(3) {
            let aggregate = self.aggregate(scope, true);
            select.targets.push(aggregate);
        }
        if self.random.chance(22) {
            let aggregate = self.aggregate(scope, false);
            let other = self.constant(aggregate.kind);
            let operator = if aggregate.kind.has_extremes() { *self.random.pick(&[" > ", " <= ", " <> "]) } else { " is distinct from " };
            select.having.push(Expression::call(
                Type::Bool,
                &["(", operator, ")"],
                vec![Part::Expression(aggregate), Part::Expression(other)],
            ));
        }
    }

    /// By some outputs (ties are then open), or by everything; with LIMIT always by everything.
    fn order(&mut self, query: &mut Query, outputs: usize, scope: &[InScope]) {
        if self.random.chance(30) {
            return;
        }
        if !scope.is_empty() && self.random.chance(25) {
            let kind = *self.random.pick(&[Type::Int, Type::Text, Type::Numeric, Type::Date, Type::Float, Type::Timestamp, Type::Bool]);
            let key = self.expression(kind, scope, 1);
            if key.has_columns() {
                query.order.push((OrderKey::Expression(key), *self.random.pick(DIRECTIONS)));
            }
        }
        let limited = self.random.chance(45);
        let whole = limited || !query.order.is_empty() || self.random.chance(60);
        let mut left: Vec<usize> = (0..outputs).collect();
        while !left.is_empty() && (whole || query.order.is_empty() || self.random.chance(30)) {
            let at = left.remove(self.random.below(left.len()));
            let by_name = self.random.chance(50);
            query.order.push((OrderKey::Output { at, by_name }, *self.random.pick(DIRECTIONS)));
        }
        if limited {
            query.limit = self.random.chance(85).then(|| self.random.below(12));
            query.offset = self.random.chance(40).then(|| self.random.below(6));
        }
    }

    fn order_for_distinct_on(&mut self, query: &mut Query, first: usize, outputs: usize) {
        for at in 0..outputs {
            let direction = *self.random.pick(DIRECTIONS);
            query.order.push((OrderKey::Output { at, by_name: at < first }, direction));
        }
        query.limit = self.random.chance(30).then(|| self.random.below(8));
    }

    /// FROM with its joins, and what it brings into scope.
    fn from(&mut self, outer: &[InScope], depth: usize) -> (Vec<Source>, Vec<InScope>) {
        let joins = *self.random.pick(&[0, 0, 0, 0, 1, 1, 1, 2, 2, 3]);
        let (mut from, mut scope): (Vec<Source>, Vec<InScope>) = (Vec::new(), Vec::new());
        for at in 0..=joins {
            // The product of many is large, and says nothing more.
            let joins = if at == 1 { JOINS } else { JOINS.get(1..).unwrap_or(JOINS) };
            let join = if at == 0 { "" } else { *self.random.pick(joins) };
            let lateral = at > 0 && matches!(join, "join" | "left join" | "cross join") && self.random.chance(8);
            let (table, alias, columns) = self.table(if lateral { &scope } else { &[] }, depth, lateral);
            let on = match join {
                "" | "cross join" => Vec::new(),
                _ => self.join_condition(&scope, &columns, join),
            };
            from.push(Source { join, on, table, alias });
            scope.extend(columns);
        }
        scope.extend(outer.iter().filter(|_| self.random.chance(50)).cloned());
        (from, scope)
    }

    fn table(&mut self, outer: &[InScope], depth: usize, lateral: bool) -> (Table, String, Vec<InScope>) {
        self.aliases += 1;
        let alias = format!("t{}", self.aliases);
        let choice = self.random.below(100);
        if lateral || depth > 0 && choice < 10 {
            let types: Vec<Type> = (0..1 + self.random.below(3)).map(|_| self.any_type()).collect();
            let query =
                if self.random.chance(30) { self.ordered_limit(&types) } else { self.columns(&types, outer, depth.saturating_sub(1)) };
            let columns = outputs(&alias, &types);
            return (Table::Query { lateral, query: Box::new(query) }, alias, columns);
        }
        if choice < 20
            && let Some((name, types)) = self.with.get(self.random.below(self.with.len())).cloned()
        {
            return (Table::Named(name), alias.clone(), outputs(&alias, &types));
        }
        if choice < 24 {
            let (call, names, columns) = self.random.pick(&table_functions()).clone();
            let columns = columns.iter().map(|(name, kind)| in_scope(&alias, name, *kind, false)).collect();
            return (Table::Function { call, columns: names.to_owned() }, alias, columns);
        }
        // Sharded tables are what this is about.
        let wanted = if self.random.chance(80) { Some(Kind::Sharded) } else { None };
        let fitting: Vec<&Relation> =
            self.schema.relations.iter().filter(|relation| wanted.is_none_or(|kind| kind == relation.kind)).collect();
        let relation = *self.random.pick(&fitting);
        let column =
            |column: &crate::differential::generate::schema::Column| in_scope(&alias, &column.name, column.kind, column.name == "user_id");
        let columns = relation.columns.iter().map(column).collect();
        (Table::Named(relation.name.clone()), alias, columns)
    }

    /// On the key where both have one, else on columns of one type.
    fn join_condition(&mut self, scope: &[InScope], columns: &[InScope], join: &str) -> Vec<Expression> {
        let mut pairs: Vec<(&InScope, &InScope)> = Vec::new();
        for left in scope {
            pairs.extend(columns.iter().filter(|right| right.kind == left.kind).map(|right| (left, right)));
        }
        let keys: Vec<_> = pairs.iter().filter(|(left, right)| left.is_key && right.is_key).copied().collect();
        let pool = if !keys.is_empty() && self.random.chance(65) { &keys } else { &pairs };
        if pool.is_empty() {
            return vec![Expression::text(Type::Bool, "true")];
        }
        let (left, right) = *self.random.pick(pool);
        let mut parts = vec![Part::Expression(Expression::column(left)), Part::Expression(Expression::column(right))];
        if self.random.chance(50) {
            parts.reverse();
        }
        let mut on = vec![Expression::call(Type::Bool, &["(", " = ", ")"], parts)];
        // PostgreSQL has no FULL JOIN on other conditions.
        if join != "full join" && self.random.chance(25) {
            let both: Vec<InScope> = scope.iter().chain(columns).cloned().collect();
            on.push(self.condition(&both, 1));
        }
        on
    }

    /// A query with columns of these types, in no order.
    fn columns(&mut self, types: &[Type], outer: &[InScope], depth: usize) -> Query {
        let (from, scope) = self.from(outer, depth);
        let mut select = Select { from, ..empty_select() };
        self.filter(&mut select, &scope);
        self.correlate(&mut select, &scope, outer);
        if self.random.chance(15) {
            select.distinct = Distinct::Rows;
        }
        select.targets = types.iter().map(|kind| self.expression(*kind, &scope, 1)).collect();
        plain(Body::Select(Box::new(select)))
    }

    /// As `columns`, the first rows of an order by everything.
    fn ordered_limit(&mut self, types: &[Type]) -> Query {
        let mut query = self.columns(types, &[], 0);
        for at in 0..types.len() {
            query.order.push((OrderKey::Output { at, by_name: false }, *self.random.pick(DIRECTIONS)));
        }
        query.limit = Some(1 + self.random.below(6));
        query
    }

    pub(crate) fn subquery(&mut self, shape: Shape, outer: &[InScope]) -> Query {
        match shape {
            Shape::Columns(types) => self.columns(&types, outer, 0),
            Shape::First(kind) => {
                let mut query = self.columns(&[kind], outer, 0);
                query.order.push((OrderKey::Output { at: 0, by_name: false }, ""));
                query.limit = Some(1);
                query
            }
            Shape::Extreme(kind) => {
                let mut query = self.columns(&[kind], outer, 0);
                if let Body::Select(select) = &mut query.body {
                    select.distinct = Distinct::No;
                    let pieces: &[&str] = if self.random.chance(50) { &["max(", ")"] } else { &["min(", ")"] };
                    let target = select.targets.pop().map(Part::Expression);
                    select.targets = vec![Expression::call(kind, pieces, target.into_iter().collect())];
                }
                query
            }
        }
    }

    /// A subquery's rows of the outer row's key, or with an equal column.
    fn correlate(&mut self, select: &mut Select, scope: &[InScope], outer: &[InScope]) {
        let inner: Vec<&InScope> = scope.iter().filter(|column| !outer.iter().any(|other| other.alias == column.alias)).collect();
        let mut pairs: Vec<(&InScope, &InScope)> = Vec::new();
        for left in outer {
            pairs.extend(inner.iter().filter(|right| right.kind == left.kind).map(|right| (left, *right)));
        }
        let keys: Vec<_> = pairs.iter().filter(|(left, right)| left.is_key && right.is_key).copied().collect();
        let pool = if keys.is_empty() { pairs } else { keys };
        if !pool.is_empty() && self.random.chance(60) {
            let (left, right) = *self.random.pick(&pool);
            let parts = vec![Part::Expression(Expression::column(right)), Part::Expression(Expression::column(left))];
            select.filter.push(Expression::call(Type::Bool, &["(", " = ", ")"], parts));
        }
    }
}

/// The primary keys of all sources, if all are tables and joined so that a row of them is there once.
fn unique_columns(schema: &Schema, from: &[Source]) -> Vec<InScope> {
    let mut unique = Vec::new();
    for source in from {
        let Table::Named(name) = &source.table else { return Vec::new() };
        let Some(relation) = schema.relations.iter().find(|relation| relation.name == *name && !relation.key.is_empty()) else {
            return Vec::new();
        };
        unique.extend(relation.key.iter().map(|key| in_scope(&source.alias, key, Type::Int, false)));
    }
    unique
}

fn lockable(select: &Select) -> bool {
    select.distinct == Distinct::No
        && select.from.iter().all(|source| matches!(source.table, Table::Named(_)))
        && !select.targets.iter().any(|target| target.pieces.iter().any(|piece| piece.contains(" over (")))
}

fn in_scope(alias: &str, name: &str, kind: Type, is_key: bool) -> InScope {
    InScope { alias: alias.to_owned(), name: name.to_owned(), kind, is_key }
}

fn outputs(alias: &str, types: &[Type]) -> Vec<InScope> {
    types.iter().enumerate().map(|(at, kind)| in_scope(alias, &format!("c{at}"), *kind, false)).collect()
}

pub(crate) fn plain(body: Body) -> Query {
    Query { with: Vec::new(), body, order: Vec::new(), limit: None, offset: None, lock: false }
}

fn empty_select() -> Select {
    Select {
        distinct: Distinct::No,
        targets: Vec::new(),
        from: Vec::new(),
        filter: Vec::new(),
        group: Vec::new(),
        grouping: "",
        having: Vec::new(),
    }
}
