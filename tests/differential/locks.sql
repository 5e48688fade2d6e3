-- FOR UPDATE and its kin over several shards, with LIMIT.
create table k_jobs (user_id bigint, id bigint, urgency int, state text, due timestamptz, primary key (user_id, id));
insert into k_jobs select n % 17, n, (n * 7) % 100, (array['new', 'done', null])[1 + n % 3], timestamptz '2024-03-30 22:15:00+00' + n * interval '1 hour' from generate_series(1, 90) n;
begin;
--@ lock = for update | for no key update | for share | for key share | for update skip locked | for update nowait
select user_id, id, urgency from k_jobs where state = 'new' order by urgency, id limit 5 {lock};
--@ lock = for update | for update of j skip locked
select j.* from k_jobs j where j.state is null order by due desc limit 3 offset 4 {lock};
select id from k_jobs order by urgency desc nulls last, id fetch first 4 rows only for update;
select id from k_jobs order by id offset 3 rows fetch next 4 rows only for update skip locked;
select id from k_jobs where user_id = 5 order by id limit 2 for update skip locked;
select id from k_jobs where user_id in (1, 2, 3) order by id limit 2 for update;
select count(*) from (select id from k_jobs where user_id = 3 limit 2 for update) x;
--@ bind _ 4
select id from k_jobs order by id limit $1 for update;
--@ bind _ 4, _ new
select id from k_jobs where state = $2 order by id desc limit $1 for update skip locked;
--@ bind _ null
select id from k_jobs order by id limit $1 for update;
--@ bind int8 2, int8 3
select id from k_jobs order by id limit $1 offset $2 for share;
select id from k_jobs where urgency < 0 limit 5 for update skip locked;
select state from k_jobs where state = 'new' limit 5 for update skip locked;
select state from k_jobs where state = 'new' limit 5 offset 28 for update;
select state from k_jobs where state = 'new' limit 0 for update;
select state from k_jobs where state = 'new' limit all for update;
--@ bind _ 3, _ 2
select 1 from k_jobs limit $1 offset $2 for update skip locked;
select k.id, b.name from k_jobs k join d_buyers b using (user_id) where k.urgency > 90 order by k.id limit 2 for update of k;
select id / (id - id) as q from k_jobs order by id limit 1 for update;
rollback;
begin;
savepoint shardyard_pick;
select id from k_jobs order by id limit 5 for update;
rollback to shardyard_pick;
select id from k_jobs order by id limit 5 for update;
update k_jobs set state = 'mine' where id < 4;
commit;
select id, state from k_jobs where id < 6 order by id limit 5 for update;
select distinct state from k_jobs limit 2 for update;
select count(*) from k_jobs limit 2 for update;
select state, count(*) from k_jobs group by state limit 1 for update;
--@ check k_jobs
