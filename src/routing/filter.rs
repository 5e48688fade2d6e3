//! Conditions that look at one row of one table and at constants: where a table is gathered, rows for which they do not hold stay behind.
//!
//! Only what has the same answer on every server and raises no error of its own is taken: comparisons of built-in types whose order no
//! setting changes, IN, BETWEEN, LIKE, IS, and what AND, OR and NOT make of them. PostgreSQL applies the conditions again to what is gathered.

use crate::routing::analyze::Analyzer;
use crate::routing::region::{RegionId, Term};
use crate::routing::respell::quoted;
use crate::routing::route::Values;
use crate::routing::row_value::{Family, RowValue, Usage};
use crate::routing::scope::Scope;
use crate::routing::value::Constant;
use crate::sql::ast::{Expr, Test};
use crate::sql::literal::LiteralKind;
use crate::topology::schema::Relation;

/// Longer conditions are left out: every shard is sent them.
const CONDITION_BYTES_MAX: usize = 64 * 1024;

/// One appearance of a sharded table, of which conditions may be known.
#[derive(Clone, Debug)]
pub(crate) struct Appearance {
    /// Its place among [`crate::routing::facts::Facts::sharded`].
    pub place: usize,
    region: RegionId,
    /// The term of its first column; the others follow.
    first: Term,
    /// Names and types.
    columns: Vec<(String, u32)>,
}

impl Appearance {
    pub(crate) fn of(relation: &Relation, place: usize, region: RegionId, first: Term) -> Self {
        Self { place, region, first, columns: relation.columns.iter().map(|column| (column.name.clone(), column.type_oid)).collect() }
    }

    fn column(&self, term: Term) -> Option<&(String, u32)> {
        self.columns.get(term.checked_sub(self.first)?)
    }
}

/// A condition on a row `t`, in SQL but for the values, which each execution has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowCondition {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Sql(String),
    Value(RowValue),
}

impl RowCondition {
    /// With the values of one execution; `None` where one of them cannot be said.
    pub(crate) fn sql(&self, values: &Values<'_>) -> Option<String> {
        let mut sql = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Sql(text) => sql.push_str(text),
                Piece::Value(value) => value.write(values, &mut sql)?,
            }
            if sql.len() > CONDITION_BYTES_MAX {
                return None;
            }
        }
        Some(sql)
    }

    /// Marks the parameters whose type another use may decide.
    pub(crate) fn mark_shared(&mut self, is_shared: &dyn Fn(usize) -> bool) {
        for piece in &mut self.pieces {
            if let Piece::Value(value) = piece {
                value.shared = matches!(value.of, Constant::Parameter(number) if is_shared(number));
            }
        }
    }
}

impl Analyzer<'_> {
    /// Keeps a condition that holds for every row that `region` lets through, where it is one on a table's row of that region.
    pub(crate) fn note_filter(&mut self, expr: &Expr, scope: &Scope<'_>, region: RegionId) {
        // A view's literals are not the statement's.
        if self.views > 0 || self.appearances.is_empty() {
            return;
        }
        let mut reading = Reading { analyzer: self, scope, region, place: None, found: RowCondition::default() };
        if reading.condition(expr).is_some()
            && let Some(place) = reading.place
        {
            let found = reading.found;
            self.filters.push((place, found));
        }
    }
}

/// A condition being read.
struct Reading<'a> {
    analyzer: &'a Analyzer<'a>,
    scope: &'a Scope<'a>,
    region: RegionId,
    /// The appearance whose columns it names.
    place: Option<usize>,
    found: RowCondition,
}

