//! Makes a cluster, or starts one that was made before.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::catalog::store::{self, NewCluster};
use crate::catalog::{connect, migrate};
use crate::dev::account::Account;
use crate::dev::binaries::Binaries;
use crate::dev::down::stop_all;
use crate::dev::folder::{Folder, write_secret};
use crate::dev::record::{APP_ROLE, CATALOG_DATABASE, DATABASE, Record, ServerRecord, ShardRecord, Stage};
use crate::dev::server::Site;
use crate::dev::{DevError, ports, proxy_process, settings, worker_process};
use crate::topology::hash::initial_buckets;
use crate::topology::shard_map::Replica;
use crate::topology::{Endpoint, Shard, ShardId, ShardMap};

/// What `dev up` was asked.
#[derive(Clone, Debug)]
pub struct UpOptions {
    pub shards: u16,
    /// Of each shard.
    pub replicas: u16,
    /// HOST:PORT of the proxy.
    pub listen: String,
    pub dir: PathBuf,
    /// Return when ready instead of staying in the foreground.
    pub detach: bool,
    /// Start the servers only.
    pub no_proxy: bool,
    /// Start no worker: nothing can move.
    pub no_worker: bool,
    /// Let servers wait for the disk.
    pub fsync: bool,
}

/// Makes or starts the cluster and says when it is ready; in the foreground stays until Ctrl-C, SIGTERM or `dev down`.
///
/// # Errors
/// When it cannot be made or started: then every process it started has been stopped.
pub async fn up(options: &UpOptions) -> Result<(), DevError> {
    let folder = Folder::create(&options.dir)?;
    let lock = folder.lock()?;
    // From the first process on, a signal must find us able to stop them all.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DevError::file("cannot watch for signals in", folder.path()))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(DevError::file("cannot watch for signals in", folder.path()))?;
    let site = Arc::new(site(options, folder).await?);
    let mut interrupted = false;
    let started = {
        // Not dropped half-way: a server between its start and its pid file could not be found again.
        let mut work = std::pin::pin!(bring_up(&site, options));
        loop {
            tokio::select! {
                started = &mut work => break started,
                _ = interrupt.recv() => interrupted = true,
                _ = terminate.recv() => interrupted = true,
            }
        }
    };
    let started = if interrupted { Err(DevError::Refused("interrupted".to_owned())) } else { started };
    let proxy = match started {
        Ok(proxy) => proxy,
        Err(error) => {
            stop_all(&site).await?;
            return Err(error);
        }
    };
    drop(lock);
    announce(&site, options);
    if options.detach {
        return Ok(());
    }
    tokio::select! {
        () = supervise(&site, proxy) => { println!("the cluster was stopped"); return Ok(()); }
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("stopping");
    stop_all(&site).await
}

/// Makes one more empty server with the cluster's roles and an empty database, and starts it; answers with its superuser's DSN.
///
/// # Errors
/// When the name is taken or the server cannot be made.
pub async fn add_server(dir: &std::path::Path, name: &str) -> Result<String, DevError> {
    let folder = Folder::open(dir)?;
    let _lock = folder.lock()?;
    let mut record = folder.record()?;
    let legible =
        !name.is_empty() && name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !legible {
        return Err(DevError::Refused(format!("\"{name}\" is no name for a server: use up to 40 of a-z, 0-9 and -")));
    }
    if record.servers().any(|server| server.name == name) {
        return Err(DevError::Refused(format!("there is a server {name} already: see \"shardyard dev status\"")));
    }
    let server = ServerRecord { name: name.to_owned(), port: ports::free(1)?.first().copied().unwrap_or_default() };
    // What a failed attempt under this name has left.
    let leftover = folder.server(name);
    if leftover.exists() {
        std::fs::remove_dir_all(&leftover).map_err(DevError::file("cannot remove", &leftover))?;
    }
    record.extra.push(server.clone());
    let site = Site { record, account: Account::for_servers()?, binaries: Binaries::find()?, folder };
    if let Err(error) = make_primary(&site, &server).await {
        site.server(&server).stop().await?;
        return Err(error);
    }
    site.folder.write_record(&site.record)?;
    Ok(site.record.server_dsn(&server))
}

/// The cluster of the folder, or the one to be made there.
async fn site(options: &UpOptions, folder: Folder) -> Result<Site, DevError> {
    if !(1..=64).contains(&options.shards) || options.replicas > 8 {
        return Err(DevError::Refused("a local cluster has 1 to 64 shards with 0 to 8 replicas each".to_owned()));
    }
    let (account, binaries) = (Account::for_servers()?, Binaries::find()?);
    match Record::read(&folder.record_path())? {
        Some(mut record) if record.stage == Stage::Made => {
            let replicas = record.shards.first().map_or(0, |shard| shard.replicas.len());
            if record.shards.len() != usize::from(options.shards) || replicas != usize::from(options.replicas) {
                return Err(DevError::Refused(format!(
                    "{} holds a cluster of {} shards with {replicas} replicas: ask for the same, choose another --dir, or \"shardyard dev down --remove\" it",
                    folder.path().display(),
                    record.shards.len(),
                )));
            }
            record.listen.clone_from(&options.listen);
            return Ok(Site { folder, account, binaries, record });
        }
        Some(half_made) => {
            let site = Site { folder: folder.clone(), account: account.clone(), binaries: binaries.clone(), record: half_made };
            stop_all(&site).await?;
            folder.clear()?;
        }
        None => {}
    }
    let servers = 1 + usize::from(options.shards) * (1 + usize::from(options.replicas));
    let mut record = Record::new(&options.listen, options.shards, options.replicas, &ports::free(servers)?);
    record.fsync = options.fsync;
    Ok(Site { folder, account, binaries, record })
}

/// Makes what is missing, starts what stands still.
async fn bring_up(site: &Arc<Site>, options: &UpOptions) -> Result<Option<Child>, DevError> {
    site.folder.write_record(&site.record)?;
    site.folder.prepare(&site.account).await?;
    if site.record.stage == Stage::Making {
        make(site).await?;
    } else {
        start_all(site).await?;
    }
    write_config(site)?;
    let mut record = site.record.clone();
    record.stage = Stage::Made;
    site.folder.write_record(&record)?;
    if !options.no_proxy && !options.no_worker && worker_process::running(&site.folder).is_none() {
        worker_process::start(&site.folder)?;
    }
    if options.no_proxy || proxy_process::running(&site.folder).is_some() {
        return Ok(None);
    }
    proxy_process::start(&site.folder, &site.record).await.map(Some)
}

async fn make(site: &Arc<Site>) -> Result<(), DevError> {
    let mut making = JoinSet::new();
    let buckets = initial_buckets(u32::try_from(site.record.shards.len()).unwrap_or(u32::MAX));
    for shard in site.record.shards.clone() {
        let site = Arc::clone(site);
        making.spawn(async move { make_shard(&site, &shard, buckets).await });
    }
    let catalog = Arc::clone(site);
    making.spawn(async move { make_catalog(&catalog, buckets).await });
    join_all(making).await
}

async fn make_shard(site: &Site, shard: &ShardRecord, buckets: u32) -> Result<(), DevError> {
    make_primary(site, &shard.primary).await?;
    let mut client = connect(&site.record.server_dsn(&shard.primary)).await?;
    migrate::shard(&mut client, buckets).await?;
    for replica in &shard.replicas {
        let server = site.server(replica);
        server.follow(&shard.primary).await?;
        server.start().await?;
        server.wait_streaming(DATABASE).await?;
    }
    Ok(())
}

async fn make_primary(site: &Site, record: &ServerRecord) -> Result<(), DevError> {
    let server = site.server(record);
    server.init().await?;
    server.start().await?;
    let statements = [
        format!("create role {APP_ROLE} login password '{}'", site.record.app_password),
        format!("create database {DATABASE} owner {APP_ROLE}"),
    ];
    server.execute("postgres", "making the application's role and database", &statements).await
}

async fn make_catalog(site: &Site, buckets: u32) -> Result<(), DevError> {
    let server = site.server(&site.record.catalog);
    server.init().await?;
    server.start().await?;
    server.execute("postgres", "making the catalog's database", &[format!("create database {CATALOG_DATABASE}")]).await?;
    let mut client = connect(&site.record.catalog_dsn()).await?;
    migrate::catalog(&mut client).await?;
    let endpoint = |server: &ServerRecord| Endpoint { host: "127.0.0.1".to_owned(), port: server.port, database: DATABASE.to_owned() };
    let shards = site.record.shards.iter().map(|shard| Shard {
        id: ShardId(shard.id),
        ordinal: shard.id,
        name: shard.name.clone(),
        primary: endpoint(&shard.primary),
        replicas: shard.replicas.iter().map(|replica| Replica { endpoint: endpoint(replica), weight: 1 }).collect(),
    });
    let map = ShardMap::initial(shards.collect(), buckets).ok_or_else(|| DevError::Refused("a cluster needs a shard".to_owned()))?;
    let cluster = NewCluster { name: "dev".to_owned(), key_column: "user_id".to_owned(), map };
    Ok(store::create_cluster(&mut client, &cluster).await?)
}

async fn start_all(site: &Arc<Site>) -> Result<(), DevError> {
    let mut starting = JoinSet::new();
    for server in site.record.servers().cloned().collect::<Vec<_>>() {
        let site = Arc::clone(site);
        starting.spawn(async move { site.server(&server).start().await });
    }
    join_all(starting).await
}

/// Waits for all, so that nothing is being started any more when the first error is returned.
async fn join_all(mut set: JoinSet<Result<(), DevError>>) -> Result<(), DevError> {
    let mut result = Ok(());
    while let Some(done) = set.join_next().await {
        result = result.and(done.unwrap_or(Err(DevError::Panicked)));
    }
    result
}

fn write_config(site: &Site) -> Result<(), DevError> {
    let config = site.folder.config();
    std::fs::create_dir_all(&config).map_err(DevError::file("cannot make the folder", &config))?;
    write_secret(&config.join("proxy.toml"), &settings::proxy_toml(&site.record))?;
    write_secret(&config.join("users.toml"), &settings::users_toml(&site.record))?;
    write_secret(&config.join("tables.toml"), settings::tables_toml())?;
    write_secret(&config.join("shards.toml"), settings::shards_toml())
}

fn announce(site: &Site, options: &UpOptions) {
    let record = &site.record;
    let replicas = record.shards.iter().map(|shard| shard.replicas.len()).sum::<usize>();
    println!("{} shards, {replicas} replicas and a catalog in {}", record.shards.len(), site.folder.path().display());
    if !record.fsync {
        println!("fsync is off: the data does not survive a loss of power (--fsync makes it durable)");
    }
    if options.no_proxy {
        println!("no proxy was started: shardyard serve --config {}", site.folder.config().display());
    } else {
        println!("{}", record.app_dsn());
    }
}

/// Watches the processes; says once when one has ended. Returns when none is left.
async fn supervise(site: &Site, proxy: Option<Child>) {
    let mut told: Vec<String> = Vec::new();
    let mut child = proxy;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(status) = child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
            println!("the proxy has ended with {status}; its log is {}", site.folder.proxy_log().display());
            child = None;
        }
        let mut running = proxy_process::running(&site.folder).is_some();
        for server in site.record.servers() {
            // The pid file is removed by a clean stop and looked at without starting a program each second.
            if site.folder.server(&server.name).join("data/postmaster.pid").exists() {
                running = true;
            } else if !told.contains(&server.name) {
                println!("server {} has stopped; its log is {}", server.name, site.folder.server(&server.name).join("log").display());
                told.push(server.name.clone());
            }
        }
        if !running {
            return;
        }
    }
}
