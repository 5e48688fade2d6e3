//! Is every server there, in its role, with the settings and roles that it needs?

use tokio_postgres::Client;

use crate::catalog::Target;
use crate::catalog::migrate;
use crate::cli::check::Findings;
use crate::cli::cluster::Cluster;
use crate::net::ServerTls;
use crate::session::User;
use crate::topology::{Endpoint, Shard, ShardMap};

/// PostgreSQL 15.
const VERSION_MIN: i32 = 150_000;

/// What a server says of itself.
struct Facts {
    version: i32,
    in_recovery: bool,
    prepared_max: i32,
    connections_max: i32,
    encoding: String,
    monitors: bool,
    streaming: bool,
}

pub(crate) async fn look(cluster: &Cluster, map: &ShardMap, findings: &mut Findings) {
    let mut versions = Vec::new();
    for shard in &map.shards {
        let primary = (format!("shard {}, primary {}", shard.name, shard.primary), &shard.primary, true);
        let replicas = shard.replicas.iter().map(|replica| {
            let place = format!("shard {}, replica {}", shard.name, replica.endpoint);
            (place, &replica.endpoint, false)
        });
        for (place, endpoint, is_primary) in std::iter::once(primary).chain(replicas) {
            let client = match cluster.server(endpoint).await {
                Ok(client) => client,
                Err(error) => {
                    findings.error(&place, format!("{error:#}"), "start it, or mend [control] in proxy.toml");
                    continue;
                }
            };
            match facts(&client).await {
                Ok(facts) => {
                    versions.push(facts.version / 10_000);
                    judge(cluster, &place, &facts, is_primary, findings);
                }
                Err(error) => findings.error(&place, error.to_string(), "look into its log"),
            }
            for user in &cluster.options.users {
                log_in((endpoint, &cluster.options.server_tls), user, &place, findings).await;
            }
            if is_primary {
                migrations(&client, shard, map, findings).await;
            }
        }
    }
    versions.sort_unstable();
    versions.dedup();
    if versions.len() > 1 {
        findings.warning("servers", format!("run different major versions: {versions:?}"), "bring them to one: answers may differ");
    }
}

async fn facts(client: &Client) -> Result<Facts, tokio_postgres::Error> {
    let select =
        "select current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('max_prepared_transactions')::int,
                         current_setting('max_connections')::int, current_setting('server_encoding'),
                         pg_has_role(current_user, 'pg_monitor', 'USAGE'),
                         exists (select from pg_stat_wal_receiver where status = 'streaming')";
    let row = client.query_one(select, &[]).await?;
    Ok(Facts {
        version: row.get(0),
        in_recovery: row.get(1),
        prepared_max: row.get(2),
        connections_max: row.get(3),
        encoding: row.get(4),
        monitors: row.get(5),
        streaming: row.get(6),
    })
}

fn judge(cluster: &Cluster, place: &str, facts: &Facts, is_primary: bool, findings: &mut Findings) {
    if facts.version < VERSION_MIN {
        findings.error(place, format!("is version {}", facts.version / 10_000), "use PostgreSQL 15 or newer");
    }
    if facts.encoding != "UTF8" {
        let text = format!("has the encoding {}: text keys would have other buckets", facts.encoding);
        findings.error(place, text, "make the database with ENCODING 'UTF8'");
    }
    if !facts.monitors {
        let user = &cluster.options.control.user;
        findings.error(place, format!("the control role {user} may not watch it"), format!("GRANT pg_monitor TO \"{user}\""));
    }
    match (is_primary, facts.in_recovery) {
        (true, true) => findings.error(place, "is a replica", "promote it, or mend the shard's servers"),
        (false, false) => findings.error(
            place,
            "takes writes: an old primary, or promoted by nobody's wish; proxies do not use it",
            "make it a replica again with pg_rewind or pg_basebackup, or take it out of the shard's replicas",
        ),
        (false, true) if !facts.streaming => {
            findings.error(place, "does not receive from its primary", "look into its log and primary_conninfo")
        }
        _ => {}
    }
    if facts.prepared_max == 0 {
        findings.error(
            place,
            "has max_prepared_transactions = 0: no transaction may write to two shards",
            "ALTER SYSTEM SET max_prepared_transactions = 200, and restart it",
        );
    }
    let options = &cluster.options;
    let needed: usize = options.users.iter().map(|user| user.pool_size.unwrap_or(options.pool.size)).sum();
    let allowed = usize::try_from(facts.connections_max).unwrap_or(0);
    if needed > allowed {
        let text = format!("allows {allowed} connections, the pools of one proxy may open {needed}");
        findings.warning(place, text, "lower pool.size in proxy.toml, or raise max_connections");
    }
}

async fn log_in((endpoint, tls): (&Endpoint, &ServerTls), user: &User, place: &str, findings: &mut Findings) {
    let mut config = tokio_postgres::Config::new();
    let name = user.server_user.as_ref().unwrap_or(&user.name);
    config
        .host(&endpoint.host)
        .port(endpoint.port)
        .dbname(&endpoint.database)
        .user(name)
        .connect_timeout(std::time::Duration::from_secs(5));
    if let Some(password) = user.server_password.as_ref().or(user.password.as_ref()) {
        config.password(password);
    }
    let client = match Target::new(config, tls.clone()).connect().await {
        Ok(client) => client,
        Err(error) => return cannot_enter(&error, (user, name), place, findings),
    };
    let temporary = client.query_one("select has_database_privilege(current_database(), 'TEMPORARY')", &[]).await;
    if temporary.is_ok_and(|row| !row.get::<_, bool>(0)) {
        let text = format!("user {} may make no temporary tables: reads that no merge can answer will fail", user.name);
        findings.warning(place, text, format!("GRANT TEMPORARY ON DATABASE \"{}\" TO \"{name}\"", endpoint.database));
    }
}

fn cannot_enter(error: &(dyn std::error::Error + 'static), (user, name): (&User, &str), place: &str, findings: &mut Findings) {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let mend = format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '…' as in users.toml, and let it in by pg_hba.conf");
    findings.error(place, format!("user {} cannot enter: {cause}", user.name), mend);
}

async fn migrations(client: &Client, shard: &Shard, map: &ShardMap, findings: &mut Findings) {
    let place = format!("shard {}", shard.name);
    match migrate::missing(client, true).await {
        Ok(missing) if !missing.is_empty() => findings.error(&place, format!("lacks {}", missing.join(", ")), "shardyard upgrade"),
        Ok(_) => match client.query_one("select shardyard.buckets()", &[]).await.map(|row| row.get::<_, i32>(0)) {
            Ok(buckets) if u32::try_from(buckets) == Ok(map.buckets()) => {}
            Ok(buckets) => {
                let text = format!("was made for {buckets} buckets, the cluster has {}", map.buckets());
                findings.error(&place, text, "it belongs to another cluster: use an empty database");
            }
            Err(error) => findings.error(&place, error.to_string(), "shardyard upgrade"),
        },
        Err(error) => findings.error(&place, error.to_string(), "install the shardyard that made it"),
    }
}
