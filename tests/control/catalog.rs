//! Migrations, versions, and the watcher.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use shardyard::catalog::migrate::{self, MigrateError};
use shardyard::catalog::store::{self, CatalogState, NewCluster};
use shardyard::catalog::{TableRule, TableRuleKind, TableRules, Target, Watcher, connect};
use shardyard::topology::{Endpoint, Shard, ShardId, ShardMap};
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use crate::fixture::{Fixture, block_on};

pub(crate) fn migrations_twice_and_at_once(fixture: &Fixture) -> Result<()> {
    block_on(async {
        let dsn = fixture.database("migrated").await?;
        let (mut first, mut second) = (connect(&dsn).await?, connect(&dsn).await?);
        let (one, other) = tokio::join!(migrate::catalog(&mut first), migrate::catalog(&mut second));
        let applied = (one?.len(), other?.len());
        ensure!((applied.0 == 0) != (applied.1 == 0), "both applied: {applied:?}");
        ensure!(migrate::catalog(&mut first).await?.is_empty(), "applied again");
        ensure!(migrate::shard(&mut first, 7).await.is_err(), "a catalog is no shard");
        Ok(())
    })
}

pub(crate) fn refuses_what_is_newer(fixture: &Fixture) -> Result<()> {
    block_on(async {
        let mut client = fixture.client("newer").await?;
        migrate::shard(&mut client, 1024).await?;
        ensure!(matches!(migrate::shard(&mut client, 2048).await, Err(MigrateError::OtherBuckets { found: 1024, wanted: 2048 })));
        client.execute("insert into shardyard.migration values (9999, 'from the future')", &[]).await?;
        ensure!(matches!(migrate::shard(&mut client, 1024).await, Err(MigrateError::Newer { found: 9999, .. })));
        ensure!(matches!(migrate::missing(&client, true).await, Err(MigrateError::Newer { .. })));
        Ok(())
    })
}

pub(crate) fn changes_bump_the_version_once(fixture: &Fixture) -> Result<()> {
    block_on(async {
        let mut client = fixture.client("versions").await?;
        migrate::catalog(&mut client).await?;
        ensure!(matches!(store::load(&mut client, None).await, Err(store::StoreError::NoCluster)));
        let cluster = cluster(3, 1024)?;
        store::create_cluster(&mut client, &cluster).await?;
        ensure!(matches!(store::create_cluster(&mut client, &cluster).await, Err(store::StoreError::ClusterExists)));
        let made = store::load(&mut client, None).await?;
        ensure!(made.map.version.0 == 1, "made in {} versions", made.map.version);
        ensure!(made.map.owners == cluster.map.owners && made.map.shards == cluster.map.shards, "another map");
        let transaction = client.transaction().await?;
        transaction
            .execute("update shardyard.bucket_map set shard_id = 2, version = (select shardyard.bump()) where bucket < 10", &[])
            .await?;
        transaction.execute("update shardyard.replica set weight = 3", &[]).await?;
        transaction.commit().await?;
        let moved = store::load(&mut client, Some(&made)).await?;
        ensure!(moved.map.version.0 == 2, "moved in {}", moved.map.version);
        ensure!(moved.map.owners.iter().take(10).all(|owner| *owner == ShardId(2)), "the newer rows are missing");
        ensure!(moved.schema_version == made.schema_version, "a move is no change of schema");
        ensure!(moved.map == store::load(&mut client, None).await?.map, "loaded in steps, it differs");
        store::set_table_rule(&client, &rule("currencies", TableRuleKind::Reference)).await?;
        ensure!(store::schema_changed(&client).await? == 4);
        let ruled = store::load(&mut client, Some(&moved)).await?;
        ensure!((ruled.map.version.0, ruled.schema_version) == (4, 4));
        ensure!(ruled.rules.rule("public", "currencies").is_some_and(|rule| rule.kind == TableRuleKind::Reference));
        ensure!(store::remove_table_rule(&client, "public", "currencies").await?);
        let events: i64 = client.query_one("select count(*) from shardyard.event", &[]).await?.get(0);
        ensure!(events == 1);
        Ok(())
    })
}

