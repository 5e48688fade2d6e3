//! The objects of moves on a shard: guards, logs of touched keys, phases.
//!
//! `shardyard.wave_at(bucket)` tells the wave of a bucket, 0 for none: replacing it is all that arms or ends a wave once the tables have
//! their guards. A guard lets a row of a wave pass under a shared advisory lock and the wave's phase (`shardyard.admit`).

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, Transaction};

use crate::rebalance::bucket_set::{BucketSet, slots};
use crate::rebalance::error::{StepError, doing};
use crate::rebalance::link::{APPLICATION_NAME, Link};
use crate::rebalance::table::{Pair, Table, identifier, list};

/// The advisory locks of waves: this and the wave's id. Known to `shardyard.admit` too.
pub(crate) const LOCK_CLASS: i32 = 1_398_361_427;
/// Sorts behind every name that people give, so that the guard sees the row as it will be written.
const GUARD: &str = "~~shardyard_guard";
/// Of rows that are new. It fires behind the row, so that COPY, a move's above all, still inserts many rows at once: any trigger before it takes
/// that away, enabled or not. No less is refused: who has written a row commits only if the guard lets him, and under its lock.
const INSERT_GUARD: &str = "~~shardyard_guard_new";
const TRUNCATE_GUARD: &str = "~~shardyard_truncate";
/// For sessions with `session_replication_role = replica` that are not the worker's: see `migrations/shard/0005_strangers.sql`.
const STRANGER_GUARD: &str = "~~shardyard_stranger";
const STRANGER_INSERT_GUARD: &str = "~~shardyard_stranger_new";
const TRIGGERS: [&str; 5] = [GUARD, INSERT_GUARD, TRUNCATE_GUARD, STRANGER_GUARD, STRANGER_INSERT_GUARD];
/// A lock that is asked for is in the way of all who come after, so at first it is asked for so briefly that nobody notices. Where it is never
/// free for a moment, it is asked for longer and longer.
const LOCK_TIMEOUT_MS: u64 = 5;
const BRIEF_TRIES: u32 = 100;
const LOCK_TIMEOUT_MS_MAX: u64 = 2_000;
/// Open transactions are waited for this long at a time, so that the operator's wish is seen.
const WRITERS_PATIENCE_MS: u64 = 5_000;
const WRITERS_POLL_MS: u64 = 2;

/// What the value of a wave's phase means for writes to its buckets on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed = 0,
    Logging = 1,
    Open = 2,
}

/// Makes a wave's phase, closed or logging. One that is there keeps its value.
pub(crate) async fn make_phase(link: &mut Link, wave: i32, phase: Phase) -> Result<(), StepError> {
    let action = || doing(format!("making the phase of wave {wave}"));
    let transaction = link.begin().await?;
    let exists = "select pg_catalog.to_regclass($1) is not null";
    let name = format!("shardyard.wave_{wave}_phase");
    if !transaction.query_one(exists, &[&name]).await.map_err(action())?.get::<_, bool>(0) {
        let create = format!(
            "create sequence {name} minvalue 0; select pg_catalog.setval('{name}', {}); grant usage, select on sequence {name} to public",
            phase as i64
        );
        transaction.batch_execute(&create).await.map_err(action())?;
    }
    transaction.commit().await.map_err(action())
}

/// Changes a wave's phase at once, whatever becomes of the transaction.
pub(crate) async fn set_phase(transaction: &Transaction<'_>, wave: i32, phase: Phase) -> Result<(), StepError> {
    let set = format!("select pg_catalog.setval('shardyard.wave_{wave}_phase', {})", phase as i64);
    transaction.batch_execute(&set).await.map_err(doing(format!("setting the phase of wave {wave}")))
}

