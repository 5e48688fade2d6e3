//! The cluster that is moved about: two proxies, a worker of the test's own, and servers that can be killed, stopped and started again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::connection::Connection;
use crate::dsn::Dsn;
use crate::plain;
use crate::resharding::network::{HERE, HERE_IN_URL, Network, Process};
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

/// What a stage is made of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setting {
    pub(crate) shards: usize,
    /// Of each shard; the first is synchronous.
    pub(crate) replicas: usize,
    /// Whether each process has lines of its own to the servers, which can be cut.
    pub(crate) lines: bool,
    /// The proxies' `hold_patience_ms`, if it is not to be theirs.
    pub(crate) hold_patience_ms: Option<u64>,
}

pub(crate) struct Stage {
    pub(super) cluster: Arc<Cluster>,
    setting: Setting,
    pub(super) catalog: Dsn,
    pub(super) network: Option<Network>,
    /// Those that clients use, beside the cluster's own.
    proxies: [Mutex<Option<Proxy>>; 2],
    worker: Mutex<Option<Child>>,
    faults: tempfile::TempDir,
    /// The shards' primaries, added ones too, with their names.
    pub(super) servers: Mutex<Vec<(String, Dsn)>>,
    /// Their synchronous replicas.
    pub(super) standbys: Mutex<BTreeMap<String, Dsn>>,
    /// The first of those that were added.
    pub(super) added: Mutex<Option<Dsn>>,
    /// The servers' data folders by port.
    pub(super) data: Mutex<BTreeMap<u16, PathBuf>>,
    /// What of them is a disk of its own.
    pub(super) disk: Mutex<Option<PathBuf>>,
}

impl Stage {
    /// With so many shards and no replicas.
    pub(crate) fn open(shards: usize) -> Result<Self> {
        Self::open_with(Setting { shards, ..Setting::default() })
    }

    pub(crate) fn open_with(setting: Setting) -> Result<Self> {
        let words: &[&str] = if setting.lines { &["--no-worker", "--no-proxy"] } else { &["--no-worker"] };
        Self::over(Arc::new(Cluster::start_as(setting.shards, setting.replicas, words)?), setting)
    }

    /// Over a cluster that runs, without a worker.
    pub(crate) fn over(cluster: Arc<Cluster>, setting: Setting) -> Result<Self> {
        let faults = tempfile::Builder::new().prefix("shardyard-faults-").tempdir()?;
        let network = setting.lines.then(|| Network::start(faults.path())).transpose()?;
        let named = || cluster.shards.iter().enumerate().map(|(at, shard)| (format!("shard{at}"), shard));
        let stage = Self {
            setting,
            catalog: cluster.catalog.clone(),
            network,
            proxies: [Mutex::new(None), Mutex::new(None)],
            worker: Mutex::new(None),
            faults,
            servers: Mutex::new(named().map(|(name, shard)| (name, shard.primary.clone())).collect()),
            standbys: Mutex::new(named().filter_map(|(name, shard)| Some((name, shard.replicas.first()?.clone()))).collect()),
            added: Mutex::new(None),
            data: Mutex::default(),
            disk: Mutex::default(),
            cluster,
        };
        stage.learn_server(&stage.catalog)?;
        for dsn in stage.servers().into_iter().map(|(_, dsn)| dsn).chain(lock(&stage.standbys).values().cloned()) {
            stage.learn_server(&dsn)?;
        }
        if setting.lines {
            stage.catalog()?.query(&format!("update shardyard.shard set host = '{HERE}'; update shardyard.replica set host = '{HERE}'"))?;
            stage.wait_synchronously()?;
            for process in [Process::Worker, Process::Operator] {
                stage.configure(process)?;
            }
        }
        stage.revive(Victim::Proxy(0))?;
        stage.revive(Victim::Proxy(1))?;
        stage.revive(Victim::Worker)?;
        Ok(stage)
    }

    /// Writes the configuration of a process that has lines of its own.
    fn configure(&self, process: Process) -> Result<()> {
        let folder = self.config(process);
        std::fs::create_dir_all(&folder)?;
        for file in std::fs::read_dir(self.cluster.config())? {
            let path = file?.path();
            let name = path.file_name().context("a file without a name")?;
            std::fs::write(folder.join(name), self.edited(std::fs::read_to_string(&path)?))?;
        }
        Ok(())
    }

    /// A file of the configuration as this stage's processes need it.
    fn edited(&self, text: String) -> String {
        let text = match self.network {
            Some(_) => text.replace(&format!("127.0.0.1:{}", self.catalog.port), &format!("{HERE_IN_URL}:{}", self.catalog.port)),
            None => text,
        };
        match self.setting.hold_patience_ms {
            Some(patience) => text.replace("[session]\n", &format!("[session]\nhold_patience_ms = {patience}\n")),
            None => text,
        }
    }

    fn config(&self, process: Process) -> PathBuf {
        self.home(process).map_or_else(|| self.cluster.config().to_owned(), |home| home.join("config"))
    }

    fn home(&self, process: Process) -> Option<PathBuf> {
        self.network.as_ref().map(|network| network.folder(process))
    }

    /// The program with these words, as the process would call it.
    fn program(&self, process: Process, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(words).arg("--config").arg(self.config(process)).stdin(Stdio::null());
        if let Some(home) = self.home(process) {
            command.current_dir(home);
        }
        command
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
        wait_for_move(self, "finished", MOVE_PATIENCE)
    }

