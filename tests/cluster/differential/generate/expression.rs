//! Generated expressions: columns in scope, constants, functions, CASE, and subqueries of each kind.
//!
//! Nothing here fails at run time or depends on the order of rows: a statement has one answer.

use crate::differential::generate::query::{Generator, Shape};
use crate::differential::generate::syntax::{Expression, Part, Query};
use crate::differential::generate::types::{ALL, Type, quoted};

/// A column that an expression may name.
#[derive(Clone, Debug)]
pub(crate) struct InScope {
    pub(crate) alias: String,
    pub(crate) name: String,
    pub(crate) kind: Type,
    /// Part of a shard key.
    pub(crate) is_key: bool,
}

type Function = (Type, &'static [&'static str], &'static [Type]);

/// A result, the text around the arguments, and the arguments.
const FUNCTIONS: &[Function] = &[
    (Type::Int, &["(", " + ", ")"], &[Type::Int, Type::Int]),
    (Type::Int, &["(", " - ", ")"], &[Type::Int, Type::Int]),
    (Type::Int, &["(", " * 3)"], &[Type::Int]),
    (Type::Int, &["(", " % 7)"], &[Type::Int]),
    (Type::Int, &["abs(", ")"], &[Type::Int]),
    (Type::Int, &["length(", ")"], &[Type::Text]),
    (Type::Int, &["extract(day from ", ")::int"], &[Type::Date]),
    (Type::Int, &["coalesce(", ", ", ")"], &[Type::Int, Type::Int]),
    (Type::Int, &["nullif(", ", ", ")"], &[Type::Int, Type::Int]),
    (Type::Int, &["greatest(", ", ", ")"], &[Type::Int, Type::Int]),
    (Type::Int, &["cardinality(", ")"], &[Type::Array]),
    (Type::Numeric, &["(", " + ", ")"], &[Type::Numeric, Type::Numeric]),
    (Type::Numeric, &["(", " - ", ")"], &[Type::Numeric, Type::Numeric]),
    (Type::Numeric, &["(- ", ")"], &[Type::Numeric]),
    (Type::Numeric, &["(", " * 0.25)"], &[Type::Int]),
    (Type::Numeric, &["coalesce(", ", ", ")"], &[Type::Numeric, Type::Numeric]),
    (Type::Float, &["(", " + ", ")"], &[Type::Float, Type::Float]),
    (Type::Float, &["abs(", ")"], &[Type::Float]),
    (Type::Float, &["abs(", ")::float8"], &[Type::Int]),
    (Type::Text, &["upper(", ")"], &[Type::Text]),
    (Type::Text, &["(", " || ", ")"], &[Type::Text, Type::Text]),
    (Type::Text, &["left(", ", 2)"], &[Type::Text]),
    (Type::Text, &["replace(", ", 'a', 'x')"], &[Type::Text]),
    (Type::Text, &["coalesce(", ", ", ")"], &[Type::Text, Type::Text]),
    (Type::Text, &["(", ")::text"], &[Type::Int]),
    (Type::Text, &["(", ")::text"], &[Type::Date]),
    (Type::Text, &["(", " ->> 'a')"], &[Type::Jsonb]),
    (Type::Bool, &["(", " = ", ")"], &[Type::Int, Type::Int]),
    (Type::Bool, &["(", " < ", ")"], &[Type::Int, Type::Int]),
    (Type::Bool, &["(", " >= ", ")"], &[Type::Numeric, Type::Numeric]),
    (Type::Bool, &["(", " <> ", ")"], &[Type::Text, Type::Text]),
    (Type::Bool, &["(", " = ", ")"], &[Type::Text, Type::Text]),
    (Type::Bool, &["(", " like 'a%')"], &[Type::Text]),
    (Type::Bool, &["(", " > ", ")"], &[Type::Date, Type::Date]),
    (Type::Bool, &["(", " <= ", ")"], &[Type::Timestamp, Type::Timestamp]),
    (Type::Bool, &["(", " > ", ")"], &[Type::Float, Type::Float]),
    (Type::Bool, &["(", " @> ", ")"], &[Type::Jsonb, Type::Jsonb]),
    (Type::Bool, &["(", " && ", ")"], &[Type::Array, Type::Array]),
    (Type::Bool, &["(", " = any (", "))"], &[Type::Int, Type::Array]),
    (Type::Bool, &["(", " in (", ", ", "))"], &[Type::Int, Type::Int, Type::Int]),
    (Type::Bool, &["(", " in (", ", ", "))"], &[Type::Text, Type::Text, Type::Text]),
    (Type::Bool, &["(", " between ", " and ", ")"], &[Type::Int, Type::Int, Type::Int]),
    (Type::Bool, &["(", " is distinct from ", ")"], &[Type::Int, Type::Int]),
    (Type::Bool, &["(", " is not distinct from ", ")"], &[Type::Uuid, Type::Uuid]),
    (Type::Bool, &["(", " and ", ")"], &[Type::Bool, Type::Bool]),
    (Type::Bool, &["(", " or ", ")"], &[Type::Bool, Type::Bool]),
    (Type::Bool, &["(not ", ")"], &[Type::Bool]),
    (Type::Bool, &["(", " is null)"], &[Type::Text]),
    (Type::Bool, &["(", " is not null)"], &[Type::Int]),
    (Type::Date, &["(", " + 1)"], &[Type::Date]),
    (Type::Date, &["(", ")::date"], &[Type::Timestamp]),
    (Type::Timestamp, &["(", " + interval '1 day')"], &[Type::Timestamp]),
    (Type::Timestamp, &["date_trunc('day', ", ")"], &[Type::Timestamp]),
    (Type::Timestamptz, &["(", " + interval '2 hours')"], &[Type::Timestamptz]),
    (Type::Uuid, &["coalesce(", ", ", ")"], &[Type::Uuid, Type::Uuid]),
    (Type::Bytea, &["(", " || ", ")"], &[Type::Bytea, Type::Bytea]),
    (Type::Jsonb, &["jsonb_build_object('k', ", ")"], &[Type::Int]),
    (Type::Jsonb, &["(", " -> 'a')"], &[Type::Jsonb]),
    (Type::Array, &["array[", ", ", "]"], &[Type::Int, Type::Int]),
    (Type::Array, &["(", " || ", ")"], &[Type::Array, Type::Int]),
];

