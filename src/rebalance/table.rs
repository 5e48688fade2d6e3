//! A sharded table as a move sees it: its columns, what tells its rows apart, how its rows are picked by bucket.

use std::collections::HashMap;

use tokio_postgres::GenericClient;

use crate::catalog::{TableRules, schema};
use crate::rebalance::bucket_set::BucketSet;
use crate::rebalance::error::{StepError, doing};
use crate::topology::key::KeyFamily;
use crate::topology::schema::RelationKind;
use crate::topology::{Placement, Schema};

/// A table that has rows of its own, partitions too, on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Differs from shard to shard.
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) key_column: String,
    pub(crate) family: KeyFamily,
    /// Without generated ones, in order.
    pub(crate) columns: Vec<Column>,
    /// Columns that tell rows apart, the key column first. Only the key column where there is no primary key: then all rows of a key move together.
    pub(crate) identity: Vec<String>,
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// As `format_type` writes it.
    pub(crate) type_name: String,
    /// GENERATED ALWAYS AS an expression: not copied.
    pub(crate) generated: bool,
    /// Its binary form means the same on every server: nothing in it is an oid of this one.
    pub(crate) portable: bool,
}

/// One table on both sides of a wave.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// Where rows come from.
    pub(crate) from: Table,
    pub(crate) to: Table,
}

impl Table {
    /// `"schema"."name"`.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }

    /// The bucket of a row. `prefix` is `t.`, `old.`, `new.` or nothing.
    pub(crate) fn bucket(&self, prefix: &str) -> String {
        let cast = match self.family {
            KeyFamily::Integer => "::pg_catalog.int8",
            KeyFamily::Text | KeyFamily::Char => "::pg_catalog.text",
            KeyFamily::Uuid => "::pg_catalog.uuid",
        };
        format!("shardyard.bucket({prefix}{}{cast})", identifier(&self.key_column))
    }

    /// Whether a row of `t` is in one of the buckets.
    pub(crate) fn in_buckets(&self, buckets: &BucketSet) -> String {
        buckets.condition(&self.bucket("t."))
    }

    /// `"a", "b"`: what is copied.
    pub(crate) fn column_list(&self) -> String {
        list(self.columns.iter().filter(|column| !column.generated).map(|column| identifier(&column.name)))
    }

    /// The same of the row `t`.
    pub(crate) fn values(&self) -> String {
        list(self.columns.iter().filter(|column| !column.generated).map(|column| format!("t.{}", identifier(&column.name))))
    }

    /// A number that is the same for equal rows, whatever the server: from the text of all columns, in this table's order.
    pub(crate) fn row_hash(&self) -> String {
        let columns = list(self.columns.iter().map(|column| format!("t.{}", identifier(&column.name))));
        format!("pg_catalog.hashtextextended(row({columns})::pg_catalog.text, 0)")
    }

    /// `prefix"a", prefix"b"` of the identity.
    pub(crate) fn identity_list(&self, prefix: &str) -> String {
        list(self.identity.iter().map(|column| format!("{prefix}{}", identifier(column))))
    }

    /// Whether the rows `t` and `k` are of one identity.
    pub(crate) fn same_identity(&self) -> String {
        let equal = |column: &String| format!("t.{0} = k.{0}", identifier(column));
        self.identity.iter().map(equal).collect::<Vec<_>>().join(" and ")
    }

    /// Where the touched keys are written.
    pub(crate) fn log(&self) -> String {
        format!("shardyard.log_{}", self.oid)
    }

    /// Whether the rows may be copied in binary.
    pub(crate) fn is_portable(&self) -> bool {
        self.columns.iter().filter(|column| !column.generated).all(|column| column.portable)
    }

    /// The name and shape that must be equal on both sides.
    fn shape(&self) -> (&str, &str, Vec<&Column>, &[String]) {
        let mut columns: Vec<&Column> = self.columns.iter().collect();
        columns.sort_by(|one, other| one.name.cmp(&other.name));
        (&self.schema, &self.name, columns, &self.identity)
    }
}

/// The sharded tables, as the home shard's schema and the rules have them.
pub(crate) async fn sharded<C: GenericClient>(home: &C, rules: &TableRules) -> Result<Schema, StepError> {
    Ok(schema::load(home, rules, 0).await?)
}

/// The sharded tables of a shard, in order of name. `schema` is the home shard's; a table that this shard lacks is an error.
pub(crate) async fn of_shard<C: GenericClient>(client: &C, schema: &Schema, shard: &str) -> Result<Vec<Table>, StepError> {
    let sharded = |placement: &Placement| match placement {
        Placement::Sharded { key_column, key_type } => Some((key_column.clone(), key_type.family())),
        _ => None,
    };
    select(client, schema, shard, sharded).await
}

/// The reference tables of a shard; they have no key.
pub(crate) async fn references<C: GenericClient>(client: &C, schema: &Schema, shard: &str) -> Result<Vec<Table>, StepError> {
    let reference = |placement: &Placement| (*placement == Placement::Reference).then(|| (String::new(), KeyFamily::Text));
    select(client, schema, shard, reference).await
}

