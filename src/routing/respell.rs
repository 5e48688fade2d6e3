//! SQL text of a gather: the statement with names respelt, and what makes and fills the temporary tables.

use std::fmt::Write;

use crate::routing::gather::{GatherPlan, GatherTable, GatherView};
use crate::sql::cursor::Tokens;
use crate::topology::moving::owned;

/// What never runs, but keeps a server from using parallel workers, which would mix the tables' rows.
const SERIAL: &str = "(true OR pg_catalog.set_config('shardyard.serial', '', true) IS NULL)";

/// `text` with `schema` replaced by `pg_temp` before each of `names` (schema, name), calls of functions excepted. `None` without tokens.
#[must_use]
pub(crate) fn respelt(text: &[u8], standard_strings: bool, names: &[(String, String)]) -> Option<Vec<u8>> {
    let tokens = Tokens::new(text, standard_strings).ok()?;
    let mut cursor = tokens.cursor();
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut done = 0;
    while let Some(token) = cursor.peek() {
        let mut ahead = cursor;
        let schema = ahead.any_name().filter(|_| ahead.accept_mark(b'.'));
        let name = schema.and_then(|schema| Some((schema, ahead.any_name()?)));
        if name.is_some_and(|name| !ahead.is_mark(b'(') && names.contains(&name)) {
            out.extend_from_slice(text.get(done..token.start as usize)?);
            out.extend_from_slice(b"pg_temp");
            done = token.end as usize;
        }
        cursor.advance();
    }
    out.extend_from_slice(text.get(done..)?);
    Some(out)
}

impl GatherPlan {
    /// Makes the temporary tables, with the rows that the home shard has itself, and the views over them. `left_out`: buckets that do not
    /// count there (see [`crate::topology::Moving::left_out`]).
    #[must_use]
    pub fn make_sql(&self, left_out: Option<&str>) -> String {
        let mut sql = String::new();
        let several = self.tables.len() > 1;
        for table in &self.tables {
            let data = if several { " WITH NO DATA" } else { "" };
            let _ = write!(sql, "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS {}{data};", quoted(&table.name), table.select(true, left_out));
        }
        if several {
            // One statement, so that all of them are of one snapshot.
            let inserts: Vec<String> =
                self.tables.iter().map(|table| format!("INSERT INTO {} {}", table.temporary(), table.select(true, left_out))).collect();
            let (last, others) = inserts.split_last().map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
            let others: Vec<String> = others.iter().enumerate().map(|(at, insert)| format!("t{at} AS ({insert})")).collect();
            let _ = write!(sql, "WITH {} {last};", others.join(", "));
        }
        for view in &self.views {
            sql.push_str(&view.make_sql());
        }
        sql
    }

    /// The rows of all tables, one table after another. Of several tables each row is: the table's place, the columns of all tables.
    /// `left_out`: buckets that do not count on the shard.
    #[must_use]
    pub fn copy_out_sql(&self, as_text: bool, left_out: Option<&str>) -> String {
        let options = copy_options(as_text);
        if let [table] = self.tables.as_slice() {
            return format!("COPY ({}) TO STDOUT {options}", table.select(false, left_out));
        }
        let mut selects = Vec::new();
        for (at, table) in self.tables.iter().enumerate() {
            let columns = self.tables.iter().enumerate().flat_map(|(other_at, other)| {
                other.needed().map(move |column| if other_at == at { format!("t.{}", quoted(column)) } else { other.null(column) })
            });
            let columns: Vec<String> = columns.collect();
            let condition = table.filter(left_out).map_or_else(String::new, |condition| format!(" AND {condition}"));
            selects.push(format!("SELECT {at}, {} FROM {} AS t WHERE {SERIAL}{condition}", columns.join(", "), table.real()));
        }
        format!("COPY ({}) TO STDOUT {options}", selects.join(" UNION ALL "))
    }

    /// Takes in the gathered rows of one table.
    #[must_use]
    pub fn copy_in_sql(&self, table: &GatherTable, as_text: bool) -> String {
        let columns: Vec<String> = table.needed().map(quoted).collect();
        format!("COPY {} ({}) FROM STDIN {}", table.temporary(), columns.join(", "), copy_options(as_text))
    }

