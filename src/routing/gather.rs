//! Reads that the home shard computes over the rows of all shards: which tables are brought there, and what stands in the way.
//!
//! On the home shard each sharded table gets a temporary table of its name, which shadows it, with the rows of all shards. Then the
//! statement's own text runs. What would tell the temporary table from the real one is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::routing::decide::Binding;
use crate::routing::filter::RowCondition;
use crate::routing::narrow::narrow;
use crate::routing::plan::Planner;
use crate::routing::respell::respelt;
use crate::routing::spread::Sought;
use crate::sql::ast::Query;
use crate::sql::classify::Form;
use crate::sql::command::ObjectName;
use crate::sql::cursor::Cursor;
use crate::sql::tables::{names_in, names_outside_strings};
use crate::topology::schema::{Relation, RelationKind, Volatility};
use crate::topology::{Placement, ShardId};

/// What is brought to the home shard before the statement runs there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatherPlan {
    pub tables: Vec<GatherTable>,
    /// Views over them, in the order in which they can be made.
    pub views: Vec<GatherView>,
    /// The statement has no effects: what was done for it may be rolled back.
    pub reads: bool,
    /// It groups: by a primary key, columns that are not grouped by may stand in its output.
    pub groups: bool,
    pub kind: GatherKind,
    /// The shards that have any of their rows; `None`: all.
    pub shards: Option<Vec<ShardId>>,
}

/// What runs over the gathered rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatherKind {
    /// A query.
    #[default]
    Query,
    /// EXPLAIN of one.
    Explain,
    /// DECLARE CURSOR.
    Cursor,
    /// COPY (query) TO STDOUT.
    Copy,
    /// CREATE TEMPORARY TABLE AS, SELECT INTO TEMPORARY.
    Store,
}

/// A sharded table whose rows are gathered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherTable {
    pub schema: String,
    pub name: String,
    pub columns: Vec<GatherColumn>,
    /// Some of its columns' types have no binary form that all servers read alike.
    pub as_text: bool,
    /// Its keys in each of its appearances; none where one has no keys.
    pub(crate) bindings: Vec<Binding>,
    /// Conditions of each of its appearances, all of which hold for the rows that matter there; none where one has none.
    pub(crate) filters: Vec<Vec<RowCondition>>,
    pub(crate) key_column: String,
    /// The rows that matter, as a condition on the table `t`; `None`: all.
    pub condition: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherColumn {
    pub name: String,
    /// Else it is null in the gathered rows.
    pub needed: bool,
    pub not_null: bool,
}

/// A view over gathered tables, made anew over what is gathered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherView {
    pub schema: String,
    pub name: String,
    pub columns: Vec<String>,
    /// Its query, in which gathered relations are named in `pg_temp`.
    pub query: String,
}

/// Names that tell a gathered table from the real one: system columns, and what looks a table up by its name or lists tables.
const TELLING: &[&str] = &[
    "ctid",
    "xmin",
    "xmax",
    "cmin",
    "cmax",
    "tableoid",
    "regclass",
    "to_regclass",
    "pg_relation_size",
    "pg_table_size",
    "pg_total_relation_size",
    "pg_indexes_size",
    "pg_relation_filepath",
    "pg_get_serial_sequence",
    "has_table_privilege",
    "has_column_privilege",
    "has_any_column_privilege",
    "row_security_active",
    "current_schemas",
    "pg_table_is_visible",
    "pg_my_temp_schema",
    "repeatable",
];

/// Catalogs that tell nothing of tables.
const SILENT_CATALOGS: &[&str] = &[
    "pg_settings",
    "pg_roles",
    "pg_user",
    "pg_group",
    "pg_authid",
    "pg_database",
    "pg_timezone_names",
    "pg_timezone_abbrevs",
    "pg_tablespace",
    "pg_extension",
    "pg_collation",
    "pg_proc",
    "pg_operator",
    "pg_enum",
    "pg_language",
    "pg_stat_activity",
];

