//! What the planner needs of a statement: blocks, tables, conditions. Everything else is only a list of its parts.

use crate::sql::command::ObjectName;

/// A statement that reads or writes rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    Query(Query),
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Merge(Box<Merge>),
}

/// A SELECT with all that belongs to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    pub with: With,
    pub body: Body,
    pub order_by: Vec<Expr>,
    /// The expressions of LIMIT, OFFSET and FETCH.
    pub limits: Vec<Expr>,
    /// LIMIT, OFFSET or FETCH is there.
    pub limited: bool,
    /// FOR UPDATE and the like.
    pub locking: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Select(Box<Select>),
    Values(Vec<Vec<Expr>>),
    /// Arms of UNION, INTERSECT and EXCEPT, in order; how they nest does not matter to routing.
    Arms(Vec<Query>),
    /// A query in parentheses that has an ORDER BY, LIMIT or WITH of its own.
    Nested(Box<Query>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Values(Vec::new())
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct With {
    pub recursive: bool,
    pub tables: Vec<CommonTable>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CommonTable {
    pub name: String,
    pub columns: Vec<String>,
    pub statement: Statement,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Select {
    pub distinct: Distinct,
    pub targets: Vec<Target>,
    pub into: Option<Into>,
    pub from: Vec<FromItem>,
    pub filter: Option<Expr>,
    pub group_by: Vec<Expr>,
    /// ROLLUP, CUBE or GROUPING SETS.
    pub grouping_sets: bool,
    pub having: Option<Expr>,
    /// The expressions of the WINDOW clause.
    pub windows: Vec<Expr>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Distinct {
    #[default]
    No,
    Rows,
    On(Vec<Expr>),
}

/// SELECT … INTO.
#[derive(Clone, Debug, PartialEq)]
pub struct Into {
    pub name: ObjectName,
    pub temporary: bool,
}

/// One item of a target list, `*` included.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub expr: Expr,
    pub alias: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FromItem {
    Table(TableRef),
    Derived {
        query: Box<Query>,
        alias: Alias,
        lateral: bool,
    },
    /// Functions in FROM, ROWS FROM included.
    Functions {
        calls: Vec<Expr>,
        alias: Alias,
    },
    Join(Box<Join>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct TableRef {
    pub name: ObjectName,
    pub alias: Alias,
    /// Arguments of TABLESAMPLE.
    pub sample: Option<Vec<Expr>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alias {
    pub name: Option<String>,
    pub columns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    pub kind: JoinKind,
    pub left: FromItem,
    pub right: FromItem,
    pub condition: JoinCondition,
    /// Of a join in parentheses, or of USING: hides the names inside or adds one.
    pub alias: Alias,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
}

#[derive(Clone, Debug, PartialEq)]
pub enum JoinCondition {
    None,
    On(Expr),
    Using(Vec<String>),
    Natural,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    pub with: With,
    pub table: ObjectName,
    pub alias: Option<String>,
    /// `None`: no column list, so the table's columns in order.
    pub columns: Option<Vec<String>>,
    pub source: Source,
    pub conflict: Option<Conflict>,
    pub returning: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    DefaultValues,
    Query(Query),
}

/// ON CONFLICT.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// Expressions of the target and its WHERE.
    pub target: Vec<Expr>,
    /// Empty for DO NOTHING.
    pub sets: Vec<Assignment>,
    pub filter: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub columns: Vec<String>,
    pub value: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub with: With,
    pub table: ObjectName,
    pub alias: Option<String>,
    pub sets: Vec<Assignment>,
    pub from: Vec<FromItem>,
    pub filter: Option<Expr>,
    /// WHERE CURRENT OF a cursor.
    pub current_of: bool,
    pub returning: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    pub with: With,
    pub table: ObjectName,
    pub alias: Option<String>,
    pub using: Vec<FromItem>,
    pub filter: Option<Expr>,
    pub current_of: bool,
    pub returning: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    pub with: With,
    pub table: ObjectName,
    pub alias: Option<String>,
    pub source: FromItem,
    pub on: Expr,
    pub clauses: Vec<MergeClause>,
    pub returning: Vec<Target>,
}

/// WHEN [NOT] MATCHED … THEN …
#[derive(Clone, Debug, PartialEq)]
pub struct MergeClause {
    pub condition: Option<Expr>,
    pub action: MergeAction,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MergeAction {
    Nothing,
    Delete,
    Update(Vec<Assignment>),
    Insert { columns: Option<Vec<String>>, values: Vec<Expr> },
}

/// An expression, as far as routing looks into it.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `[[schema.]table.]column`: what stands before the last dot, and the last name.
    Column {
        qualifier: Vec<String>,
        name: String,
    },
    /// `*` or `table.*`.
    Star {
        qualifier: Vec<String>,
    },
    /// The index among the text's literals.
    Literal(usize),
    /// `$n`, from 1.
    Parameter(usize),
    Null,
    Boolean(bool),
    /// DEFAULT in VALUES or SET.
    Default,
    /// Minus in front.
    Negative(Box<Expr>),
    Cast {
        value: Box<Expr>,
        to: TypeName,
    },
    And(Vec<Expr>),
    /// `=`, or IS NOT DISTINCT FROM, which also holds for two nulls.
    Equal {
        left: Box<Expr>,
        right: Box<Expr>,
        null_safe: bool,
    },
    /// `value IN (list)`.
    InList {
        value: Box<Expr>,
        list: Vec<Expr>,
    },
    /// `value IN (query)` and `value = ANY (query)`.
    InQuery {
        value: Box<Expr>,
        query: Box<Query>,
    },
    /// `value = ANY (array)`.
    AnyOf {
        value: Box<Expr>,
        array: Box<Expr>,
    },
    Array(Vec<Expr>),
    Row(Vec<Expr>),
    /// A query as a value, EXISTS, ARRAY(…), and every other use of a query but `InQuery`.
    Subquery {
        query: Box<Query>,
        scalar: bool,
    },
    Call(Box<Call>),
    /// A condition that says the same of its operands wherever it stands.
    Test {
        test: Test,
        parts: Vec<Expr>,
    },
    /// Anything else that has these parts: CASE, operators, LIKE with ESCAPE.
    Other(Vec<Expr>),
}

/// What a condition asks of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Of any number of parts.
    Or,
    Not,
    /// `<`, `<=`, `>`, `>=`, `<>`, or IS DISTINCT FROM.
    Compare(&'static str),
    /// Value, low, high.
    Between {
        negated: bool,
    },
    Like {
        negated: bool,
    },
    /// The list, then the value.
    NotIn,
    /// `IS NULL` and its like, in these words.
    Is(&'static str),
}

/// A function call. Keywords that act as functions (`current_timestamp`) count as calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    pub schema: Option<String>,
    pub name: String,
    /// Arguments, and the expressions of its ORDER BY and FILTER.
    pub arguments: Vec<Expr>,
    /// OVER is there; its expressions are among the arguments.
    pub window: bool,
    /// DISTINCT or ORDER BY stands among the arguments.
    pub ordered: bool,
}

/// The type of a cast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeName {
    /// Folded; the short names of PostgreSQL (`int8`, `varchar`, `timestamptz`) where it has several.
    pub name: String,
    /// It has no schema, or pg_catalog.
    pub builtin: bool,
    /// `(n)` follows.
    pub modified: bool,
    pub array: bool,
}

/// Calls `visit` for `expr` and everything in it; not for what is inside of queries, which are handed over instead.
pub fn walk<'a>(expr: &'a Expr, visit: &mut dyn FnMut(&'a Expr)) {
    visit(expr);
    match expr {
        Expr::Negative(value) | Expr::Cast { value, .. } | Expr::InQuery { value, .. } => walk(value, visit),
        Expr::Equal { left, right, .. } => {
            walk(left, visit);
            walk(right, visit);
        }
        Expr::AnyOf { value, array } => {
            walk(value, visit);
            walk(array, visit);
        }
        Expr::InList { value, list } => {
            walk(value, visit);
            list.iter().for_each(|item| walk(item, visit));
        }
        Expr::And(list) | Expr::Array(list) | Expr::Row(list) | Expr::Other(list) | Expr::Test { parts: list, .. } => {
            list.iter().for_each(|item| walk(item, visit));
        }
        Expr::Call(call) => call.arguments.iter().for_each(|item| walk(item, visit)),
        Expr::Column { .. }
        | Expr::Star { .. }
        | Expr::Literal(_)
        | Expr::Parameter(_)
        | Expr::Null
        | Expr::Boolean(_)
        | Expr::Default
        | Expr::Subquery { .. } => {}
    }
}