/// Gives each table a log, a guard and an index on the bucket. Repeatable.
pub(crate) async fn guard_tables(link: &mut Link, tables: &[Table]) -> Result<(), StepError> {
    for table in tables {
        let action = || doing(format!("guarding {}", table.quoted()));
        let transaction = link.begin().await?;
        let log = table.log();
        let has_function = "select pg_catalog.to_regprocedure('shardyard.wave_at(integer)') is not null";
        if !transaction.query_one(has_function, &[]).await.map_err(action())?.get::<_, bool>(0) {
            let none = "create function shardyard.wave_at(bucket pg_catalog.int4) returns pg_catalog.int4
                        language sql immutable parallel safe as 'select 0'";
            transaction.batch_execute(none).await.map_err(action())?;
        }
        // The types and collations of the table's own columns.
        let make = format!(
            "create table if not exists {log} as select 0::pg_catalog.int4 as wave, {} from {} as t with no data;
             create index if not exists log_{}_wave on {log} (wave);
             grant insert on {log} to public",
            table.identity_list("t."),
            table.quoted(),
            table.oid,
        );
        transaction.batch_execute(&make).await.map_err(action())?;
        transaction.batch_execute(&guard_function(table, "guard", "admit")).await.map_err(action())?;
        transaction.batch_execute(&guard_function(table, "stranger", "admit_stranger")).await.map_err(action())?;
        transaction.commit().await.map_err(action())?;
        make_triggers(link, table).await?;
    }
    Ok(())
}

/// An index on the bucket, so that a wave's rows are found without reading the others'. Blocks nobody, but waits for open transactions.
pub(crate) async fn index_bucket(link: &Link, table: &Table) -> Result<(), StepError> {
    let action = || doing(format!("indexing the buckets of {}", table.quoted()));
    let name = bucket_index(table);
    let select = "select i.indisvalid from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
                  where i.indrelid = $1 and c.relname = $2";
    if let Some(row) = link.client().query_opt(select, &[&table.oid, &name]).await.map_err(action())? {
        if row.get(0) {
            return Ok(());
        }
        // What an interrupted attempt left.
        drop_index(link, table).await?;
    }
    let create = format!("create index concurrently {} on {} ({})", identifier(&name), table.quoted(), table.bucket(""));
    link.client().batch_execute(&create).await.map_err(action())
}

/// Replaces the map from buckets to waves, and waits for every transaction that may still write by the old one.
pub(crate) async fn arm(link: &mut Link, waves: &[(i32, &BucketSet)], buckets: u32, tables: &[Table]) -> Result<(), StepError> {
    let action = || doing("arming the waves");
    let transaction = link.begin().await?;
    let sets: Vec<&BucketSet> = waves.iter().map(|(_, set)| *set).collect();
    let ids = list(std::iter::once(0).chain(waves.iter().map(|(id, _)| *id)).map(|id| id.to_string())).replace(' ', "");
    let replace = format!(
        "create or replace function shardyard.wave_at(bucket pg_catalog.int4) returns pg_catalog.int4 language sql immutable parallel safe
         as $f$select ($m${{{ids}}}$m$::pg_catalog.int4[])[1 operator(pg_catalog.+) pg_catalog.get_byte($m$\\x{}$m$::pg_catalog.bytea, bucket)]$f$",
        slots(&sets, buckets)
    );
    transaction.batch_execute(&replace).await.map_err(action())?;
    transaction.commit().await.map_err(action())?;
    wait_for_writers(link, tables).await
}

/// Waits until every transaction that now holds a lock for writing on one of the tables has ended. Blocks nobody. What VACUUM, ANALYZE and
/// the making of an index hold is no writer's.
async fn wait_for_writers(link: &Link, tables: &[Table]) -> Result<(), StepError> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let select = "select distinct virtualtransaction from pg_catalog.pg_locks
                  where locktype = 'relation' and granted and relation = any ($1)
                    and database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
                    and mode not in ('AccessShareLock', 'RowShareLock', 'ShareUpdateExclusiveLock') and pid is distinct from pg_catalog.pg_backend_pid()";
    let mut first: Option<HashSet<String>> = None;
    for _ in 0..WRITERS_PATIENCE_MS / WRITERS_POLL_MS {
        let rows = link.client().query(select, &[&oids]).await.map_err(doing("waiting for open transactions"))?;
        let now: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
        let left = first.get_or_insert_with(|| now.clone());
        left.retain(|transaction| now.contains(transaction));
        if left.is_empty() {
            return Ok(());
        }
        sleep(Duration::from_millis(WRITERS_POLL_MS)).await;
    }
    let left = list(first.unwrap_or_default().into_iter());
    Err(StepError::Later(format!(
        "on shard {} transactions are open that began before the guards (pg_locks.virtualtransaction {left})",
        link.name
    )))
}

