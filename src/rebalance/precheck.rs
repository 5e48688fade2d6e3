//! What must hold before a move begins; each check that fails says what to do.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use crate::backend::ControlRole;
use crate::backend::probe::control_target;
use crate::catalog::{ConnectError, TableRules, store};
use crate::net::control::OpenError;
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::table::{self, identifier};
use crate::topology::{Schema, Shard, ShardId};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// What is wrong and what to do; `None`: it is fine.
    pub fault: Option<String>,
    /// The server does not answer, which may pass by itself.
    pub away: bool,
}

impl Check {
    fn new(name: &'static str, fault: Option<String>) -> Self {
        Self { name, fault, away: false }
    }
}

/// What is looked at.
pub struct Precheck<'a> {
    pub control: &'a ControlRole,
    pub rules: &'a TableRules,
    pub shards: &'a [store::ShardRow],
    pub home: ShardId,
}

/// The first fault as an error.
///
/// # Errors
/// When a check has failed.
pub fn passed(checks: &[Check]) -> Result<(), StepError> {
    match checks.iter().find_map(|check| Some((check.fault.clone()?, check.away))) {
        Some((fault, false)) => Err(StepError::Operator(fault)),
        Some((fault, true)) => Err(StepError::Later(fault)),
        None => Ok(()),
    }
}

impl Precheck<'_> {
    /// Checks the shards that are in use and, where one is added, the new one.
    ///
    /// # Errors
    /// When a shard that is in use does not answer.
    pub async fn run(&self, new: Option<&Shard>, removed: Option<ShardId>) -> Result<Vec<Check>, StepError> {
        let mut checks = Vec::new();
        let home = self.connect(self.home).await?;
        let schema = table::sharded(&home, self.rules).await?;
        for row in self.shards.iter().filter(|row| matches!(row.state.as_str(), "active" | "draining")) {
            let client = control_target(&row.shard.primary, self.control).connect().await?;
            checks.push(powers(&client, &row.shard.name).await?);
            checks.push(keys(&client, &schema, row, removed).await?);
        }
        checks.push(self.uniqueness(&home, &schema).await?);
        if let Some(new) = new {
            checks.extend(self.newcomer(&home, new).await?);
        }
        Ok(checks)
    }

    async fn connect(&self, id: ShardId) -> Result<Client, StepError> {
        let row = self.shards.iter().find(|row| row.shard.id == id);
        let row = row.ok_or_else(|| StepError::Operator("the home shard is not in the catalog".to_owned()))?;
        Ok(control_target(&row.shard.primary, self.control).connect().await?)
    }

    /// The new server: reachable, empty, of the same kind.
    async fn newcomer(&self, home: &Client, new: &Shard) -> Result<Vec<Check>, StepError> {
        let fault = Check::new;
        let client = match control_target(&new.primary, self.control).connect().await {
            Ok(client) => client,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                let text = format!(
                    "{} cannot be reached as role {} ({cause}): make the role there, as on the other shards",
                    new.primary, self.control.user
                );
                return Ok(vec![Check { away: is_away(&error), ..fault("reachable", Some(text)) }]);
            }
        };
        let mut checks = vec![fault("reachable", None)];
        checks.push(powers(&client, &new.name).await?);
        checks.push(empty(&client, new).await?);
        checks.push(same_kind(home, &client, new).await?);
        checks.push(roles(home, &client, new).await?);
        checks.push(extensions(home, &client, new).await?);
        let prepared = one_text(&client, "select pg_catalog.current_setting('max_prepared_transactions')").await?;
        let text = format!("max_prepared_transactions is 0 on {}: set it as on the other shards, and restart that server", new.primary);
        checks.push(fault("two-phase commit", (prepared == "0").then_some(text)));
        for replica in &new.replicas {
            checks.push(match control_target(&replica.endpoint, self.control).connect().await {
                Ok(client) if one_text(&client, "select pg_catalog.pg_is_in_recovery()::pg_catalog.text").await? == "true" => {
                    fault("replica", None)
                }
                Ok(_) => fault("replica", Some(format!("{} is no standby", replica.endpoint))),
                Err(error) => {
                    let text = format!("replica {} cannot be reached: {error}", replica.endpoint);
                    Check { away: is_away(&error), ..fault("replica", Some(text)) }
                }
            });
        }
        Ok(checks)
    }

    /// Rows of several shards come together: what is unique on each must be unique on all.
    async fn uniqueness(&self, home: &Client, schema: &Schema) -> Result<Check, StepError> {
        let tables = table::of_shard(home, schema, "home").await?;
        let select = "select exists (select from pg_catalog.pg_index i where i.indrelid = $1 and (i.indisunique or i.indisexclusion)
                      and not exists (select from pg_catalog.pg_attribute a
                                      where a.attrelid = $1 and a.attname = $2 and a.attnum = any (i.indkey::int2[])))";
        let mut local = Vec::new();
        for table in &tables {
            if !self.rules.rule(&table.schema, &table.name).is_some_and(|rule| rule.local_unique) {
                continue;
            }
            let row = home.query_one(select, &[&table.oid, &table.key_column]).await.map_err(doing("reading the unique constraints"))?;
            if row.get(0) {
                local.push(table.quoted());
            }
        }
        let text = format!(
            "{} is unique on each shard only, and rows of several shards would meet: add the shard key to its unique constraints first",
            local.join(", ")
        );
        Ok(Check::new("uniqueness", (!local.is_empty()).then_some(text)))
    }
}

