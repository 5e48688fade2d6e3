//! Options of clients' sessions, filled by `config`.

use std::time::Duration;

use crate::backend::{PoolMode, ServerUser};

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMethod {
    /// SCRAM-SHA-256, over TLS also SCRAM-SHA-256-PLUS.
    #[default]
    ScramSha256,
    Md5,
    /// Cleartext password; only sensible over TLS.
    Password,
    Trust,
}

/// One application role. The proxy logs in to the servers as the same role unless `server_user` says otherwise.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub auth: AuthMethod,
    /// Clear text. Needed to log in to servers, and for SCRAM and md5 clients.
    pub password: Option<String>,
    pub server_user: Option<String>,
    pub server_password: Option<String>,
    pub pool_mode: PoolMode,
    /// Overrides the pools' size for this user.
    pub pool_size: Option<usize>,
    /// May use the admin console (the database `shardyard`).
    pub admin: bool,
}

impl User {
    /// As whom the proxy logs in to servers for this user.
    #[must_use]
    pub fn server_user(&self) -> ServerUser {
        let own = self.server_user.is_none();
        ServerUser {
            name: self.server_user.clone().unwrap_or_else(|| self.name.clone()),
            password: self.server_password.clone().or_else(|| self.password.clone().filter(|_| own)),
            pool_size: self.pool_size,
        }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("auth", &self.auth).finish_non_exhaustive()
    }
}

/// Bounds of sessions and of the statement cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Most clients per process; the next is refused with `53300`. 20,000 by default.
    pub clients_max: usize,
    /// How long login may take. 60 s by default.
    pub login_timeout: Duration,
    /// Templates kept in the statement cache. 10,000 by default.
    pub templates_max: usize,
    /// Longer statements are planned each time. 64 KiB by default.
    pub cached_statement_bytes_max: usize,
    /// Prepared statements of one client; the next is refused with `54000`. 10,000 by default.
    pub prepared_max: usize,
    /// How often a read of one row by its unique key comes as text before servers keep it prepared; 0: they never do. 5 by default.
    pub prepare_after: u32,
    /// Rows that one statement may bring to the home shard; beyond, `53400`. 256 MiB by default.
    pub gather_bytes_max: usize,
    /// Rows of one statement that the proxy itself holds: of a query whose rows are shared out to be written, of a merged portal that the
    /// client takes in parts. A write takes some times more while it is made. Beyond, `53400`. 64 MiB by default.
    pub kept_bytes_max: usize,
    /// How long a transaction that writes on several shards waits for one lock before it counts as deadlocked, `40P01`; the client's own
    /// `lock_timeout` comes first. 5 s by default.
    pub lock_wait_max: Duration,
    /// Notifications that may wait for one client which is in a transaction or does not read; beyond, its connection ends with `53400`.
    /// 16 MiB by default.
    pub notification_bytes_max: usize,
    /// How long a write waits while its bucket is switched to another shard, before it is sent all the same. 5 s by default.
    pub hold_patience: Duration,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            clients_max: 20_000,
            login_timeout: Duration::from_secs(60),
            templates_max: 10_000,
            cached_statement_bytes_max: 64 * 1024,
            prepared_max: 10_000,
            prepare_after: 5,
            gather_bytes_max: 256 * 1024 * 1024,
            kept_bytes_max: 64 * 1024 * 1024,
            lock_wait_max: Duration::from_secs(5),
            notification_bytes_max: 16 * 1024 * 1024,
            hold_patience: Duration::from_secs(5),
        }
    }
}