/// The seals of both sides of a wave.
pub(crate) async fn seals(from: &Link, to: &Link, pairs: &[Pair]) -> Result<(String, String), StepError> {
    let of_from: Vec<u32> = pairs.iter().map(|pair| pair.from.oid).collect();
    let of_to: Vec<u32> = pairs.iter().map(|pair| pair.to.oid).collect();
    tokio::try_join!(seal(from, &of_from), seal(to, &of_to))
}

/// What changes when anybody passes by the guards of a shard's tables: the note of strangers, and the state of the triggers.
async fn seal(link: &Link, oids: &[u32]) -> Result<String, StepError> {
    let select = "select pg_catalog.concat((select pg_catalog.concat(last_value, is_called) from shardyard.strangers), ' ',
                         (select pg_catalog.string_agg(pg_catalog.concat_ws(' ', oid, xmin, tgenabled), ',' order by oid)
                          from pg_catalog.pg_trigger where tgrelid = any ($1) and tgname::text = any ($2)))";
    let of = [(&oids as &(dyn ToSql + Sync), Type::OID_ARRAY), (&TRIGGERS.as_slice(), Type::TEXT_ARRAY)];
    let row = link.client().query_typed_one(select, &of).await;
    Ok(row.map_err(doing(format!("looking at the guards of shard {}", link.name)))?.get(0))
}

/// Removes every object of moves from a shard, triggers first. Repeatable.
pub(crate) async fn remove_all(link: &mut Link, tables: &[Table]) -> Result<(), StepError> {
    for table in tables {
        drop_triggers(link, table).await?;
        drop_index(link, table).await?;
    }
    let action = || doing("removing the objects of moves");
    let mut tries = 0;
    loop {
        let transaction = link.begin().await?;
        let drops = objects(&transaction).await?;
        let outcome = transaction.batch_execute(&format!("set local lock_timeout = {}; {drops}", lock_timeout_ms(tries))).await;
        match outcome {
            Ok(()) => return transaction.commit().await.map_err(action()),
            Err(error) if is_lock_timeout(&error) => {
                transaction.rollback().await.map_err(action())?;
                sleep(Duration::from_millis(lock_timeout_ms(tries) * 4)).await;
                tries += 1;
            }
            Err(error) => return Err(action()(error)),
        }
    }
}

/// Statements that drop what is there: functions of tables that are gone are found by their names.
async fn objects<C: GenericClient>(client: &C) -> Result<String, StepError> {
    let select = "select 'drop function ' || p.oid::pg_catalog.regprocedure || ' cascade' from pg_catalog.pg_proc p
                  where p.pronamespace = 'shardyard'::pg_catalog.regnamespace and (p.proname ~ '^(guard|stranger)_[0-9]+$' or p.proname = 'wave_at')
                  union all
                  select 'drop ' || case c.relkind when 'S' then 'sequence ' else 'table ' end || c.oid::pg_catalog.regclass
                  from pg_catalog.pg_class c
                  where c.relnamespace = 'shardyard'::pg_catalog.regnamespace
                    and (c.relkind = 'r' and c.relname ~ '^log_[0-9]+$' or c.relkind = 'S' and c.relname ~ '^wave_[0-9]+_phase$')
                  union all select 'delete from shardyard.wave_mark'";
    let rows = client.query(select, &[]).await.map_err(doing("looking for objects of moves"))?;
    Ok(rows.iter().map(|row| format!("{};", row.get::<_, &str>(0))).collect())
}

/// The guard: a row of a wave passes by the wave's phase, and its identity is logged; both identities where they differ.
fn guard_function(table: &Table, name: &str, admit: &str) -> String {
    let pass = |row: &str| {
        format!(
            "guarded := shardyard.wave_at({});
        if guarded operator(pg_catalog.<>) 0 and shardyard.{admit}(guarded) then
            insert into {} values (guarded, {});
        end if;",
            table.bucket(row),
            table.log(),
            table.identity_list(row),
        )
    };
    format!(
        "create or replace function shardyard.{name}_{oid}() returns trigger language plpgsql as $guard$
declare
    guarded pg_catalog.int4;
begin
    if tg_op operator(pg_catalog.<>) 'INSERT' then
        {old}
    end if;
    if tg_op operator(pg_catalog.=) 'DELETE' then
        return old;
    end if;
    if tg_op operator(pg_catalog.=) 'UPDATE' then
        if row({old_identity}) is not distinct from row({new_identity}) then
            return new;
        end if;
    end if;
    {new}
    return new;
end
$guard$",
        oid = table.oid,
        old = pass("old."),
        new = pass("new."),
        old_identity = table.identity_list("old."),
        new_identity = table.identity_list("new."),
    )
}

