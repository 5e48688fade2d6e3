//! The servers that tests share, each started when the first test asks for it and ended by `main`.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};

use crate::dsn::Dsn;
use crate::plain::PlainServer;
use crate::shardyard::Cluster;
use crate::wire;

#[derive(Default)]
pub(crate) struct Fixture {
    plain: Shared<PlainServer>,
    second: Shared<PlainServer>,
    cluster: Shared<Cluster>,
    wire_tables: Shared<()>,
}

/// Made once; what could not be made fails every test that needs it with the same words.
type Shared<T> = OnceLock<Result<T, String>>;

impl Fixture {
    /// The oracle, with the tables of the wire conversations.
    pub(crate) fn plain(&self) -> Result<&Dsn> {
        once(&self.plain, plain_with_tables).map(|server| &server.dsn)
    }

    pub(crate) fn cluster(&self) -> Result<&Cluster> {
        once(&self.cluster, Cluster::start)
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
