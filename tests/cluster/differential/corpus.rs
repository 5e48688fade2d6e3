//! The hand-written statements of `tests/differential/*.sql`: each file is a session on the plain server and one on the cluster.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::connection::Connection;
use crate::differential::compare::{Order, rows_difference};
use crate::differential::outcome::{Manner, Row, run};
use crate::differential::pair::{Pair, repeatable};
use crate::differential::script::{Statement, Step, StepKind, parse};
use crate::differential::server::Server;
use crate::differential::tally::Tally;
use crate::dsn::Dsn;
use crate::fixture::Fixture;
use crate::plain::PlainServer;

/// Makes the tables that the files read, with their rows; run once on either server.
const TABLES: &str = "tables.sql";
/// Its cases are tests of their own.
const SHAPES: &str = "shapes.sql";
const CASE: &str = "--@ case ";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential")
}

/// The names of the files of statements.
pub(crate) fn files() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter_map(|name| name.strip_suffix(".sql").map(str::to_owned)).collect();
    names.retain(|name| ![TABLES, SHAPES].contains(&format!("{name}.sql").as_str()));
    names.sort();
    names
}

fn read(file: &str) -> Result<String> {
    let path = folder().join(file);
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

fn steps(file: &str) -> Result<Vec<Step>> {
    parse(&read(file)?).with_context(|| file.to_owned())
}

/// The names of the known shapes.
pub(crate) fn shapes() -> Vec<String> {
    let text = read(SHAPES).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix(CASE)).map(str::to_owned).collect()
}

/// Compares the statements of one shape.
pub(crate) fn compare_shape(fixture: &Fixture, name: &str) -> Result<()> {
    let text = read(SHAPES)?;
    // The lines before it are blanked, so that line numbers are the file's.
    let mut current = None;
    let mine = |line: &str| {
        current = line.strip_prefix(CASE).map(str::to_owned).or(current.take());
        let belongs = current.as_deref() == Some(name) && !line.starts_with(CASE);
        if belongs { format!("{line}\n") } else { "\n".to_owned() }
    };
    let steps = parse(&text.lines().map(mine).collect::<String>())?;
    compare_steps(fixture, "shapes", steps)?.conclude(&format!("shape_{name}"))
}

/// Runs [`TABLES`], of which nothing may fail.
pub(crate) fn lay_tables(dsn: &Dsn) -> Result<()> {
    let mut connection = Connection::connect(dsn)?;
    for step in steps(TABLES)? {
        let StepKind::Statement(statement) = &step.kind else { continue };
        let outcome = run(&mut connection, &statement.sql, &Manner::Simple, statement.input.as_bytes())?;
        if let Some(error) = outcome.error {
            bail!("{TABLES}:{}: {error}", step.line);
        }
    }
    Ok(())
}

/// Gives a plain server's rows another order, and its statements other plans.
pub(crate) fn disorder(server: &PlainServer) -> Result<()> {
    let mut connection = Connection::connect(&server.dsn)?;
    let tables = connection.query("select relname from pg_class where relname like 'd\\_%' and relkind = 'r'")?;
    for table in tables.into_iter().flatten().flatten() {
        // An updated row goes to the end.
        let column = connection.value(&format!("select attname from pg_attribute where attrelid = '{table}'::regclass and attnum = 2"));
        if let Ok(column) = column {
            connection.query(&format!("update {table} set {column} = {column} where random() < 0.5"))?;
        }
    }
    for setting in ["enable_hashagg", "enable_hashjoin", "enable_sort"] {
        connection.query(&format!("alter role app set {setting} = off"))?;
    }
    Ok(())
}

/// Runs one file and compares.
pub(crate) fn compare_file(fixture: &Fixture, name: &str) -> Result<()> {
    compare_steps(fixture, name, steps(&format!("{name}.sql"))?)?.conclude(name)
}

