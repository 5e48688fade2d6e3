-- Sessions with session_replication_role = replica (restores, logical replication) pass by every ordinary trigger, so by the guards too.
-- They are taken note of instead: the worker, which writes in this way itself, compares the note before it gives buckets away.

create sequence shardyard.strangers;
grant usage, select on sequence shardyard.strangers to public;

-- As admit, for such a session. It is not refused: where the wave is closed, what it has written is found by another verification.
create function shardyard.admit_stranger(wave integer) returns boolean language plpgsql as $$
declare
    phase bigint;
begin
    perform pg_catalog.pg_advisory_xact_lock_shared(1398361427, wave);
    phase := pg_catalog.pg_sequence_last_value(('shardyard.wave_' operator(pg_catalog.||) wave::pg_catalog.text
             operator(pg_catalog.||) '_phase')::pg_catalog.regclass);
    if phase operator(pg_catalog.=) 0 then
        perform pg_catalog.nextval('shardyard.strangers'::pg_catalog.regclass);
    end if;
    return phase operator(pg_catalog.=) 1;
end
$$;
