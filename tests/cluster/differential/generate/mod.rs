//! Generated statements: a seed makes tables, rows, queries and writes; what fails is made small and printed as a script.

mod expression;
mod query;
pub(crate) mod random;
mod schema;
mod shrink;
mod syntax;
mod types;
mod write;

use std::fmt::Write;

use anyhow::{Context, Result, ensure};

use crate::differential::compare::Order;
use crate::differential::corpus::{protocol, table_difference};
use crate::differential::generate::query::Generator;
use crate::differential::generate::random::Random;
use crate::differential::generate::schema::{Column, Kind, Relation, Schema};
use crate::differential::generate::shrink::smaller_queries;
use crate::differential::generate::syntax::{OrderKey, Query, Writer};
use crate::differential::generate::types::Type;
use crate::differential::outcome::Manner;
use crate::differential::pair::{Pair, Verdict};
use crate::differential::script::Statement;
use crate::differential::server::Server;
use crate::differential::tally::Tally;
use crate::fixture::Fixture;

/// Of each seed.
const QUERIES: usize = 100;
const WRITES: usize = 30;
/// After so many writes all tables are compared.
const COMPARED_EVERY: usize = 6;
/// Seeds of `make test`: 3,000 statements.
const SEEDS: std::ops::Range<u64> = 1..19;
/// Seeds of `make soak` (`SHARDYARD_SEEDS`: another number), from the one of `SHARDYARD_SEED` on (by default the next after those of `make test`).
const SOAK_SEEDS: u64 = 160;
/// Of a thousand queries.
const REFUSED_MAX: usize = 10;
/// Of one failing query.
const SHRINKS_MAX: usize = 400;
const FAILURES_MAX: usize = 8;

/// A few seeds' statements, of a cluster that is not as it was made.
pub(crate) fn some_agree(fixture: &Fixture, seeds: std::ops::Range<u64>) -> Result<()> {
    let (mut queries, mut writes) = (Tally::default(), Tally::default());
    for seed in seeds {
        run_seed(fixture, seed, &mut queries, &mut writes).with_context(|| format!("seed {seed}"))?;
    }
    queries.tell("moved_queries")?;
    writes.tell("moved_writes")
}

/// One seed's statements on both servers.
struct Run<'a> {
    seed: u64,
    schema: &'a Schema,
    pair: Pair,
    servers: Vec<Server>,
    queries: &'a mut Tally,
    writes: &'a mut Tally,
}

/// The fixed seeds; under `SHARDYARD_SOAK` many others; under `SHARDYARD_SEED` (without soak) that one.
pub(crate) fn seeds_agree(fixture: &Fixture) -> Result<()> {
    let soak = std::env::var_os("SHARDYARD_SOAK").is_some();
    let chosen = std::env::var("SHARDYARD_SEED").ok().map(|seed| seed.parse::<u64>()).transpose()?;
    let count = std::env::var("SHARDYARD_SEEDS").ok().map_or(Ok(SOAK_SEEDS), |count| count.parse::<u64>())?;
    let (name, seeds) = match (soak, chosen) {
        (true, from) => ("soak", from.unwrap_or(SEEDS.end)..from.unwrap_or(SEEDS.end) + count),
        (false, Some(seed)) => ("seed", seed..seed + 1),
        (false, None) => ("generated", SEEDS),
    };
    println!("differential {name}: seeds {seeds:?}");
    let (mut queries, mut writes) = (Tally::default(), Tally::default());
    for seed in seeds {
        run_seed(fixture, seed, &mut queries, &mut writes).with_context(|| format!("seed {seed}"))?;
        if queries.different() + writes.different() >= FAILURES_MAX {
            break;
        }
    }
    let refused = queries.refusals() * 1000 / queries.statements.max(1);
    println!("differential {name}: {}.{} % of the queries are refused", refused / 10, refused % 10);
    let conclude = |tally: &Tally, part: &str| match name {
        "generated" => tally.conclude(&format!("{name}_{part}")),
        // Other seeds have other numbers.
        _ => tally.tell(&format!("{name}_{part}")),
    };
    match (conclude(&queries, "queries"), conclude(&writes, "writes")) {
        (Err(queries), Err(writes)) => return Err(queries.context(format!("{writes:#}"))),
        (queries, writes) => queries.and(writes)?,
    }
    ensure!(refused <= REFUSED_MAX, "more than {} % of the queries are refused:\n{}", REFUSED_MAX / 10, queries.reasons());
    Ok(())
}

