-- A role that is called as our schema would find it by "$user" in search_path, and make its tables here.

do $$
begin
    if current_user = 'shardyard' then
        execute format('alter role shardyard in database %I set search_path = public', current_database());
    end if;
end
$$;
