//! Learns the tables, views and functions of the application from the home shard's system catalogs.

use std::collections::HashMap;

use tokio_postgres::{GenericClient, Row};
use tracing::warn;

use crate::catalog::TableRules;
use crate::catalog::expression::{is_of_moment, may_vary};
use crate::catalog::placement::{Candidate, key_type, place};
use crate::sql::command::ObjectName;
use crate::sql::session_state::leaves_session_state;
use crate::sql::tables::names_in;
use crate::topology::schema::{Column, FunctionFacts, FunctionKinds, RelationKind, TextRules, Volatility};
use crate::topology::{Placement, Relation, Schema};

/// Why the schema could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the home shard's schema cannot be read")]
    Database(#[from] tokio_postgres::Error),
}

/// Schemas that hold no relation of the application. Also used for functions.
const NOT_SYSTEM: &str = "n.nspname not in ('pg_catalog', 'information_schema', 'shardyard') and n.nspname !~ '^pg_(toast|temp)'";

/// Reads everything the planner may ask, in a few queries. Independent of the connection's `search_path`.
///
/// # Errors
/// When the server does not answer.
pub async fn load<C: GenericClient>(client: &C, rules: &TableRules, version: u64) -> Result<Schema, LoadError> {
    let mut functions = volatilities(client).await?;
    let mut found = relations(client).await?;
    columns(client, &functions, &mut found).await?;
    let candidates: Vec<Candidate> = found.values().map(|found| found.candidate.clone()).collect();
    let (placements, doubts) = place(&candidates, rules);
    for doubt in doubts {
        warn!("{doubt}");
    }
    let bodies = bodies(client).await?;
    mark_state(&bodies, &mut functions);
    let triggers = triggers(client).await?;
    let leaves_state = |oid: u32| {
        let mut called = triggers.iter().filter(|(table, _)| *table == oid);
        called.any(|(_, function)| functions.get(function).is_some_and(|facts| facts.leaves_session_state))
    };
    let relations: Vec<Relation> = found
        .into_values()
        .map(|found| Relation {
            placement: placements.get(&found.candidate.oid).cloned().unwrap_or(Placement::Single),
            schema: found.candidate.schema,
            name: found.candidate.name,
            kind: found.candidate.kind,
            columns: found.columns,
            view_query: found.view_query,
            row_security: found.row_security,
            triggers_leave_state: leaves_state(found.candidate.oid),
        })
        .collect();
    mark_functions(&bodies, &relations, &mut functions);
    Ok(Schema::new(version, relations, functions).with_rules(kinds(client).await?, text_rules(client).await?))
}

struct Found {
    candidate: Candidate,
    columns: Vec<Column>,
    view_query: Option<String>,
    row_security: bool,
}

async fn relations<C: GenericClient>(client: &C) -> Result<HashMap<u32, Found>, LoadError> {
    // With an empty search_path a view's definition names every relation by its schema.
    let select = format!(
        "with p as materialized (select pg_catalog.set_config('search_path', '', true) as path)
         select c.oid, n.nspname, c.relname, c.relkind::text,
                case when c.relkind in ('v', 'm') then pg_catalog.pg_get_viewdef(c.oid) end,
                (select i.inhparent from pg_catalog.pg_inherits i where i.inhrelid = c.oid order by i.inhseqno limit 1),
                array(select distinct d.refobjid from pg_catalog.pg_rewrite r
                      join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
                                                 and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> r.ev_class
                      where r.ev_class = c.oid and c.relkind in ('v', 'm') order by 1),
                c.relrowsecurity
         from p, pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where p.path = '' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relpersistence <> 't' and {NOT_SYSTEM}"
    );
    let mut found = HashMap::new();
    for row in client.query(&select, &[]).await? {
        let oid: u32 = row.get(0);
        let kind = match row.get::<_, &str>(3) {
            "p" => RelationKind::PartitionedTable,
            "v" => RelationKind::View,
            "m" => RelationKind::MaterializedView,
            "f" => RelationKind::ForeignTable,
            "S" => RelationKind::Sequence,
            _ => RelationKind::Table,
        };
        let (schema, name, view_query) = (row.get(1), row.get(2), row.get(4));
        let candidate = Candidate { oid, schema, name, kind, columns: Vec::new(), parent: row.get(5), reads: row.get(6) };
        found.insert(oid, Found { candidate, columns: Vec::new(), view_query, row_security: row.get(7) });
    }
    Ok(found)
}

