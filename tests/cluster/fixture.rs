//! The servers that tests share, each started when the first test asks for it and ended by `main`.

use std::sync::{Arc, OnceLock};

use anyhow::{Result, anyhow};

use crate::connection::Connection;
use crate::differential::corpus;
use crate::differential::server::Server;
use crate::dsn::Dsn;
use crate::plain::PlainServer;
use crate::shardyard::Cluster;
use crate::wire;

#[derive(Default)]
pub(crate) struct Fixture {
    plain: Shared<PlainServer>,
    second: Shared<PlainServer>,
    cluster: Shared<Arc<Cluster>>,
    pair: Shared<Cluster>,
    wire_tables: Shared<()>,
    differential_plain: Shared<()>,
    differential_subject: Shared<()>,
}

/// Made once; what could not be made fails every test that needs it with the same words.
type Shared<T> = OnceLock<Result<T, String>>;

impl Fixture {
    /// The oracle, with the tables of the wire conversations.
    pub(crate) fn plain(&self) -> Result<&Dsn> {
        once(&self.plain, plain_with_tables).map(|server| &server.dsn)
    }

    pub(crate) fn cluster(&self) -> Result<&Cluster> {
        once(&self.cluster, || Cluster::start().map(Arc::new)).map(Arc::as_ref)
    }

    /// With a cluster of a test's own.
    pub(crate) fn of(cluster: Arc<Cluster>) -> Self {
        Self { cluster: OnceLock::from(Ok(cluster)), ..Self::default() }
    }

    /// Two shards without replicas, whose map the tests change.
    pub(crate) fn pair(&self) -> Result<&Cluster> {
        once(&self.pair, || Cluster::start_sized(2, 0))
    }

    /// What the conversations are compared with: the proxy, or a second plain server under `SHARDYARD_WIRE_AGAINST=plain`,
    /// which shows that a script has one outcome only.
    pub(crate) fn wire_subject(&self) -> Result<&Dsn> {
        if std::env::var("SHARDYARD_WIRE_AGAINST").is_ok_and(|value| value == "plain") {
            return once(&self.second, plain_with_tables).map(|server| &server.dsn);
        }
        let cluster = self.cluster()?;
        once(&self.wire_tables, || wire::lay_tables(&cluster.dsn))?;
        Ok(&cluster.dsn)
    }

    /// The oracle, with the tables of the differential corpus.
    pub(crate) fn differential_plain(&self) -> Result<&Dsn> {
        let plain = self.plain()?;
        once(&self.differential_plain, || corpus::lay_tables(plain))?;
        Ok(plain)
    }

    /// What it is compared with, with the same: the cluster; or, under `SHARDYARD_DIFFERENTIAL_AGAINST=plain`, a second plain server that
    /// has its rows in another order and other plans, which shows that a statement has one answer only.
    pub(crate) fn differential_subject(&self) -> Result<&Dsn> {
        if let Some(second) = self.differential_second()? {
            once(&self.differential_subject, || corpus::lay_tables(&second.dsn).and_then(|()| corpus::disorder(second)))?;
            return Ok(&second.dsn);
        }
        let cluster = self.cluster()?;
        once(&self.differential_subject, || corpus::lay_tables(&cluster.dsn).and_then(|()| cluster.wait_for_replicas()))?;
        Ok(&cluster.dsn)
    }

    fn differential_second(&self) -> Result<Option<&PlainServer>> {
        let against_plain = std::env::var("SHARDYARD_DIFFERENTIAL_AGAINST").is_ok_and(|value| value == "plain");
        against_plain.then(|| once(&self.second, plain_with_tables)).transpose()
    }

    /// The servers behind the subject, the home shard's first.
    pub(crate) fn differential_servers(&self) -> Result<Vec<Server>> {
        match self.differential_second()? {
            Some(second) => Ok(vec![Server::only(Connection::connect(&second.dsn)?)]),
            None => Server::of_cluster(self.cluster()?),
        }
    }

    /// What one client wrote, another may read late; here it must be everywhere first.
    pub(crate) fn wait_for_replicas(&self) -> Result<()> {
        match self.cluster.get() {
            Some(Ok(cluster)) => cluster.wait_for_replicas(),
            _ => Ok(()),
        }
    }

    /// Ends every server.
    pub(crate) fn stop(&self) {
        for server in [&self.plain, &self.second] {
            if let Some(Ok(server)) = server.get() {
                server.stop();
            }
        }
        if let Some(Ok(cluster)) = self.cluster.get() {
            cluster.stop();
        }
        if let Some(Ok(cluster)) = self.pair.get() {
            cluster.stop();
        }
    }
}

fn plain_with_tables() -> Result<PlainServer> {
    let server = PlainServer::start()?;
    wire::lay_tables(&server.dsn)?;
    Ok(server)
}

fn once<T>(cell: &Shared<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}"))).as_ref().map_err(|error| anyhow!(error.clone()))
}
