//! `shardyard explain`: where a statement would go, asked of a running proxy.

use std::path::Path;

use anyhow::{Context, Result};
use tokio_postgres::{Config, SimpleQueryMessage};

use crate::catalog::{Target, connect};
use crate::cli::cluster::Cluster;
use crate::net::{ListenAddress, ServerTls, SslMode};

/// Runs `EXPLAIN (ROUTE)` through the proxy: by `dsn`, or as the configuration's first user at its first address.
pub(crate) async fn run(folder: &Path, dsn: Option<&str>, statement: &str) -> Result<u8> {
    let client = match dsn {
        Some(dsn) => connect(dsn).await?,
        None => configured(folder)?.connect().await.context("the proxy")?,
    };
    let statement = format!("EXPLAIN (ROUTE) {statement}");
    for message in client.simple_query(&statement).await.map_err(told)? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                println!("{}", columns.iter().map(|column| column.name().to_owned()).collect::<Vec<_>>().join("\t"));
            }
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|index| row.get(index).unwrap_or_default().replace('\n', " "));
                println!("{}", values.collect::<Vec<_>>().join("\t"));
            }
            _ => {}
        }
    }
    Ok(0)
}

fn configured(folder: &Path) -> Result<Target> {
    let options = Cluster::open(folder)?.options;
    let user = options.users.iter().find(|user| !user.admin).or(options.users.first()).context("there is no user")?;
    let mut config = Config::new();
    config.user(&user.name).dbname(&options.database);
    if let Some(password) = &user.password {
        config.password(password);
    }
    match options.listen.first().context("the proxy listens nowhere")? {
        ListenAddress::Tcp { host, port } => {
            // An address that means "all" cannot be connected to everywhere.
            let host = if matches!(host.as_str(), "0.0.0.0" | "::" | "*") { "127.0.0.1" } else { host };
            config.host(host).port(*port);
        }
        ListenAddress::Unix { directory, port } => {
            config.host_path(directory).port(*port);
        }
    }
    let tls = ServerTls { mode: SslMode::Prefer, root_certificate_file: None };
    Ok(Target::new(config, tls))
}

/// The server's own words, with detail and hint.
fn told(error: tokio_postgres::Error) -> anyhow::Error {
    let Some(database) = error.as_db_error() else { return error.into() };
    let mut text = format!("{} {}", database.code().code(), database.message());
    for (name, more) in [("detail", database.detail()), ("hint", database.hint())] {
        if let Some(more) = more {
            text.push_str(&format!("\n{name}: {more}"));
        }
    }
    anyhow::anyhow!(text)
}
