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
