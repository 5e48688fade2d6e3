//! `proxy.toml`: the process, its pools, its bounds.

use std::path::PathBuf;

use tokio_postgres::Config;

use crate::backend::{ControlRole, PoolOptions, ReplicaOptions};
use crate::catalog::{TableRules, Target};
use crate::config::Source;
use crate::config::reader::Reader;
use crate::config::tree::Node;
use crate::net::{ClientTls, ClientTlsMode, ListenAddress, ServerTls, SslMode};
use crate::proxy::{MapSource, Options};
use crate::session::{SessionOptions, User};

/// A day: no time-out needs to be longer.
const DAY_MS: i64 = 86_400_000;

/// What `proxy.toml` says.
pub(crate) struct Settings {
    listen: Vec<ListenAddress>,
    workers: usize,
    pub(crate) database: String,
    /// With its password.
    catalog: Option<Config>,
    control: Option<ControlRole>,
    pool: PoolOptions,
    replicas: ReplicaOptions,
    session: SessionOptions,
    client_tls: ClientTls,
    server_tls: ServerTls,
}

impl Settings {
    /// The catalog, encrypted as the servers are.
    pub(crate) fn catalog(&self) -> Option<Target> {
        self.catalog.clone().map(|config| Target::new(config, self.server_tls.clone()))
    }

    /// `None` where a mistake has been told already.
    pub(crate) fn into_options(self, source: MapSource, users: Vec<User>, tables: TableRules) -> Option<Options> {
        Some(Options {
            listen: self.listen,
            workers: self.workers,
            database: self.database,
            source,
            control: ControlRole { tls: self.server_tls.clone(), ..self.control? },
            users,
            pool: self.pool,
            replicas: self.replicas,
            session: self.session,
            client_tls: self.client_tls,
            server_tls: self.server_tls,
            tables,
        })
    }
}

pub(crate) fn read(source: &Source<'_>, node: &Node) -> Settings {
    let file = source.reader(node, "");
    let control = file.section("control");
    if control.is_none() {
        source.mistakes.add(file.place(), "there is no [control]: the role with which the proxy watches servers and reads the schema");
    }
    let settings = Settings {
        listen: listen(source, &file),
        workers: file.number("workers", 0..=1024).unwrap_or(0),
        database: file.required_text("database").unwrap_or_default(),
        catalog: optional(&file, "catalog", |reader| catalog(source, reader)).flatten(),
        control: control.and_then(|reader| self::control(source, reader)),
        pool: optional(&file, "pool", pool).unwrap_or_default(),
        replicas: optional(&file, "replicas", replicas).unwrap_or_default(),
        session: optional(&file, "session", session).unwrap_or_default(),
        client_tls: optional(&file, "client_tls", |reader| client_tls(source, reader)).unwrap_or_default(),
        server_tls: optional(&file, "server_tls", |reader| server_tls(source, reader)).unwrap_or_default(),
    };
    file.finish();
    settings
}

fn optional<T>(file: &Reader<'_>, key: &str, read: impl FnOnce(&Reader<'_>) -> T) -> Option<T> {
    let reader = file.section(key)?;
    let value = read(&reader);
    reader.finish();
    Some(value)
}

fn listen(source: &Source<'_>, file: &Reader<'_>) -> Vec<ListenAddress> {
    let texts = file.texts("listen");
    if texts.is_empty() {
        return vec![ListenAddress::Tcp { host: "127.0.0.1".to_owned(), port: 6432 }];
    }
    let mut addresses = Vec::new();
    for (text, place) in texts {
        let address = text.rsplit_once(':').and_then(|(host, port)| {
            let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            match host {
                "" => None,
                folder if folder.starts_with('/') => Some(ListenAddress::Unix { directory: PathBuf::from(folder), port }),
                host => Some(ListenAddress::Tcp { host: host.to_owned(), port }),
            }
        });
        match address {
            Some(address) => addresses.push(address),
            None => source.mistakes.add(&place, "listen must be HOST:PORT, or /FOLDER:PORT for a unix socket"),
        }
    }
    addresses
}

/// The catalog's connection string, with the password that is given beside it.
fn catalog(source: &Source<'_>, reader: &Reader<'_>) -> Option<Config> {
    let password = source.secret(reader, "password");
    let dsn = reader.required_text("dsn")?;
    let config = dsn.parse::<Config>().ok().filter(|config| config.get_user().is_some() && !config.get_hosts().is_empty());
    let Some(mut config) = config else {
        reader.wrong("dsn", "must be a connection string with a user: postgres://USER@HOST:PORT/DATABASE");
        return None;
    };
    if let Some(password) = password {
        config.password(password);
    }
    Some(config)
}

fn control(source: &Source<'_>, reader: Reader<'_>) -> Option<ControlRole> {
    let role = ControlRole {
        password: source.secret(&reader, "password"),
        user: reader.required_text("user").unwrap_or_default(),
        // Filled in with the whole.
        tls: ServerTls::default(),
    };
    reader.finish();
    Some(role)
}

