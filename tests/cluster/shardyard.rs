//! One cluster of four shards with a replica each, started and stopped by the built binary; and further proxies in front of it.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::connection::Connection;
use crate::dsn::Dsn;

/// The program under test: the one that was built with the tests, or, to measure, the one that `SHARDYARD_PROGRAM` names.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("SHARDYARD_PROGRAM").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_shardyard")), PathBuf::from)
}

pub(crate) const SHARDS: usize = 4;

pub(crate) struct Cluster {
    folder: Folder,
    /// The application's, through the proxy.
    pub(crate) dsn: Dsn,
    pub(crate) shards: Vec<Shard>,
    /// The superuser's.
    pub(crate) catalog: Dsn,
    config: PathBuf,
}

/// Superuser DSNs of one shard's servers.
pub(crate) struct Shard {
    pub(crate) primary: Dsn,
    pub(crate) replicas: Vec<Dsn>,
}

impl Cluster {
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(1)
    }

    /// With so many replicas a shard.
    pub(crate) fn start_with(replicas: usize) -> Result<Self> {
        Self::start_sized(SHARDS, replicas)
    }

    pub(crate) fn start_sized(shards: usize, replicas: usize) -> Result<Self> {
        // The tests of moves play the worker themselves.
        Self::start_as(shards, replicas, &["--no-worker"])
    }

    /// With further words for `dev up`.
    pub(crate) fn start_as(shards: usize, replicas: usize, further: &[&str]) -> Result<Self> {
        let folder = Folder(tempfile::Builder::new().prefix("shardyard-cluster-").tempdir()?);
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        let shards = shards.to_string();
        let replicas = replicas.to_string();
        let words = ["dev", "up", "--detach", "--shards", &shards, "--replicas", &replicas, "--listen", &listen];
        run(&[&words[..], further].concat(), folder.path())?;
        let status: Value = serde_json::from_str(&run(&["dev", "status", "--json"], folder.path())?)?;
        let dsn = |value: &Value| Dsn::parse(value.as_str().context("a DSN is no text")?);
        let shards = status["shards"].as_array().context("no shards in the status")?.iter().map(|shard| {
            let replicas = shard["replicas"].as_array().context("no replicas")?.iter().map(dsn).collect::<Result<_>>()?;
            Ok(Shard { primary: dsn(&shard["primary"])?, replicas })
        });
        Ok(Self {
            dsn: dsn(&status["dsn"])?,
            catalog: dsn(&status["catalog"])?,
            shards: shards.collect::<Result<_>>()?,
            config: PathBuf::from(status["config"].as_str().context("no config in the status")?),
            folder,
        })
    }

    /// What `shardyard dev` prints for these words, on this cluster's folder.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String> {
        run(words, self.folder.path())
    }

    /// One of the program's commands on this cluster's configuration: whether it succeeded, and what it printed.
    pub(crate) fn command(&self, words: &[&str]) -> Result<(bool, String)> {
        let output = Command::new(program()).args(words).arg("--config").arg(&self.config).stdin(Stdio::null()).output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// One more proxy over the same servers, with the variables of `environment`.
    pub(crate) fn proxy(&self, environment: &[(&str, &str)]) -> Result<Proxy> {
        let proxy = self.proxy_with(environment, |_, text| text)?;
        eventually(Duration::from_secs(20), || Connection::connect(&proxy.dsn).map(drop)).with_context(|| proxy.log())?;
        Ok(proxy)
    }

    /// As `proxy`, with each file of the configuration changed by `edit` (name, text), and not waited for.
    pub(crate) fn proxy_with(&self, environment: &[(&str, &str)], edit: impl Fn(&str, String) -> String) -> Result<Proxy> {
        self.proxy_in(None, environment, edit)
    }

    /// The same, living in this folder.
    pub(crate) fn proxy_in(
        &self,
        home: Option<&Path>,
        environment: &[(&str, &str)],
        edit: impl Fn(&str, String) -> String,
    ) -> Result<Proxy> {
        let folder = tempfile::Builder::new().prefix("shardyard-proxy-").tempdir()?;
        let port = free_port()?;
        for file in std::fs::read_dir(&self.config)? {
            let path = file?.path();
            let text = std::fs::read_to_string(&path)?;
            let listening = text.replace(&format!("127.0.0.1:{}", self.dsn.port), &format!("127.0.0.1:{port}"));
            let name = path.file_name().context("a file without a name")?.to_string_lossy().into_owned();
            std::fs::write(folder.path().join(&name), edit(&name, listening))?;
        }
        let mut command = Command::new(program());
        command.arg("serve").arg("--config").arg(folder.path()).envs(environment.iter().copied());
        if let Some(home) = home {
            command.current_dir(home);
        }
        let log = std::fs::File::create(folder.path().join("log"))?;
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Proxy { dsn: Dsn { port, ..self.dsn.clone() }, process, folder })
    }

    /// Ends every process and removes the folder.
    pub(crate) fn stop(&self) {
        self.folder.stop();
    }

    /// Until every replica has replayed what its primary has written by now.
    pub(crate) fn wait_for_replicas(&self) -> Result<()> {
        for shard in &self.shards {
            let position = Connection::connect(&shard.primary)?.value("select pg_current_wal_insert_lsn()")?;
            for replica in &shard.replicas {
                let mut replica = Connection::connect(replica)?;
                let replayed = format!("select pg_last_wal_replay_lsn() >= '{position}'::pg_lsn - 64");
                eventually(Duration::from_secs(10), || match replica.value(&replayed)?.as_str() {
                    "t" => Ok(()),
                    _ => bail!("a replica does not reach {position}"),
                })?;
            }
        }
        Ok(())
    }

    /// Declares that a table that is to be made is sharded by this column.
    pub(crate) fn shard_table(&self, table: &str, key: &str) -> Result<()> {
        let mut command = Command::new(program());
        command.args(["table", "shard", table, "--key", key, "--local-unique", "--config"]).arg(&self.config);
        let output = command.stdin(Stdio::null()).output()?;
        anyhow::ensure!(output.status.success(), "{table}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    pub(crate) fn connect(&self) -> Result<Connection> {
        Connection::connect(&self.dsn)
    }

    pub(crate) fn primary(&self, shard: usize) -> Result<Connection> {
        Connection::connect(&self.shards.get(shard).context("no such shard")?.primary)
    }
}

/// The cluster's folder. Whatever was started in it is stopped before it goes.
struct Folder(tempfile::TempDir);

impl Folder {
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Folder {
    fn stop(&self) {
        if !self.path().exists() {
            return;
        }
        if let Err(error) = run(&["dev", "down"], self.path()) {
            eprintln!("the cluster could not be stopped: {error:#}");
        }
        let _ = std::fs::remove_dir_all(self.path());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A proxy of a test's own.
pub(crate) struct Proxy {
    pub(crate) dsn: Dsn,
    process: Child,
    folder: tempfile::TempDir,
}

impl Proxy {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let skipped = text.lines().count().saturating_sub(30);
        text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(arguments: &[&str], folder: &Path) -> Result<String> {
    let output =
        Command::new(program()).args(arguments).arg("--dir").arg(folder).stdin(Stdio::null()).output().context("starting shardyard")?;
    // "status" fails where something does not run, and says what.
    if !output.status.success() && arguments.get(1) != Some(&"status") {
        bail!("shardyard {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Tries until it holds or the deadline has passed; then the last failure.
pub(crate) fn eventually<T>(deadline: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
