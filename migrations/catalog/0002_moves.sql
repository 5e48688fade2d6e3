-- Moves of buckets between shards, and what the worker and the proxies tell each other about them.

-- What must not run beside the making of a shard. 'ddl': definitions are refused with 55006.
-- 'everywhere': definitions are refused, and writes of reference tables wait in the proxies.
alter table shardyard.cluster add column gate text check (gate in ('ddl', 'everywhere'));

create sequence shardyard.incarnation as integer;

-- seen_version: every statement that a client sends from now on is routed by at least this map.
-- acknowledged_version: moreover no statement that was routed by an older map is running any more in this proxy.
-- settled_version: no statement that may write is running that was routed by an older map, and no transaction is open that began under one
-- and has touched a shard of a wave that moves, or, while there is a gate, has run a definition or written a reference table.
alter table shardyard.proxy
    alter column incarnation type integer,
    add column seen_version bigint not null default 0,
    add column settled_version bigint not null default 0;

-- Who leads the workers. The token grows with each leader; each shard keeps the highest it has seen.
create table shardyard.worker (
    only_row  boolean primary key default true check (only_row),
    token     bigint not null default 0,
    holder    text,
    heartbeat bigint not null default 0
);
insert into shardyard.worker default values;

create table shardyard.move (
    id          bigint generated always as identity primary key,
    kind        text not null check (kind in ('add', 'remove', 'rebalance')),
    -- The shard that is added or removed.
    shard_id    integer references shardyard.shard,
    state       text not null default 'planned' check (state in
        ('planned', 'preparing', 'moving', 'reversible', 'cleaning', 'finished', 'aborting', 'aborted', 'rolling back', 'rolled back')),
    -- What the operator wants of it.
    wish        text not null default 'run' check (wish in ('run', 'pause', 'abort', 'rollback', 'finalize')),
    -- The source's rows stay, kept equal, until 'finalize'.
    keep_source boolean not null default true,
    options     jsonb not null default '{}',
    -- Why it does not go on.
    error       text,
    created_at  timestamptz not null default now(),
    finished_at timestamptz
);
-- One at a time.
create unique index move_unfinished on shardyard.move ((true)) where state not in ('finished', 'aborted', 'rolled back');

-- A batch of a move's buckets with one cutover.
create table shardyard.wave (
    id        integer generated always as identity primary key,
    move_id   bigint not null references shardyard.move,
    source_id integer not null references shardyard.shard,
    target_id integer not null references shardyard.shard,
    -- From 'arming' to 'cleaning' rows of its buckets may be on both shards. In 'fencing' and 'flipped' the proxies hold writes.
    state     text not null default 'planned' check (state in
        ('planned', 'arming', 'copying', 'catching up', 'verifying', 'fencing', 'flipped', 'released', 'reversible', 'cleaning',
         'finished', 'aborted')),
    -- The switch back: from target to source.
    reversed  boolean not null default false,
    check (source_id <> target_id)
);
create index wave_move on shardyard.wave (move_id);

create table shardyard.wave_bucket (
    wave_id integer not null references shardyard.wave on delete cascade,
    bucket  integer not null,
    primary key (wave_id, bucket)
);

-- How far it is; changes often and wakes nobody.
create table shardyard.wave_progress (
    wave_id integer primary key references shardyard.wave on delete cascade,
    detail  jsonb not null default '{}'
);

create trigger bump after insert or delete or update of state, reversed on shardyard.wave
    for each statement execute function shardyard.bump_after_change();
create trigger bump_gate after update of gate on shardyard.cluster
    for each statement execute function shardyard.bump_after_change();
