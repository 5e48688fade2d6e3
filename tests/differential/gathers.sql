-- What the gather path alone can do: odd types, names, views, cursors, COPY, keys and columns that are left out, transactions.
create schema g_other;
create type g_mood as enum ('sad', 'ok', 'glad');
create type g_pair as (a int, b text);
create domain g_small as int check (value < 1000);
create table g_odd (user_id bigint not null, id int not null, mood g_mood, moods g_mood[], pair g_pair, small g_small, f8 float8, f4 float4, i interval, z timestamptz, b bytea, n numeric, bits bit(5), range int4range, t text, c char(6), primary key (user_id, id));
create table g_gen (user_id bigint primary key, w int, h int, area int generated always as (w * h) stored);
create table "g Quoted ""T""" (user_id bigint primary key, "Mixed Col" text, "select" int);
create table g_other.g_far (user_id bigint primary key, n int);
create table g_plain (id int primary key, label text);
create view g_view as select user_id, id, t, f8 from g_odd where id > 1;
create view g_nested as select v.user_id, count(*) as n, max(f8) as most from g_view v left join g_gen g using (user_id) group by v.user_id;
create view g_renamed (a, b) as select x.p, x.q from g_gen as x (p, q, r, s);
create view g_mixed as select o.user_id, p.label from g_odd o join g_plain p on p.id = o.id;
--@ k = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9
insert into g_odd select {k}, n, (array['sad', 'ok', 'glad', null]::g_mood[])[1 + ({k} + n) % 4], array['ok', 'sad']::g_mood[], row({k}, 'b"' || n)::g_pair, {k} * 10, {k} / 3.0, n / 7.0::float4, n * interval '1 day 3 hours -5 minutes', timestamptz '2024-03-31 00:30:00+00' + {k} * interval '1 hour', decode(md5({k}::text), 'hex'), {k} / 7.0, b'10101', int4range({k}, {k} + n), E'tab\t\\N back\\slash ' || n || E'\nline', 'x' || n from generate_series(1, 3) n;
--@ k = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9
insert into g_gen (user_id, w, h) values ({k}, {k}, {k} + 2);
--@ k = 1 | 2 | 3 | 4
insert into "g Quoted ""T""" values ({k}, 'v{k}', {k} * 2);
--@ k = 1 | 2 | 3 | 4 | 5
insert into g_other.g_far values ({k}, {k} * 3);
insert into g_plain values (1, 'one'), (2, 'two'), (3, null);
--@ simple
select * from g_odd o where exists (select 1 from g_gen g where g.w = o.id) order by user_id, id;
select mood, count(*), array_agg(user_id order by user_id, id) from g_odd group by rollup (mood) order by 1 nulls first, 2;
--@ simple
select moods, pair, (pair).b, small from g_odd where f8 > (select max(w) / 4.5 from g_gen) order by user_id, id;
select row_number() over (partition by mood order by f8, id) as r, user_id, id, i, z, f4, n from g_odd order by user_id, id;
set extra_float_digits = 0;
select f8, f4, n, rank() over (order by f8, f4) from g_odd order by user_id, id;
set datestyle = 'SQL, DMY';
set intervalstyle = 'sql_standard';
set timezone = 'America/New_York';
--@ simple
select z, i, moods, rank() over (order by z, i) from g_odd order by user_id, id;
reset extra_float_digits;
reset datestyle;
reset intervalstyle;
reset timezone;
set bytea_output = 'escape';
select b, rank() over (order by b) from g_odd order by user_id, id;
reset bytea_output;
select area, rank() over (order by area desc) from g_gen order by user_id;
select g.*, o.t from g_gen g join g_odd o on o.id = g.w order by 1, o.user_id;
select "Mixed Col", lag("select") over (order by user_id) from "g Quoted ""T""" order by user_id;
select "g Quoted ""T"""."select", public."g Quoted ""T"""."Mixed Col", count(*) over () from public."g Quoted ""T""" order by user_id;
select n, sum(n) over (order by user_id) from g_other.g_far order by user_id;
select g_other.g_far.n, g_far.user_id, (select count(*) from g_plain) from g_other.g_far, g_plain order by 2, 1;
select * from g_far;
select * from g_view v, g_plain p where v.id = p.id order by v.user_id, v.id;
select n, most, lag(n) over (order by user_id) from g_nested order by user_id;
select a, b, first_value(b) over (order by a) from g_renamed order by a;
select label, count(*), percentile_disc(0.5) within group (order by user_id) from g_mixed group by label order by 1;
select public.g_view.t, rank() over (order by t) from public.g_view order by user_id, id;
with g_odd as (select 1 as user_id, 'cte' as t) select t, (select count(*) from public.g_odd) from g_odd;
with g_gen as (select user_id, w from public.g_gen where w > 3) select count(*), sum(w), (select count(*) from g_odd) from g_gen;
with recursive up (user_id, n) as (select user_id, 1 from g_gen where w = 1 union all select g.user_id, n + 1 from up join g_gen g on g.w = up.n + 1) select * from up order by n;
select x.w, y.h from g_gen x, lateral (select h from g_gen g where g.h > x.h order by h limit 2) y order by 1, 2;
select user_id, w, rank() over (order by h) from g_gen where user_id in (1, 2, 3, 4) order by 1;
select g.user_id, o.id, rank() over (order by o.f8, o.id) from g_gen g join g_odd o using (user_id) where user_id in (2, 5, 7) order by 1, 2;
select user_id, row_number() over (order by user_id) from g_gen where user_id = any (array[9, 1, 3]::bigint[]) order by 1;
select user_id, row_number() over (order by user_id) from g_gen where user_id in (1, null, 3) order by 1;
select g.user_id, f.n, count(*) over () from g_gen g left join g_other.g_far f on f.user_id = g.user_id and f.user_id in (1, 2) order by 1;
select count(*) from g_gen a, g_gen b where a.user_id in (1, 2) and b.w > 5;
select count(*), count(g), count(g.*) from g_gen g;
select g from g_gen g order by g.user_id limit 3;
select g_gen from g_gen order by user_id limit 2;
select row_to_json(g), rank() over (order by w) from g_gen g order by user_id limit 2;
select to_jsonb(o) - 'z' - 'i', rank() over (order by f8) from (select user_id, t, f8 from g_odd where id = 1) o order by user_id;
select w(g), rank() over (order by w) from g_gen g order by user_id limit 2;
select a, d from g_gen as g (a, b, c, d) where b > (select avg(h) from g_gen) order by a;
select * from g_gen natural join g_other.g_far where n > (select min(n) from g_other.g_far) order by 1;
select o.user_id, o.id, o.t, count(*) from g_odd o join g_plain p on p.id = o.id group by o.user_id, o.id order by 1, 2;
select user_id, w, count(*) from g_gen group by user_id order by user_id;
select h, w from g_gen group by h order by 1;
select h, w, count(*) from g_gen group by w order by 1;
table g_gen order by user_id desc;
(select w from g_gen order by w limit 2) union all (select h from g_gen order by h desc limit 2) order by 1;
values ((select count(*) from g_gen)), ((select max(w) from g_gen));
select (select count(*) from g_gen) as n, 'x' as unknown, null as nothing;
select 1 / (w - 5) from g_gen;
select w::text::int / 0 from g_gen;
select nope from g_gen, g_odd;
select nope(w) from g_gen, g_odd;
select * from g_gen, g_nowhere;
select * from g_gen where w = 'abc';
select w, count(*) from g_gen, g_plain;
select * from g_gen order by 9;
select sum(w) from g_gen limit -1;
select user_id, w from g_gen order by rank() over (order by h desc), 1 fetch first 3 rows only;
select user_id from g_gen order by h fetch first 2 rows with ties;
select xmlforest(w) is not null, count(*) over () from g_gen order by user_id;
select json_arrayagg(w order by w) from g_gen;
select string_agg(t, '|' order by user_id, id) from g_odd;
select mode() within group (order by mood), percentile_cont(0.25) within group (order by f8) from g_odd;
select width_bucket(f8, 0, 3, 3), count(*) from g_odd group by grouping sets ((1), ()) order by 1;
select generate_series(1, w) as s, w from g_gen where w < 4 order by 2, 1;
select distinct on (id) id, user_id from g_odd order by id, user_id desc;
select count(distinct mood), count(distinct (mood, id)) filter (where id > 1) from g_odd;
copy (select user_id, w, rank() over (order by h desc) from g_gen order by 1) to stdout;
copy (select user_id, mood, t from g_odd where id = 2 and f8 > (select min(f8) from g_odd) order by 1) to stdout with (format csv, header);
begin;
insert into g_gen (user_id, w, h) values (50, 1, 1);
insert into g_gen (user_id, w, h) values (51, 2, 2);
insert into g_plain values (50, 'mine');
select count(*), sum(area), (select count(*) from g_plain) from g_gen;
select max(w) over (), user_id from g_gen order by 2 desc limit 2;
savepoint s;
delete from g_gen where user_id = 51;
select count(*), (select max(user_id) from g_gen) from g_gen g;
select 1 / 0 from g_gen, g_plain;
select 1;
rollback to s;
select count(*), (select max(user_id) from g_gen) from g_gen g;
update g_gen set w = 100 where user_id = 50;
declare c cursor for select user_id, w, rank() over (order by w desc) from g_gen order by 2 desc, 1;
fetch 2 from c;
update g_gen set w = 200 where user_id = 51;
select max(w), (select min(w) from g_gen) from g_gen;
fetch 2 from c;
declare d scroll cursor for select v.t, v.user_id from g_view v, g_plain p where p.id = v.id order by 2, 1;
fetch 2 from d;
fetch last from d;
fetch first from d;
move 2 in d;
close c;
select count(*), (select max(t) from g_view) from g_gen;
commit;
--@ check g_gen
begin isolation level repeatable read read only;
select count(*), (select max(w) from g_gen) from g_gen;
select count(*), (select count(*) from g_plain) from g_gen;
commit;
begin read only;
select sum(w) over (order by user_id) from g_gen order by 1;
insert into g_gen (user_id, w, h) values (60, 1, 1);
rollback;
begin;
set local search_path = g_other, public;
select n, rank() over (order by n desc) from g_far order by 1;
set local timezone = 'Asia/Tokyo';
select max(z), (select min(z) from g_odd) from g_odd;
commit;
declare h cursor with hold for select user_id, rank() over (order by w desc) from g_gen order by 1;
fetch 3 from h;
select count(*) from g_gen, g_plain;
fetch 3 from h;
close h;
prepare q (int, text) as select user_id, w, $2, rank() over (order by h) from g_gen where w > $1 order by 1;
execute q (3, 'x');
execute q (7, null);
insert into g_gen (user_id, w, h) values (70, 70, 1);
execute q (50, 'more');
deallocate q;
--@ bind int8 2, int8 5
select user_id, w, rank() over (order by h) from g_gen where user_id in ($1, $2) order by 1;
--@ bind int8[] {2,3,9}
select user_id, w, rank() over (order by h) from g_gen where user_id = any ($1) order by 1;
--@ bind int4 3, text abc
select user_id, $2 || t, rank() over (order by f8, id) from g_odd where id = $1 order by 1;
--@ bind _ 2
select user_id, rank() over (order by f8, id) from g_odd where id = $1 order by 1;
--@ bind numeric 2.5
select count(*), (select count(*) from g_gen where w > $1) from g_gen;
select nextval('g_no_sequence'), w from g_gen, g_plain;
create temporary table g_kept as select user_id, rank() over (order by w desc) as r from g_gen;
select count(*), max(r) from g_kept;
select g.user_id, k.r from g_kept k join g_gen g using (user_id) order by 1;
select id, count(*) as n into temporary g_into from g_odd o where exists (select from g_gen where w = o.id) group by id;
select * from g_into order by 1;
begin;
create temp table g_begun on commit drop as select count(*) as n from g_gen, g_plain;
select * from g_begun;
select count(*) from g_gen a, g_begun;
commit;
select user_id, w from g_gen where w > 4 order by user_id for update;
select user_id, w from g_gen where w > 4 for no key update nowait;
select g.user_id, f.n from g_gen g join g_other.g_far f using (user_id) order by 1 for share of g;
begin;
select user_id, h from g_gen where user_id in (1, 2, 3) order by h desc for update skip locked;
update g_gen set h = h + 1 where user_id in (1, 2, 3);
select sum(h), (select max(h) from g_gen) from g_gen;
rollback;
select w, count(*) from g_gen group by w for update;
select distinct w from g_gen for update;
select count(*) from g_gen for update;
--@ bind int4 5
select user_id from g_gen where w > $1 order by 1 for update;

