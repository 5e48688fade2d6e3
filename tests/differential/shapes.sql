-- Shapes that go wrong elsewhere (DESIGN section 8), each a test of its own. The tables are those of tables.sql, or made here.
--@ case having_over_groups_that_span_shards
select status, count(*) from d_orders group by status having count(*) > 12 order by status;
select note, sum(total) from d_orders group by note having sum(total) > 100 order by note;
select item from d_orders group by item having min(total) < 0 and max(total) > 30 order by item;
select count(*) from d_orders having sum(total) > 500;
select status from d_orders group by status having count(distinct user_id) = 14 order by 1;
--@ case order_by_expression_nulls_and_collation
select user_id, id, total from d_orders order by total + item desc nulls last, user_id, id limit 7;
select user_id, note from d_orders order by lower(note) nulls first, user_id, id;
select user_id, total from d_orders order by total nulls first, user_id, id limit 9;
select user_id, total from d_orders order by total desc nulls last, user_id, id limit 9;
select user_id, total from d_orders order by total desc, user_id, id limit 9;
select name from d_buyers order by name collate "C", user_id;
select name from d_buyers order by name collate "POSIX" desc nulls last, user_id;
select name from d_buyers order by name, user_id limit 5;
select user_id, kind from d_accounts order by kind, user_id collate "C" desc;
--@ case group_by_expression
select total / 10, count(*) from d_orders group by total / 10 order by 1;
select upper(left(note, 1)), count(*), sum(total) from d_orders group by upper(left(note, 1)) order by 1;
select user_id % 3, count(*) from d_orders group by user_id % 3 order by 1;
select coalesce(status, note), max(id) from d_orders group by coalesce(status, note) order by 1;
--@ case union_of_two_keys
select name from d_buyers where user_id = 1 union select name from d_buyers where user_id = 2 order by 1;
select name from d_buyers where user_id = 1 union all select name from d_buyers where user_id = 7 order by 1;
select user_id from d_orders where user_id = 3 intersect select user_id from d_orders where user_id = 5;
select status from d_orders where user_id = 3 except select status from d_orders where user_id = 2 order by 1;
--@ case key_comparison_in_the_target_list
select user_id = 5 from d_orders;
select user_id = 5 as mine, count(*) from d_orders group by 1 order by 1;
select count(*) filter (where user_id = 5), count(*) from d_orders;
select case when user_id = 5 then 'mine' else 'other' end, count(*) from d_buyers group by 1 order by 1;
--@ case key_condition_in_on_of_an_outer_join
select b.user_id, o.id from d_buyers b left join d_orders o on o.user_id = b.user_id and b.user_id = 5 order by 1, 2;
select b.user_id, o.id from d_buyers b left join d_orders o on o.user_id = b.user_id and o.user_id = 5 order by 1, 2;
select b.user_id, o.user_id, o.id from d_buyers b right join d_orders o on o.user_id = b.user_id and o.user_id = 5 order by 2, 3;
select count(*), count(b.name), count(o.id) from d_buyers b full join d_orders o on o.user_id = b.user_id and b.user_id = 5;
select b.user_id from d_buyers b left join d_orders o on o.user_id = 5 and o.id = 1 where b.user_id = 7;
--@ case in_and_any_over_several_shards
select user_id, name from d_buyers where user_id in (1, 2, 3, 4, 5, 99) order by user_id;
select user_id, count(*) from d_orders where user_id = any ('{1,2,3,4,NULL}') group by user_id order by 1;
--@ bind int8[] {1,2,3,4,5,6}
select sum(total) from d_orders where user_id = any ($1);
--@ bind int8 1, int8 2, int8 3
select count(*) from d_orders where user_id in ($1, $2, $3);
select count(*) from d_orders where user_id not in (1, 2, 3);
select count(*) from d_orders where user_id <> all ('{1,2,3}');
select count(*) from d_accounts where user_id in ('ann', 'bea', 'nobody', '042');
--@ case joins_that_are_not_on_the_key
select count(*) from d_buyers b join d_orders o on o.item = b.score;
select b.user_id, o.user_id from d_buyers b join d_orders o on o.user_id = b.user_id + 1 and o.id = 1 order by 1;
select count(*) from d_orders a join d_orders b on b.total = a.total and b.user_id <> a.user_id;
select count(*) from d_buyers b join d_accounts a on a.owner = b.user_id;
select b.name, o.id from d_buyers b, d_orders o where b.user_id = 5 and o.total > 40 order by 1, 2;
--@ case volatile_functions_in_a_select
select count(*) from d_orders where random() >= 0;
select count(*) > 0 from (select random() as r from d_orders) t where r between 0 and 1;
select count(distinct r) > 60 from (select random() as r from d_orders) t;
select bool_and(clock_timestamp() > '2024-01-01') from d_orders;
select count(distinct pg_backend_pid()) from d_orders;
select user_id, pg_sleep(0) is null from d_buyers order by 1 limit 2;
--@ case limit_without_order_under_a_join
select count(*) from (select * from d_orders limit 7) o;
select count(*) from (select user_id from d_orders limit 5) o join d_regions r on true;
select count(*) from (select * from d_buyers limit 4) b cross join (select * from d_codes limit 2) c;
select count(*) from (select b.user_id from d_buyers b join d_orders o using (user_id) limit 9) t;
select count(*) from (select user_id from d_buyers offset 20) t;
--@ case distinct_on
select distinct on (status) status, total from d_orders order by status, total desc nulls last;
select distinct on (user_id) user_id, id from d_orders order by user_id, total desc nulls last, id;
select count(*) from (select distinct on (item) item, note from d_orders order by item) t;
select distinct on (total % 5, status) total % 5, status, user_id, id from d_orders order by total % 5, status nulls first, user_id, id;
--@ case window_functions
select user_id, id, row_number() over (order by placed, user_id, id) from d_orders order by user_id, id;
select user_id, id, sum(total) over (partition by status) from d_orders order by user_id, id;
select user_id, id, rank() over (partition by user_id order by total) from d_orders order by user_id, id;
select * from (select user_id, ntile(4) over (order by user_id, id) as quarter from d_orders) t where quarter = 2 order by 1;
--@ case scalar_subqueries_over_a_sharded_table
select name, (select count(*) from d_orders) from d_buyers where user_id = 5;
select user_id, (select max(total) from d_orders o where o.user_id = b.user_id) from d_buyers b order by 1;
select user_id from d_buyers where score > (select avg(item) from d_orders) order by 1;
select (select name from d_buyers where user_id = 3), (select count(*) from d_lines);
--@ case aggregates_of_an_outer_query
select (select max(o.total)) from d_orders o;
select (select max((select i.total from d_orders i where i.user_id = o.user_id and i.id = o.id))) from d_orders o;
select (select count(o.id) filter (where o.total > 10)) from d_orders o;
select status, (select sum(o.total) from d_codes c where c.rank = 1) from d_orders o group by status order by 1;
select (select count(b.user_id) from d_codes c where c.code = 'new') from d_buyers b;
--@ case count_distinct
select count(distinct status) from d_orders;
select count(distinct user_id) from d_orders;
select user_id, count(distinct item) from d_orders group by user_id order by 1;
select status, count(distinct user_id), count(distinct note) from d_orders group by status order by 1;
select sum(distinct total), avg(distinct item) from d_orders;
--@ case with_queries_that_modify
create table shape_moves (user_id bigint not null, id int not null, n int, primary key (user_id, id));
create table shape_old (user_id bigint not null, id int not null, n int, primary key (user_id, id));
--@ k = 1 | 2 | 3 | 4 | 5 | 6
insert into shape_moves values ({k}, 1, {k}), ({k}, 2, 10);
with gone as (delete from shape_moves where n = 10 returning *) select count(*) from gone;
with gone as (delete from shape_moves where user_id = 3 returning *) insert into shape_old select * from gone;
with gone as (delete from shape_moves where n > 4 returning *) insert into shape_old select * from gone;
with changed as (update shape_moves set n = n + 1 returning n) select sum(n) from changed;
with added as (insert into shape_moves values (7, 1, 1), (8, 1, 1) returning *) select count(*) from added;
--@ check shape_moves, shape_old
--@ case on_conflict_over_several_rows
create table shape_upsert (user_id bigint primary key, n int);
insert into shape_upsert values (1, 1), (2, 2), (3, 3);
insert into shape_upsert values (1, 10), (4, 4), (2, 20) on conflict (user_id) do update set n = shape_upsert.n + excluded.n returning user_id, n;
insert into shape_upsert values (5, 5), (1, 0), (6, 6) on conflict do nothing;
insert into shape_upsert values (7, 1), (8, 1), (7, 2) on conflict (user_id) do update set n = 9;
insert into shape_upsert values (7, 1), (8, 1), (7, 2) on conflict do nothing returning user_id;
--@ check shape_upsert
--@ case now_random_and_nextval_on_several_shards
create table shape_clock (user_id bigint primary key, at timestamptz default now(), r float8 default random());
create sequence shape_numbers;
select count(distinct now()) from d_orders;
select count(distinct current_timestamp), count(distinct current_date) from d_buyers;
insert into shape_clock values (1, now()), (2, now()), (3, current_timestamp), (4, transaction_timestamp());
select count(distinct at), count(distinct r) from shape_clock;
insert into shape_clock (user_id) values (11), (12), (13), (14), (15);
select count(distinct at), count(distinct r) from shape_clock where user_id > 10;
update shape_clock set at = now();
select count(distinct at) from shape_clock;
update shape_clock set r = random();
select count(distinct r) from shape_clock;
select count(distinct n) from (select nextval('shape_numbers') as n from d_orders) t;
select count(*) from shape_clock where at <= now();
select count(distinct x) from (select now() as x from d_orders union all select now() from d_buyers) t;
delete from shape_clock where at < now() - interval '1 hour';
delete from shape_clock where at <= now() and user_id < 3;
select count(*) from shape_clock;
