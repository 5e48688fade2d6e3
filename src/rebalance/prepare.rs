//! Makes a new shard ready: our schema, the application's schema, sequences of its own class, reference tables.

use std::process::Stdio;

use tokio::process::Command;
use tracing::info;

use crate::backend::ControlRole;
use crate::backend::probe::control_target;
use crate::catalog::sequences::{STRIDE, set_apart};
use crate::catalog::{TableRules, migrate};
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::fault;
use crate::rebalance::journal::Journal;
use crate::rebalance::proxies::{self, Until};
use crate::rebalance::shards::Shards;
use crate::rebalance::table::{self, identifier};
use crate::rebalance::transfer::pipe;
use crate::topology::schema::RelationKind;
use crate::topology::{Endpoint, Placement, Schema, ShardId};

/// The mark of a shard whose schema is complete: no wave has this number.
const SCHEMA_MARK: &str = "insert into shardyard.wave_mark values (0, '', 'schema', 0, 0, 0, 0) on conflict do nothing";

const SCHEMA_MARKED: &str = "select exists (select from shardyard.wave_mark where wave = 0 and table_name = 'schema')";

/// What is needed to make a shard ready.
pub(crate) struct Preparation<'a> {
    pub(crate) journal: &'a mut Journal,
    pub(crate) shards: &'a mut Shards,
    pub(crate) control: &'a ControlRole,
    pub(crate) rules: &'a TableRules,
    pub(crate) buckets: u32,
}

impl Preparation<'_> {
    /// From an empty database to an active shard without buckets. Repeatable.
    pub(crate) async fn add(&mut self, shard: ShardId) -> Result<(), StepError> {
        fault::point("prepare.before").await;
        let version = self.journal.set_gate(Some("ddl")).await?;
        proxies::wait(self.journal.client(), self.shards, version, Until::Settled).await?;
        let endpoint = self.shards.shard(shard)?.primary.clone();
        // The only thing that is done there without the token: its table does not exist yet. Whoever does it again changes nothing.
        migrate::shard(&mut control_target(&endpoint, self.control).named("shardyard worker prepares").connect().await?, self.buckets)
            .await?;
        let home_id = self.shards.home;
        let schema = table::sharded(self.shards.link(home_id).await?.client(), self.rules).await?;
        self.make_schema(shard, &schema).await?;
        fault::point("prepare.schema").await;
        self.set_sequences_apart(shard).await?;
        let version = self.journal.set_gate(Some("everywhere")).await?;
        proxies::wait(self.journal.client(), self.shards, version, Until::Settled).await?;
        self.copy_references(shard, &schema).await?;
        fault::point("prepare.references").await;
        // Who waited to write a reference table goes on by a map that has the new shard.
        let version = self.journal.open_shard(shard).await?;
        proxies::wait(self.journal.client(), self.shards, version, Until::Both).await?;
        fault::point("prepare.after").await;
        Ok(())
    }

    /// The application's tables, views, functions, types and grants as the home shard has them, without what is single.
    async fn make_schema(&mut self, shard: ShardId, schema: &Schema) -> Result<(), StepError> {
        let looking = || doing("looking at the new shard");
        if self.shards.link(shard).await?.client().query_one(SCHEMA_MARKED, &[]).await.map_err(looking())?.get(0) {
            return Ok(());
        }
        let home = self.shards.shard(self.shards.home)?.primary.clone();
        let definitions = match dump(&home, self.control, schema).await {
            Ok(definitions) => definitions,
            // The server's end has ended our own connection too, and it passes.
            Err(error) if !self.shards.is_linked(self.shards.home).await => return Err(StepError::Later(error.line())),
            Err(error) => return Err(error),
        };
        let action = || doing("making the schema of the new shard");
        let link = self.shards.link(shard).await?;
        let transaction = link.begin().await?;
        // What a former worker's last transaction has made was not seen before it ended.
        if transaction.query_one(SCHEMA_MARKED, &[]).await.map_err(looking())?.get(0) {
            return Ok(());
        }
        transaction.batch_execute("set local client_min_messages = warning").await.map_err(action())?;
        transaction.batch_execute(&definitions).await.map_err(action())?;
        transaction.batch_execute(SCHEMA_MARK).await.map_err(action())?;
        transaction.commit().await.map_err(action())?;
        link.set_up().await?;
        info!("the new shard has its schema");
        Ok(())
    }

    async fn set_sequences_apart(&mut self, shard: ShardId) -> Result<(), StepError> {
        let ordinal = self.shards.shard(shard)?.ordinal;
        let select = "select schemaname::text, sequencename::text from pg_catalog.pg_sequences
                      where increment_by = $1 and schemaname not in ('shardyard')";
        let mut highest: std::collections::BTreeMap<(String, String), i64> = std::collections::BTreeMap::new();
        for id in self.shards.ids().into_iter().filter(|id| *id != shard) {
            let client = self.shards.link(id).await?.client();
            for row in client.query(select, &[&STRIDE]).await.map_err(doing("reading the sequences"))? {
                let key: (String, String) = (row.get(0), row.get(1));
                // From the sequence itself: pg_sequences tells nothing of one that was set and not used since.
                let last = format!("select last_value from {}.{}", identifier(&key.0), identifier(&key.1));
                let last: i64 = client.query_one(&last, &[]).await.map_err(doing("reading a sequence"))?.get(0);
                let known = highest.entry(key).or_default();
                *known = (*known).max(last);
            }
        }
        let transaction = self.shards.link(shard).await?.begin().await?;
        let own = transaction.query(select, &[&STRIDE]).await.map_err(doing("reading the new shard's sequences"))?;
        for row in own {
            let key: (String, String) = (row.get(0), row.get(1));
            let last = highest.get(&key).copied().unwrap_or(0);
            transaction.batch_execute(&set_apart(&key.0, &key.1, ordinal, last)).await.map_err(doing("setting a sequence apart"))?;
        }
        transaction.commit().await.map_err(doing("setting the sequences apart"))
    }

    /// Every reference table whole, at one snapshot of the home shard.
    async fn copy_references(&mut self, shard: ShardId, schema: &Schema) -> Result<(), StepError> {
        let home_id = self.shards.home;
        let (home, target) = self.shards.two(home_id, shard).await?;
        let tables = table::references(home.client(), schema, &home.name).await?;
        let action = || doing("copying the reference tables");
        let (source, target) = (home.begin_snapshot().await?, target.begin().await?);
        target.batch_execute("set local session_replication_role = replica").await.map_err(action())?;
        for table in &tables {
            let name = table.quoted();
            // What an interrupted attempt left; nobody else writes here yet.
            target.batch_execute(&format!("delete from only {name}")).await.map_err(action())?;
            let columns = table.column_list();
            if columns.is_empty() {
                continue;
            }
            let query = format!("select {} from only {name} as t", table.values());
            pipe(&source, &query, &target, &format!("{name} ({columns})"), table.is_portable()).await?;
        }
        target.commit().await.map_err(action())?;
        source.rollback().await.map_err(action())?;
        info!(tables = tables.len(), "the new shard has the reference tables");
        Ok(())
    }
}

