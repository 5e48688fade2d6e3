//! A generated statement as a tree, so that it can be made smaller while it still fails; and its text.

use crate::differential::generate::types::Type;
use crate::differential::outcome::Parameter;

/// An expression: `pieces` around `parts`.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    pub(crate) kind: Type,
    pub(crate) pieces: Vec<String>,
    pub(crate) parts: Vec<Part>,
    /// A constant, which may be a parameter instead; `pieces` has it as a literal.
    pub(crate) constant: Option<Option<String>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Expression(Expression),
    Query(Box<Query>),
}

#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) with: Vec<(String, Query)>,
    pub(crate) body: Body,
    /// What to order by, and `desc nulls first` and the like.
    pub(crate) order: Vec<(OrderKey, &'static str)>,
    pub(crate) limit: Option<usize>,
    pub(crate) offset: Option<usize>,
    pub(crate) lock: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum OrderKey {
    /// An output column, from 0; told by its number or by its name.
    Output {
        at: usize,
        by_name: bool,
    },
    Expression(Expression),
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Select(Box<Select>),
    Set { operator: &'static str, left: Box<Query>, right: Box<Query> },
}

#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub(crate) distinct: Distinct,
    pub(crate) targets: Vec<Expression>,
    pub(crate) from: Vec<Source>,
    /// Conjuncts.
    pub(crate) filter: Vec<Expression>,
    pub(crate) group: Vec<Expression>,
    /// `rollup`, `cube`, or nothing.
    pub(crate) grouping: &'static str,
    pub(crate) having: Vec<Expression>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distinct {
    No,
    Rows,
    /// DISTINCT ON the first so many targets.
    On(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// How it is joined with those before it; empty for the first.
    pub(crate) join: &'static str,
    pub(crate) on: Vec<Expression>,
    pub(crate) table: Table,
    pub(crate) alias: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Table {
    /// A table, a view, a WITH query, or a function's call with its column names.
    Named(String),
    Function {
        call: String,
        columns: String,
    },
    Query {
        lateral: bool,
        query: Box<Query>,
    },
}

/// Turns trees into text; constants become parameters if it is asked to.
pub(crate) struct Writer {
    pub(crate) text: String,
    parameters: Option<Vec<Parameter>>,
}

impl Writer {
    /// The text with literals.
    pub(crate) fn literal(query: &Query) -> String {
        let mut writer = Self { text: String::new(), parameters: None };
        writer.query(query);
        writer.text
    }

    /// The text with parameters, and their values.
    pub(crate) fn parameterized(query: &Query) -> (String, Vec<Parameter>) {
        let mut writer = Self { text: String::new(), parameters: Some(Vec::new()) };
        writer.query(query);
        (writer.text, writer.parameters.unwrap_or_default())
    }

    pub(crate) fn expression_text(expression: &Expression) -> String {
        let mut writer = Self { text: String::new(), parameters: None };
        writer.expression(expression);
        writer.text
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn list<T>(&mut self, items: &[T], separator: &str, mut write: impl FnMut(&mut Self, &T)) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.push(separator);
            }
            write(self, item);
        }
    }

    pub(crate) fn query(&mut self, query: &Query) {
        if !query.with.is_empty() {
            self.push("with ");
            self.list(&query.with, ", ", |writer, (name, inner)| {
                writer.push(name);
                writer.push(" as (");
                writer.query(inner);
                writer.push(")");
            });
            self.push(" ");
        }
        match &query.body {
            Body::Select(select) => self.select(select),
            Body::Set { operator, left, right } => {
                self.push("(");
                self.query(left);
                self.push(&format!(") {operator} ("));
                self.query(right);
                self.push(")");
            }
        }
        if !query.order.is_empty() {
            self.push(" order by ");
            self.list(&query.order, ", ", |writer, (key, direction)| {
                match key {
                    OrderKey::Output { at, by_name: false } => writer.push(&(at + 1).to_string()),
                    OrderKey::Output { at, by_name: true } => writer.push(&format!("c{at}")),
                    OrderKey::Expression(expression) => writer.expression(expression),
                }
                writer.push(direction);
            });
        }
        for (word, number) in [(" limit ", query.limit), (" offset ", query.offset)] {
            if let Some(number) = number {
                self.push(word);
                self.constant(Type::Int, Some(&number.to_string()), &number.to_string());
            }
        }
        if query.lock {
            self.push(" for update");
        }
    }

    fn select(&mut self, select: &Select) {
        self.push("select ");
        match select.distinct {
            Distinct::No => {}
            Distinct::Rows => self.push("distinct "),
            Distinct::On(count) => {
                self.push("distinct on (");
                self.list(select.targets.get(..count).unwrap_or_default(), ", ", Self::expression);
                self.push(") ");
            }
        }
        let mut at = 0;
        self.list(&select.targets, ", ", |writer, target| {
            writer.expression(target);
            writer.push(&format!(" as c{at}"));
            at += 1;
        });
        if !select.from.is_empty() {
            self.push(" from ");
            select.from.iter().for_each(|source| self.source(source));
        }
        self.conjunction(" where ", &select.filter);
        if !select.group.is_empty() {
            self.push(" group by ");
            self.push(select.grouping);
            self.push(if select.grouping.is_empty() { "" } else { " (" });
            self.list(&select.group, ", ", Self::expression);
            self.push(if select.grouping.is_empty() { "" } else { ")" });
        }
        self.conjunction(" having ", &select.having);
    }

    fn conjunction(&mut self, word: &str, terms: &[Expression]) {
        if !terms.is_empty() {
            self.push(word);
            self.list(terms, " and ", Self::expression);
        }
    }

    fn source(&mut self, source: &Source) {
        if !source.join.is_empty() {
            self.push(&format!(" {} ", source.join));
        }
        match &source.table {
            Table::Named(name) => self.push(&format!("{name} as {}", source.alias)),
            Table::Function { call, columns } => self.push(&format!("{call} as {}({columns})", source.alias)),
            Table::Query { lateral, query, .. } => {
                self.push(if *lateral { "lateral (" } else { "(" });
                self.query(query);
                self.push(&format!(") as {}", source.alias));
            }
        }
        if source.join.ends_with("join") && source.join != "cross join" {
            if source.on.is_empty() {
                self.push(" on true");
            }
            self.conjunction(" on ", &source.on);
        }
    }

    pub(crate) fn expression(&mut self, expression: &Expression) {
        if let Some(value) = &expression.constant {
            return self.constant(expression.kind, value.as_deref(), &expression.pieces.concat());
        }
        for (at, piece) in expression.pieces.iter().enumerate() {
            self.push(piece);
            match expression.parts.get(at) {
                Some(Part::Expression(inner)) => self.expression(inner),
                Some(Part::Query(query)) => self.query(query),
                None => {}
            }
        }
    }

    /// Equal constants are one parameter: PostgreSQL compares GROUP BY with the targets by their parameters' numbers.
    fn constant(&mut self, kind: Type, value: Option<&str>, literal: &str) {
        let Some(parameters) = &mut self.parameters else { return self.text.push_str(literal) };
        let parameter = Parameter { oid: kind.oid(), text: value.map(str::to_owned) };
        let at = parameters.iter().position(|known| *known == parameter).unwrap_or_else(|| {
            parameters.push(parameter);
            parameters.len() - 1
        });
        self.text.push_str(&format!("${}", at + 1));
    }
}
