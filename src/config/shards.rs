//! `shards.toml`: the shard map of a cluster without a catalog. It never changes.

use std::collections::HashSet;

use crate::config::Source;
use crate::config::reader::Reader;
use crate::config::tree::Node;
use crate::topology::hash::initial_buckets;
use crate::topology::shard_map::Replica;
use crate::topology::{Endpoint, Shard, ShardId, ShardMap};

pub(crate) fn read(source: &Source<'_>, node: &Node, database: &str) -> Option<ShardMap> {
    let file = source.reader(node, "");
    let buckets = file.number::<u32>("buckets", 1..=16_777_216);
    let home = file.text("home");
    let mut shards = Vec::new();
    for reader in file.sections("shards") {
        shards.extend(shard(source, &reader, shards.len(), database));
        reader.finish();
    }
    if shards.is_empty() {
        source.mistakes.add(file.place(), "there is neither a catalog in proxy.toml nor a shard here: add [[shards]]");
    }
    unique(&file, &shards);
    let count = u32::try_from(shards.len()).unwrap_or(u32::MAX);
    if buckets.is_some_and(|buckets| buckets < count) {
        file.wrong("buckets", "must not be less than the number of shards");
    }
    let home_id = home.map(|home| match shards.iter().find(|shard| shard.name == home) {
        Some(shard) => shard.id,
        None => {
            file.wrong("home", &format!("names no shard: \"{home}\""));
            ShardId(0)
        }
    });
    file.finish();
    let mut map = ShardMap::initial(shards, buckets.unwrap_or_else(|| initial_buckets(count)))?;
    map.home = home_id.unwrap_or(map.home);
    Some(map)
}

fn shard(source: &Source<'_>, reader: &Reader<'_>, index: usize, database: &str) -> Option<Shard> {
    let name = reader.required_text("name");
    let primary = reader.required_text("primary").and_then(|dsn| endpoint(source, reader.place_of("primary"), &dsn, database));
    let replicas = reader.texts("replicas");
    let replicas =
        replicas.iter().filter_map(|(dsn, place)| Some(Replica { endpoint: endpoint(source, place, dsn, database)?, weight: 1 }));
    let replicas = replicas.collect();
    let id = u16::try_from(index).ok()?;
    Some(Shard { id: ShardId(id), ordinal: id, name: name?, primary: primary?, replicas })
}

/// Reads `postgres://HOST:PORT[/DATABASE]`. Users and passwords have their place elsewhere.
fn endpoint(source: &Source<'_>, place: &str, dsn: &str, database: &str) -> Option<Endpoint> {
    use tokio_postgres::config::Host;
    let Ok(config) = dsn.parse::<tokio_postgres::Config>() else {
        source.mistakes.add(place, "is not a PostgreSQL connection string: postgres://HOST:PORT/DATABASE");
        return None;
    };
    if config.get_user().is_some() || config.get_password().is_some() {
        source.mistakes.add(place, "must not name a user: servers are entered as the client's user, and as [control] of proxy.toml");
    }
    let host = match config.get_hosts() {
        [Host::Tcp(host)] => host.clone(),
        [Host::Unix(folder)] => folder.display().to_string(),
        _ => {
            source.mistakes.add(place, "must name one host");
            return None;
        }
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    Some(Endpoint { host, port, database: config.get_dbname().unwrap_or(database).to_owned() })
}

fn unique(file: &Reader<'_>, shards: &[Shard]) {
    let mut names = HashSet::new();
    let mut endpoints = HashSet::new();
    for shard in shards {
        if !names.insert(&shard.name) {
            file.wrong("shards", &format!("has the name \"{}\" twice", shard.name));
        }
        for endpoint in std::iter::once(&shard.primary).chain(shard.replicas.iter().map(|replica| &replica.endpoint)) {
            if !endpoints.insert(endpoint) {
                file.wrong("shards", &format!("has the server {endpoint} twice"));
            }
        }
    }
}
