//! PostgreSQL's own regression scripts, with their tables sharded where they allow it: a table of agreement per file.
//!
//! The scripts are not ours and not here: `scripts/regression` fetches them and names their folder in `SHARDYARD_REGRESSION`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::differential::outcome::Manner;
use crate::differential::pair::{Pair, Verdict};
use crate::differential::psql::{Command, commands};
use crate::differential::script::Statement;
use crate::fixture::Fixture;
use crate::shardyard::SHARDS;

/// Run in this order: the first makes what the others read.
const FILES: &[&str] = &[
    "test_setup",
    "select",
    "join",
    "aggregates",
    "subselect",
    "union",
    "window",
    "with",
    "case",
    "limit",
    "insert",
    "update",
    "delete",
    "copy",
];
/// Which tables are sharded, and by which column.
const TABLES: &str = include_str!("../../differential/regression.txt");

/// The folder with `sql` and `data`, if the scripts are to be run.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os("SHARDYARD_REGRESSION").map(PathBuf::from)
}

/// Counts of one file.
#[derive(Default)]
struct Agreement {
    statements: usize,
    same: usize,
    refused: usize,
    different: usize,
    /// What follows a refusal in its transaction.
    skipped: usize,
    /// EXPLAIN: plans of one server are not to be had from several.
    plans: usize,
}

/// Runs all files, prints the table, and writes every refusal and difference to `differences.txt` in the folder.
pub(crate) fn agree(fixture: &Fixture, folder: &Path) -> Result<()> {
    let cluster = fixture.cluster()?;
    for line in TABLES.lines().filter(|line| !line.starts_with('#')) {
        if let Some((table, key)) = line.split_once(' ') {
            cluster.shard_table(table, key)?;
        }
    }
    // As the plain server's role: the scripts make roles.
    for shard in 0..SHARDS {
        cluster.primary(shard)?.query("alter role app createrole")?;
    }
    let mut details = String::new();
    println!("{:<12} {:>10} {:>8} {:>8} {:>10} {:>8} {:>8}", "file", "statements", "same", "refused", "different", "skipped", "plans");
    for file in FILES {
        let agreement = run_file(fixture, (folder, file), &mut details)?;
        println!(
            "{file:<12} {:>10} {:>8} {:>8} {:>10} {:>8} {:>8}",
            agreement.statements, agreement.same, agreement.refused, agreement.different, agreement.skipped, agreement.plans
        );
    }
    let path = folder.join("differences.txt");
    std::fs::write(&path, details)?;
    println!("every refusal and difference: {}", path.display());
    Ok(())
}

fn run_file(fixture: &Fixture, (folder, file): (&Path, &str), details: &mut String) -> Result<Agreement> {
    let path = folder.join("sql").join(format!("{file}.sql"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let source = folder.to_string_lossy().into_owned();
    let mut variables = BTreeMap::from([("abs_srcdir".to_owned(), source.clone()), ("abs_builddir".to_owned(), source)]);
    let mut pair = Pair::connect(fixture.plain()?, &fixture.cluster()?.dsn)?;
    let mut agreement = Agreement::default();
    for command in commands(&text, &mut variables) {
        agreement.statements += 1;
        if command.sql.to_lowercase().starts_with("explain") {
            agreement.plans += 1;
            continue;
        }
        let verdict = match pair.run(&statement(&command), &Manner::Simple) {
            Ok(verdict) => verdict,
            Err(error) => {
                // A lost connection is a difference too; the rest goes on with new ones.
                writeln!(details, "{file}.sql:{}: {}\n    LOST {error:#}", command.line, command.sql)?;
                agreement.different += 1;
                pair = Pair::connect(fixture.plain()?, &fixture.cluster()?.dsn)?;
                continue;
            }
        };
        match verdict {
            Verdict::Same | Verdict::SameError(_) => agreement.same += 1,
            Verdict::Skipped => agreement.skipped += 1,
            Verdict::Refused(reason) => {
                agreement.refused += 1;
                writeln!(details, "{file}.sql:{}: {}\n    REFUSED {reason}", command.line, command.sql)?;
            }
            Verdict::Different(difference) => {
                agreement.different += 1;
                writeln!(details, "{file}.sql:{}: {}\n    DIFFERENT\n{difference}", command.line, command.sql)?;
            }
        }
    }
    Ok(agreement)
}

/// What the suite copies from a file of the server is sent by the client here, who is no superuser. Tables of the suite that are made
/// by a query are made first and filled then.
fn statement(command: &Command) -> Statement {
    let mut statement = Statement::new(&command.sql);
    statement.input = command.input.clone().unwrap_or_default();
    let lower = command.sql.to_lowercase();
    if lower.starts_with("copy ")
        && let Some((table, rest)) = command.sql.split_once(" FROM '").or_else(|| command.sql.split_once(" from '"))
        && let Some((file, options)) = rest.split_once('\'')
        && let Ok(data) = std::fs::read_to_string(file)
    {
        statement.sql = format!("{table} from stdin{options}");
        statement.input = data;
    }
    for table in ["onek2", "tenk2"] {
        let made = format!("create table {table} as select * from ");
        if let Some(source) = lower.strip_prefix(&made) {
            statement.sql = format!("create table {table} (like {source}); insert into {table} select * from {source}");
        }
    }
    statement
}
