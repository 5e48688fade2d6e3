//! The text of the files that `dev` writes: a server's settings and the proxy's configuration.

use std::path::Path;

use crate::dev::record::{APP_ROLE, CONTROL_ROLE, DATABASE, Record};

/// The part of `postgresql.conf` that differs from PostgreSQL's defaults.
#[must_use]
pub fn server(port: u16, sockets: Option<&Path>, fsync: bool) -> String {
    let sockets = sockets.map(|path| path.display().to_string().replace('\'', "''")).unwrap_or_default();
    let durable = if fsync { "on" } else { "off" };
    format!(
        "# Written by shardyard dev up.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{sockets}'
max_connections = 400
superuser_reserved_connections = 10
max_prepared_transactions = 200
shared_buffers = '64MB'
max_wal_size = '512MB'
wal_level = replica
max_wal_senders = 20
max_replication_slots = 20
hot_standby = on
wal_receiver_status_interval = '1s'
wal_retrieve_retry_interval = '200ms'
# A machine that loses power loses the cluster: dev up --fsync makes it durable, and slower.
fsync = {durable}
full_page_writes = {durable}
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
"
    )
}

/// `shard-config/proxy.toml`.
#[must_use]
pub fn proxy_toml(record: &Record) -> String {
    format!(
        "# Written by shardyard dev up. Every option is described in the shard-config folder of the source.
listen = [\"{listen}\"]
database = \"{DATABASE}\"

[catalog]
dsn = \"{catalog}\"

[control]
user = \"{CONTROL_ROLE}\"
password = \"{password}\"

[session]
# The default needs more files than many machines allow a process.
clients_max = 10000
",
        listen = record.listen,
        catalog = record.catalog_dsn(),
        password = record.control_password,
    )
}

/// `shard-config/users.toml`.
#[must_use]
pub fn users_toml(record: &Record) -> String {
    format!(
        "# Written by shardyard dev up.
[[users]]
name = \"{APP_ROLE}\"
password = \"{app}\"

[[users]]
name = \"{CONTROL_ROLE}\"
password = \"{control}\"
admin = true
",
        app = record.app_password,
        control = record.control_password,
    )
}

/// `shard-config/tables.toml`.
#[must_use]
pub fn tables_toml() -> &'static str {
    "# Written by shardyard dev up. The shard key and the tables' kinds are in the catalog: see \"shardyard table list\".\n"
}

/// `shard-config/shards.toml`.
#[must_use]
pub fn shards_toml() -> &'static str {
    "# Written by shardyard dev up. The shards are in the catalog: see \"shardyard shard list\".\n"
}
