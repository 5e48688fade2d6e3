//! The servers that tests share, each started when the first test asks for it and ended by `main`.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};

use crate::dsn::Dsn;
use crate::plain::PlainServer;
use crate::wire;

#[derive(Default)]
pub(crate) struct Fixture {
    plain: OnceLock<Result<PlainServer, String>>,
    second: OnceLock<Result<PlainServer, String>>,
}

impl Fixture {
    /// The oracle, with the tables of the wire conversations.
    pub(crate) fn plain(&self) -> Result<&Dsn> {
        once(&self.plain, plain_with_tables).map(|server| &server.dsn)
    }

    /// What the conversations are compared with: the proxy, or a second plain server under `SHARDYARD_WIRE_AGAINST=plain`,
    /// which shows that a script has one outcome only.
    pub(crate) fn wire_subject(&self) -> Result<&Dsn> {
        once(&self.second, plain_with_tables).map(|server| &server.dsn)
    }
}

fn plain_with_tables() -> Result<PlainServer> {
    let server = PlainServer::start()?;
    wire::lay_tables(&server.dsn)?;
    Ok(server)
}

/// A fixture that could not be made fails every test that needs it with the same words.
fn once<T>(cell: &OnceLock<Result<T, String>>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}"))).as_ref().map_err(|error| anyhow!(error.clone()))
}