async fn columns<C: GenericClient>(
    client: &C,
    functions: &HashMap<String, FunctionFacts>,
    found: &mut HashMap<u32, Found>,
) -> Result<(), LoadError> {
    let select = format!(
        "select a.attrelid, a.attname, a.atttypid, a.attnotnull, a.attidentity <> '',
                case when a.attgenerated = '' then coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), t.typdefault) end,
                case when t.typtype = 'd' then t.typbasetype else a.atttypid end,
                pg_catalog.format_type(a.atttypid, a.atttypmod), coalesce(l.collisdeterministic, true), a.attgenerated <> '',
                exists (select from pg_catalog.pg_index i where i.indrelid = a.attrelid and i.indisunique and i.indisvalid and i.indimmediate
                        and i.indpred is null and i.indnkeyatts = 1 and i.indkey[0] = a.attnum)
         from pg_catalog.pg_attribute a
         join pg_catalog.pg_class c on c.oid = a.attrelid
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         join pg_catalog.pg_type t on t.oid = a.atttypid
         left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         left join pg_catalog.pg_collation l on l.oid = a.attcollation
         where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relpersistence <> 't' and a.attnum > 0 and not a.attisdropped and {NOT_SYSTEM}
         order by a.attrelid, a.attnum"
    );
    for row in client.query(&select, &[]).await? {
        // A relation made since the first query comes with the next load.
        let Some(found) = found.get_mut(&row.get::<_, u32>(0)) else { continue };
        let name: String = row.get(1);
        let default: Option<&str> = row.get(5);
        let volatile_default = row.get(4) || default.is_some_and(|default| may_vary(default, functions));
        found.candidate.columns.push((name.clone(), key_type(row.get(6), row.get(7), row.get(8))));
        let moment_default = default.is_some_and(|default| is_of_moment(default, functions));
        let (type_oid, not_null, generated, unique) = (row.get(2), row.get(3), row.get(9), row.get(10));
        found.columns.push(Column { name, type_oid, not_null, volatile_default, moment_default, generated, unique });
    }
    Ok(())
}

/// Every function's name, the built-in ones too, with the worst volatility of those who bear it.
async fn volatilities<C: GenericClient>(client: &C) -> Result<HashMap<String, FunctionFacts>, LoadError> {
    let select = "select proname, max(case provolatile when 'i' then 0 when 's' then 1 else 2 end) from pg_catalog.pg_proc group by 1";
    let rows = client.query(select, &[]).await?;
    let facts = |worst: i32| {
        let volatility = match worst {
            0 => Volatility::Immutable,
            1 => Volatility::Stable,
            _ => Volatility::Volatile,
        };
        FunctionFacts { volatility, names_sharded_table: false, leaves_session_state: false }
    };
    Ok(rows.iter().map(|row| (row.get(0), facts(row.get(1)))).collect())
}

async fn kinds<C: GenericClient>(client: &C) -> Result<FunctionKinds, LoadError> {
    let select = "select distinct proname, proretset from pg_catalog.pg_proc where prokind in ('a', 'w') or proretset";
    let rows = client.query(select, &[]).await?;
    let of = |set: bool| rows.iter().filter(|row| row.get::<_, bool>(1) == set).map(|row| row.get(0)).collect();
    Ok(FunctionKinds { aggregates: of(false), set_returning: of(true) })
}

