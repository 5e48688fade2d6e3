//! A cluster of two shards with a replica each, and how to run `shardyard`.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shardyard::catalog::connect;
use tokio_postgres::Client;

/// Servers in a temporary folder, without a proxy.
pub(crate) struct Fixture {
    folder: tempfile::TempDir,
    status: Value,
    tables: Mutex<()>,
}

impl Fixture {
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("shardyard-control-").tempdir()?;
        up(folder.path(), &["--shards", "2", "--replicas", "1"])?;
        let status = status(folder.path())?;
        Ok(Self { folder, status, tables: Mutex::new(()) })
    }

    pub(crate) fn stop(&self) -> Result<()> {
        shardyard(&["dev", "down", "--remove"], self.folder.path()).and_then(succeed).map(drop)
    }

    /// Held by tests that make tables in the application's own database.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> &Value {
        &self.status
    }

    pub(crate) fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// A superuser's DSN to a shard's primary.
    pub(crate) fn primary(&self, shard: usize) -> &str {
        self.status["shards"][shard]["primary"].as_str().unwrap_or_default()
    }

    /// As the application, straight to a shard's primary.
    pub(crate) fn application(&self, shard: usize) -> Result<String> {
        let app = self.status["dsn"].as_str().context("dsn")?;
        let (credentials, _) = app.split_once('@').context("an app's dsn")?;
        let (_, server) = self.primary(shard).split_once('@').context("a server's dsn")?;
        Ok(format!("{credentials}@{server}"))
    }

    /// An empty database of its own on the first shard's server; its DSN.
    pub(crate) async fn database(&self, name: &str) -> Result<String> {
        let client = connect(self.primary(0)).await?;
        client.batch_execute(&format!("create database {name}")).await?;
        let (server, _) = self.primary(0).rsplit_once('/').context("a server's dsn")?;
        Ok(format!("{server}/{name}"))
    }

    /// As [`Self::database`], connected.
    pub(crate) async fn client(&self, name: &str) -> Result<Client> {
        Ok(connect(&self.database(name).await?).await?)
    }
}

/// Runs an async test.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// `shardyard ARGUMENTS --dir DIR`.
pub(crate) fn shardyard(arguments: &[&str], dir: &Path) -> Result<Output> {
    Ok(Command::new(program()).args(arguments).arg("--dir").arg(dir).output()?)
}

/// `shardyard dev up` without a proxy.
pub(crate) fn up(dir: &Path, arguments: &[&str]) -> Result<()> {
    let arguments = [&["dev", "up", "--detach", "--no-proxy"], arguments].concat();
    shardyard(&arguments, dir).and_then(succeed).map(drop)
}

pub(crate) fn status(dir: &Path) -> Result<Value> {
    let output = shardyard(&["dev", "status", "--json"], dir)?;
    // 3: there is no proxy.
    ensure!(output.status.code() == Some(3), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The standard output of a command that went well.
pub(crate) fn succeed(output: Output) -> Result<String> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_shardyard"))
}