async fn select<C: GenericClient>(
    client: &C,
    schema: &Schema,
    shard: &str,
    key: impl Fn(&Placement) -> Option<(String, KeyFamily)>,
) -> Result<Vec<Table>, StepError> {
    let tables = schema.relations().filter(|relation| relation.kind == RelationKind::Table);
    let mut tables: Vec<_> = tables.filter_map(|table| Some((table.schema.clone(), table.name.clone(), key(&table.placement)?))).collect();
    tables.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
    let (schemas, names): (Vec<&str>, Vec<&str>) = tables.iter().map(|table| (table.0.as_str(), table.1.as_str())).unzip();
    let action = || doing(format!("reading the tables of shard {shard}"));
    let mut all_columns = columns(client, shard).await?;
    let mut found: HashMap<(String, String), Table> = HashMap::new();
    for row in client.query(TABLES, &[&schemas, &names]).await.map_err(action())? {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        let Some((_, _, (key_column, family))) = tables.iter().find(|table| table.0 == schema && table.1 == name) else { continue };
        let oid = row.get(2);
        let columns = all_columns.remove(&oid).unwrap_or_default();
        let identity = identity(key_column, row.get(5), &columns);
        let (key_column, family) = (key_column.clone(), *family);
        let table = Table { oid, schema, name, key_column, family, columns, identity, rows: row.get(3), bytes: row.get(4) };
        found.insert((table.schema.clone(), table.name.clone()), table);
    }
    let of = |(schema, name, _): (String, String, _)| {
        let lacking = || StepError::Operator(format!("shard {shard} lacks the table {schema}.{name}: make it as on the home shard"));
        found.remove(&(schema.clone(), name.clone())).ok_or_else(lacking)
    };
    tables.into_iter().map(of).collect()
}

/// Name, oid, size and the columns of the primary key, else of the replica identity.
const TABLES: &str = "select n.nspname::text, c.relname::text, c.oid, greatest(c.reltuples, 0)::bigint, pg_catalog.pg_table_size(c.oid),
           (select pg_catalog.array_agg(a.attname::text order by k.place)
            from (select i.indkey from pg_catalog.pg_index i
                  where i.indrelid = c.oid and i.indisvalid and (i.indisprimary or i.indisreplident)
                  order by i.indisprimary desc limit 1) i,
                 pg_catalog.unnest(i.indkey::int2[]) with ordinality k (number, place)
            join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.number)
    from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) w (schema_name, table_name)
    join pg_catalog.pg_namespace n on n.nspname = w.schema_name
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.table_name and c.relkind = 'r'
    order by 1, 2";

/// The tables of both sides, which must have one shape.
pub(crate) fn pairs(from: Vec<Table>, to: Vec<Table>) -> Result<Vec<Pair>, StepError> {
    let pair = |(from, to): (Table, Table)| {
        if from.shape() == to.shape() {
            return Ok(Pair { from, to });
        }
        let name = from.quoted();
        Err(StepError::Operator(format!("table {name} differs on the two shards: give it the same columns and primary key on both")))
    };
    from.into_iter().zip(to).map(pair).collect()
}

/// The first table that is on one list only, or has another shape or another oid.
pub(crate) fn first_change(before: &[Table], now: &[Table]) -> Option<String> {
    let lacks = |tables: &[Table], table: &Table| !tables.iter().any(|other| other.oid == table.oid && other.shape() == table.shape());
    let gone = before.iter().find(|table| lacks(now, table));
    gone.or_else(|| now.iter().find(|table| lacks(before, table))).map(Table::quoted)
}

async fn columns<C: GenericClient>(client: &C, shard: &str) -> Result<HashMap<u32, Vec<Column>>, StepError> {
    // 16384 is the first oid that is not PostgreSQL's own. An enum's binary form is its label.
    let select = "select a.attrelid, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attgenerated <> '',
                         t.oid < 16384 and t.typtype = 'b' and t.typtype <> 'c' and t.typname !~ '^reg' or t.typtype = 'e'
                  from pg_catalog.pg_attribute a
                  join pg_catalog.pg_class c on c.oid = a.attrelid and c.relkind = 'r'
                  join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname not in ('pg_catalog', 'information_schema', 'shardyard')
                  join pg_catalog.pg_type t on t.oid = a.atttypid
                  where a.attnum > 0 and not a.attisdropped order by a.attrelid, a.attnum";
    let mut columns: HashMap<u32, Vec<Column>> = HashMap::new();
    for row in client.query(select, &[]).await.map_err(doing(format!("reading the columns of shard {shard}")))? {
        let column = Column { name: row.get(1), type_name: row.get(2), generated: row.get(3), portable: row.get(4) };
        columns.entry(row.get(0)).or_default().push(column);
    }
    Ok(columns)
}

/// The key column, then the primary key's other columns. A generated column has no value yet when the guard sees the row: then the key alone.
fn identity(key_column: &str, primary: Option<Vec<String>>, columns: &[Column]) -> Vec<String> {
    let primary = primary.unwrap_or_default();
    let generated = |name: &String| columns.iter().any(|column| column.generated && column.name == *name);
    let others = primary.iter().filter(|name| *name != key_column).cloned();
    if primary.iter().any(generated) {
        return vec![key_column.to_owned()];
    }
    std::iter::once(key_column.to_owned()).chain(others).collect()
}

pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(crate) fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
