//! How to reach one PostgreSQL server's database.

use std::fmt;

/// One database of one PostgreSQL server. Holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// A host name or address; a value that starts with `/` is the folder of a unix socket, as in libpq.
    pub host: String,
    pub port: u16,
    pub database: String,
}

impl Endpoint {
    /// Whether `host` names the folder of a unix socket.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.host.starts_with('/')
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.database)
    }
}
