//! The cluster that is moved about: two proxies, a worker of the test's own, and servers that can be killed, stopped and started again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::connection::Connection;
use crate::dsn::Dsn;
use crate::plain;
use crate::resharding::{MOVE_PATIENCE, wait_for_move};
use crate::shardyard::{Cluster, Proxy, eventually, program};

/// How long a process may take to answer after it was started again.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Worker,
    Proxy(usize),
    /// By its place in `Stage::servers`.
    Primary(usize),
    Catalog,
}

pub(crate) struct Stage {
    cluster: Cluster,
    catalog: Dsn,
    /// Those that clients use, beside the cluster's own.
    proxies: [Mutex<Option<Proxy>>; 2],
    worker: Mutex<Option<Child>>,
    faults: tempfile::TempDir,
    /// The shards' primaries, added ones too, with their names.
    servers: Mutex<Vec<(String, Dsn)>>,
    /// The first of those that were added.
    added: Mutex<Option<Dsn>>,
    /// Their data folders, and the catalog's.
    data: Mutex<BTreeMap<String, PathBuf>>,
}

impl Stage {
    /// With so many shards and no replicas.
    pub(crate) fn open(shards: usize) -> Result<Self> {
        let cluster = Cluster::start_as(shards, 0, &["--no-worker"])?;
        let faults = tempfile::Builder::new().prefix("shardyard-faults-").tempdir()?;
        let catalog = cluster.catalog.clone();
        let servers = cluster.shards.iter().enumerate().map(|(at, shard)| (format!("shard{at}"), shard.primary.clone())).collect();
        let stage = Self {
            cluster,
            catalog,
            proxies: [Mutex::new(None), Mutex::new(None)],
            worker: Mutex::new(None),
            faults,
            servers: Mutex::new(servers),
            added: Mutex::new(None),
            data: Mutex::default(),
        };
        stage.learn_data("catalog", &stage.catalog)?;
        for (name, dsn) in stage.servers() {
            stage.learn_data(&name, &dsn)?;
        }
        stage.revive(Victim::Proxy(0))?;
        stage.revive(Victim::Proxy(1))?;
        stage.revive(Victim::Worker)?;
        Ok(stage)
    }

    /// Through one of the proxies.
    pub(crate) fn connect(&self, proxy: usize) -> Result<Connection> {
        let dsn = lock(&self.proxies[proxy % 2]).as_ref().context("the proxy is dead")?.dsn.clone();
        Connection::connect(&dsn)
    }

    pub(crate) fn catalog(&self) -> Result<Connection> {
        Connection::connect(&self.catalog)
    }

    /// The primaries by name.
    pub(crate) fn servers(&self) -> Vec<(String, Dsn)> {
        lock(&self.servers).clone()
    }

    /// A new server becomes a shard; returns when the move is over.
    pub(crate) fn add(&self, name: &str) -> Result<()> {
        self.ask_to_add(name)?;
        wait_for_move(self, MOVE_PATIENCE)
    }

    /// Asks for it only.
    pub(crate) fn ask_to_add(&self, name: &str) -> Result<()> {
        let known = self.servers().into_iter().find(|(known, _)| known == name);
        let dsn = known.map_or_else(|| self.new_server(name), |(_, dsn)| Ok(dsn))?;
        self.command(&["shard", "add", name, "--primary", &dsn.to_string(), "--finalize"])
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.ask_to_remove(name)?;
        wait_for_move(self, MOVE_PATIENCE)
    }

    /// Asks for it only.
    pub(crate) fn ask_to_remove(&self, name: &str) -> Result<()> {
        self.command(&["shard", "remove", name, "--finalize"])
    }

    /// An empty database: on a server of its own the first time, and beside the former ones' afterwards.
    fn new_server(&self, name: &str) -> Result<Dsn> {
        let mut added = lock(&self.added);
        let dsn = if let Some(first) = added.as_ref() {
            Connection::connect(first)?.query(&format!("create database {name}"))?;
            Dsn { database: name.to_owned(), ..first.clone() }
        } else {
            let printed = self.cluster.run(&["dev", "server", name])?;
            let dsn = Dsn::parse(printed.lines().last().context("no DSN was printed")?.trim())?;
            added.insert(dsn).clone()
        };
        self.learn_data(name, &dsn)?;
        lock(&self.servers).push((name.to_owned(), dsn.clone()));
        Ok(dsn)
    }

    /// One of the program's commands, on this cluster's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(program()).args(arguments).arg("--config").arg(self.cluster.config()).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "shardyard {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The newest move's state and error.
    pub(crate) fn last_move(&self) -> Result<(String, Option<String>)> {
        let mut rows = self.catalog()?.query("select state, error from shardyard.move order by id desc limit 1")?;
        let row = rows.pop().context("there is no move")?;
        let [state, error] = <[Option<String>; 2]>::try_from(row).ok().context("a row of another length")?;
        Ok((state.context("a move without a state")?, error))
    }

    /// How many there have been.
    pub(crate) fn moves(&self) -> Result<usize> {
        Ok(self.catalog()?.value("select count(*) from shardyard.move")?.parse()?)
    }