fn run_seed(fixture: &Fixture, seed: u64, queries: &mut Tally, writes: &mut Tally) -> Result<()> {
    let mut random = Random::new(seed);
    let mut schema = Schema::generate(seed, &mut random);
    let mut run = Run {
        seed,
        schema: &schema.clone(),
        pair: Pair::connect(fixture.differential_plain()?, fixture.differential_subject()?)?,
        servers: fixture.differential_servers()?,
        queries,
        writes,
    };
    run.lay(&schema)?;
    let views = run.make_views(&schema, &mut random)?;
    schema.relations.extend(views);
    run.schema = &schema;
    let mut generator = Generator::new(&schema, random.clone());
    for number in 0..QUERIES {
        let query = generator.statement();
        run.compare_query(&query, number)?;
    }
    run.compare_writes(&mut generator)?;
    run.drop_all()
}

impl Run<'_> {
    fn lay(&mut self, schema: &Schema) -> Result<()> {
        for relation in schema.tables() {
            for sql in std::iter::once(relation.create()).chain(relation.inserts()) {
                let statement = Statement::new(&sql);
                let verdict = self.pair.run(&statement, &Manner::Simple)?;
                ensure!(verdict == Verdict::Same, "{sql}: {verdict:?}");
            }
            self.compare_table(relation, &[])?;
            if let [only] = self.servers.as_mut_slice() {
                // A second plain server: its rows in another order.
                only.connection.query(&format!("update {} set id = id where random() < 0.5", relation.name))?;
            }
        }
        Ok(())
    }

    /// Views over generated queries, as relations to read from.
    fn make_views(&mut self, schema: &Schema, random: &mut Random) -> Result<Vec<Relation>> {
        let mut views = Vec::new();
        for at in 0..2 {
            let types = [Type::Int, Type::Text, Type::Int];
            let query =
                Generator::new(schema, random.clone()).subquery(crate::differential::generate::query::Shape::Columns(types.to_vec()), &[]);
            random.chance(50);
            let name = format!("g{}_v{at}", self.seed);
            let sql = format!("create view {name} as {}", Writer::literal(&query));
            let verdict = self.pair.run(&Statement::new(&sql), &Manner::Simple)?;
            if !matches!(verdict, Verdict::Same | Verdict::SameError(_)) {
                self.writes.count(&verdict, None, || sql.clone());
                continue;
            }
            let exists = self.pair.plain.value(&format!("select to_regclass('{name}') is not null"))? == "t";
            if exists {
                let column = |(at, kind): (usize, Type)| Column { name: format!("c{at}"), kind, declared: "" };
                let columns = types.into_iter().enumerate().map(column).collect();
                views.push(Relation { name, kind: Kind::View, columns, key: Vec::new(), rows: Vec::new() });
            }
        }
        Ok(views)
    }

    fn compare_query(&mut self, query: &Query, number: usize) -> Result<()> {
        let extended = number % 3 == 2;
        let (statement, manner) = sent(query, extended);
        let verdict = self.pair.run(&statement, &manner).with_context(|| format!("query {number}"))?;
        let path = self.pair.path(&Writer::literal(query));
        if !matches!(verdict, Verdict::Different(_)) {
            self.queries.count(&verdict, path, String::new);
            return Ok(());
        }
        let (smallest, difference) = self.shrink(query, extended, verdict)?;
        let (statement, manner) = sent(&smallest, extended);
        let script = self.script(&statement, &manner)?;
        let route = self.pair.path(&Writer::literal(&smallest)).unwrap_or_default();
        self.queries
            .count(&difference, path, || format!("seed {}, query {number} ({}, route {route}):\n{script}", self.seed, protocol(&manner)));
        Ok(())
    }

    /// Takes things away from a failing query for as long as it fails.
    fn shrink(&mut self, query: &Query, extended: bool, verdict: Verdict) -> Result<(Query, Verdict)> {
        let (mut smallest, mut difference, mut tried) = (query.clone(), verdict, 0);
        'smaller: loop {
            for candidate in smaller_queries(&smallest) {
                tried += 1;
                if tried > SHRINKS_MAX {
                    break 'smaller;
                }
                let (statement, manner) = sent(&candidate, extended);
                let verdict = self.pair.run(&statement, &manner)?;
                if matches!(verdict, Verdict::Different(_)) {
                    (smallest, difference) = (candidate, verdict);
                    continue 'smaller;
                }
            }
            break;
        }
        self.drop_rows(&smallest, extended, &mut difference)?;
        Ok((smallest, difference))
    }

    /// Takes rows away from the tables of a failing query for as long as it fails.
    fn drop_rows(&mut self, query: &Query, extended: bool, difference: &mut Verdict) -> Result<()> {
        let (statement, manner) = sent(query, extended);
        let schema = self.schema;
        let named = schema.tables().filter(|relation| relation.key.len() == 2 && statement.sql.contains(&format!("{} ", relation.name)));
        for relation in named {
            for row in &relation.rows {
                let [Some(Some(key)), Some(Some(id))] = [row.first(), row.get(1)] else { continue };
                let delete = format!("delete from {} where user_id = {} and id = {id}", relation.name, types::quoted(key));
                let insert = format!("insert into {} values {}", relation.name, Relation::row_text(row));
                self.both(&delete)?;
                match self.pair.run(&statement, &manner)? {
                    found @ Verdict::Different(_) => *difference = found,
                    _ => self.both(&insert)?,
                }
            }
        }
        Ok(())
    }

    fn both(&mut self, sql: &str) -> Result<()> {
        self.pair.plain.query(sql)?;
        self.pair.subject.query(sql).map(drop)
    }

    /// What makes the tables as they are now, and the statement.
    fn script(&mut self, statement: &Statement, manner: &Manner) -> Result<String> {
        let mut script = String::new();
        for relation in self.schema.relations.iter().filter(|relation| statement.sql.contains(&relation.name)) {
            if relation.kind == Kind::View {
                let definition = self.pair.plain.value(&format!("select pg_get_viewdef('{}')", relation.name))?;
                writeln!(script, "  create view {} as {definition}", relation.name)?;
                continue;
            }
            writeln!(script, "  {};", relation.create())?;
            let rows = self.pair.plain.query(&format!("select * from {} order by {}", relation.name, relation.key.join(", ")))?;
            let rows: Vec<String> = rows.iter().map(|row| Relation::row_text(row)).collect();
            if !rows.is_empty() {
                writeln!(script, "  insert into {} values {};", relation.name, rows.join(", "))?;
            }
        }
        writeln!(script, "  {};", statement.sql)?;
        if let Manner::Extended { parameters, .. } = manner
            && !parameters.is_empty()
        {
            let values: Vec<String> = parameters
                .iter()
                .map(|parameter| format!("{} (oid {})", parameter.text.as_deref().unwrap_or("null"), parameter.oid))
                .collect();
            writeln!(script, "  parameters: {}", values.join(", "))?;
        }
        Ok(script)
    }

    fn compare_writes(&mut self, generator: &mut Generator<'_>) -> Result<()> {
        let mut since = Vec::new();
        for number in 0..WRITES {
            for (at, sql) in generator.writes().into_iter().enumerate() {
                let manner = match (number + at) % 3 {
                    0 => Manner::Extended { parameters: Vec::new(), binary: false },
                    _ => Manner::Simple,
                };
                let verdict = self.pair.run(&Statement::new(&sql), &manner).with_context(|| format!("write {number}"))?;
                let path = self.pair.path(&sql);
                self.writes.count(&verdict, path, || format!("seed {}, write {number} ({}): {sql}", self.seed, protocol(&manner)));
                since.push(format!("({}) {sql};", protocol(&manner)));
            }
            if (number + 1) % COMPARED_EVERY == 0 {
                let schema = self.schema;
                let mut same = true;
                for relation in schema.tables() {
                    same &= self.compare_table(relation, &since)?;
                }
                if !same {
                    // What follows would differ because of this.
                    break;
                }
                since.clear();
            }
        }
        Ok(())
    }

    /// Whether a table has the same rows on all servers; told with the statements `since` it had.
    fn compare_table(&mut self, relation: &Relation, since: &[String]) -> Result<bool> {
        let name = format!("{}{}", relation.name, if relation.kind == Kind::Reference { "*" } else { "" });
        let Some(what) = table_difference(&mut self.pair.plain, &mut self.servers, &name)? else { return Ok(true) };
        let statements = since.join("\n    ");
        self.writes.fail(format!("seed {}: the rows of {} differ: {what}\n    after\n    {statements}", self.seed, relation.name));
        Ok(false)
    }

    fn drop_all(&mut self) -> Result<()> {
        let views =
            self.schema.relations.iter().filter(|relation| relation.kind == Kind::View).map(|view| format!("drop view {}", view.name));
        let tables = self.schema.tables().map(|table| format!("drop table {}", table.name));
        for sql in views.chain(tables) {
            let verdict = self.pair.run(&Statement::new(&sql), &Manner::Simple)?;
            if let Verdict::Different(difference) = verdict {
                self.writes.fail(format!("seed {}: {sql}\n{difference}", self.seed));
                break;
            }
        }
        Ok(())
    }
}

/// How a query goes to the servers: with literals, or with parameters and binary results.
fn sent(query: &Query, extended: bool) -> (Statement, Manner) {
    let (sql, manner) = if extended {
        let (sql, parameters) = Writer::parameterized(query);
        (sql, Manner::Extended { parameters, binary: true })
    } else {
        (Writer::literal(query), Manner::Simple)
    };
    let outputs: Option<Vec<usize>> = query
        .order
        .iter()
        .map(|(key, _)| match key {
            OrderKey::Output { at, .. } => Some(*at),
            OrderKey::Expression(_) => None,
        })
        .collect();
    let order = match outputs {
        Some(outputs) if outputs.is_empty() => Order::Any,
        Some(outputs) => Order::By(outputs),
        // By an expression and then by everything.
        None => Order::Total,
    };
    (Statement { order, ..Statement::new(&sql) }, manner)
}
