//! One PostgreSQL server of the cluster: made, started, stopped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::catalog::connect;
use crate::dev::DevError;
use crate::dev::account::Account;
use crate::dev::binaries::Binaries;
use crate::dev::folder::{Folder, make_owned, write_secret};
use crate::dev::record::{CONTROL_ROLE, Record, ServerRecord};
use crate::dev::settings;

/// What making and running a server needs; the same for all servers of a cluster.
#[derive(Clone)]
pub struct Site {
    pub folder: Folder,
    pub account: Account,
    pub binaries: Binaries,
    pub record: Record,
}

/// One server's place in the cluster's folder.
pub struct Server<'a> {
    site: &'a Site,
    record: &'a ServerRecord,
    folder: PathBuf,
}

impl Site {
    #[must_use]
    pub fn server<'a>(&'a self, record: &'a ServerRecord) -> Server<'a> {
        Server { site: self, record, folder: self.folder.server(&record.name) }
    }
}

impl Server<'_> {
    /// Makes an empty server with `initdb`. Each has its own system identifier, so that no replica can follow the wrong one.
    ///
    /// # Errors
    /// When the file system or `initdb` refuses.
    pub async fn init(&self) -> Result<(), DevError> {
        let account = &self.site.account;
        make_owned(&self.folder, 0o700, account)?;
        let secret = self.folder.join("password");
        write_secret(&secret, &self.site.record.control_password)?;
        account.own(&secret)?;
        let mut locale = "--locale=C.UTF-8";
        loop {
            let mut command = account.command(&self.site.binaries.initdb);
            command.args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--auth=scram-sha-256", locale]);
            command.arg("--username").arg(CONTROL_ROLE).arg("--pwfile").arg(&secret).arg("--pgdata").arg(self.data());
            match run("initdb", command).await {
                // Not every system has it.
                Err(DevError::Program { output, .. }) if locale != "--no-locale" && output.contains("invalid locale name") => {
                    locale = "--no-locale";
                }
                result => break result?,
            }
        }
        std::fs::remove_file(&secret).map_err(DevError::file("cannot remove", &secret))?;
        self.include_settings()?;
        self.write_settings()
    }

    /// Makes this server a streaming replica of `primary`, which must run. The slot carries this server's name.
    ///
    /// # Errors
    /// When the file system or `pg_basebackup` refuses.
    pub async fn follow(&self, primary: &ServerRecord) -> Result<(), DevError> {
        let account = &self.site.account;
        make_owned(&self.folder, 0o700, account)?;
        let mut command = account.command(&self.site.binaries.pg_basebackup);
        command.env("PGPASSWORD", &self.site.record.control_password);
        command.args([
            "--host=127.0.0.1",
            "--no-password",
            "--no-sync",
            "--checkpoint=fast",
            "--wal-method=stream",
            "--write-recovery-conf",
        ]);
        command.arg(format!("--port={}", primary.port)).arg(format!("--username={CONTROL_ROLE}"));
        command.arg("--create-slot").arg(format!("--slot={}", self.record.name.replace('-', "_"))).arg("--pgdata").arg(self.data());
        run("pg_basebackup", command).await?;
        self.write_settings()
    }

    /// Starts the server and waits until it answers. Does nothing if it runs.
    ///
    /// # Errors
    /// When it does not come up within 60 s; the end of its log is in the error.
    pub async fn start(&self) -> Result<(), DevError> {
        if self.is_running().await? {
            return Ok(());
        }
        let mut command = self.site.account.command(&self.site.binaries.pg_ctl);
        command.args(["start", "--silent", "--wait", "--timeout=60", "--pgdata"]).arg(self.data()).arg("--log").arg(self.log());
        match run("pg_ctl start", command).await {
            Err(DevError::Program { program, output }) => {
                let log = self.log_tail();
                Err(DevError::Program {
                    program,
                    output: format!("server {} on port {}: {output}\n{log}", self.record.name, self.record.port),
                })
            }
            result => result,
        }
    }

    /// Stops the server, ending its clients; by force if it takes longer than 20 s. Does nothing if it is not running.
    ///
    /// # Errors
    /// When it runs on.
    pub async fn stop(&self) -> Result<(), DevError> {
        for mode in ["--mode=fast", "--mode=immediate"] {
            if !self.is_running().await? {
                return Ok(());
            }
            let mut command = self.site.account.command(&self.site.binaries.pg_ctl);
            command.args(["stop", "--silent", "--wait", "--timeout=20", mode, "--pgdata"]).arg(self.data());
            if run("pg_ctl stop", command).await.is_ok() {
                return Ok(());
            }
        }
        if self.is_running().await? {
            let output = format!("server {} does not stop; its data is in {}", self.record.name, self.data().display());
            return Err(DevError::Program { program: "pg_ctl stop".to_owned(), output });
        }
        Ok(())
    }

    /// Whether the server's process exists.
    ///
    /// # Errors
    /// When `pg_ctl` cannot be run.
    pub async fn is_running(&self) -> Result<bool, DevError> {
        if !self.data().join("postmaster.pid").exists() {
            return Ok(false);
        }
        let mut command = self.site.account.command(&self.site.binaries.pg_ctl);
        command.arg("status").arg("--pgdata").arg(self.data()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let status = command.status().await.map_err(|source| DevError::Spawn { program: "pg_ctl status".to_owned(), source })?;
        Ok(status.success())
    }

    /// Runs statements as superuser, outside a transaction.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses one.
    pub async fn execute(&self, database: &str, action: &'static str, statements: &[String]) -> Result<(), DevError> {
        let client = connect(&self.site.record.superuser_dsn(self.record, database)).await?;
        for statement in statements {
            client.batch_execute(statement).await.map_err(DevError::sql(action))?;
        }
        Ok(())
    }

    /// Waits until a replica receives from its primary and answers reads.
    ///
    /// # Errors
    /// When it has not within 20 s.
    pub async fn wait_streaming(&self, database: &str) -> Result<(), DevError> {
        let client = connect(&self.site.record.superuser_dsn(self.record, database)).await?;
        let streaming = "select exists (select from pg_stat_wal_receiver where status = 'streaming')";
        for _ in 0..400 {
            let row = client.query_one(streaming, &[]).await.map_err(DevError::sql("asking a replica for its state"))?;
            if row.get(0) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(DevError::Program {
            program: "replica".to_owned(),
            output: format!("{} does not stream\n{}", self.record.name, self.log_tail()),
        })
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn write_settings(&self) -> Result<(), DevError> {
        let path = self.data().join("shardyard.conf");
        write_secret(&path, &settings::server(self.record.port, self.site.folder.sockets().as_deref(), self.site.record.fsync))?;
        self.site.account.own(&path)
    }

    fn include_settings(&self) -> Result<(), DevError> {
        let path = self.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&path).map_err(DevError::file("cannot read", &path))?;
        std::fs::write(&path, text + "\ninclude = 'shardyard.conf'\n").map_err(DevError::file("cannot write", &path))
    }

    fn log_tail(&self) -> String {
        tail(&self.log(), 10)
    }
}

/// The last lines of a log, for an error message.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

async fn run(program: &str, mut command: Command) -> Result<(), DevError> {
    let output = command.output().await.map_err(|source| DevError::Spawn { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(DevError::Program { program: program.to_owned(), output: text.trim().to_owned() })
}