/// The plan of a query; else why it cannot be gathered.
pub(crate) fn plan(sought: &Sought<'_>, query: &Query) -> Result<GatherPlan, String> {
    let facts = &sought.analyzer.facts;
    if facts.writes {
        return Err("it writes".to_owned());
    }
    if facts.locking {
        return Err("rows are locked where they are, and a gathered row is a copy".to_owned());
    }
    if facts.session_state {
        return Err("it changes its session".to_owned());
    }
    if let Some(refusal) = &facts.soft {
        return Err(refusal.to_string());
    }
    if let Some(catalog) = facts.catalogs.iter().find(|name| !SILENT_CATALOGS.contains(&name.as_str())) {
        return Err(format!("catalog \"{catalog}\" would tell of gathered tables"));
    }
    let reads = facts.volatile.is_none() && !facts.relations.iter().any(|relation| is_unclear(relation, sought.analyzer.planner));
    let mut plan = found(sought.analyzer.planner, sought.whole, sought.form, (&facts.relations, reads))?;
    narrow(&mut plan, sought, query);
    Ok(plan)
}

/// The plan of a query that the parser does not understand: all that its names may mean is gathered.
pub(crate) fn plan_unparsed(planner: &Planner<'_>, whole: Cursor<'_>, form: Form) -> Result<GatherPlan, String> {
    if form == Form::Plain && !whole.is_one_of(&["select", "values", "table", "with", "("]) {
        return Err("it is no query".to_owned());
    }
    let names = names_outside_strings(whole);
    let word = |word: &str| names.iter().any(|name| name.name == word);
    if let Some(verb) = ["insert", "update", "delete", "merge", "into", "share"].into_iter().find(|verb| word(verb)) {
        return Err(format!("it is not understood, and \"{verb}\" stands in it"));
    }
    let mut relations: Vec<Arc<Relation>> = Vec::new();
    for name in &names {
        check_function(planner, &name.name)?;
        let catalog = name.schema.as_deref().is_some_and(|schema| matches!(schema, "pg_catalog" | "information_schema"));
        if (catalog || name.name.starts_with("pg_")) && !SILENT_CATALOGS.contains(&name.name.as_str()) {
            return Err(format!("it is not understood, and \"{}\" stands in it", name.name));
        }
        if let Some(relation) = planner.schema.relation(name.schema.as_deref(), &name.name, planner.search_path)
            && !relations.contains(relation)
        {
            relations.push(Arc::clone(relation));
        }
    }
    found(planner, whole, form, (&relations, false))
}

fn found(planner: &Planner<'_>, whole: Cursor<'_>, form: Form, (relations, reads): (&[Arc<Relation>], bool)) -> Result<GatherPlan, String> {
    let kind = match form {
        Form::Plain => GatherKind::Query,
        Form::Explain { .. } => GatherKind::Explain,
        Form::Cursor => GatherKind::Cursor,
        Form::CopyQuery => GatherKind::Copy,
        Form::Stored => {
            stored(whole).ok_or("its rows are stored")?;
            GatherKind::Store
        }
        Form::View | Form::Other => return Err("it is no query".to_owned()),
    };
    // A cursor's tables are still read when it has been declared, and what is stored stays.
    let reads = reads && !matches!(kind, GatherKind::Cursor | GatherKind::Store);
    if planner.search_path.iter().any(|schema| schema == "pg_temp" || schema.starts_with("pg_temp_")) {
        return Err("search_path names pg_temp".to_owned());
    }
    if whole.has_unicode_names() {
        return Err("it has a U&\"…\"".to_owned());
    }
    let mut gathering = Gathering { planner, plan: GatherPlan { reads, kind, ..GatherPlan::default() }, seen: BTreeSet::new() };
    for relation in relations.iter().filter(|relation| matches!(relation.placement, Placement::Sharded { .. })) {
        gathering.relation(relation, 0)?;
    }
    let Gathering { mut plan, .. } = gathering;
    if plan.tables.is_empty() {
        return Err("the tables that it reads are not known".to_owned());
    }
    check_names(planner, &plan, relations)?;
    if kind == GatherKind::Store && stored(whole).is_none_or(|made| plan.relations().any(|(_, name)| name == made.name)) {
        return Err("the new table has the name of one that is read".to_owned());
    }
    check_tokens(&mut plan, whole)?;
    Ok(plan)
}

