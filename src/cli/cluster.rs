//! What most commands begin with: the configuration, the catalog, the servers.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use tokio_postgres::Client;

use crate::backend::probe::control_target;
use crate::catalog::{TableRules, store};
use crate::config;
use crate::proxy::{MapSource, Options};
use crate::topology::{Endpoint, ShardMap};

/// A configured cluster.
pub(crate) struct Cluster {
    pub(crate) options: Options,
}

impl Cluster {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let options = config::read(folder, None).map_err(|mistakes| anyhow!("the configuration is wrong:\n{mistakes}"))?;
        Ok(Self { options })
    }

    /// The catalog; an error where the configuration has none.
    pub(crate) async fn catalog(&self) -> Result<Client> {
        match &self.options.source {
            MapSource::Catalog(target) => Ok(target.connect().await.context("the catalog")?),
            MapSource::Fixed(_) => bail!("the configuration has no catalog: edit shards.toml and tables.toml, and restart the proxies"),
        }
    }

    /// The map and the tables' rules, from the catalog or from the files.
    pub(crate) async fn state(&self) -> Result<(ShardMap, TableRules)> {
        match &self.options.source {
            MapSource::Catalog(_) => {
                let state = store::load(&mut self.catalog().await?, None).await?;
                Ok((ShardMap::clone(&state.map), TableRules::clone(&state.rules).over(&self.options.tables)))
            }
            MapSource::Fixed(map) => Ok((map.clone(), self.options.tables.clone())),
        }
    }

    /// A connection as the control role.
    pub(crate) async fn server(&self, endpoint: &Endpoint) -> Result<Client> {
        Ok(control_target(endpoint, &self.options.control).connect().await?)
    }

    /// The home shard's primary.
    pub(crate) async fn home(&self, map: &ShardMap) -> Result<Client> {
        let home = map.shard(map.home).context("the home shard is not in the map")?;
        self.server(&home.primary).await.with_context(|| format!("the home shard {}", home.name))
    }
}
