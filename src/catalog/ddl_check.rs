//! Looks at a table inside the transaction that made or changed it, before the other shards follow.
//!
//! The transaction's connection is the application's, so this is a text to send there and a text that comes back:
//! ```text
//! query(table) ─▶ the home shard, same transaction ─▶ one row, one column of JSON ─▶ Inspection::read ─▶ Inspection::judge
//! ```

use serde::Deserialize;

use crate::catalog::TableRules;
use crate::catalog::ddl_rules::{DdlRefusal, Judgement, judge};
use crate::catalog::placement::{Candidate, key_type};
use crate::sql::command::ObjectName;
use crate::topology::Placement;
use crate::topology::schema::RelationKind;

/// A table and those that its foreign keys and parents lead to.
#[derive(Clone, Debug, Deserialize)]
pub struct Inspection {
    /// The table asked for.
    oid: u32,
    tables: Vec<InspectedTable>,
}

/// One table as the home shard's catalogs show it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct InspectedTable {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    kind: String,
    /// `pg_class.relpersistence`: `t` for a temporary table.
    persistence: String,
    parent: Option<u32>,
    pub(crate) columns: Vec<InspectedColumn>,
    pub(crate) unique: Vec<UniqueIndex>,
    pub(crate) foreign_keys: Vec<ForeignKey>,
    pub(crate) sequences: Vec<InspectedSequence>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct InspectedColumn {
    pub(crate) name: String,
    /// Of a domain, the base type's.
    type_oid: u32,
    type_name: String,
    deterministic: bool,
    /// As `pg_get_expr` prints it.
    pub(crate) default: Option<String>,
}

/// A unique index or an exclusion constraint.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct UniqueIndex {
    pub(crate) name: String,
    pub(crate) primary: bool,
    /// Without INCLUDE columns; `None` for an expression.
    pub(crate) columns: Vec<Option<String>>,
    pub(crate) exclusion: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ForeignKey {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    pub(crate) target: u32,
    pub(crate) target_columns: Vec<String>,
}

/// A sequence that fills a column: serial, identity, or a default that names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct InspectedSequence {
    pub schema: String,
    pub name: String,
    /// The column that it fills.
    pub column: String,
    /// `smallint`, `integer` or `bigint`: the narrower of the sequence's type and the column's.
    pub type_name: String,
    pub increment: i64,
    /// The last value that the home shard's sequence gave, 0 if it gave none.
    pub last_value: i64,
}

/// The answer to [`query`] has no sense.
#[derive(Debug, thiserror::Error)]
#[error("the inspection of a table cannot be read")]
pub struct ReadError(#[from] serde_json::Error);

impl Inspection {
    /// Reads the answer to [`query`]; `None` when there is no such table (any more), or it is temporary.
    ///
    /// # Errors
    /// When the answer is not what the query gives.
    pub fn read(answer: &str) -> Result<Option<Self>, ReadError> {
        let inspection: Option<Self> = serde_json::from_str(answer)?;
        Ok(inspection.filter(|inspection| inspection.tables.iter().any(|table| table.oid == inspection.oid && table.persistence != "t")))
    }

    /// Where the table's rows will live and what must be done for that, or why it may not be so.
    /// `current` is the placement that the proxy knows from before the statement, `None` for a new table.
    ///
    /// # Errors
    /// When the table would not keep its promises over several shards (section 4 of the design).
    pub fn judge(&self, rules: &TableRules, current: Option<&Placement>) -> Result<Judgement, DdlRefusal> {
        judge(self, rules, current)
    }

    /// The columns of the table asked for: name, type, whether it has a default.
    #[must_use]
    pub fn column_names(&self) -> Vec<(String, u32, bool)> {
        let columns = self.subject().map(|table| table.columns.as_slice()).unwrap_or_default();
        columns.iter().map(|column| (column.name.clone(), column.type_oid, column.default.is_some())).collect()
    }

    /// The table asked for, by its full name.
    #[must_use]
    pub fn name(&self) -> Option<ObjectName> {
        self.subject().map(|table| ObjectName { schema: Some(table.schema.clone()), name: table.name.clone() })
    }

    pub(crate) fn table(&self, oid: u32) -> Option<&InspectedTable> {
        self.tables.iter().find(|table| table.oid == oid)
    }

    /// The table asked for.
    pub(crate) fn subject(&self) -> Option<&InspectedTable> {
        self.table(self.oid)
    }

    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        self.tables.iter().map(InspectedTable::candidate).collect()
    }
}

impl InspectedTable {
    fn candidate(&self) -> Candidate {
        let kind = match self.kind.as_str() {
            "p" => RelationKind::PartitionedTable,
            "v" => RelationKind::View,
            "m" => RelationKind::MaterializedView,
            "f" => RelationKind::ForeignTable,
            "S" => RelationKind::Sequence,
            _ => RelationKind::Table,
        };
        let column = |column: &InspectedColumn| (column.name.clone(), key_type(column.type_oid, &column.type_name, column.deterministic));
        Candidate {
            oid: self.oid,
            schema: self.schema.clone(),
            name: self.name.clone(),
            kind,
            columns: self.columns.iter().map(column).collect(),
            parent: self.parent,
            reads: Vec::new(),
        }
    }
}

