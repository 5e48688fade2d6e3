//! Generated writes: INSERT of rows of several keys, upserts, UPDATE and DELETE with every kind of condition, in and out of transactions.

use crate::differential::generate::expression::InScope;
use crate::differential::generate::query::Generator;
use crate::differential::generate::schema::{Kind, Relation};
use crate::differential::generate::syntax::{Expression, Writer};

impl Generator<'_> {
    /// A statement, or a transaction of several.
    pub(crate) fn writes(&mut self) -> Vec<String> {
        if self.random.chance(70) {
            return vec![self.write()];
        }
        let mut statements = vec!["begin".to_owned()];
        let savepoint = self.random.chance(35);
        for at in 0..2 + self.random.below(4) {
            if savepoint && at == 1 {
                statements.push("savepoint one".to_owned());
            }
            statements.push(self.write());
            if savepoint && at == 2 {
                statements.push("rollback to one".to_owned());
            }
        }
        statements.push(if self.random.chance(80) { "commit" } else { "rollback" }.to_owned());
        statements
    }

    fn write(&mut self) -> String {
        let wanted = *self.random.pick(&[Kind::Sharded, Kind::Sharded, Kind::Sharded, Kind::Sharded, Kind::Reference, Kind::Single]);
        let schema = self.schema;
        let fitting: Vec<&Relation> = schema.relations.iter().filter(|relation| relation.kind == wanted).collect();
        let relation = *self.random.pick(&fitting);
        self.subqueries = if self.random.chance(80) { 0 } else { 1 };
        match self.random.below(10) {
            0..=3 => self.insert(relation),
            4..=7 => self.update(relation),
            _ => self.delete(relation),
        }
    }

    fn insert(&mut self, relation: &Relation) -> String {
        // Some of the rows are there already.
        let rows: Vec<String> = (0..1 + self.random.below(6))
            .map(|_| {
                let number = self.random.below(60);
                Relation::row_text(&relation.random_row(number, false, &mut self.random))
            })
            .collect();
        let conflict = match self.random.below(4) {
            0 => " on conflict do nothing".to_owned(),
            1 => {
                let value = relation.columns.last().map(|column| column.name.clone()).unwrap_or_default();
                format!(" on conflict ({}) do update set {value} = excluded.{value}", relation.key.join(", "))
            }
            _ => String::new(),
        };
        format!("insert into {} values {}{conflict}{}", relation.name, rows.join(", "), self.returning(relation))
    }

    fn update(&mut self, relation: &Relation) -> String {
        let scope = scope(relation);
        let values: Vec<_> = relation.columns.iter().filter(|column| !relation.key.contains(&column.name)).collect();
        let column = *self.random.pick(&values);
        let value = match column.declared {
            // A longer or larger value than the column takes is an error of one row, and which row is first is open.
            "varchar(20)" | "char(4)" | "smallint" => self.constant(column.kind),
            _ => self.expression(column.kind, &scope, 1),
        };
        format!(
            "update {} as t set {} = {}{}{}",
            relation.name,
            column.name,
            Writer::expression_text(&value),
            self.rows_of(&scope),
            self.returning(relation)
        )
    }

    fn delete(&mut self, relation: &Relation) -> String {
        let scope = scope(relation);
        let mut condition = self.rows_of(&scope);
        if condition.is_empty() {
            " where id % 5 = 2".clone_into(&mut condition);
        }
        format!("delete from {} as t{condition}{}", relation.name, self.returning(relation))
    }

    fn rows_of(&mut self, scope: &[InScope]) -> String {
        let terms: Vec<Expression> = (0..self.random.below(3)).map(|_| self.condition(scope, 1)).collect();
        let texts: Vec<String> = terms.iter().map(Writer::expression_text).collect();
        if texts.is_empty() { String::new() } else { format!(" where {}", texts.join(" and ")) }
    }

    fn returning(&mut self, relation: &Relation) -> String {
        if self.random.chance(70) {
            return String::new();
        }
        let column = self.random.pick(&relation.columns);
        format!(" returning id, {}", column.name)
    }
}

fn scope(relation: &Relation) -> Vec<InScope> {
    let column = |column: &crate::differential::generate::schema::Column| InScope {
        alias: "t".to_owned(),
        name: column.name.clone(),
        kind: column.kind,
        is_key: column.name == "user_id",
    };
    relation.columns.iter().map(column).collect()
}
