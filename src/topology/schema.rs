//! The cluster's tables, views and functions as the proxy knows them, learned from the home shard.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The types a shard key may have. Types with one canonical text are colocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    SmallInt,
    Integer,
    BigInt,
    Text,
    Varchar,
    /// `char(n)`: compared without trailing blanks, hashed without them.
    Char,
    Uuid,
}

/// Where a relation's rows live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On the shard of the row's key.
    Sharded { key_column: String, key_type: KeyType },
    /// Whole, on every shard.
    Reference,
    /// On the home shard.
    Single,
}

/// What a relation is, as `pg_class.relkind` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    PartitionedTable,
    View,
    MaterializedView,
    ForeignTable,
    Sequence,
}

/// One column, in order of `attnum`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// `pg_type.oid`.
    pub type_oid: u32,
    pub not_null: bool,
    /// Whether the column has a default that calls a volatile function (nextval, random, clock), or is an identity.
    pub volatile_default: bool,
    /// Whether its default is one value for all rows of a statement, and another for the next: now(), current_user.
    pub moment_default: bool,
    /// GENERATED ALWAYS AS an expression: no value is given for it.
    pub generated: bool,
    /// It alone is the key of a unique index over all rows.
    pub unique: bool,
}

/// One relation of a user schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    pub placement: Placement,
    pub columns: Vec<Column>,
    /// For a view: its query as `pg_get_viewdef` prints it. A view's placement is `Single` when all it reads is
    /// single or reference, `Reference` when all it reads is reference, and `Sharded` (with the first sharded table's key) otherwise.
    pub view_query: Option<String>,
    /// Policies decide who sees which rows.
    pub row_security: bool,
    /// A trigger's function leaves something behind in its server's session.
    pub triggers_leave_state: bool,
}

/// `pg_proc.provolatile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

/// What is known of all functions that share a name: the worst of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionFacts {
    pub volatility: Volatility,
    /// Whether the body of a user's function names a sharded table, so that its answer depends on the shard it runs on.
    pub names_sharded_table: bool,
    /// Whether the body of a user's function leaves something behind in its server's session.
    pub leaves_session_state: bool,
}

/// Names of functions that do not make one value of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionKinds {
    /// Aggregates and window functions.
    pub aggregates: HashSet<String>,
    pub set_returning: HashSet<String>,
}

/// How the database compares text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextRules {
    /// By the bytes of UTF-8, whatever column: the database's collation and those of all columns are C or the like.
    pub by_bytes: bool,
    /// Equal text is the same bytes, whatever column.
    pub deterministic: bool,
}

/// Everything the planner may ask. Immutable once made; replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// Grows when the proxy learns anew; part of the statement cache's key.
    pub version: u64,
    relations: HashMap<String, HashMap<String, Arc<Relation>>>,
    functions: HashMap<String, FunctionFacts>,
    kinds: FunctionKinds,
    text: TextRules,
}

impl Schema {
    #[must_use]
    pub fn new(version: u64, relations: Vec<Relation>, functions: HashMap<String, FunctionFacts>) -> Self {
        let mut by_schema: HashMap<String, HashMap<String, Arc<Relation>>> = HashMap::new();
        for relation in relations {
            by_schema.entry(relation.schema.clone()).or_default().insert(relation.name.clone(), Arc::new(relation));
        }
        Self { version, relations: by_schema, functions, kinds: FunctionKinds::default(), text: TextRules::default() }
    }

    /// The same with what is known of aggregates and of text. Without, every function may be an aggregate, and no order of text is known.
    #[must_use]
    pub fn with_rules(self, kinds: FunctionKinds, text: TextRules) -> Self {
        Self { kinds, text, ..self }
    }

    /// Whether one of the functions called `name` is an aggregate or a window function.
    #[must_use]
    pub fn is_aggregate(&self, name: &str) -> bool {
        self.kinds.aggregates.contains(name) || self.kinds.aggregates.is_empty()
    }

    /// Whether one of the functions called `name` gives several rows.
    #[must_use]
    pub fn is_set_returning(&self, name: &str) -> bool {
        self.kinds.set_returning.contains(name) || self.kinds.aggregates.is_empty()
    }

    #[must_use]
    pub fn text(&self) -> TextRules {
        self.text
    }

    /// The relation `name`: in `schema` if given, else in the first schema of `search_path` that has it.
    #[must_use]
    pub fn relation(&self, schema: Option<&str>, name: &str, search_path: &[String]) -> Option<&Arc<Relation>> {
        match schema {
            Some(schema) => self.relations.get(schema)?.get(name),
            None => search_path.iter().find_map(|schema| self.relations.get(schema)?.get(name)),
        }
    }

    /// Whether both hold the same, whatever their versions.
    #[must_use]
    pub fn holds_the_same(&self, other: &Self) -> bool {
        self.relations == other.relations && self.functions == other.functions && self.kinds == other.kinds && self.text == other.text
    }

    /// The same with `relation` added or replaced: what a transaction sees of its own DDL.
    #[must_use]
    pub fn with_relation(&self, relation: Relation) -> Self {
        let mut changed = self.clone();
        changed.relations.entry(relation.schema.clone()).or_default().insert(relation.name.clone(), Arc::new(relation));
        changed
    }

    /// The same without a relation.
    #[must_use]
    pub fn without_relation(&self, schema: &str, name: &str) -> Self {
        let mut changed = self.clone();
        if let Some(relations) = changed.relations.get_mut(schema) {
            relations.remove(name);
        }
        changed
    }

    /// All functions called `name`, folded into one; `None` for a name that no user or built-in function has.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<FunctionFacts> {
        self.functions.get(name).copied()
    }

    /// Every relation, in no order.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values().flat_map(HashMap::values)
    }
}