/// The query to run on the home shard, in the transaction of the DDL and under its `search_path`: one row, one column of text.
#[must_use]
pub fn query(table: &ObjectName) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let name = match &table.schema {
        Some(schema) => format!("{}.{}", quoted(schema), quoted(&table.name)),
        None => quoted(&table.name),
    };
    // An E-string means the same whatever standard_conforming_strings is.
    let literal = format!("E'{}'", name.replace('\\', "\\\\").replace('\'', "''"));
    QUERY.replace("{{name}}", &literal)
}

/// `null` when there is no such table.
const QUERY: &str = "with recursive wanted(oid) as (
    select pg_catalog.to_regclass({{name}})::pg_catalog.oid
    union
    select n.oid from wanted w join (
        select inhrelid as source, inhparent as oid from pg_catalog.pg_inherits
        union all
        select conrelid, confrelid from pg_catalog.pg_constraint where contype = 'f') n on n.source = w.oid)
select coalesce((select pg_catalog.json_build_object(
    'oid', pg_catalog.to_regclass({{name}})::pg_catalog.oid::pg_catalog.int8,
    'tables', pg_catalog.json_agg(pg_catalog.json_build_object(
        'oid', c.oid::pg_catalog.int8, 'schema', ns.nspname, 'name', c.relname, 'kind', c.relkind, 'persistence', c.relpersistence,
        'parent', (select i.inhparent::pg_catalog.int8 from pg_catalog.pg_inherits i where i.inhrelid = c.oid order by i.inhseqno limit 1),
        'columns', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
                'name', a.attname,
                'type_oid', (case when t.typtype = 'd' then t.typbasetype else t.oid end)::pg_catalog.int8,
                'type_name', pg_catalog.format_type(a.atttypid, a.atttypmod),
                'deterministic', coalesce((select l.collisdeterministic from pg_catalog.pg_collation l where l.oid = a.attcollation), true),
                'default', pg_catalog.pg_get_expr(d.adbin, d.adrelid)) order by a.attnum), '[]')
            from pg_catalog.pg_attribute a
            join pg_catalog.pg_type t on t.oid = a.atttypid
            left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
        'unique', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
                'name', x.relname, 'primary', i.indisprimary, 'exclusion', i.indisexclusion,
                'columns', array(select a.attname from pg_catalog.unnest(i.indkey::pg_catalog.int2[]) with ordinality k (number, place)
                    left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.number and k.number <> 0
                    where k.place <= i.indnkeyatts order by k.place)) order by x.relname), '[]')
            from pg_catalog.pg_index i join pg_catalog.pg_class x on x.oid = i.indexrelid
            where i.indrelid = c.oid and (i.indisunique or i.indisexclusion)),
        'foreign_keys', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
                'name', f.conname, 'target', f.confrelid::pg_catalog.int8,
                'columns', array(select a.attname from pg_catalog.unnest(f.conkey) with ordinality k (number, place)
                    join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.number order by k.place),
                'target_columns', array(select a.attname from pg_catalog.unnest(f.confkey) with ordinality k (number, place)
                    join pg_catalog.pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.number order by k.place)) order by f.conname), '[]')
            from pg_catalog.pg_constraint f where f.conrelid = c.oid and f.contype = 'f'),
        'sequences', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
                'schema', sn.nspname, 'name', s.relname, 'column', a.attname, 'increment', q.seqincrement,
                'last_value', case when pg_catalog.has_sequence_privilege(s.oid, 'USAGE, SELECT') then coalesce(pg_catalog.pg_sequence_last_value(s.oid), 0)
                                   else 0 end,
                'type_name', case when 21 in (a.atttypid, q.seqtypid) then 'smallint' when 23 in (a.atttypid, q.seqtypid) then 'integer'
                                  else 'bigint' end) order by a.attnum), '[]')
            from (select d.refobjid as sequence, ad.adnum as number
                  from pg_catalog.pg_attrdef ad join pg_catalog.pg_depend d
                  on d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = ad.oid
                     and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                  where ad.adrelid = c.oid
                  union
                  select d.objid, d.refobjsubid from pg_catalog.pg_depend d
                  where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = c.oid and d.deptype = 'i'
                        and d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjsubid > 0) u
            join pg_catalog.pg_class s on s.oid = u.sequence and s.relkind = 'S'
            join pg_catalog.pg_namespace sn on sn.oid = s.relnamespace
            join pg_catalog.pg_sequence q on q.seqrelid = s.oid
            join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = u.number)
        ) order by c.oid))
    from wanted w
    join pg_catalog.pg_class c on c.oid = w.oid
    join pg_catalog.pg_namespace ns on ns.oid = c.relnamespace
    having pg_catalog.count(*) > 0)::pg_catalog.text, 'null')";
