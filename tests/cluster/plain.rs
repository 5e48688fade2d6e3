//! One plain PostgreSQL server, the oracle: started in a folder of its own, as a user that is not root.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::connection::Connection;
use crate::dsn::Dsn;

const PASSWORD: &str = "plain";
/// The same as the cluster's servers say, so that ParameterStatus can be compared.
const SETTINGS: &[&str] =
    &["fsync=off", "timezone=UTC", "lc_messages=C", "max_connections=200", "max_prepared_transactions=200", "log_min_messages=fatal"];

pub(crate) struct PlainServer {
    folder: tempfile::TempDir,
    process: Mutex<Option<Child>>,
    /// As the role `app`, which owns the database `app` and is not a superuser.
    pub(crate) dsn: Dsn,
    /// As the superuser.
    pub(crate) admin: Dsn,
}

impl PlainServer {
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("shardyard-plain-").tempdir()?;
        let account = Account::unprivileged()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        account.own(&data)?;
        let secret = folder.path().join("password");
        fs::write(&secret, PASSWORD)?;
        account.own(&secret)?;
        account.run(
            command("initdb")
                .arg("-D")
                .arg(&data)
                .args(["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-A", "scram-sha-256", "--pwfile"])
                .arg(&secret),
        )?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = command("postgres");
        server
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for setting in SETTINGS {
            server.args(["-c", setting]);
        }
        let process = account.apply(&mut server).spawn().context("starting postgres")?;
        let admin = Dsn { user: "postgres".into(), password: PASSWORD.into(), host: "127.0.0.1".into(), port, database: "postgres".into() };
        let dsn = Dsn { user: "app".into(), database: "app".into(), ..admin.clone() };
        let server = Self { folder, process: Mutex::new(Some(process)), dsn, admin };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match Connection::connect(&self.admin) {
                Ok(mut connection) => {
                    connection.query(&format!("create role app login createrole password '{PASSWORD}'"))?;
                    connection.query("create database app owner app")?;
                    return Ok(());
                }
                Err(error) if Instant::now() > deadline => return Err(error.context("the plain server did not come up")),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl PlainServer {
    /// Ends it and removes its folder.
    pub(crate) fn stop(&self) {
        // SIGINT is a fast shutdown: it also ends the server's children, which SIGKILL would not.
        if let Some(mut process) = self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap_or(0));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
            let _ = process.wait();
            let _ = fs::remove_dir_all(self.folder.path());
        }
    }
}

impl Drop for PlainServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Restarts the server of a data folder, as its owner.
pub(crate) fn restart(data: &Path) -> Result<()> {
    let log = data.join("restart.log");
    pg_ctl(data, &["-m", "fast", "-w", "-t", "30", "-l", &log.to_string_lossy(), "restart"])
}

/// Starts the server of a data folder for the first time, as its owner.
pub(crate) fn start(data: &Path) -> Result<()> {
    let log = data.join("restart.log");
    let started = pg_ctl(data, &["-w", "-t", "30", "-l", &log.to_string_lossy(), "start"]);
    started.with_context(|| fs::read_to_string(&log).unwrap_or_default())
}

/// Runs `pg_ctl` with these words on the server of a data folder, as its owner.
pub(crate) fn pg_ctl(data: &Path, words: &[&str]) -> Result<()> {
    let mut pg_ctl = command("pg_ctl");
    pg_ctl.arg("-D").arg(data).args(words);
    Account::unprivileged()?.run(pg_ctl.stdin(Stdio::null()))
}

/// Runs one of the servers' programs as their account.
pub(crate) fn run_as_servers(program: &mut Command) -> Result<()> {
    Account::unprivileged()?.run(program.stdin(Stdio::null()))
}

/// Makes a folder that is not there the data of a replica, with a slot of this name on its primary.
pub(crate) fn base_backup(primary: &Dsn, data: &Path, slot: &str) -> Result<()> {
    let mut backup = command("pg_basebackup");
    backup.env("PGPASSWORD", &primary.password).args(["--no-password", "--no-sync", "--checkpoint=fast", "--write-recovery-conf"]);
    backup.args(["-h", &primary.host, "-p", &primary.port.to_string(), "-U", &primary.user, "--create-slot", "--slot", slot]);
    Account::unprivileged()?.run(backup.arg("-D").arg(data).stdin(Stdio::null()))
}

/// A server program, found on PATH or where Debian keeps it.
pub(crate) fn command(program: &str) -> Command {
    let mut candidates: Vec<PathBuf> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin").join(program)).collect();
    candidates.sort();
    Command::new(candidates.into_iter().rfind(|path| path.exists()).unwrap_or_else(|| PathBuf::from(program)))
}

/// The account that servers run under: PostgreSQL refuses root.
struct Account(Option<(u32, u32)>);

impl Account {
    fn unprivileged() -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(Self(None));
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = nix::unistd::User::from_name(name)? {
                return Ok(Self(Some((user.uid.as_raw(), user.gid.as_raw()))));
            }
        }
        bail!("root needs a user postgres or nobody to run servers")
    }

    fn own(&self, path: &Path) -> Result<()> {
        if let Self(Some((uid, gid))) = self {
            chown(path, Some(*uid), Some(*gid))?;
        }
        Ok(())
    }

    fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Self(Some((uid, gid))) = self {
            command.uid(*uid).gid(*gid).current_dir("/");
        }
        command
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        let output = self.apply(command).output().with_context(|| format!("starting {:?}", command.get_program()))?;
        if !output.status.success() {
            bail!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}
