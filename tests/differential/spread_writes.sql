-- Writes on several shards: the same on each, rows split by key, COPY in both directions.
create table w_orders (user_id bigint, id bigint, total numeric, note text, made timestamptz, primary key (user_id, id));
create table w_items (user_id bigint, id bigint, item int, primary key (user_id, id, item));
create table w_uuids (user_id uuid primary key, n int default 3, word text);
create table w_texts (user_id text primary key, n smallint);
/* shardyard: reference */ create table w_codes (code text primary key, rate numeric);
create table w_ids (user_id bigint, id bigserial, made timestamptz default now(), word text, primary key (user_id, id));
insert into w_codes values ('a', 1.5), ('b', 2.5);

-- Rows of several shards.
insert into w_orders values (1, 1, 10, 'a', '2024-01-01'), (2, 1, 20, 'b', '2024-01-02'), (3, 1, 30, 'c', null), (4, 1, 40, 'd', null), (5, 1, 50, 'e', null);
--@ total
insert into w_orders (id, user_id, note) values (2, 1, 'x'), (2, 5, 'y'), (2, 3, 'z'), (2, 2, 'w'), (2, 4, null) returning user_id, note, id + 1 as more;
insert into w_orders (user_id, id, total) values (6, 1, 1), (7, 1, 2), (6, 1, 3);
insert into w_orders (user_id, id, total) values (6, 1, 1), (7, 1, 2), (8, 1, 'many');
insert into w_orders (user_id, id, total) values (6, 1, 1), (7, 1, 2), (8, 1);
insert into w_orders (user_id, id, total) values (6, 1, 1), (7, 1, missing), (8, 1, 2);
insert into w_orders (user_id, id, total) values (6, 1, 1), (null, 1, 2), (8, 1, 2);
insert into w_orders (user_id, id, total) values (6, 1, 1), (99999999999999999999, 1, 2), (8, 1, 2);
insert into w_orders (user_id, id, total) values ('6', 1, 1), ('x', 1, 2), (8, 1, 2);
--@ check w_orders
insert into w_orders (user_id, id, total) values (1, 1, 5), (2, 1, 6), (9, 1, 7) on conflict (user_id, id) do nothing;
--@ any
insert into w_orders (user_id, id, total) values (1, 1, 5), (2, 1, 6), (9, 1, 7), (10, 1, 8) on conflict (user_id, id) do update set total = w_orders.total + excluded.total where w_orders.total < 15 returning user_id, total;
insert into w_orders (user_id, id, total) values (1, 1, 5), (2, 1, 6), (1, 1, 7) on conflict (user_id, id) do update set total = excluded.total;
--@ bind _ 11, _ 12, int8 13, _ 2.5
insert into w_orders (user_id, id, total) values ($1, 1, $4), ($2, 1, $4 + 1), ($3, 1, 3) returning user_id, total;
--@ bind _ 14, _ 15, _ 16, _ a, _ b, _ null
insert into w_orders (user_id, id, note) values ($1, 1, $4), ($2, 1, $5), ($3, 1, $6) returning user_id, note;
--@ bind _ 14, _ 15, _ 16, _ a, _ b, _ null
insert into w_orders (user_id, id, note) values ($1, 1, $4), ($2, 1, $5), ($3, 1, $6) returning user_id, note;
--@ bind _ 14, _ x
insert into w_orders (user_id, id, note) values ($1, 3, 'a'), ($2, 1, 'b');
insert into w_uuids (user_id, word) values ('11000000-0000-4000-8000-000000000011', 'one'), ('{22000000-0000-4000-8000-000000000022}', 'two'), ('AB000000000040008000000000000000', 'three') returning *;
insert into w_texts values ('ann', 1), ('ève', 2), (E'd\'ot', 3), ('a, (b', 4), ($$q'$$, 5), ('x y', 6) returning user_id;
insert into w_ids (user_id, word) values (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd') returning user_id, word;
select count(*) from w_ids where user_id = 3 and id is not null and made is not null;
insert into w_orders (user_id, id, made) values (20, 1, now()), (21, 1, now()), (22, 1, current_timestamp), (23, 1, current_timestamp(6)) returning user_id, made = now() as same;
update w_orders set made = null where made > '2025-01-01' returning user_id;
--@ check w_orders, w_items, w_uuids, w_texts

-- The same on each shard.
insert into w_items select user_id, id, 7 from w_orders;
insert into w_items (user_id, id, item) select o.user_id, o.id, c.rate::int from w_orders o, w_codes c where o.total > 5 returning *;
insert into w_items select user_id, count(*), 9 from w_orders group by user_id returning user_id, id;
insert into w_items select user_id, id, item from w_items;
update w_orders set total = coalesce(total, 0) + 1;
--@ k = 1, 2 | 1, 2, 3, 4, 5, 6 | 100, 101 | null, 3
update w_orders set total = total * 2 where user_id in ({k}) returning user_id, id, total;
--@ bind _ {1,2,3,99}
update w_orders set note = note || '!' where user_id = any ($1) returning user_id, note;
--@ bind _ 3, _ mine
update w_orders set note = $2 where total > $1;
update w_orders o set note = 'x' || i.item from w_items i where i.user_id = o.user_id and i.id = o.id and i.item = 7 returning o.user_id, o.note;
update w_orders o set total = (select count(*) from w_items i where i.user_id = o.user_id);
update w_orders o set total = c.rate from w_codes c where c.code = o.note;
with many as (select user_id, count(*) as n from w_items group by user_id) update w_orders o set total = m.n from many m where m.user_id = o.user_id and m.n > 2 returning o.user_id, o.total;
update w_orders set total = 1 / (total - total) where note is not null;
update w_orders set id = id + 100 where id = 2;
update w_orders set user_id = user_id;
--@ check w_orders, w_items
delete from w_orders where total < 3 returning user_id, id;
delete from w_orders o where not exists (select 1 from w_items i where i.user_id = o.user_id and i.id = o.id);
delete from w_orders o using w_items i where i.user_id = o.user_id and i.item = 9 and o.id = 1 returning o.user_id;
delete from w_items where user_id in (select user_id from w_orders where total > 3);
delete from w_items where item = 'x';
--@ check w_orders, w_items

-- In a transaction.
begin;
insert into w_orders (user_id, id, total) values (1, 50, 1), (2, 50, 2), (3, 50, 3);
savepoint here;
update w_orders set total = 100 where id = 50;
insert into w_orders (user_id, id, total) values (1, 50, 1), (2, 51, 2);
rollback to here;
delete from w_orders where id = 50 and total = 2 returning user_id;
commit;
begin;
delete from w_orders;
rollback;
--@ check w_orders

-- COPY in.
copy w_orders (user_id, id, total, note) from stdin;
31	1	1	a
32	1	\N	tab\there
33	1	3	back\\slash
34	1	4	two\
lines
35	1	5	\N
\.
copy w_orders (note, id, user_id) from stdin (format csv, header, null 'NIL');
note,id,user_id
"quoted, ""text""",2,31
"two
lines",2,32
NIL,2,33
"NIL",2,34
\.
copy w_orders (user_id, id, note) from stdin with delimiter '|' null 'x';
31|3|x
32|3|y
\.
copy w_orders (user_id, id, note) from stdin csv quote '''' escape '\';
31,4,'a\'b'
32,4,'c,d'
33,4,
\.
copy w_orders (user_id, id, total) from stdin;
41	1	1
42	1	2
43	1	three
44	1	4
\.
copy w_orders (user_id, id, total) from stdin;
41	1	1
42	1
43	1	3
\.
copy w_orders (user_id, id, total) from stdin;
41	1	1
42	1	2	3
43	1	3
\.
copy w_orders (user_id, id, total) from stdin;
41	1	1
forty	1	2
43	1	3
\.
copy w_orders (user_id, id, total) from stdin;
41	1	1
\N	1	2
43	1	3
\.
copy w_orders (user_id, id, total) from stdin;
41	1	1
31	1	2
43	1	3
\.
copy w_orders (user_id, id, missing) from stdin;
copy w_orders (user_id, id, total) from stdin where total > 1;
45	1	1
46	1	2
47	1	3
\.
copy w_orders (user_id, id) from stdin;
\.
copy w_uuids from stdin;
33000000-0000-4000-8000-000000000033	1	x
44000000-0000-4000-8000-000000000044	2	y
\.
copy w_texts from stdin csv;
ünï,1
"a ""b""",2
"",3
\.
copy w_codes from stdin;
c	1
d	2
\.
--@ check w_orders, w_uuids, w_texts, w_codes*

-- COPY out.
--@ any
copy w_orders (user_id, id, total, note) to stdout;
--@ any
copy w_orders (user_id, id, total, note) to stdout (format csv, header, force_quote *);
--@ any
copy w_codes to stdout;
--@ any
copy w_texts to stdout (format csv);

-- SQL's PREPARE and EXECUTE.
--@ simple
prepare w_put (bigint, numeric) as insert into w_orders (user_id, id, total) values ($1, 900, $2), ($1 + 1, 900, $2 + 1) returning user_id, total;
--@ simple
execute w_put (61, 1.5);
--@ simple
execute w_put (61, 'x');
--@ simple
execute w_put (61);
--@ simple
prepare w_note as update w_orders set note = $2 where id = $1 returning user_id, note;
--@ simple
execute w_note (900, 'it''s, (so)');
--@ simple
prepare w_gone (bigint[]) as delete from w_orders where user_id = any ($1) and id = 900 returning user_id;
--@ simple
begin;
--@ simple
execute w_gone ('{61,62,63}');
--@ simple
execute w_put (61, 7);
--@ simple
commit;
--@ check w_orders

-- One statement's rows have one moment.
insert into w_ids (user_id, word) values (11, 'a'), (12, 'b'), (13, 'c'), (14, 'd') returning user_id, word;
insert into w_ids (user_id, word) select n, 'q' from generate_series(21, 26) n;
insert into w_ids as i (user_id, word) values (31, 'a'), (32, 'b') on conflict (user_id, id) do update set word = i.word returning i.user_id;
select count(distinct made), count(distinct id), word from w_ids where word in ('a', 'b', 'q') group by word order by word;
select count(distinct made) from w_ids where user_id between 11 and 14;
--@ bind _ 41, _ 42, _ x
insert into w_ids (user_id, word) values ($1, $3), ($2, $3) returning user_id, word;

-- Tables of WITH that write, where each row stays with its key.
create table w_live (user_id bigint not null, id int not null, v int, note text, primary key (user_id, id));
create table w_old (user_id bigint not null, id int not null, v int, note text, primary key (user_id, id));
create table w_sums (user_id bigint primary key, n int default 0, total bigint);
insert into w_live select n % 13, n, n * 7 % 31, 'n' || n % 5 from generate_series(1, 120) n;
insert into w_sums (user_id) select distinct user_id from w_live;
with moved as (delete from w_live where v < 6 returning *) insert into w_old select * from moved;
--@ any
with moved as (delete from w_live where v in (7, 9) returning id, note, user_id as who) insert into w_old (note, user_id, id, v) select note || '!', who, id, 0 from moved where id > 10 returning user_id, id, note;
with moved (a, b) as (delete from w_live l using w_sums s where s.user_id = l.user_id and l.v = 11 returning l.id, l.user_id) insert into w_old (user_id, id) select b, a from moved on conflict (user_id, id) do update set note = 'again';
with changed as (update w_live set v = v + 100 where note = 'n1' returning user_id, v) update w_sums s set n = n + 1 from changed c where c.user_id = s.user_id;
with gone as (delete from w_live where v > 120 returning user_id, v), added as (insert into w_old (user_id, id, v) select user_id, v + 1000, max(v) from gone group by user_id, v returning *) update w_sums set total = (select sum(a.v) from added a where a.user_id = w_sums.user_id) where exists (select 1 from gone g where g.user_id = w_sums.user_id);
with few as (select user_id, min(id) as id from w_live group by user_id), moved as (delete from w_live l using few f where f.user_id = l.user_id and f.id = l.id returning l.*) insert into w_old select m.* from moved m join w_sums s on s.user_id = m.user_id where s.n is not null;
with added as (insert into w_old (user_id, id, v) select user_id, id + 5000, v from w_live where v = 20 returning user_id, id) delete from w_live using added where added.user_id = w_live.user_id and w_live.id = added.id - 5000 returning w_live.id;
--@ bind _ 25, int4 3
with moved as (delete from w_live where v = $1 returning user_id, id) insert into w_old (user_id, id, v) select user_id, id, $2 from moved returning *;
with moved as (delete from w_live where user_id = 4 returning *) insert into w_old select * from moved returning id;
with moved as (delete from w_live where user_id in (1, 2, 3) and v < 15 returning *) insert into w_old select * from moved;
begin;
with moved as (delete from w_live returning *) insert into w_old select user_id, id + 9000, v, note from moved;
select count(*) from w_live;
rollback;
--@ check w_live
--@ check w_old
--@ check w_sums