/// `pg_dump --schema-only` of the home shard, without our schema and what is single.
async fn dump(home: &Endpoint, control: &ControlRole, schema: &Schema) -> Result<String, StepError> {
    let mut command = Command::new("pg_dump");
    command.stdin(Stdio::null()).args(["--schema-only", "--no-password", "--no-publications", "--no-subscriptions"]);
    command.args(["--exclude-schema", "shardyard"]);
    let stored = |kind: RelationKind| kind != RelationKind::Sequence;
    for relation in schema.relations().filter(|relation| relation.placement == Placement::Single && stored(relation.kind)) {
        // A pattern: quoted, its characters mean themselves.
        command.arg("--exclude-table").arg(format!("{}.{}", identifier(&relation.schema), identifier(&relation.name)));
    }
    command.arg("--host").arg(&home.host).arg("--port").arg(home.port.to_string());
    command.arg("--username").arg(&control.user).arg("--dbname").arg(&home.database);
    if let Some(password) = &control.password {
        command.env("PGPASSWORD", password);
    }
    let lacking =
        |error| StepError::Operator(format!("pg_dump cannot be run ({error}): install PostgreSQL's client programs where the worker runs"));
    let output = command.output().await.map_err(lacking)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(StepError::Operator(format!("pg_dump of the home shard failed: {text}")));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Its lines for psql only (\restrict); and the schema that every database has.
    let ours = |line: &&str| !line.starts_with('\\') && *line != "CREATE SCHEMA public;";
    Ok(text.lines().filter(ours).map(|line| format!("{line}\n")).collect())
}