/// Whether nobody has answered, or one that is just starting, ending or full: not one that refuses us.
fn is_away(error: &ConnectError) -> bool {
    match error {
        ConnectError::Server { source: OpenError::Server(error), .. } => {
            error.code().is_none_or(|code| code.code().starts_with("57") || code.code().starts_with("53"))
        }
        _ => false,
    }
}

/// The control role may do what a move needs.
async fn powers(client: &Client, shard: &str) -> Result<Check, StepError> {
    let select = "select r.rolsuper or (pg_catalog.pg_has_role(current_user, 'pg_signal_backend', 'MEMBER') and r.rolbypassrls
                         and (pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 150000
                              and pg_catalog.has_parameter_privilege('session_replication_role', 'SET')))
                  from pg_catalog.pg_roles r where r.rolname = current_user";
    let row = client.query_one(select, &[]).await.map_err(doing(format!("asking shard {shard}")))?;
    let text = || {
        format!(
            "the control role may not do on shard {shard} what a move needs: make it a superuser, or grant it pg_signal_backend, \
             BYPASSRLS, SET on parameter session_replication_role and the application's roles"
        )
    };
    Ok(Check::new("privileges", (!row.get::<_, bool>(0)).then(text)))
}

/// Rows without a key belong to no bucket: they would stay behind.
async fn keys(client: &Client, schema: &Schema, row: &store::ShardRow, removed: Option<ShardId>) -> Result<Check, StepError> {
    let mut fault = None;
    if removed == Some(row.shard.id) {
        for table in table::of_shard(client, schema, &row.shard.name).await? {
            let key = identifier(&table.key_column);
            let select = format!("select exists (select from only {} where {key} is null)", table.quoted());
            let found = client.query_one(&select, &[]).await.map_err(doing("looking for rows without a key"))?;
            if found.get(0) {
                fault =
                    Some(format!("shard {} has rows of {} without a key: give them one, or delete them", row.shard.name, table.quoted()));
            }
        }
    }
    Ok(Check::new("keys", fault))
}

async fn empty(client: &Client, new: &Shard) -> Result<Check, StepError> {
    let select = "select coalesce((select n.nspname || '.' || c.relname from pg_catalog.pg_class c
                    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                    left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.deptype = 'e'
                    where n.nspname not in ('pg_catalog', 'information_schema', 'shardyard') and n.nspname !~ '^pg_(toast|temp)'
                      and d.objid is null order by 1 limit 1), '')";
    let found = one_text(client, select).await?;
    let text = || format!("the database {} is not empty: it has {found}. Give an empty one", new.primary);
    Ok(Check::new("empty", (!found.is_empty()).then(text)))
}

async fn same_kind(home: &Client, client: &Client, new: &Shard) -> Result<Check, StepError> {
    let version = "select (pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000)::pg_catalog.text";
    let kind = "select pg_catalog.concat_ws(' ', pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype)
                from pg_catalog.pg_database where datname = pg_catalog.current_database()";
    let (old_version, new_version) = (one_text(home, version).await?, one_text(client, version).await?);
    let (old_kind, new_kind) = (one_text(home, kind).await?, one_text(client, kind).await?);
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    let fault = if number(&new_version) < number(&old_version) {
        Some(format!("{} runs PostgreSQL {new_version}, the home shard {old_version}: take the same or a newer one", new.primary))
    } else if old_kind != new_kind {
        Some(format!(
            "the database {} has encoding and collation \"{new_kind}\", the other shards \"{old_kind}\": make it with theirs",
            new.primary
        ))
    } else if one_text(client, "select pg_catalog.pg_is_in_recovery()::pg_catalog.text").await? == "true" {
        Some(format!("{} is a standby: name its primary", new.primary))
    } else {
        None
    };
    Ok(Check::new("version and collation", fault))
}

/// Owners and those who were granted something must exist on the new server.
async fn roles(home: &Client, client: &Client, new: &Shard) -> Result<Check, StepError> {
    let used = "select distinct r.rolname::text from pg_catalog.pg_shdepend d join pg_catalog.pg_roles r on r.oid = d.refobjid
                where d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
                  and d.dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())";
    let names = "select rolname::text from pg_catalog.pg_roles";
    let missing = missing(home, used, client, names).await?;
    let text = || format!("{} lacks roles that own or may use something: create role {}", new.primary, missing.join(", "));
    Ok(Check::new("roles", (!missing.is_empty()).then(text)))
}

async fn extensions(home: &Client, client: &Client, new: &Shard) -> Result<Check, StepError> {
    let missing = missing(
        home,
        "select extname::text from pg_catalog.pg_extension",
        client,
        "select name::text from pg_catalog.pg_available_extensions",
    )
    .await?;
    let text = || format!("the server of {} lacks the extensions {}: install their packages", new.primary, missing.join(", "));
    Ok(Check::new("extensions", (!missing.is_empty()).then(text)))
}

async fn missing(home: &Client, wanted: &str, client: &Client, present: &str) -> Result<Vec<String>, StepError> {
    let names = |rows: Vec<tokio_postgres::Row>| rows.iter().map(|row| row.get::<_, String>(0)).collect::<BTreeSet<String>>();
    let wanted = names(home.query(wanted, &[]).await.map_err(doing("asking the home shard"))?);
    let present = names(client.query(present, &[]).await.map_err(doing("asking the new shard"))?);
    Ok(wanted.difference(&present).cloned().collect())
}

async fn one_text(client: &Client, query: &str) -> Result<String, StepError> {
    Ok(client.query_one(query, &[]).await.map_err(doing("asking a shard"))?.get(0))
}