    /// The newest move's waves, for people.
    pub(crate) fn waves(&self) -> Result<String> {
        let sql = "select id, source_id, target_id, state, reversed from shardyard.wave order by id desc limit 10";
        let mut rows = self.catalog()?.query(sql)?;
        rows.extend(self.catalog()?.query("select * from shardyard.proxy")?);
        rows.extend(self.catalog()?.query("select version, gate from shardyard.cluster")?);
        for (name, dsn) in self.servers() {
            let open = "select pid, state, now() - xact_start, wait_event, left(query, 100) from pg_stat_activity
                        where xact_start < now() - interval '200 ms' and pid <> pg_backend_pid() and backend_type = 'client backend'
                        union all select null, 'prepared', now() - prepared, null, gid from pg_prepared_xacts";
            rows.push(vec![Some(name)]);
            rows.extend(Connection::connect(&dsn)?.query(open)?);
        }
        Ok(rows.iter().map(|row| format!("{row:?}\n")).collect::<String>() + &self.worker_log())
    }

    fn worker_log(&self) -> String {
        let text = std::fs::read_to_string(self.faults.path().join("worker.log")).unwrap_or_default();
        let skipped = text.lines().count().saturating_sub(30);
        text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
    }

    /// The file that a debug build looks for: see `execute::fault`.
    pub(crate) fn fault_file(&self, name: &str) -> PathBuf {
        self.faults.path().join(name)
    }

    /// Ends everything.
    pub(crate) fn stop(&self) {
        drop(self.take_worker());
        self.proxies.iter().for_each(|proxy| drop(lock(proxy).take()));
        self.cluster.stop();
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Worker => drop(self.take_worker()),
            // Dropping kills it.
            Victim::Proxy(at) => drop(lock(&self.proxies[at]).take()),
            Victim::Primary(_) | Victim::Catalog => {
                if let Some(postmaster) = self.server_pids(victim)?.first() {
                    kill(Pid::from_raw(i32::try_from(*postmaster)?), Signal::SIGKILL)?;
                }
            }
        }
        Ok(())
    }

    /// Stands still until it is woken.
    pub(crate) fn stopped(&self, victim: Victim) -> Result<Stopped> {
        let pids = match victim {
            Victim::Worker => lock(&self.worker).iter().map(Child::id).collect(),
            Victim::Proxy(at) => lock(&self.proxies[at]).iter().map(Proxy::pid).collect(),
            Victim::Primary(_) | Victim::Catalog => self.server_pids(victim)?,
        };
        let stopped = Stopped(pids.into_iter().map(|pid| Ok(Pid::from_raw(i32::try_from(pid)?))).collect::<Result<_>>()?);
        stopped.signal(Signal::SIGSTOP);
        Ok(stopped)
    }

    /// The worker is no longer this stage's.
    pub(crate) fn take_worker(&self) -> Option<LateWorker> {
        lock(&self.worker).take().map(LateWorker)
    }

    /// Starts what was killed and returns when it answers.
    pub(crate) fn revive(&self, victim: Victim) -> Result<()> {
        let folder = self.faults.path().to_string_lossy().into_owned();
        match victim {
            Victim::Worker => {
                let log = std::fs::File::options().create(true).append(true).open(self.faults.path().join("worker.log"))?;
                let mut command = Command::new(program());
                command.arg("worker").arg("--config").arg(self.cluster.config()).env("SHARDYARD_FAULT_DIR", folder);
                *lock(&self.worker) = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
            }
            Victim::Proxy(at) => {
                let proxy = self.cluster.proxy(&[("SHARDYARD_FAULT_DIR", &folder)])?;
                *lock(&self.proxies[at]) = Some(proxy);
            }
            Victim::Primary(_) | Victim::Catalog => {
                let (dsn, data) = self.server(victim)?;
                // The dead server's children hold its memory for a moment.
                eventually(PATIENCE, || plain::restart(&data))?;
                eventually(PATIENCE, || Connection::connect(&dsn).map(drop))?;
            }
        }
        Ok(())
    }

    fn learn_data(&self, name: &str, dsn: &Dsn) -> Result<()> {
        let data = Connection::connect(dsn)?.value("show data_directory")?;
        lock(&self.data).insert(name.to_owned(), PathBuf::from(data));
        Ok(())
    }

    fn server(&self, victim: Victim) -> Result<(Dsn, PathBuf)> {
        let (name, dsn) = match victim {
            Victim::Catalog => ("catalog".to_owned(), self.catalog.clone()),
            Victim::Primary(at) => self.servers().get(at).context("no such server")?.clone(),
            Victim::Worker | Victim::Proxy(_) => bail!("{victim:?} is no server"),
        };
        let known = lock(&self.data).get(&name).cloned();
        let data = known.with_context(|| format!("the folder of {name} is not known"))?;
        Ok((dsn, data))
    }

    /// The server's own process, then its children.
    fn server_pids(&self, victim: Victim) -> Result<Vec<u32>> {
        let (_, data) = self.server(victim)?;
        let file = data.join("postmaster.pid");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let pid: u32 = text.lines().next().context("an empty postmaster.pid")?.trim().parse()?;
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        Ok(std::iter::once(pid).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect())
    }
}

/// Processes that stand still; dropping wakes them.
pub(crate) struct Stopped(Vec<Pid>);

impl Stopped {
    pub(crate) fn wake(self) {
        drop(self);
    }

    fn signal(&self, signal: Signal) {
        for pid in &self.0 {
            // A child may have ended.
            let _ = kill(*pid, signal);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
    }
}

/// A worker that another has replaced; dropping kills it.
pub(crate) struct LateWorker(Child);

impl LateWorker {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for LateWorker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
