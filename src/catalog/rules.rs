//! What the operator says of tables: the rows of `table_kind`, or `tables.toml`.

/// `tables.toml`, and the rows of the catalog's `table_kind`: what differs from "sharded if it has the key column".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableRules {
    /// The column that makes a table sharded; `user_id` by default.
    pub key_column: String,
    pub rules: Vec<TableRule>,
}

/// One table's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRule {
    pub schema: String,
    pub name: String,
    pub kind: TableRuleKind,
    /// Uniqueness only within a shard is accepted.
    pub local_unique: bool,
}

/// What the rule says of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableRuleKind {
    /// Sharded by this column instead of the default one.
    Sharded {
        key_column: String,
    },
    Reference,
    /// On the home shard although it has the key column.
    Single,
}

impl TableRules {
    /// The rule of this table, if there is one.
    #[must_use]
    pub fn rule(&self, schema: &str, name: &str) -> Option<&TableRule> {
        self.rules.iter().find(|rule| rule.schema == schema && rule.name == name)
    }

    /// These rules and those of `tables.toml`: where both speak of a table, these win.
    #[must_use]
    pub fn over(mut self, file: &Self) -> Self {
        let missing = file.rules.iter().filter(|rule| self.rule(&rule.schema, &rule.name).is_none()).cloned();
        let missing: Vec<TableRule> = missing.collect();
        self.rules.extend(missing);
        self
    }
}