impl Reading<'_> {
    fn condition(&mut self, expr: &Expr) -> Option<()> {
        match expr {
            Expr::Boolean(value) => self.say(if *value { "TRUE" } else { "FALSE" }),
            Expr::Column { .. } => (Family::of(self.column(expr)?) == Some(Family::Boolean)).then_some(()),
            Expr::And(parts) => self.joined(parts, " AND "),
            Expr::Equal { left, right, null_safe } => self.comparison(left, if *null_safe { "IS NOT DISTINCT FROM" } else { "=" }, right),
            Expr::InList { value, list } => self.list(value, "IN", list),
            Expr::AnyOf { value, array } => self.any_of(value, array),
            Expr::Test { test, parts } => match (test, parts.as_slice()) {
                (Test::Or, parts) => self.joined(parts, " OR "),
                (Test::Not, [part]) => {
                    self.say("NOT (")?;
                    self.condition(part)?;
                    self.say(")")
                }
                (Test::Compare(operator), [left, right]) => self.comparison(left, operator, right),
                (Test::Between { negated }, [value, low, high]) => self.between(value, *negated, (low, high)),
                (Test::Like { negated }, [value, pattern]) => self.like(value, *negated, pattern),
                (Test::NotIn, [list @ .., value]) => self.list(value, "NOT IN", list),
                (Test::Is(words), [part]) => self.is(part, words),
                _ => None,
            },
            _ => None,
        }
    }

    fn say(&mut self, sql: &str) -> Option<()> {
        match self.found.pieces.last_mut() {
            Some(Piece::Sql(text)) => text.push_str(sql),
            _ => self.found.pieces.push(Piece::Sql(sql.to_owned())),
        }
        Some(())
    }

    fn joined(&mut self, parts: &[Expr], word: &str) -> Option<()> {
        for (at, part) in parts.iter().enumerate() {
            self.say(if at > 0 { word } else { "(" })?;
            self.say("(")?;
            self.condition(part)?;
            self.say(")")?;
        }
        self.say(")")
    }

    /// A column of the one appearance; its type.
    fn column(&mut self, expr: &Expr) -> Option<u32> {
        let (place, name, oid) = self.find(expr)?;
        if *self.place.get_or_insert(place) != place {
            return None;
        }
        self.say("t.")?;
        self.say(&quoted(&name))?;
        Some(oid)
    }

    fn find(&self, expr: &Expr) -> Option<(usize, String, u32)> {
        let term = self.scope.term(expr)?;
        let found = self.analyzer.appearances.iter().find_map(|appearance| Some((appearance, appearance.column(term)?)));
        let (appearance, (name, oid)) = found.filter(|(appearance, _)| appearance.region == self.region)?;
        Some((appearance.place, name.clone(), *oid))
    }

    /// The type of a column of a type that is compared here.
    fn compared(&self, expr: &Expr) -> Option<u32> {
        let (_, _, oid) = self.find(expr)?;
        let family = Family::of(oid)?;
        (family != Family::Text || self.analyzer.planner.schema.text().deterministic).then_some(oid)
    }

    fn comparison(&mut self, left: &Expr, operator: &str, right: &Expr) -> Option<()> {
        let oid = self.compared(left).or_else(|| self.compared(right))?;
        let columns = [left, right].iter().all(|side| matches!(side, Expr::Column { .. }));
        if columns && Family::of(oid) == Some(Family::Text) {
            // They may be of two collations.
            return None;
        }
        self.operand(left, oid)?;
        self.say(&format!(" {operator} "))?;
        self.operand(right, oid)
    }

    /// A column of the same family as `oid`, or a value compared with such.
    fn operand(&mut self, expr: &Expr, oid: u32) -> Option<()> {
        if matches!(expr, Expr::Column { .. }) {
            let other = self.column(expr)?;
            return (Family::of(other) == Family::of(oid)).then_some(());
        }
        self.value(expr, oid, Usage::Compared)
    }

    fn list(&mut self, value: &Expr, word: &str, list: &[Expr]) -> Option<()> {
        let oid = self.compared(value)?;
        self.column(value)?;
        self.say(&format!(" {word} "))?;
        for (at, item) in list.iter().enumerate() {
            self.say(if at > 0 { ", " } else { "(" })?;
            self.value(item, oid, Usage::Compared)?;
        }
        self.say(")")
    }

    fn between(&mut self, value: &Expr, negated: bool, (low, high): (&Expr, &Expr)) -> Option<()> {
        let oid = self.compared(value)?;
        self.column(value)?;
        self.say(if negated { " NOT BETWEEN " } else { " BETWEEN " })?;
        self.value(low, oid, Usage::Compared)?;
        self.say(" AND ")?;
        self.value(high, oid, Usage::Compared)
    }

    fn like(&mut self, value: &Expr, negated: bool, pattern: &Expr) -> Option<()> {
        let oid = self.compared(value).filter(|oid| Family::of(*oid) == Some(Family::Text))?;
        self.column(value)?;
        self.say(if negated { " NOT LIKE " } else { " LIKE " })?;
        self.value(pattern, oid, Usage::Pattern)
    }

    fn is(&mut self, part: &Expr, words: &str) -> Option<()> {
        let null = words.ends_with("NULL");
        self.say("(")?;
        if null && matches!(part, Expr::Column { .. }) {
            // Of any built-in type.
            self.column(part).filter(|oid| *oid < FIRST_USER_OID)?;
        } else {
            self.condition(part)?;
        }
        self.say(") ")?;
        self.say(words)
    }

    fn any_of(&mut self, value: &Expr, array: &Expr) -> Option<()> {
        let oid = self.compared(value)?;
        self.column(value)?;
        self.say(" = ANY (")?;
        let (inner, cast) = match array {
            Expr::Cast { value, to } if to.array => (value.as_ref(), Some(to)),
            array => (array, None),
        };
        if let Expr::Array(items) = inner {
            let cast = match cast {
                Some(to) => Some(Family::of(oid)?.type_name(to)?),
                None if items.is_empty() => return None,
                None => None,
            };
            self.say("ARRAY[")?;
            for (at, item) in items.iter().enumerate() {
                self.say(if at > 0 { ", " } else { "" })?;
                self.value(item, oid, Usage::Compared)?;
            }
            self.say("]")?;
            if let Some(name) = cast {
                self.say(&format!("::pg_catalog.{name}[]"))?;
            }
        } else {
            self.value(array, oid, Usage::Array)?;
        }
        self.say(")")
    }

    /// A constant that is compared with a column of type `oid`.
    fn value(&mut self, expr: &Expr, oid: u32, usage: Usage) -> Option<()> {
        let kind = |index: usize| self.analyzer.literals.get(index).map(|literal| literal.kind);
        let value = match expr {
            Expr::Boolean(value) if Family::of(oid) == Some(Family::Boolean) && usage == Usage::Compared => {
                return self.say(if *value { "TRUE" } else { "FALSE" });
            }
            Expr::Negative(inner) => match inner.as_ref() {
                Expr::Literal(index) if matches!(kind(*index)?, LiteralKind::Integer | LiteralKind::Numeric) => {
                    RowValue { negative: true, ..RowValue::of(Constant::Literal(*index), oid, usage) }
                }
                _ => return None,
            },
            Expr::Cast { value, to } if to.array == (usage == Usage::Array) => {
                let cast = Some(Family::of(oid)?.type_name(to)?);
                match value.as_ref() {
                    Expr::Literal(index) if is_string(kind(*index)?) => {
                        RowValue { cast, ..RowValue::of(Constant::Literal(*index), oid, usage) }
                    }
                    Expr::Parameter(number) => RowValue { cast, ..RowValue::of(Constant::Parameter(*number), oid, usage) },
                    _ => return None,
                }
            }
            Expr::Literal(index) => RowValue::of(Constant::Literal(*index), oid, usage),
            Expr::Parameter(number) => RowValue::of(Constant::Parameter(*number), oid, usage),
            Expr::Null => RowValue::of(Constant::Null, oid, usage),
            _ => return None,
        };
        if let Constant::Literal(index) = value.of {
            let kind = kind(index)?;
            let number = matches!(kind, LiteralKind::Integer | LiteralKind::Numeric);
            let counts = matches!(Family::of(oid)?, Family::Number | Family::Float) && usage == Usage::Compared;
            if !(is_string(kind) || number && counts) {
                return None;
            }
        }
        self.found.pieces.push(Piece::Value(value));
        Some(())
    }
}

/// Types that users make have oids from here on.
const FIRST_USER_OID: u32 = 16_384;

fn is_string(kind: LiteralKind) -> bool {
    matches!(kind, LiteralKind::Plain | LiteralKind::Escape | LiteralKind::Dollar)
}
