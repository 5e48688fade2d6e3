-- INSERT over several shards: rows by key, RETURNING, ON CONFLICT, from queries.
create table i_plain (user_id bigint primary key, n int, word text default 'none', made numeric(8,2) default 1.5);
create table i_many (user_id bigint not null, id int not null, word text, primary key (user_id, id));
create table i_text (user_id text primary key, n int);
create table i_uuid (user_id uuid primary key, n int);
create table i_single (id int primary key, user_ref bigint, word text);
/* shardyard: reference */ create table i_ref (code text primary key, n int);
insert into i_plain values (1, 10);
insert into i_plain (user_id, n) values (2, 20), (3, 30), (4, 40), (5, null);
insert into i_plain (n, user_id) values (60, 6), (70, 7) returning user_id, n, word;
insert into i_plain values (8, 80, 'eight', 8.888), (9, 90, default, default), (10, default, null, 10) returning *;
--@ check i_plain
insert into i_plain (user_id) values (11), (12), (13) returning user_id * 2 as double, word || '!' as w;
insert into i_plain values (14, 1 + 1, upper('x'), 3.0 / 2), (15, length('abc'), 'a''b', -1), (16, (2), E'tab\there', .5);
insert into i_plain values (-1, 1), (- 2, 2), (+17, 3), (18::bigint, 4), ('19', 5), (cast(20 as int), 6);
insert into i_plain values (21, 1), (1, 2), (22, 3);
insert into i_plain values (23, 1), (23, 2);
insert into i_plain values (24, 1), (null, 2);
insert into i_plain values (25, 1), (26, 'x');
insert into i_plain values (25, 1), (26, 1 / 0);
insert into i_plain values (25, 1), (26);
insert into i_plain values (25, 1, 'a', 1, 1), (26, 1, 'a', 1, 1);
insert into i_plain (user_id, nosuch) values (25, 1), (26, 1);
insert into i_plain values (99999999999999999999, 1), (26, 1);
insert into i_plain values (27, 1, 'a', 12345678), (28, 1, 'b', 1);
--@ check i_plain
insert into i_plain values (1, 11), (2, 22), (29, 29) on conflict do nothing;
insert into i_plain values (1, 11), (2, 22), (30, 30) on conflict (user_id) do nothing returning user_id;
insert into i_plain values (1, 11), (2, 22), (31, 31) on conflict (user_id) do update set n = excluded.n returning user_id, n;
insert into i_plain values (1, 1), (2, 2), (3, 3) on conflict (user_id) do update set n = i_plain.n + excluded.n, word = i_plain.word || '+' where i_plain.n > 15 returning *;
insert into i_plain as t values (4, 4), (5, 5), (32, 32) on conflict (user_id) do update set n = coalesce(t.n, 0) + 100;
insert into i_plain values (33, 1), (33, 2), (34, 3) on conflict (user_id) do nothing;
insert into i_plain values (35, 1), (35, 2), (36, 3) on conflict (user_id) do update set n = 0;
insert into i_plain values (37, 1), (38, 2) on conflict (n) do nothing;
insert into i_plain values (1, 1), (2, 2) on conflict (user_id) do update set user_id = 50;
insert into i_plain values (1, 1), (39, 2) on conflict on constraint i_plain_pkey do update set word = 'constraint';
--@ check i_plain
--@ bind int8 41, int4 1, int8 42, int4 2, int8 43, int4 3
insert into i_plain (user_id, n) values ($1, $2), ($3, $4), ($5, $6) returning user_id, n;
--@ bind _ 44, _ 1, _ 45, _ null
insert into i_plain (user_id, n) values ($1, $2), ($3, $4);
--@ bind int8 46, text both
insert into i_plain (user_id, word) values ($1, $2), ($1 + 1000, $2), (47, $2);
--@ bind _ 48, _ 49, _ same
insert into i_plain (user_id, word) values ($1, $3), ($2, $3) returning *;
--@ bind _ 48, _ 50
insert into i_plain (user_id) values ($1), ($2);
--@ bind _ x, _ 51
insert into i_plain (user_id) values ($1), ($2);
--@ bind int8[] {60,61,62}, text[] {a,b,NULL}
insert into i_plain (user_id, word) select * from unnest($1, $2);
--@ bind int8[] {63,64,65}
insert into i_plain (user_id) select unnest($1) returning user_id;
--@ check i_plain
insert into i_many values (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c'), (2, 2, null), (3, 1, 'e');
insert into i_many select 4, n, 'n' || n from generate_series(1, 5) n;
insert into i_many select n, 1, 'g' from generate_series(10, 19) n;
insert into i_many select user_id, 100, word from i_plain where user_id < 10;
insert into i_many select user_id, 200, word from i_plain;
insert into i_many select user_id + 1000, id, word from i_many where id = 1;
insert into i_many select user_id, 300, count(*)::text from i_many group by user_id;
insert into i_many select user_id, 400, 'limited' from i_plain order by user_id limit 3;
insert into i_many select 7, 500 + count(*)::int, 'counted' from i_plain;
insert into i_many select id, 600, word from i_single;
insert into i_many (user_id, id, word) select a.user_id, 700, b.word from i_plain a join i_plain b on b.user_id = a.user_id + 1;
insert into i_many select user_id, 1, 'again' from i_plain where user_id < 4;
insert into i_many select user_id, 1, 'again' from i_plain where user_id < 6 on conflict do nothing;
insert into i_many select user_id, 1, 'again' from i_plain where user_id < 6 on conflict (user_id, id) do update set word = excluded.word;
insert into i_many select user_id, 800, 'returned' from i_plain where user_id between 1 and 5 returning user_id, id;
insert into i_many table i_many;
insert into i_many (word, id, user_id) select word, 900, user_id from i_plain where user_id in (1, 2, 3);
insert into i_many (user_id, id) values (70, (select 5)), (71, (select count(*) from i_ref));
insert into i_many (user_id, id) values (72, (select max(n) from i_plain)), (73, 1);
--@ check i_many
insert into i_text values ('a', 1), ('A', 2), ('é', 3), ('', 4), (' a', 5), ('a ', 6), ('1', 7), ('01', 8);
insert into i_text values ('it''s', 1), (E'new\nline', 2), ($$dollar$$, 3), ('x' || 'y', 4), (U&'\0061b', 5);
insert into i_text values (1, 1);
insert into i_text (user_id) values (null), ('b');
--@ bind text z, _ 1, text ü, _ 2
insert into i_text values ($1, $2), ($3, $4) returning *;
--@ check i_text
insert into i_uuid values ('00000000-0000-0000-0000-000000000001', 1), ('AAAAAAAA-0000-0000-0000-000000000001', 2), ('{bbbbbbbb-0000-0000-0000-000000000001}', 3), ('cccccccc000000000000000000000001', 4);
insert into i_uuid values ('nonsense', 1), ('00000000-0000-0000-0000-000000000002', 2);
--@ bind uuid 00000000-0000-0000-0000-000000000003, uuid 00000000-0000-0000-0000-000000000004
insert into i_uuid (user_id) values ($1), ($2);
--@ check i_uuid
insert into i_ref values ('a', 1), ('b', 2), ('c', null);
insert into i_ref values ('a', 9), ('d', 4) on conflict (code) do update set n = excluded.n returning *;
insert into i_ref values ('e', 1), ('e', 2);
insert into i_ref select code || '2', n from i_ref where n > 1;
insert into i_ref select 'u' || user_id, n from i_plain where user_id < 4;
insert into i_ref select 'r' || n, (random() * 0)::int from generate_series(1, 3) n;
insert into i_ref select 's' || id, id from i_single;
--@ check i_ref*
insert into i_single values (1, 1, 'one'), (2, 2, 'two'), (3, 30, 'three');
insert into i_single select 100 + user_id, user_id, word from i_plain where user_id < 5;
insert into i_single select 200, sum(n), 'sum' from i_plain;
insert into i_single select 300 + row_number() over (order by code), null, code from i_ref where n is not null and code < 'f';
with new as (insert into i_plain (user_id, n) values (80, 1), (81, 2) returning *) select sum(n) from new;
with new as (insert into i_plain (user_id, n) values (82, 1) returning *) select user_id, n from new;
with src as (select 83 as k, 1 as v union all select 84, 2) insert into i_plain (user_id, n) select k, v from src;
with src as (select user_id from i_plain where user_id in (1, 2)) insert into i_many select user_id, 1000, 'cte' from src;
--@ check i_plain, i_many, i_single
insert into i_plain (user_id, n) values (90, 1); insert into i_plain (user_id, n) values (91, 2);
--@ simple
insert into i_plain (user_id, n) values (92, 1), (93, 1); insert into i_plain (user_id, n) values (94, 1), (92, 1);
insert into i_plain default values;
insert into i_plain (user_id) values ((select 95)), ((select max(user_id) + 1 from i_plain));
insert into i_plain overriding system value values (96, 1), (97, 1);
--@ check i_plain