/// The temporary table that is made; others are made on every shard.
fn stored(whole: Cursor<'_>) -> Option<ObjectName> {
    let mut cursor = whole;
    if whole.is_word("create") {
        cursor.advance();
    } else {
        while !cursor.at_end() && !cursor.accept_word("into") {
            cursor.advance();
        }
    }
    cursor.accept_one_of(&["local", "global"]);
    if !cursor.accept_one_of(&["temp", "temporary"]) {
        return None;
    }
    cursor.accept_word("table");
    cursor.accept_words(&["if", "not", "exists"]);
    named(cursor)
}

struct Gathering<'a> {
    planner: &'a Planner<'a>,
    plan: GatherPlan,
    seen: BTreeSet<(String, String)>,
}

/// Views within each other.
const VIEWS_DEPTH_MAX: usize = 50;

impl Gathering<'_> {
    fn relation(&mut self, relation: &Relation, depth: usize) -> Result<(), String> {
        if depth > VIEWS_DEPTH_MAX {
            return Err("its views are nested too deeply".to_owned());
        }
        if !self.seen.insert((relation.schema.clone(), relation.name.clone())) {
            return Ok(());
        }
        match relation.kind {
            RelationKind::Table | RelationKind::PartitionedTable if relation.row_security && depth > 0 => {
                Err(format!("a view reads \"{}\" with its owner's rights, and row-level security shows the client others", relation.name))
            }
            RelationKind::Table | RelationKind::PartitionedTable => {
                let columns = relation
                    .columns
                    .iter()
                    .map(|column| GatherColumn { name: column.name.clone(), needed: true, not_null: column.not_null })
                    .collect();
                let as_text = relation.columns.iter().any(|column| !has_binary_form(column.type_oid));
                self.plan.tables.push(GatherTable {
                    schema: relation.schema.clone(),
                    name: relation.name.clone(),
                    columns,
                    as_text,
                    bindings: Vec::new(),
                    filters: Vec::new(),
                    key_column: key_column(relation),
                    condition: None,
                });
                Ok(())
            }
            RelationKind::View => self.view(relation, depth),
            _ => Err(format!("\"{}\" is neither a table nor a view", relation.name)),
        }
    }

    fn view(&mut self, view: &Relation, depth: usize) -> Result<(), String> {
        let text = view.view_query.as_deref().ok_or_else(|| format!("the definition of view \"{}\" is not known", view.name))?;
        let mut gathered: Vec<(String, String)> = Vec::new();
        for name in names_in(text) {
            check_function(self.planner, &name.name)?;
            // The definition names every relation by its schema.
            let Some(schema) = name.schema.as_deref() else { continue };
            let Some(relation) = self.planner.schema.relation(Some(schema), &name.name, &[]) else { continue };
            if matches!(relation.placement, Placement::Sharded { .. }) {
                self.relation(relation, depth + 1)?;
                gathered.push((schema.to_owned(), name.name));
            }
        }
        let query = respelt(text.as_bytes(), true, &gathered)
            .ok_or_else(|| format!("the definition of view \"{}\" is not understood", view.name))?;
        self.plan.views.push(GatherView {
            schema: view.schema.clone(),
            name: view.name.clone(),
            columns: view.columns.iter().map(|column| column.name.clone()).collect(),
            query: String::from_utf8_lossy(&query).trim_end().trim_end_matches(';').to_owned(),
        });
        Ok(())
    }
}

impl GatherPlan {
    /// The statement's text with its gathered relations named in `pg_temp` where a schema is named.
    #[must_use]
    pub fn respelt(&self, text: &[u8], standard_strings: bool) -> Vec<u8> {
        let names: Vec<_> = self.relations().map(|(schema, name)| (schema.to_owned(), name.to_owned())).collect();
        respelt(text, standard_strings, &names).unwrap_or_else(|| text.to_vec())
    }