async fn make_triggers(link: &mut Link, table: &Table) -> Result<(), StepError> {
    let stranger = format!(
        "when (pg_catalog.left(pg_catalog.current_setting('application_name'), {}) operator(pg_catalog.<>) '{APPLICATION_NAME} ')
             execute function shardyard.stranger_{}()",
        APPLICATION_NAME.len() + 1,
        table.oid
    );
    let make = format!(
        "{drop};
         create trigger {guard} before update or delete on {table} for each row execute function shardyard.guard_{oid}();
         create trigger {new} after insert on {table} for each row execute function shardyard.guard_{oid}();
         create trigger {truncate} before truncate on {table} for each statement execute function shardyard.refuse_truncate();
         create trigger {of_stranger} before update or delete on {table} for each row {stranger};
         create trigger {new_of_stranger} after insert on {table} for each row {stranger};
         alter table {table} enable always trigger {truncate}, enable replica trigger {of_stranger}, enable replica trigger {new_of_stranger}",
        drop = drops(table),
        guard = identifier(GUARD),
        new = identifier(INSERT_GUARD),
        truncate = identifier(TRUNCATE_GUARD),
        of_stranger = identifier(STRANGER_GUARD),
        new_of_stranger = identifier(STRANGER_INSERT_GUARD),
        table = table.quoted(),
        oid = table.oid,
    );
    with_lock(link, table, true, &make).await
}

async fn drop_triggers(link: &mut Link, table: &Table) -> Result<(), StepError> {
    with_lock(link, table, false, &drops(table)).await
}

fn drops(table: &Table) -> String {
    let drop = |name: &&str| format!("drop trigger if exists {} on {}", identifier(name), table.quoted());
    TRIGGERS.iter().map(drop).collect::<Vec<_>>().join("; ")
}

/// Changes a table's triggers unless they are already there, or gone.
async fn with_lock(link: &mut Link, table: &Table, wanted: bool, statements: &str) -> Result<(), StepError> {
    let action = || doing(format!("changing the guard of {}", table.quoted()));
    let mut tries = 0;
    loop {
        let transaction = link.begin().await?;
        let select = "select count(*) from pg_catalog.pg_trigger where tgrelid = $1 and tgname::text = any ($2)";
        let found: i64 = transaction.query_one(select, &[&table.oid, &TRIGGERS.as_slice()]).await.map_err(action())?.get(0);
        if usize::try_from(found) == Ok(if wanted { TRIGGERS.len() } else { 0 }) {
            return Ok(());
        }
        match transaction.batch_execute(&format!("set local lock_timeout = {}; {statements}", lock_timeout_ms(tries))).await {
            Ok(()) => return transaction.commit().await.map_err(action()),
            Err(error) if is_lock_timeout(&error) => {
                transaction.rollback().await.map_err(action())?;
                sleep(Duration::from_millis(lock_timeout_ms(tries) * 4)).await;
                tries += 1;
            }
            Err(error) => return Err(action()(error)),
        }
    }
}

pub(crate) async fn drop_index(link: &Link, table: &Table) -> Result<(), StepError> {
    let drop = format!("drop index concurrently if exists {}.{}", identifier(&table.schema), identifier(&bucket_index(table)));
    link.client().batch_execute(&drop).await.map_err(doing(format!("dropping the index on the buckets of {}", table.quoted())))
}

fn bucket_index(table: &Table) -> String {
    format!("shardyard_bucket_{}", table.oid)
}

pub(crate) fn is_lock_timeout(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE)
}

/// How long a lock may be asked for after so many tries.
fn lock_timeout_ms(tries: u32) -> u64 {
    let longer = tries.saturating_sub(BRIEF_TRIES).min(20);
    (LOCK_TIMEOUT_MS << longer).min(LOCK_TIMEOUT_MS_MAX)
}