    /// Asks for it only.
    pub(crate) fn ask_to_add(&self, name: &str) -> Result<()> {
        self.ask_to_add_with(name, &["--finalize"])
    }

    /// The same, so that it can be taken back.
    pub(crate) fn ask_to_add_for_now(&self, name: &str) -> Result<()> {
        self.ask_to_add_with(name, &[])
    }

    fn ask_to_add_with(&self, name: &str, words: &[&str]) -> Result<()> {
        let known = self.servers().into_iter().find(|(known, _)| known == name);
        let dsn = known.map_or_else(|| self.offer(name), |(_, dsn)| Ok(dsn))?;
        let dsn = if self.setting.lines { Dsn { host: HERE_IN_URL.to_owned(), ..dsn } } else { dsn };
        self.command(&[&["shard", "add", name, "--primary", &dsn.to_string()], words].concat())
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.ask_to_remove(name)?;
        wait_for_move(self, "finished", MOVE_PATIENCE)
    }

    /// Asks for it only.
    pub(crate) fn ask_to_remove(&self, name: &str) -> Result<()> {
        self.command(&["shard", "remove", name, "--finalize"])
    }

    /// An empty database: on a server of its own the first time, and beside the former ones' afterwards.
    pub(crate) fn offer(&self, name: &str) -> Result<Dsn> {
        let mut added = lock(&self.added);
        let dsn = if let Some(first) = added.as_ref() {
            Connection::connect(first)?.query(&format!("create database {name}"))?;
            Dsn { database: name.to_owned(), ..first.clone() }
        } else {
            let printed = self.cluster.run(&["dev", "server", name])?;
            let dsn = Dsn::parse(printed.lines().last().context("no DSN was printed")?.trim())?;
            self.learn_server(&dsn)?;
            added.insert(dsn).clone()
        };
        lock(&self.servers).push((name.to_owned(), dsn.clone()));
        Ok(dsn)
    }

    /// Drops the database of a shard that was removed; but the first's.
    pub(crate) fn drop_shard(&self, name: &str) -> Result<()> {
        let first = lock(&self.added).clone();
        let kept = |(other, dsn): &(String, Dsn)| other != name || first.as_ref() == Some(dsn);
        if self.servers().iter().all(kept) {
            return Ok(());
        }
        self.command(&["shard", "drop", name, "--yes"])?;
        lock(&self.servers).retain(kept);
        Ok(())
    }

    /// The places among the servers of the source and the target of the wave that moves.
    pub(crate) fn sides(&self) -> Result<Option<(usize, usize)>> {
        let sql = "select s.name, t.name from shardyard.wave w join shardyard.shard s on s.id = w.source_id
                   join shardyard.shard t on t.id = w.target_id where w.state not in ('planned', 'finished', 'aborted') order by w.id limit 1";
        let rows = self.catalog()?.query(sql)?;
        let place = |name: &Option<String>| self.servers().iter().position(|(known, _)| Some(known) == name.as_ref());
        Ok(rows.first().and_then(|row| Some((place(&row[0])?, place(&row[1])?))))
    }

    pub(crate) fn catalog_port(&self) -> u16 {
        self.catalog.port
    }

    /// Of all servers.
    pub(crate) fn ports(&self) -> Vec<u16> {
        lock(&self.data).keys().copied().collect()
    }

    /// One of the program's commands, on this cluster's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<()> {
        let output = self.program(Process::Operator, arguments).output()?;
        ensure!(output.status.success(), "shardyard {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The newest move's state and error.
    pub(crate) fn last_move(&self) -> Result<(String, Option<String>)> {
        let waiting = "case when wish = 'pause' and error is not null then 'waiting for its operator' else state end";
        let mut rows = self.catalog()?.query(&format!("select {waiting}, error from shardyard.move order by id desc limit 1"))?;
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
        self.take_disk();
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
                let mut command = self.program(Process::Worker, &["worker"]);
                *lock(&self.worker) = Some(command.env("SHARDYARD_FAULT_DIR", folder).stdout(log.try_clone()?).stderr(log).spawn()?);
            }
            Victim::Proxy(at) => {
                let home = self.home(Process::Proxy(at));
                let proxy = self.cluster.proxy_in(home.as_deref(), &[("SHARDYARD_FAULT_DIR", &folder)], |_, text| self.edited(text))?;
                eventually(PATIENCE, || Connection::connect(&proxy.dsn).map(drop)).with_context(|| proxy.log())?;
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

    /// Where its data is; and lines to it.
    fn learn_server(&self, dsn: &Dsn) -> Result<()> {
        let data = Connection::connect(dsn)?.value("show data_directory")?;
        lock(&self.data).insert(dsn.port, PathBuf::from(data));
        self.network.as_ref().map_or(Ok(()), |network| network.lay(dsn.port))
    }

    pub(super) fn server(&self, victim: Victim) -> Result<(Dsn, PathBuf)> {
        let dsn = match victim {
            Victim::Catalog => self.catalog.clone(),
            Victim::Primary(at) => self.servers().get(at).context("no such server")?.1.clone(),
            Victim::Worker | Victim::Proxy(_) => bail!("{victim:?} is no server"),
        };
        let known = lock(&self.data).get(&dsn.port).cloned();
        let data = known.with_context(|| format!("the folder of {victim:?} is not known"))?;
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