/// How the database and its columns compare text. The provider's column is younger than some servers.
async fn text_rules<C: GenericClient>(client: &C) -> Result<TextRules, LoadError> {
    let select = format!(
        "with by_bytes(name) as (values ('C'), ('POSIX'), ('ucs_basic'), ('C.UTF-8'), ('C.utf8'), ('c.utf8')),
              used as (select distinct l.collname, l.collisdeterministic from pg_catalog.pg_attribute a
                       join pg_catalog.pg_class c on c.oid = a.attrelid
                       join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                       join pg_catalog.pg_collation l on l.oid = a.attcollation and l.collname <> 'default'
                       where a.attnum > 0 and not a.attisdropped and {NOT_SYSTEM})
         select pg_catalog.pg_encoding_to_char(d.encoding) = 'UTF8'
                and (coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'b'
                     or coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c' and d.datcollate in (select name from by_bytes))
                and not exists (select from used where collname not in (select name from by_bytes)),
                not exists (select from used where not collisdeterministic)
         from pg_catalog.pg_database d where d.datname = current_database()"
    );
    let row = client.query_one(&select, &[]).await?;
    Ok(TextRules { by_bytes: row.get(0), deterministic: row.get(1) })
}

/// The functions of triggers, with their tables; those of partitions with the partitioned tables too.
async fn triggers<C: GenericClient>(client: &C) -> Result<Vec<(u32, String)>, LoadError> {
    let select = "select coalesce(a.relid::oid, t.tgrelid), p.proname
                  from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
                  left join lateral pg_catalog.pg_partition_ancestors(t.tgrelid) a on true
                  where not t.tgisinternal";
    Ok(client.query(select, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A user's function and the names in its body.
struct Body {
    name: String,
    names: Vec<ObjectName>,
    leaves_session_state: bool,
}

async fn bodies<C: GenericClient>(client: &C) -> Result<Vec<Body>, LoadError> {
    let select = format!(
        "select p.proname, case when p.prosqlbody is not null then pg_catalog.pg_get_function_sqlbody(p.oid) else p.prosrc end
         from pg_catalog.pg_proc p
         join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         join pg_catalog.pg_language l on l.oid = p.prolang
         where l.lanname not in ('c', 'internal') and {NOT_SYSTEM}"
    );
    let rows = client.query(&select, &[]).await?;
    let body = |row: &Row| {
        let text = row.get::<_, Option<&str>>(1).unwrap_or_default();
        Body { name: row.get(0), names: names_in(text), leaves_session_state: leaves_session_state(text) }
    };
    Ok(rows.iter().map(body).collect())
}

/// A function leaves something in its session if its body does, or that of a function it names.
fn mark_state(bodies: &[Body], functions: &mut HashMap<String, FunctionFacts>) {
    let mut grown = true;
    while grown {
        grown = false;
        for body in bodies {
            let called = |object: &ObjectName| functions.get(&object.name).is_some_and(|facts| facts.leaves_session_state);
            let leaves = body.leaves_session_state || body.names.iter().any(called);
            if let Some(facts) = functions.get_mut(&body.name).filter(|facts| leaves && !facts.leaves_session_state) {
                facts.leaves_session_state = true;
                grown = true;
            }
        }
    }
}

/// A function names a sharded table if its body does, or that of a function it names. Text put together at run time is not seen.
fn mark_functions(bodies: &[Body], relations: &[Relation], functions: &mut HashMap<String, FunctionFacts>) {
    let is_sharded = |relation: &&Relation| matches!(relation.placement, Placement::Sharded { .. });
    let sharded: std::collections::HashSet<&str> = relations.iter().filter(is_sharded).map(|relation| relation.name.as_str()).collect();
    let mut grown = true;
    while grown {
        grown = false;
        for body in bodies {
            let names = |functions: &HashMap<String, FunctionFacts>, name: &str| {
                sharded.contains(name) || functions.get(name).is_some_and(|facts| facts.names_sharded_table)
            };
            let touches = body.names.iter().any(|object| names(functions, &object.name));
            if let Some(facts) = functions.get_mut(&body.name).filter(|facts| touches && !facts.names_sharded_table) {
                facts.names_sharded_table = true;
                grown = true;
            }
        }
    }
}
