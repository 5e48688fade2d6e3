//! `cluster.json`: what a cluster's folder holds, written before anything is started.

use std::path::Path;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::dev::DevError;

/// The database that the application uses, on every shard.
pub const DATABASE: &str = "app";
/// The application's role: not a superuser, owns the database.
pub const APP_ROLE: &str = "app";
/// The superuser of every server: the proxy's control role.
pub const CONTROL_ROLE: &str = "shardyard";
/// The catalog's database, on the catalog's server.
pub const CATALOG_DATABASE: &str = "shardyard";

/// How far the making of the cluster has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Set before the first server is made. Next: `Made`. Found at the start of `dev up`, the servers are removed and made again: nobody was told that they are ready.
    Making,
    /// Set when all servers run and the configuration is written. Final: the data is the user's.
    Made,
}

/// One server of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    pub name: String,
    pub port: u16,
}

/// One shard's servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    pub id: u16,
    pub name: String,
    pub primary: ServerRecord,
    pub replicas: Vec<ServerRecord>,
}

/// Everything that `dev` knows of a cluster. Holds passwords: the file is readable by its owner only.
#[derive(Clone, Serialize, Deserialize)]
pub struct Record {
    pub stage: Stage,
    /// HOST:PORT of the proxy.
    pub listen: String,
    pub fsync: bool,
    pub app_password: String,
    pub control_password: String,
    pub catalog: ServerRecord,
    pub shards: Vec<ShardRecord>,
    /// Made by `dev server`.
    #[serde(default)]
    pub extra: Vec<ServerRecord>,
}

impl Record {
    /// A new cluster's record; `ports` are one for the catalog, then each shard's primary followed by its replicas.
    #[must_use]
    pub fn new(listen: &str, shards: u16, replicas: u16, ports: &[u16]) -> Self {
        let mut ports = ports.iter().copied();
        let mut server = |name: String| ServerRecord { name, port: ports.next().unwrap_or_default() };
        let catalog = server("catalog".to_owned());
        let shards = (0..shards)
            .map(|id| {
                let primary = server(format!("shard{id}"));
                let replicas = (1..=replicas).map(|replica| server(format!("shard{id}-replica{replica}"))).collect();
                ShardRecord { id, name: format!("shard{id}"), primary, replicas }
            })
            .collect();
        Self {
            stage: Stage::Making,
            listen: listen.to_owned(),
            fsync: false,
            app_password: password(),
            control_password: password(),
            catalog,
            shards,
            extra: Vec::new(),
        }
    }

    /// All servers, the primaries before their replicas.
    pub fn servers(&self) -> impl Iterator<Item = &ServerRecord> {
        let shards = self.shards.iter().flat_map(|shard| std::iter::once(&shard.primary).chain(&shard.replicas));
        std::iter::once(&self.catalog).chain(shards).chain(&self.extra)
    }

    /// The application's connection string, through the proxy.
    #[must_use]
    pub fn app_dsn(&self) -> String {
        format!("postgres://{APP_ROLE}:{}@{}/{DATABASE}", self.app_password, self.listen)
    }

    /// The admin console's connection string.
    #[must_use]
    pub fn admin_dsn(&self) -> String {
        format!("postgres://{CONTROL_ROLE}:{}@{}/shardyard", self.control_password, self.listen)
    }

    /// A superuser's connection string to one server's application database.
    #[must_use]
    pub fn server_dsn(&self, server: &ServerRecord) -> String {
        self.superuser_dsn(server, DATABASE)
    }

    /// A superuser's connection string to the catalog.
    #[must_use]
    pub fn catalog_dsn(&self) -> String {
        self.superuser_dsn(&self.catalog, CATALOG_DATABASE)
    }

    /// A superuser's connection string to any database of a server.
    #[must_use]
    pub fn superuser_dsn(&self, server: &ServerRecord, database: &str) -> String {
        format!("postgres://{CONTROL_ROLE}:{}@127.0.0.1:{}/{database}", self.control_password, server.port)
    }

    /// Reads the record; `None` when there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a record.
    pub fn read(path: &Path) -> Result<Option<Self>, DevError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DevError::file("cannot read", path)(error)),
        };
        let record = serde_json::from_str(&text);
        record.map(Some).map_err(|error| DevError::Record { path: path.display().to_string(), reason: error.to_string() })
    }
}

/// Letters and digits only, so that it needs no escape in a URL, in SQL or in TOML. 24 of them are 142 bits.
fn password() -> String {
    let mut random = rand::rng();
    (0..24).map(|_| char::from(random.sample(rand::distr::Alphanumeric))).collect()
}