fn pool(reader: &Reader<'_>) -> PoolOptions {
    let default = PoolOptions::default();
    let options = PoolOptions {
        size: reader.number("size", 1..=10_000).unwrap_or(default.size),
        min_idle: reader.number("min_idle", 0..=10_000).unwrap_or(default.min_idle),
        acquire_timeout: reader.milliseconds("acquire_timeout_ms", 1..=DAY_MS).unwrap_or(default.acquire_timeout),
        waiters_max: reader.number("waiters_max", 1..=1_000_000).unwrap_or(default.waiters_max),
        failover_hold: reader.milliseconds("failover_hold_ms", 1..=DAY_MS).unwrap_or(default.failover_hold),
        connect_timeout: reader.milliseconds("connect_timeout_ms", 1..=DAY_MS).unwrap_or(default.connect_timeout),
        idle_timeout: reader.milliseconds("idle_timeout_ms", 1..=30 * DAY_MS).unwrap_or(default.idle_timeout),
        lifetime_max: reader.milliseconds("lifetime_max_ms", 1..=30 * DAY_MS).unwrap_or(default.lifetime_max),
        prepared_max: reader.number("prepared_max", 1..=100_000).unwrap_or(default.prepared_max),
    };
    if options.min_idle > options.size {
        reader.wrong("min_idle", "must not exceed pool.size");
    }
    options
}

fn replicas(reader: &Reader<'_>) -> ReplicaOptions {
    let default = ReplicaOptions::default();
    ReplicaOptions {
        lag_max: reader.milliseconds("lag_max_ms", 0..=DAY_MS).unwrap_or(default.lag_max),
        sample_interval: reader.milliseconds("sample_interval_ms", 5..=60_000).unwrap_or(default.sample_interval),
        probe_interval: reader.milliseconds("probe_interval_ms", 50..=60_000).unwrap_or(default.probe_interval),
    }
}

fn session(reader: &Reader<'_>) -> SessionOptions {
    let default = SessionOptions::default();
    SessionOptions {
        clients_max: reader.number("clients_max", 1..=1_000_000).unwrap_or(default.clients_max),
        login_timeout: reader.milliseconds("login_timeout_ms", 100..=DAY_MS).unwrap_or(default.login_timeout),
        templates_max: reader.number("templates_max", 1..=10_000_000).unwrap_or(default.templates_max),
        cached_statement_bytes_max: reader
            .number("cached_statement_bytes_max", 0..=64 * 1024 * 1024)
            .unwrap_or(default.cached_statement_bytes_max),
        prepared_max: reader.number("prepared_max", 1..=10_000_000).unwrap_or(default.prepared_max),
        prepare_after: reader.number("prepare_after", 0..=1_000_000).unwrap_or(default.prepare_after),
        gather_bytes_max: reader.number("gather_bytes_max", 0..=1 << 40).unwrap_or(default.gather_bytes_max),
        kept_bytes_max: reader.number("kept_bytes_max", 1..=1 << 40).unwrap_or(default.kept_bytes_max),
        lock_wait_max: reader.milliseconds("lock_wait_max_ms", 1..=DAY_MS).unwrap_or(default.lock_wait_max),
        notification_bytes_max: reader.number("notification_bytes_max", 0..=1 << 40).unwrap_or(default.notification_bytes_max),
        hold_patience: reader.milliseconds("hold_patience_ms", 0..=DAY_MS).unwrap_or(default.hold_patience),
    }
}

fn client_tls(source: &Source<'_>, reader: &Reader<'_>) -> ClientTls {
    let modes = [("disable", ClientTlsMode::Disable), ("allow", ClientTlsMode::Allow), ("require", ClientTlsMode::Require)];
    let tls = ClientTls {
        mode: reader.choice("mode", &modes).unwrap_or_default(),
        certificate_file: file(source, reader, "certificate_file"),
        key_file: file(source, reader, "key_file"),
    };
    if tls.mode != ClientTlsMode::Disable {
        for (key, value) in [("certificate_file", &tls.certificate_file), ("key_file", &tls.key_file)] {
            if value.is_none() {
                reader.wrong(key, "is missing: TLS needs a certificate and its key");
            }
        }
    }
    tls
}

fn server_tls(source: &Source<'_>, reader: &Reader<'_>) -> ServerTls {
    let modes = [
        ("disable", SslMode::Disable),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
    let tls = ServerTls {
        mode: reader.choice("mode", &modes).unwrap_or_default(),
        root_certificate_file: file(source, reader, "root_certificate_file"),
    };
    if matches!(tls.mode, SslMode::VerifyCa | SslMode::VerifyFull) && tls.root_certificate_file.is_none() {
        reader.wrong("root_certificate_file", "is missing: verifying needs the authorities to trust");
    }
    tls
}

/// A file's name, relative to the configuration's folder. It must exist.
fn file(source: &Source<'_>, reader: &Reader<'_>, key: &str) -> Option<PathBuf> {
    let path = source.folder.join(reader.text(key)?);
    if !path.is_file() {
        reader.wrong(key, "names no file");
    }
    Some(path)
}