impl Expression {
    pub(crate) fn text(kind: Type, text: impl Into<String>) -> Self {
        Self { kind, pieces: vec![text.into()], parts: Vec::new(), constant: None }
    }

    pub(crate) fn call(kind: Type, pieces: &[&str], parts: Vec<Part>) -> Self {
        Self { kind, pieces: pieces.iter().map(|piece| (*piece).to_owned()).collect(), parts, constant: None }
    }

    pub(crate) fn column(of: &InScope) -> Self {
        Self::text(of.kind, format!("{}.{}", of.alias, of.name))
    }

    /// A constant that is written bare may be read as another type by where it stands.
    pub(crate) fn constant(kind: Type, value: Option<String>, bare: bool) -> Self {
        let literal = kind.literal(value.as_deref(), bare);
        Self { kind, pieces: vec![literal], parts: Vec::new(), constant: Some(value) }
    }

    pub(crate) fn has_columns(&self) -> bool {
        self.constant.is_none()
            && (self.parts.is_empty() && self.pieces.iter().any(|piece| piece.contains('.') && !piece.contains('\''))
                || self.parts.iter().any(|part| matches!(part, Part::Expression(inner) if inner.has_columns())))
    }
}

impl Generator<'_> {
    /// An expression over the columns of `scope`, at most `depth` functions deep.
    pub(crate) fn expression(&mut self, kind: Type, scope: &[InScope], depth: usize) -> Expression {
        if depth == 0 || self.random.chance(35) {
            return self.leaf(kind, scope);
        }
        match self.random.below(14) {
            0 => {
                let parts = vec![
                    Part::Expression(self.expression(Type::Bool, scope, depth - 1)),
                    Part::Expression(self.expression(kind, scope, depth - 1)),
                    Part::Expression(self.expression(kind, scope, depth - 1)),
                ];
                Expression::call(kind, &["case when ", " then ", " else ", " end"], parts)
            }
            1 if self.subqueries > 0 => self.scalar_subquery(kind, scope),
            2 | 3 if kind == Type::Bool && self.subqueries > 0 => self.boolean_subquery(scope),
            _ => self.function(kind, scope, depth),
        }
    }

    fn function(&mut self, kind: Type, scope: &[InScope], depth: usize) -> Expression {
        let fitting: Vec<&Function> = FUNCTIONS.iter().filter(|(result, _, _)| *result == kind).collect();
        if fitting.is_empty() {
            return self.leaf(kind, scope);
        }
        let (_, pieces, arguments) = **self.random.pick(&fitting);
        let parts = arguments.iter().map(|argument| Part::Expression(self.expression(*argument, scope, depth - 1))).collect();
        Expression::call(kind, pieces, parts)
    }

    fn leaf(&mut self, kind: Type, scope: &[InScope]) -> Expression {
        let fitting: Vec<&InScope> = scope.iter().filter(|column| column.kind == kind).collect();
        if !fitting.is_empty() && self.random.chance(80) {
            let chosen = self.random.below(fitting.len());
            return Expression::column(fitting[chosen]);
        }
        self.constant(kind)
    }

    pub(crate) fn constant(&mut self, kind: Type) -> Expression {
        let value = (!self.random.chance(6)).then(|| kind.value(&mut self.random));
        let bare = self.random.chance(40);
        Expression::constant(kind, value, bare)
    }

    /// Any column, as an expression of its own type.
    pub(crate) fn any_column(&mut self, scope: &[InScope]) -> Expression {
        match scope.is_empty() {
            true => self.constant(Type::Int),
            false => Expression::column(self.random.pick(scope)),
        }
    }

    pub(crate) fn any_type(&mut self) -> Type {
        *self.random.pick(ALL)
    }

    /// One row at most: an aggregate, or the first of all rows.
    fn scalar_subquery(&mut self, kind: Type, scope: &[InScope]) -> Expression {
        self.subqueries -= 1;
        let shape = if kind.has_extremes() && self.random.chance(70) { Shape::Extreme(kind) } else { Shape::First(kind) };
        let query = self.subquery(shape, scope);
        Expression::call(kind, &["(", ")"], vec![Part::Query(Box::new(query))])
    }

    fn boolean_subquery(&mut self, scope: &[InScope]) -> Expression {
        self.subqueries -= 1;
        let kind = *self.random.pick(&[Type::Int, Type::Int, Type::Text, Type::Uuid]);
        let operator = *self.random.pick(&["exists", "not exists", " in (", " in (", " not in (", " = any (", " > all (", " <= any ("]);
        if operator.ends_with("exists") {
            let query: Query = self.subquery(Shape::Columns(vec![kind]), scope);
            return Expression::call(Type::Bool, &[&format!("({operator} ("), "))"], vec![Part::Query(Box::new(query))]);
        }
        let left = self.leaf(kind, scope);
        let query = self.subquery(Shape::Columns(vec![kind]), scope);
        Expression::call(Type::Bool, &["(", operator, "))"], vec![Part::Expression(left), Part::Query(Box::new(query))])
    }

    /// A condition that holds for the rows of one key, of a few keys, or for what comes.
    pub(crate) fn condition(&mut self, scope: &[InScope], depth: usize) -> Expression {
        let keys: Vec<&InScope> = scope.iter().filter(|column| column.is_key).collect();
        if keys.is_empty() || self.random.chance(70) {
            return self.expression(Type::Bool, scope, depth);
        }
        let key = (*self.random.pick(&keys)).clone();
        let count = if self.random.chance(60) { 1 } else { 2 + self.random.below(3) };
        let mut parts = vec![Part::Expression(Expression::column(&key))];
        parts.extend((0..count).map(|_| {
            let value = crate::differential::generate::schema::key_value(key.kind, self.random.below(10));
            Part::Expression(Expression::constant(key.kind, Some(value), true))
        }));
        match count {
            1 => Expression::call(Type::Bool, &["(", " = ", ")"], parts),
            _ => {
                let mut pieces = vec!["(", " in ("];
                pieces.extend(std::iter::repeat_n(", ", count - 1));
                pieces.push("))");
                Expression::call(Type::Bool, &pieces, parts)
            }
        }
    }

    /// An aggregate over `scope`, with FILTER now and then. `outermost`: its text need not be equal to that of equal numbers.
    pub(crate) fn aggregate(&mut self, scope: &[InScope], outermost: bool) -> Expression {
        let one = |generator: &mut Self, kind: Type, pieces: &[&str], of: Type| {
            let argument = generator.expression(of, scope, 1);
            Expression::call(kind, pieces, vec![Part::Expression(argument)])
        };
        let average: &[&str] = if outermost { &["avg(", ")"] } else { &["round(avg(", "), 2)"] };
        let number = *self.random.pick(&[Type::Int, Type::Int, Type::Numeric]);
        let mut aggregate = match self.random.below(17) {
            0 | 1 => Expression::text(Type::Int, "count(*)"),
            2 => {
                let of = self.any_type();
                one(self, Type::Int, &["count(", ")"], of)
            }
            3 => one(self, Type::Int, &["count(distinct ", ")"], Type::Int),
            4 => one(self, Type::Int, &["count(distinct ", ")"], Type::Text),
            5 | 6 => one(self, Type::Int, &["sum(", ")"], Type::Int),
            7 => one(self, Type::Numeric, &["sum(", ")"], Type::Numeric),
            8 => one(self, Type::Float, &["sum(", ")"], Type::Float),
            9 => one(self, Type::Numeric, average, number),
            10 | 11 => {
                let of = *self.random.pick(&[Type::Int, Type::Text, Type::Numeric, Type::Date, Type::Float, Type::Timestamp, Type::Array]);
                let pieces: &[&str] = if self.random.chance(50) { &["min(", ")"] } else { &["max(", ")"] };
                one(self, of, pieces, of)
            }
            12 => one(self, Type::Bool, &["bool_and(", ")"], Type::Bool),
            13 => one(self, Type::Bool, &["bool_or(", ")"], Type::Bool),
            14 => {
                let argument = self.expression(Type::Int, scope, 1);
                let parts = vec![Part::Expression(argument.clone()), Part::Expression(argument)];
                Expression::call(Type::Array, &["array_agg((", ")::int order by ", ")"], parts)
            }
            15 => {
                let argument = self.expression(Type::Text, scope, 1);
                let parts = vec![Part::Expression(argument.clone()), Part::Expression(argument)];
                Expression::call(Type::Text, &["string_agg((", ")::text, ',' order by (", ")::text)"], parts)
            }
            _ => one(self, Type::Int, &["sum(distinct ", ")"], Type::Int),
        };
        let filterable = aggregate.pieces.last().is_some_and(|last| last.ends_with(')') && !last.ends_with(", 2)"));
        if filterable && self.random.chance(12) {
            let condition = self.expression(Type::Bool, scope, 1);
            if let Some(last) = aggregate.pieces.last_mut() {
                last.push_str(" filter (where ");
            }
            aggregate.pieces.push(")".to_owned());
            aggregate.parts.push(Part::Expression(condition));
        }
        aggregate
    }

    /// A window function that ties do not change; with `unique` columns, which order the rows wholly, any.
    pub(crate) fn window(&mut self, scope: &[InScope], unique: &[InScope]) -> Expression {
        let partition = if self.random.chance(60) { Some(self.any_column(scope)) } else { None };
        let order = self.any_column(scope);
        let mut parts = Vec::new();
        let (kind, mut text) = match self.random.below(if unique.is_empty() { 5 } else { 9 }) {
            0 => (Type::Int, "rank() over ("),
            1 => (Type::Int, "dense_rank() over ("),
            2 => (Type::Int, "count(*) over ("),
            3 | 5 => {
                parts.push(Part::Expression(self.expression(Type::Int, scope, 1)));
                (Type::Int, "sum(")
            }
            4 => {
                parts.push(Part::Expression(self.expression(Type::Int, scope, 1)));
                (Type::Int, "max(")
            }
            6 => (Type::Int, "row_number() over ("),
            7 => {
                parts.push(Part::Expression(self.expression(Type::Text, scope, 0)));
                (Type::Text, "lag(")
            }
            _ => {
                parts.push(Part::Expression(self.expression(Type::Int, scope, 0)));
                (Type::Int, "first_value(")
            }
        };
        let mut pieces = Vec::new();
        if !parts.is_empty() {
            pieces.push(text.to_owned());
            text = ") over (";
        }
        let mut text = text.to_owned();
        if let Some(partition) = partition {
            text.push_str("partition by ");
            pieces.push(std::mem::take(&mut text));
            parts.push(Part::Expression(partition));
            text.push(' ');
        }
        text.push_str("order by ");
        pieces.push(text);
        parts.push(Part::Expression(order));
        let direction = *self.random.pick(&["", " desc", " nulls first", " desc nulls last"]);
        let rest: Vec<String> = unique.iter().map(|column| format!(", {}.{}", column.alias, column.name)).collect();
        pieces.push(format!("{direction}{})", rest.concat()));
        Expression { kind, pieces, parts, constant: None }
    }
}

/// `VALUES` or a function in FROM: the call, its columns' names as a list, and with their types.
type TableFunction = (String, &'static str, Vec<(&'static str, Type)>);

pub(crate) fn table_functions() -> [TableFunction; 3] {
    [
        ("generate_series(1, 4)".to_owned(), "n", vec![("n", Type::Int)]),
        ("unnest(array[2, null, 3], array['a', 'b'])".to_owned(), "x, y", vec![("x", Type::Int), ("y", Type::Text)]),
        (format!("(values (1, {}), (5, null), (3, 'zz'))", quoted("ab")), "x, y", vec![("x", Type::Int), ("y", Type::Text)]),
    ]
}
