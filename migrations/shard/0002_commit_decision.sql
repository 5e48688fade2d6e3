-- The decision of a commit over several shards: written in the anchor's own transaction, so that its commit is the decision.
-- The primary key decides the race between a late commit and a recovery that aborts.

create table shardyard.commit_decision (
    gid        text primary key,
    decision   text not null check (decision in ('commit', 'abort')),
    decided_at timestamptz not null default now()
);

-- Written under the application's role, inside its transaction; read and removed only by the control role.
grant insert on shardyard.commit_decision to public;
