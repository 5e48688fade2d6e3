//! Is the catalog there, and is its schema this program's?

use crate::catalog::migrate;
use crate::cli::check::Findings;
use crate::cli::cluster::Cluster;
use crate::proxy::MapSource;

pub(crate) async fn look(cluster: &Cluster, findings: &mut Findings) {
    if matches!(cluster.options.source, MapSource::Fixed(_)) {
        findings.warning(
            "catalog",
            "none is configured: the shard map never changes, shards cannot be added",
            "add [catalog] to proxy.toml, then: shardyard init",
        );
        return;
    }
    let client = match cluster.catalog().await {
        Ok(client) => client,
        Err(error) => return findings.error("catalog", format!("{error:#}"), "start its server, or mend [catalog] in proxy.toml"),
    };
    match migrate::missing(&client, false).await {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => findings.error("catalog", format!("lacks {}", missing.join(", ")), "shardyard upgrade"),
        Err(error) => findings.error("catalog", error.to_string(), "install the shardyard that made it"),
    }
}
