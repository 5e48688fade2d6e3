-- From a shard key to its bucket, as the proxy computes it. Built-ins only, so that the planner inlines it and an index may use it.

create function shardyard.buckets() returns integer
    language sql immutable parallel safe
    as 'select {{buckets}}';

create function shardyard.key_hash(key bigint) returns bigint
    language sql immutable strict parallel safe
    as $$ select pg_catalog.int8(pg_catalog.bit_in(pg_catalog.textout('x' || pg_catalog.substr(pg_catalog.md5(pg_catalog.textin(pg_catalog.int8out(key))), 1, 8)), 0, 32)) $$;

create function shardyard.key_hash(key text) returns bigint
    language sql immutable strict parallel safe
    as $$ select pg_catalog.int8(pg_catalog.bit_in(pg_catalog.textout('x' || pg_catalog.substr(pg_catalog.md5(key), 1, 8)), 0, 32)) $$;

create function shardyard.key_hash(key uuid) returns bigint
    language sql immutable strict parallel safe
    as $$ select pg_catalog.int8(pg_catalog.bit_in(pg_catalog.textout('x' || pg_catalog.substr(pg_catalog.md5(pg_catalog.textin(pg_catalog.uuid_out(key))), 1, 8)), 0, 32)) $$;

create function shardyard.bucket(key bigint) returns integer
    language sql immutable strict parallel safe
    as $$ select pg_catalog.int4(pg_catalog.int8(pg_catalog.bit_in(pg_catalog.textout('x' || pg_catalog.substr(pg_catalog.md5(pg_catalog.textin(pg_catalog.int8out(key))), 1, 8)), 0, 32)) % {{buckets}}) $$;

create function shardyard.bucket(key text) returns integer
    language sql immutable strict parallel safe
    as $$ select pg_catalog.int4(pg_catalog.int8(pg_catalog.bit_in(pg_catalog.textout('x' || pg_catalog.substr(pg_catalog.md5(key), 1, 8)), 0, 32)) % {{buckets}}) $$;

create function shardyard.bucket(key uuid) returns integer
    language sql immutable strict parallel safe
    as $$ select pg_catalog.int4(pg_catalog.int8(pg_catalog.bit_in(pg_catalog.textout('x' || pg_catalog.substr(pg_catalog.md5(pg_catalog.textin(pg_catalog.uuid_out(key))), 1, 8)), 0, 32)) % {{buckets}}) $$;

grant usage on schema shardyard to public;
