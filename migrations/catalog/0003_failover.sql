-- Which server is a shard's primary changes when another tool promotes one of its replicas.

-- The highest timeline that a shard's primary was seen on. Beside the shard's row, so that noting it wakes nobody.
create table shardyard.shard_timeline (
    shard_id integer primary key references shardyard.shard on delete cascade,
    timeline integer not null check (timeline > 0)
);

-- Grows with each change of any shard's primary: who has acted on a former one finds out before its next change of the catalog.
alter table shardyard.cluster add column primary_changes bigint not null default 0;

-- A promoted server takes the place of the listed primary, which becomes its replica: 'done'. 'other': the shard's primary is a third
-- server. 'unproven': its timeline is not newer than the shard's. With proven the listed primary has shown an older one itself.
create function shardyard.follow_primary(shard integer, listed_host text, listed_port integer, new_host text, new_port integer,
                                         new_timeline integer, proven boolean) returns text language plpgsql as $$
declare
    former shardyard.shard;
    found_as shardyard.replica;
    known integer;
begin
    -- Whoever changes a role or the map waits for the others here.
    perform from shardyard.cluster for no key update;
    select * into former from shardyard.shard s where s.id = shard;
    if former.host = new_host and former.port = new_port then
        return 'done';
    end if;
    select * into found_as from shardyard.replica r where r.shard_id = shard and r.host = new_host and r.port = new_port;
    if not found or former.host <> listed_host or former.port <> listed_port then
        return 'other';
    end if;
    select t.timeline into known from shardyard.shard_timeline t where t.shard_id = shard;
    -- Nothing noted and nothing shown: it may be any old one.
    if known >= new_timeline or known is null and not proven then
        return 'unproven';
    end if;
    insert into shardyard.shard_timeline (shard_id, timeline) values (shard, new_timeline)
        on conflict (shard_id) do update set timeline = excluded.timeline;
    delete from shardyard.replica r where r.shard_id = shard and r.host = new_host and r.port = new_port;
    insert into shardyard.replica (shard_id, host, port, database, weight) values (shard, former.host, former.port, former.database, found_as.weight);
    update shardyard.shard s set host = found_as.host, port = found_as.port, database = found_as.database where s.id = shard;
    update shardyard.cluster set primary_changes = primary_changes + 1;
    insert into shardyard.event (version, kind, detail)
        select shardyard.bump(), 'primary changed',
               jsonb_build_object('shard', shard, 'from', format('%s:%s', former.host, former.port), 'to', format('%s:%s', new_host, new_port),
                                  'timeline', new_timeline);
    return 'done';
end
$$;
