-- The cluster, its shards, its buckets and its tables. One version counts every change.

create table shardyard.cluster (
    only_row       boolean primary key default true check (only_row),
    -- Part of the global ids of two-phase commits, so that two clusters on one server cannot take each other's.
    name           text not null check (name ~ '^[a-z0-9_-]{1,32}$'),
    buckets        integer not null check (buckets > 0),
    key_column     text not null,
    home_shard     integer,
    version        bigint not null default 0,
    -- The version at which the tables last changed their shape, or their kind.
    schema_version bigint not null default 0,
    bumped_by      xid8,
    created_at     timestamptz not null default now()
);

create table shardyard.shard (
    id       integer primary key check (id between 0 and 65535),
    -- Congruence class of the shard's sequences. Never reused, so a removed shard's row stays as 'retired'.
    ordinal  integer not null unique check (ordinal between 0 and 1023),
    name     text not null unique check (name <> ''),
    state    text not null default 'active' check (state in ('adding', 'active', 'draining', 'retired')),
    host     text not null,
    port     integer not null check (port between 1 and 65535),
    database text not null
);

alter table shardyard.cluster add foreign key (home_shard) references shardyard.shard;

create table shardyard.replica (
    shard_id integer not null references shardyard.shard on delete cascade,
    host     text not null,
    port     integer not null check (port between 1 and 65535),
    database text not null,
    weight   integer not null default 1 check (weight >= 0),
    primary key (shard_id, host, port)
);

create table shardyard.bucket_map (
    bucket   integer primary key check (bucket >= 0),
    shard_id integer not null references shardyard.shard,
    -- The version that gave the bucket to this shard: a proxy asks only for rows newer than its own map.
    version  bigint not null
);
create index bucket_map_version on shardyard.bucket_map (version);
create index bucket_map_shard on shardyard.bucket_map (shard_id);

create table shardyard.table_kind (
    schema_name  text not null,
    table_name   text not null,
    kind         text not null check (kind in ('sharded', 'reference', 'single')),
    key_column   text,
    local_unique boolean not null default false,
    primary key (schema_name, table_name),
    check ((kind = 'sharded') = (key_column is not null))
);

create table shardyard.proxy (
    id                   text primary key,
    incarnation          bigint not null,
    heartbeat            bigint not null default 0,
    acknowledged_version bigint not null default 0,
    started_at           timestamptz not null default now()
);

create table shardyard.event (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default now(),
    version bigint not null,
    kind    text not null,
    actor   text not null default session_user,
    detail  jsonb not null default '{}'
);
create index event_at on shardyard.event (at);

-- The version of the transaction that asks: one more than before, however often it asks. Wakes the proxies at commit.
create function shardyard.bump() returns bigint language plpgsql as $$
declare
    current bigint;
begin
    update shardyard.cluster
       set version = version + 1, bumped_by = pg_current_xact_id()
     where bumped_by is distinct from pg_current_xact_id();
    select version into current from shardyard.cluster;
    if current is not null then
        perform pg_notify('shardyard', current::text);
    end if;
    return coalesce(current, 0);
end
$$;

-- As bump, and tells the proxies to read the tables' shape again.
create function shardyard.bump_schema() returns bigint language plpgsql as $$
declare
    current bigint := shardyard.bump();
begin
    update shardyard.cluster set schema_version = current where schema_version <> current;
    return current;
end
$$;

-- No change goes unnoticed, whoever makes it.
create function shardyard.bump_after_change() returns trigger language plpgsql as $$
begin
    perform shardyard.bump();
    return null;
end
$$;

create function shardyard.bump_schema_after_change() returns trigger language plpgsql as $$
begin
    perform shardyard.bump_schema();
    return null;
end
$$;

create trigger bump after insert or update or delete or truncate on shardyard.shard
    for each statement execute function shardyard.bump_after_change();
create trigger bump after insert or update or delete or truncate on shardyard.replica
    for each statement execute function shardyard.bump_after_change();
create trigger bump after insert or update or delete or truncate on shardyard.bucket_map
    for each statement execute function shardyard.bump_after_change();
create trigger bump after insert or update or delete or truncate on shardyard.table_kind
    for each statement execute function shardyard.bump_schema_after_change();
create trigger bump after update of name, buckets, key_column, home_shard on shardyard.cluster
    for each statement execute function shardyard.bump_schema_after_change();
