//! Control connections to servers, one to each, kept for as long as they are wanted again and again.

use std::collections::HashMap;

use deadpool_postgres::{Client, Pool};

use crate::backend::ControlRole;
use crate::backend::probe::control_target;
use crate::topology::Endpoint;

pub(super) struct ControlPools {
    control: ControlRole,
    pools: HashMap<Endpoint, Pool>,
}

impl ControlPools {
    pub(super) fn new(control: ControlRole) -> Self {
        Self { control, pools: HashMap::new() }
    }

    /// The connection to this server, opened if there is none.
    pub(super) async fn connect(&mut self, endpoint: &Endpoint) -> anyhow::Result<Client> {
        Ok(self.pool(endpoint)?.get().await?)
    }

    /// Of one connection.
    pub(super) fn pool(&mut self, endpoint: &Endpoint) -> anyhow::Result<Pool> {
        if let Some(pool) = self.pools.get(endpoint) {
            return Ok(pool.clone());
        }
        let pool = control_target(endpoint, &self.control).pool(1)?;
        self.pools.insert(endpoint.clone(), pool.clone());
        Ok(pool)
    }

    /// Closes those to the other servers.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Endpoint) -> bool) {
        self.pools.retain(|endpoint, _| keep(endpoint));
    }
}
