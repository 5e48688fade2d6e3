-- What keeps late workers and late proxies out of a shard.

-- The highest token of a leading worker that this shard has seen. Each of a worker's transactions locks the row and compares.
create table shardyard.worker_token (
    only_row boolean primary key default true check (only_row),
    token    bigint not null
);
insert into shardyard.worker_token (token) values (0);

-- Incarnations of proxies that may not come any more.
create table shardyard.fenced (
    incarnation integer primary key,
    at          timestamptz not null default now()
);
grant select on shardyard.fenced to public;

-- Called first on each connection of a proxy. The lock, held while the connection lives, tells whose it is (pg_locks); it is taken before
-- the table is read, so that who fences and then ends the holders of the lock misses none. Works on a standby too.
create function shardyard.enter(incarnation integer) returns void language plpgsql as $$
begin
    perform pg_catalog.pg_advisory_lock_shared(1398361426, incarnation);
    if exists (select from shardyard.fenced f where f.incarnation = enter.incarnation) then
        perform pg_catalog.pg_advisory_unlock_shared(1398361426, incarnation);
        raise exception 'this proxy is fenced out' using errcode = 'SY002';
    end if;
end
$$;

-- Of a write to a row of a wave: whether it must be logged. Holds off the fence until the transaction ends, and is refused behind it.
-- The phase is a sequence because its value is read without a snapshot: 0 closed, 1 open and logging, 2 open.
create function shardyard.admit(wave integer) returns boolean language plpgsql as $$
declare
    phase bigint;
begin
    perform pg_catalog.pg_advisory_xact_lock_shared(1398361427, wave);
    phase := pg_catalog.pg_sequence_last_value(('shardyard.wave_' operator(pg_catalog.||) wave::pg_catalog.text
             operator(pg_catalog.||) '_phase')::pg_catalog.regclass);
    if phase operator(pg_catalog.=) 1 then
        return true;
    elsif phase operator(pg_catalog.=) 2 then
        return false;
    end if;
    raise exception 'rows with this key are not written on this shard' using errcode = 'SY001',
        detail = pg_catalog.format('Wave %s of a move has closed their bucket here.', wave);
end
$$;

create function shardyard.refuse_truncate() returns trigger language plpgsql as $$
begin
    raise exception 'table "%" cannot be truncated while its rows move', tg_table_name using errcode = '55006',
        hint = 'Delete the rows, or wait until the move has finished: "shardyard move show".';
end
$$;

-- What of a wave's rows has been copied to this shard, written in the copy's own transaction.
create table shardyard.wave_mark (
    wave         integer not null,
    schema_name  text not null,
    table_name   text not null,
    first_bucket integer not null,
    last_bucket  integer not null,
    rows         bigint not null,
    bytes        bigint not null,
    primary key (wave, schema_name, table_name, first_bucket)
);