    /// Schema and name of all that is made anew.
    fn relations(&self) -> impl Iterator<Item = (&str, &str)> {
        let tables = self.tables.iter().map(|table| (table.schema.as_str(), table.name.as_str()));
        tables.chain(self.views.iter().map(|view| (view.schema.as_str(), view.name.as_str())))
    }
}

pub(crate) fn key_column(relation: &Relation) -> String {
    match &relation.placement {
        Placement::Sharded { key_column, .. } => key_column.clone(),
        Placement::Reference | Placement::Single => String::new(),
    }
}

/// Whether a view's text is not understood, so that what it calls is known by name only.
fn is_unclear(relation: &Relation, planner: &Planner<'_>) -> bool {
    relation.kind == RelationKind::View
        && relation.view_query.as_ref().is_some_and(|text| {
            names_in(text)
                .iter()
                .any(|name| planner.schema.function(&name.name).is_some_and(|facts| facts.volatility == Volatility::Volatile))
        })
}

/// A function that reads sharded tables would read those of the home shard, or the gathered ones: which, is not certain.
fn check_function(planner: &Planner<'_>, name: &str) -> Result<(), String> {
    if planner.schema.function(name).is_some_and(|facts| facts.names_sharded_table) {
        return Err(format!("function \"{name}\" reads a sharded table"));
    }
    Ok(())
}

/// A gathered relation may hide no other of its name.
fn check_names(planner: &Planner<'_>, plan: &GatherPlan, relations: &[Arc<Relation>]) -> Result<(), String> {
    let others = relations.iter().map(|relation| (relation.schema.as_str(), relation.name.as_str()));
    let all: Vec<(&str, &str)> = plan.relations().chain(others).collect();
    for (schema, name) in plan.relations() {
        if planner.temporary.iter().any(|temporary| temporary == name) {
            return Err(format!("there is a temporary table \"{name}\""));
        }
        if all.iter().any(|(other_schema, other)| *other == name && *other_schema != schema) {
            return Err(format!("it names two relations \"{name}\" of different schemas"));
        }
    }
    Ok(())
}

fn check_tokens(plan: &mut GatherPlan, mut cursor: Cursor<'_>) -> Result<(), String> {
    while !cursor.at_end() {
        plan.groups |= cursor.is_word("group");
        if cursor.is_word("only") {
            let mut ahead = cursor;
            ahead.advance();
            ahead.accept_mark(b'(');
            if named(ahead).is_some_and(|name| plan.relations().any(|(_, other)| other == name.name)) {
                return Err("ONLY is used".to_owned());
            }
        }
        let mut ahead = cursor;
        if let Some(name) = ahead.any_name().filter(|name| TELLING.contains(&name.as_str())) {
            return Err(format!("\"{name}\" would tell of gathered tables"));
        }
        cursor.advance();
    }
    Ok(())
}

/// The name at the cursor, its schema before it.
fn named(mut cursor: Cursor<'_>) -> Option<ObjectName> {
    let mut name = ObjectName { schema: None, name: cursor.any_name()? };
    while cursor.accept_mark(b'.') {
        name = ObjectName { schema: Some(name.name), name: cursor.any_name()? };
    }
    Some(name)
}

/// Built-in types whose binary form is the same on every server: no oids of users' types in it.
fn has_binary_form(type_oid: u32) -> bool {
    const BASE: [u32; 44] = [
        16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 142, 600, 601, 602, 603, 604, 628, 650, 700, 701, 718, 774, 790, 829, 869, 1042, 1043,
        1082, 1083, 1114, 1184, 1186, 1266, 1560, 1562, 1700, 2950, 3614, 3615, 3802, 3904, 3906, 3912, 3926,
    ];
    const MORE: [u32; 24] = [
        3908, 3910, 4072, 1000, 1001, 1005, 1007, 1016, 1009, 1014, 1015, 1021, 1022, 1115, 1182, 1183, 1185, 1187, 1231, 2951, 199, 3807,
        1041, 650,
    ];
    BASE.contains(&type_oid) || MORE.contains(&type_oid)
}
