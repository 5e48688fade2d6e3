//! Which shard owns which bucket, as the catalog says; and which users that is.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use crate::connection::Connection;
use crate::resharding::stage::Stage;

/// Users whose buckets are known: all that are written.
const USERS: i64 = 2_000;

pub(crate) struct Placement {
    /// By bucket, the owner's name.
    owners: Vec<String>,
    /// By user, from user 1 on.
    user_buckets: Vec<usize>,
}

impl Placement {
    pub(crate) fn read(stage: &Stage) -> Result<Self> {
        let sql = "select s.name from shardyard.bucket_map b join shardyard.shard s on s.id = b.shard_id order by b.bucket";
        let owners = column(&mut stage.catalog()?, sql)?;
        let (_, home) = stage.servers().first().context("no servers")?.clone();
        let sql = format!("select shardyard.bucket(n::bigint) from generate_series(1, {USERS}) n order by n");
        let buckets = column(&mut Connection::connect(&home)?, &sql)?;
        let user_buckets = buckets.iter().map(|bucket| bucket.parse()).collect::<Result<_, _>>()?;
        Ok(Self { owners, user_buckets })
    }

    pub(crate) fn buckets(&self) -> usize {
        self.owners.len()
    }

    pub(crate) fn owner(&self, bucket: usize) -> Option<&str> {
        self.owners.get(bucket).map(String::as_str)
    }

    pub(crate) fn bucket_of(&self, user: i64) -> Result<usize> {
        let bucket = usize::try_from(user - 1).ok().and_then(|at| self.user_buckets.get(at));
        bucket.copied().with_context(|| format!("the bucket of user {user} is not known"))
    }

    pub(crate) fn shards(&self) -> BTreeSet<&str> {
        self.owners.iter().map(String::as_str).collect()
    }

    /// The fewest and the most buckets that a shard owns.
    pub(crate) fn spread(&self) -> (usize, usize) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.owners.iter().for_each(|owner| *counts.entry(owner).or_default() += 1);
        (counts.values().min().copied().unwrap_or(0), counts.values().max().copied().unwrap_or(0))
    }

    pub(crate) fn differences(&self, other: &Self) -> usize {
        self.owners.iter().zip(&other.owners).filter(|(owner, other)| owner != other).count()
    }
}

/// The users that have another owner in the second.
pub(crate) fn moved(first: &Placement, second: &Placement) -> BTreeSet<i64> {
    let users = (1..=USERS).zip(&first.user_buckets);
    users.filter(|(_, bucket)| first.owner(**bucket) != second.owner(**bucket)).map(|(user, _)| user).collect()
}

/// Every row of these tables and keys is on the shard that owns its bucket, and on no other.
pub(crate) fn check(stage: &Stage, tables: &[(&str, &str)]) -> Result<()> {
    let placement = Placement::read(stage)?;
    for (name, dsn) in stage.servers() {
        let mut server = Connection::connect(&dsn)?;
        for (table, key) in tables {
            for bucket in column(&mut server, &format!("select distinct shardyard.bucket({key}) from {table}"))? {
                let owner = placement.owner(bucket.parse()?);
                ensure!(owner == Some(&name), "{table} has rows of bucket {bucket} on {name}, and {owner:?} owns it");
            }
        }
    }
    Ok(())
}

fn column(connection: &mut Connection, sql: &str) -> Result<Vec<String>> {
    let rows = connection.query(sql).with_context(|| sql.to_owned())?;
    rows.into_iter().map(|row| row.into_iter().next().flatten().context("a value is null")).collect()
}