/// A change arrives by NOTIFY, far sooner than by the poll; after the connection's loss changes arrive again.
pub(crate) fn watcher_follows_and_survives(fixture: &Fixture) -> Result<()> {
    block_on(async {
        let dsn = fixture.database("watched").await?;
        let target = Target::parse(&dsn)?;
        let mut client = target.connect().await?;
        migrate::catalog(&mut client).await?;
        ensure!(Watcher::start(&target, TableRules::default()).await.is_err(), "there is no cluster yet");
        store::create_cluster(&mut client, &cluster(2, 64)?).await?;
        let file = TableRules { key_column: "ignored".to_owned(), rules: vec![rule("of_file", TableRuleKind::Single)] };
        let (watcher, mut receiver) = Watcher::start(&target, file).await?;
        let follow = shardyard::telemetry::task::spawn("watcher", watcher.run());
        ensure!(receiver.borrow().rules.rule("public", "of_file").is_some(), "tables.toml counts too");
        ensure!(receiver.borrow().rules.key_column == "user_id", "the catalog's key column counts");
        store::set_table_rule(&client, &rule("one", TableRuleKind::Reference)).await?;
        next(&mut receiver, |state| state.rules.rule("public", "one").is_some()).await?;
        let listening = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'shardyard watch' and datname = 'watched'";
        let ended: i64 = client.query_one(listening, &[]).await?.get(0);
        ensure!(ended == 1, "{ended} watchers");
        store::set_table_rule(&client, &rule("two", TableRuleKind::Reference)).await?;
        next(&mut receiver, |state| state.rules.rule("public", "two").is_some()).await?;
        drop(receiver);
        timeout(Duration::from_secs(5), follow).await.context("the watcher does not end")??;
        Ok(())
    })
}

/// The application's role needs no grant of its own.
pub(crate) fn application_may_decide_and_hash(fixture: &Fixture) -> Result<()> {
    block_on(async {
        let client = connect(&fixture.application(0)?).await?;
        client.batch_execute("insert into shardyard.commit_decision (gid, decision) values ('g1', 'commit')").await?;
        let again = client.batch_execute("insert into shardyard.commit_decision (gid, decision) values ('g1', 'abort')").await;
        ensure!(again.is_err(), "the first decision must stand");
        ensure!(client.batch_execute("delete from shardyard.commit_decision").await.is_err(), "only the control role removes decisions");
        let row = client.query_one("select shardyard.bucket(42), shardyard.buckets()", &[]).await?;
        // md5('42') = a1d0c6e8…
        ensure!(row.get::<_, i32>(0) == i32::try_from(0xa1d0_c6e8_u32 % 55_440)? && row.get::<_, i32>(1) == 55_440);
        Ok(())
    })
}

fn cluster(shards: u16, buckets: u32) -> Result<NewCluster> {
    let endpoint = |host: &str, port| Endpoint { host: host.to_owned(), port, database: "app".to_owned() };
    let shard = |id| Shard {
        id: ShardId(id),
        ordinal: id,
        name: format!("s{id}"),
        primary: endpoint("db", 5000 + id),
        replicas: vec![shardyard::topology::shard_map::Replica { endpoint: endpoint("replica", 6000 + id), weight: 2 }],
    };
    let map = ShardMap::initial((0..shards).map(shard).collect(), buckets).context("a map")?;
    Ok(NewCluster { name: "test".to_owned(), key_column: "user_id".to_owned(), map })
}

fn rule(name: &str, kind: TableRuleKind) -> TableRule {
    TableRule { schema: "public".to_owned(), name: name.to_owned(), kind, local_unique: false }
}

async fn next(receiver: &mut Receiver<Arc<CatalogState>>, wanted: impl Fn(&CatalogState) -> bool) -> Result<()> {
    let waiting = receiver.wait_for(|state| wanted(state));
    match timeout(Duration::from_secs(10), waiting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => bail!("the watcher has ended"),
        Err(_) => bail!("the change has not arrived"),
    }
}