-- Conditions on one table's row leave rows on the shards: in WHERE, in ON of either side, of several appearances, with nulls.
--@ w = total > 20 | total <> 7 and note is not null | note in ('red', '', null) | note not in ('red', 'green') | note like 'B%' or price is null | not (status = 'new' or total < 0) | (total > 5) is not true | placed >= '2024-03-01' and placed < date '2024-03-05' | price between 10 and 60.5 | weight < 2.5 | weight > 'NaN'::float8 | item = any ('{1,2,null}') | status = any (array['new', 'lost']::text[]) | note < 'b' | total is distinct from 21 | total is not distinct from null | item < id | 30 >= total | note > 'b' and total / nullif(item, 0) > 3 | total > item and false | status isnull | user_id in (1, 3) and total < 40 | weight <> 1e308
select user_id, id, rank() over (order by total, user_id, id) from d_orders where {w} order by user_id, id;
--@ on = o.total > 20 | o.note is null | b.score > 3 | b.active | not b.active and o.total < 10 | b.name like 'A%' or o.id = 1 | b.born < '1982-01-01'
--@ join = join | left join | right join | full join
select count(*), count(b.user_id), count(o.user_id), count(distinct b.name), sum(o.total) from d_buyers b {join} d_orders o on b.score = o.item and {on};
--@ w = b.score > 2 | o.total > 20 | o.note is null | b.name is null | b.active and o.status = 'paid'
--@ join = left join | right join | full join
select count(*), count(b.user_id), count(o.user_id), count(distinct b.name), sum(o.total) from d_buyers b {join} d_orders o on b.score = o.item where {w};
select a.user_id, a.id, b.id from d_orders a, d_orders b where a.total > 35 and b.total < -3 and a.item = b.item order by 1, 2, 3;
with big as (select * from d_orders where total > 30) select count(distinct x.note), count(distinct y.id) from big x join big y on x.item = y.item where y.id < 4;
select count(distinct note) from d_orders o where total > (select avg(total) from d_orders where note = 'red') and exists (select 1 from d_buyers b where b.score = o.item and o.id > 2 and b.active is true);
select count(distinct id) from (select * from d_orders order by total, user_id, id limit 9) x where total > 0;
select count(distinct r) from d_orders as o (p, q, r) where r > 2 and q < 4;
select count(distinct o.note) from d_orders o join d_lines l using (user_id) where user_id > 9 and l.quantity is not null and l.product like 'p%';
select region, count(distinct name) from d_buyers where tags is not null and joined > '2024-03-31 04:00+02' group by rollup (region) order by 1 nulls last, 2;
select mood, count(distinct t) from g_odd where moods is not null and pair is not null and small > 20 and mood = 'ok' and c = 'x2' group by mood;
set datestyle = 'SQL, DMY';
select count(distinct note) from d_orders where placed > '01/03/2024' and placed < timestamp '05/03/2024 10:00';
select count(distinct mood) from g_odd where z > '31/03/2024 05:00' and i > '1 day';
reset datestyle;
set timezone = 'America/New_York';
select count(distinct mood) from g_odd where z > '2024-03-31 01:00' and f4 is not null;
reset timezone;
--@ bind int4 20, text red
select count(distinct id) from d_orders where total > $1 and note = $2;
--@ bind _ 20, _ red
select count(distinct id) from d_orders where total > $1 and note = $2;
--@ bind _ 20, _ null
select count(distinct id) from d_orders where total > $1 or note = $2;
--@ bind numeric 20.5, _ 3
select count(distinct id) from d_orders where total > $1 and (id > $2 or user_id = $2);
--@ bind _ {1,2}, _ a%
select count(distinct id) from d_orders where item = any ($1) and note like $2 or note is null;
--@ bind date 2024-03-01, _ 2024-03-09
select count(distinct id) from d_orders where placed >= $1 and placed < $2::timestamp;
prepare g_pushed (float8) as select count(distinct id) from d_orders where price > $1 and item < 5;
execute g_pushed (20.25);
deallocate g_pushed;
select count(distinct id) from d_orders where note like 'red\' and total > 5;
select count(distinct id) from d_orders where total > 'five';