/// Runs the files that change nothing, two at a time.
pub(crate) fn compare_reads(fixture: &Fixture, occasion: &str) -> Result<()> {
    let compare = |names: [&str; 3]| {
        names.into_iter().try_for_each(|name| {
            compare_steps(fixture, name, steps(&format!("{name}.sql"))?)?.conclude(name).with_context(|| format!("{name}, {occasion}"))
        })
    };
    std::thread::scope(|scope| {
        let others = scope.spawn(|| compare(["reads", "one_key", "subqueries"]));
        let own = compare(["aggregates", "joins", "single"]);
        own.and(others.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })
}

fn compare_steps(fixture: &Fixture, file: &str, steps: Vec<Step>) -> Result<Tally> {
    let mut pair = Pair::connect(fixture.differential_plain()?, fixture.differential_subject()?)?;
    let mut servers = fixture.differential_servers()?;
    let mut tally = Tally::default();
    for step in steps {
        let place = format!("{file}.sql:{}", step.line);
        match &step.kind {
            StepKind::Statement(statement) => {
                for manner in manners(statement, step.line) {
                    compare_statement(&mut pair, &mut tally, statement, (&manner, &place))?;
                }
            }
            StepKind::Check(tables) => {
                for table in tables {
                    if let Some(what) = table_difference(&mut pair.plain, &mut servers, table)? {
                        tally.fail(format!("{place}: the rows of {table} differ: {what}"));
                    }
                }
            }
        }
    }
    Ok(tally)
}

/// Reads are sent by both protocols, everything else by one of them.
fn manners(statement: &Statement, line: usize) -> Vec<Manner> {
    let extended = |binary| Manner::Extended { parameters: statement.parameters.clone(), binary };
    let repeatable = repeatable(&statement.sql);
    match (statement.parameters.is_empty(), repeatable) {
        _ if statement.simple_only => vec![Manner::Simple],
        (true, true) => vec![Manner::Simple, extended(true)],
        (true, false) if line.is_multiple_of(2) => vec![Manner::Simple],
        (true, false) => vec![extended(false)],
        (false, true) => vec![extended(true), extended(false)],
        (false, false) => vec![extended(line.is_multiple_of(2))],
    }
}

fn compare_statement(pair: &mut Pair, tally: &mut Tally, statement: &Statement, (manner, place): (&Manner, &str)) -> Result<()> {
    let verdict = pair.run(statement, manner).with_context(|| place.to_owned())?;
    let path = statement.parameters.is_empty().then(|| pair.path(&statement.sql)).flatten();
    tally.count(&verdict, path, || format!("{place} ({}): {}", protocol(manner), statement.sql));
    Ok(())
}

pub(crate) fn protocol(manner: &Manner) -> &'static str {
    match manner {
        Manner::Simple => "simple",
        Manner::Extended { binary: true, .. } => "extended, binary",
        Manner::Extended { binary: false, .. } => "extended, text",
    }
}

/// Compares the rows of `table` on the servers of the subject (read past the proxy) with the plain server's; with `*` after its name it
/// is a reference table, whole on each. Rows of a sharded table have to be where their key belongs.
pub(crate) fn table_difference(plain: &mut Connection, servers: &mut [Server], table: &str) -> Result<Option<String>> {
    let (table, reference) = table.strip_suffix('*').map_or((table, false), |name| (name, true));
    let sql = format!("select * from {table}");
    let rows = |connection: &mut Connection| -> Result<Option<Vec<Row>>> {
        let outcome = run(connection, &sql, &Manner::Simple, &[])?;
        if outcome.sqlstate() == Some("42P01") {
            return Ok(None);
        }
        ensure!(outcome.error.is_none(), "{sql}: {outcome}");
        Ok(Some(outcome.answers.into_iter().flat_map(|answer| answer.rows).collect()))
    };
    let Some(expected) = rows(plain)? else { return Ok(None) };
    let mut together = Vec::new();
    for (shard, server) in servers.iter_mut().enumerate() {
        // A single table is on the first only.
        let Some(there) = rows(&mut server.connection)? else { continue };
        if reference {
            if let Some(what) = rows_difference(&expected, &there, &Order::Any) {
                return Ok(Some(format!("on shard {shard}: {what}")));
            }
            continue;
        }
        let misplaced = server.misplaced(table)?;
        if misplaced > 0 {
            return Ok(Some(format!("{misplaced} rows are on shard {shard} that belong elsewhere")));
        }
        together.extend(there);
    }
    Ok(if reference { None } else { rows_difference(&expected, &together, &Order::Any) })
}
