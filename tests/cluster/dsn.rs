//! Where and as whom to connect: `postgres://user:password@host:port/database`.

use anyhow::{Context, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dsn {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
}

impl Dsn {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Self::split(text).with_context(|| format!("not a DSN of this form: {text}"))
    }

    fn split(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))?;
        let (credentials, place) = rest.rsplit_once('@')?;
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (address, database) = place.split_once('/')?;
        let (host, port) = address.rsplit_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: password.to_owned(),
            host: host.to_owned(),
            port: port.parse().ok()?,
            database: database.split('?').next()?.to_owned(),
        })
    }
}

impl std::fmt::Display for Dsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "postgres://{}:{}@{}:{}/{}", self.user, self.password, self.host, self.port, self.database)
    }
}
