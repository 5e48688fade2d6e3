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
--@ lock = for update | for update skip locked | for no key update of k_jobs nowait
select id, due < current_timestamp as past from k_jobs where due <= now() order by urgency, id limit 3 {lock};
select user_id, id from k_jobs where due < current_date - 1 and urgency > 80 and state = 'done' order by id for update;
select id from k_jobs where due > now() for update;
--@ bind _ 3, _ new, _ 10
select id, $3::int + 1 as more from k_jobs where state = $2 and due < now() - interval '1 day' and due < statement_timestamp() order by due desc limit $1 for update skip locked;
select id from k_jobs where due < now() and urgency / (id - id) = 1 order by id limit 1 for update;
rollback;
select id from k_jobs where due <= now() order by urgency, id limit 3 for update skip locked;
begin;
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

-- Writes of rows that a query in them locks.
create table k_queue (user_id bigint, id bigint, urgency int, state text, due timestamptz, tries int default 0, fixed char(6), meta jsonb, primary key (user_id, id));
insert into k_queue select n % 17, n, (n * 7) % 100, (array['new', 'done', 'new', null])[1 + n % 4], timestamptz '2024-03-30 22:15:00+00' + n * interval '1 hour', n % 5, 'f' || n % 7, jsonb_build_object('n', n, 'q', E'it''s \\ "x"') from generate_series(1, 90) n;
--@ lock = for update skip locked | for update | for no key update nowait
--@ in = in | = any
update k_queue set state = 'taken', tries = tries + 1 where id {in} (select id from k_queue where state = 'new' and due <= now() order by urgency, id limit 3 {lock}) returning user_id, id, state, tries;
--@ any
update k_queue q set state = 'taken' where q.id = (select id from k_queue where state = 'new' order by urgency desc, id limit 1 for update skip locked) returning *;
update k_queue set state = 'gone' where id = (select id from k_queue where state = 'no such' limit 1 for update skip locked) returning id;
update k_queue set state = 'gone' where id = (select id from k_queue order by id limit 2 for update skip locked) returning id;
update k_queue set state = 'gone' where id in (select id from k_queue where state = 'no such' limit 4 for update skip locked);
update k_queue set state = 'gone' where id in (select null::bigint as none from k_queue order by id limit 2 for update skip locked);
update k_queue set tries = tries + 1 where not id in (select id from k_queue where state = 'no such' limit 4 for update skip locked);
update k_queue set tries = tries + 1 where id not in (select id from k_queue order by id limit 80 for update skip locked);
update k_queue set tries = 9 where tries in (select tries from k_queue order by due desc, id limit 5 for update skip locked) and state = 'new';
update k_queue set state = 'pair' where (user_id, id) in (select user_id, id from k_queue where state is null order by due, id limit 4 for update skip locked) returning user_id, id;
update k_queue set state = 'key' where user_id in (select user_id from k_queue where urgency > 80 order by urgency, id limit 2 for update) and tries > 2 returning user_id, id;
update k_queue set state = 'array' where id = any (array(select id from k_queue where state = 'new' order by urgency, id limit 2 for update skip locked)) returning id;
with picked as (select id, urgency as how from k_queue where state = 'new' order by urgency, id limit 4 for update skip locked) update k_queue q set state = 'with', tries = q.tries + p.how from picked p where q.id = p.id returning q.user_id, q.id, p.how, q.tries;
with picked as materialized (select user_id, id, meta, fixed, due from k_queue where state = 'new' order by due, id limit 2 for update skip locked) update k_queue set state = 'odd', meta = picked.meta || '{"m": 1}', fixed = 'z' from picked where k_queue.user_id = picked.user_id and k_queue.id = picked.id and k_queue.fixed = picked.fixed returning k_queue.*, picked.due;
with picked (a, b) as (select user_id, id from k_queue where state = 'no such' limit 2 for update skip locked) update k_queue set state = 'odd' from picked where user_id = a and id = b returning id;
update k_queue q set state = 'from' from (select id from k_queue where state = 'new' order by urgency, id limit 2 for update skip locked) p where p.id = q.id returning q.id;
with k_queue_new as (select 5 as least), picked as (select id from k_queue where state = 'new' order by urgency, id limit 2 for update skip locked) delete from k_queue using picked, k_queue_new where k_queue.id = picked.id and k_queue.id > least returning k_queue.id;
--@ in = in | = any
delete from k_queue where id {in} (select id from k_queue where state = 'taken' order by id limit 2 for update skip locked) returning id, state;
delete from k_queue where id in (select id from k_queue where state = 'taken' order by id desc limit 2 for update);
update k_queue set due = date_trunc('century', now()) where id in (select id from k_queue where due < now() - interval '1 day' order by id limit 3 for update) and due < current_timestamp returning id, due, now() > due as past;
--@ bind _ new, _ 3, _ picked
update k_queue set state = $3 where id in (select id from k_queue where state = $1 order by urgency, id limit $2 for update skip locked) returning user_id, id, state;
--@ bind int8 2, text new, int4 40
with picked as (select id from k_queue where state = $2 and urgency < $3 order by urgency, id limit $1 for update skip locked) update k_queue q set tries = $3 from picked where picked.id = q.id returning q.id, q.tries, q.due;
--@ bind _ null
update k_queue set state = 'null' where id in (select id from k_queue where state = $1 order by id limit 2 for update skip locked) returning id;
--@ bind _ 1
delete from k_queue where id = (select id from k_queue where state is null order by id limit $1 for update skip locked);
begin;
update k_queue set state = 'mine' where id = (select id from k_queue order by id desc limit 1 for update skip locked) returning id;
update k_queue set state = 'again' where id in (select id from k_queue where state = 'mine' order by id limit 5 for update skip locked) returning id, state;
savepoint s;
update k_queue set state = 'lost' where id in (select id / 0 as q from k_queue order by id limit 2 for update skip locked);
rollback to s;
select state, count(*) from k_queue group by state order by 1 nulls last;
commit;
-- Rows that the proxy finds it cannot merge when they have come, in a transaction that has written: PostgreSQL merges them, and the transaction goes on.
begin;
set local datestyle = 'German';
update k_queue set tries = tries + 100 where user_id in (3, 4, 5);
--@ bind int4 50
select tries, due, user_id from k_queue where tries > $1 order by due, id;
select sum(tries) from k_queue;
commit;
prepare k_take (text, int) as update k_queue set state = $1 where id in (select id from k_queue where state = 'new' order by urgency, id limit $2 for update skip locked) returning id;
execute k_take ('prepared', 2);
deallocate k_take;
update k_queue set state = 'wrong' where id in (select nothing from k_queue limit 2 for update skip locked);
--@ check k_queue