    /// Whether rows travel as text.
    #[must_use]
    pub fn as_text(&self) -> bool {
        self.tables.iter().any(|table| table.as_text)
    }

    /// Gives what [`GatherPlan::make_sql`] has made names that nothing else means.
    #[must_use]
    pub fn rename_sql(&self, name: &str) -> String {
        let mut sql = String::new();
        for (at, view) in self.views.iter().enumerate() {
            let _ = write!(sql, "ALTER VIEW pg_temp.{} RENAME TO {name}_v{at};", quoted(&view.name));
        }
        for (at, table) in self.tables.iter().enumerate() {
            let _ = write!(sql, "ALTER TABLE {} RENAME TO {name}_t{at};", table.temporary());
        }
        sql
    }

    /// Removes what [`GatherPlan::make_sql`] has made.
    #[must_use]
    pub fn drop_sql(&self) -> String {
        let mut sql = String::new();
        for view in self.views.iter().rev() {
            let _ = write!(sql, "DROP VIEW pg_temp.{};", quoted(&view.name));
        }
        for table in &self.tables {
            let _ = write!(sql, "DROP TABLE {};", table.temporary());
        }
        sql
    }
}

impl GatherTable {
    /// Its gathered rows' table, quoted.
    #[must_use]
    pub fn temporary(&self) -> String {
        format!("pg_temp.{}", quoted(&self.name))
    }

    fn real(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// For EXPLAIN (ROUTE): its name, columns and condition.
    pub(crate) fn shown(&self) -> String {
        let all = self.columns.iter().all(|column| column.needed);
        let columns = if all { "all columns".to_owned() } else { self.needed().collect::<Vec<_>>().join(", ") };
        let condition = self.condition.as_ref().map_or_else(String::new, |condition| format!(" where {condition}"));
        format!("{}.{} ({columns}){condition}", self.schema, self.name)
    }

    /// The columns whose rows are brought.
    pub fn needed(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|column| column.needed).map(|column| column.name.as_str())
    }

    /// Asks for the columns of its primary key, quoted; null without one.
    #[must_use]
    pub fn primary_key_sql(&self) -> String {
        format!(
            "SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY k.place) FROM pg_catalog.pg_index i \
             CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k(number, place) \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
             WHERE i.indisprimary AND i.indrelid = '{}'::pg_catalog.regclass",
            self.real().replace('\'', "''")
        )
    }

    /// A null of the column's type.
    fn null(&self, column: &str) -> String {
        format!("(NULL::{}).{}", self.real(), quoted(column))
    }

    /// Its rows that matter and count.
    fn filter(&self, left_out: Option<&str>) -> Option<String> {
        let owned = left_out.map(|left_out| owned(&format!("t.{}", quoted(&self.key_column)), left_out));
        match (&self.condition, owned) {
            (Some(condition), Some(owned)) => Some(format!("{condition} AND {owned}")),
            (condition, owned) => condition.clone().or(owned),
        }
    }

    /// `all`: with the columns that are not needed, as nulls.
    fn select(&self, all: bool, left_out: Option<&str>) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .filter(|column| all || column.needed)
            .map(|column| {
                let name = quoted(&column.name);
                if column.needed { format!("t.{name}") } else { format!("{} AS {name}", self.null(&column.name)) }
            })
            .collect();
        let condition = self.filter(left_out).map_or_else(String::new, |condition| format!(" WHERE {condition}"));
        format!("SELECT {} FROM {} AS t{condition}", columns.join(", "), self.real())
    }
}

impl GatherView {
    fn make_sql(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| quoted(column)).collect();
        format!("CREATE TEMPORARY VIEW {} ({}) AS {};", quoted(&self.name), columns.join(", "), self.query)
    }
}

fn copy_options(as_text: bool) -> &'static str {
    if as_text { "(FORMAT text, ENCODING 'UTF8')" } else { "(FORMAT binary)" }
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
