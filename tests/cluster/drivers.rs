//! The drivers' suites of `tests/drivers`, each through the proxy and, to show that the suite is right, on a plain server.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::dsn::Dsn;

/// Name, program and arguments, relative to the checkout.
pub(crate) const SUITES: &[(&str, &[&str])] = &[
    ("psql", &["tests/drivers/psql.sh"]),
    ("psycopg3", &[".venv/bin/python", "tests/drivers/psycopg3.py"]),
    ("asyncpg", &[".venv/bin/python", "tests/drivers/asyncpg_suite.py"]),
    ("sqlalchemy", &[".venv/bin/python", "tests/drivers/sqlalchemy_suite.py"]),
    ("node_postgres", &["node", "tests/drivers/node-postgres.js"]),
];

/// Its exit code says all.
pub(crate) fn run(suite: &[&str], dsn: &Dsn) -> Result<()> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (program, arguments) = suite.split_first().context("a suite without a program")?;
    let path = if program.contains('/') { checkout.join(program) } else { program.into() };
    ensure!(!program.contains('/') || path.exists(), "{program} is missing: run scripts/setup drivers");
    let mut command = Command::new(path);
    command.args(arguments.iter().map(|argument| checkout.join(argument)));
    command.env("DATABASE_URL", dsn.to_string()).current_dir(checkout).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
