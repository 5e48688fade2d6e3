-- INSERT of rows whose keys only a query tells: run first, its rows shared out.
create table f_orders (user_id bigint, id int, total numeric(10,2), note varchar(20), made timestamptz, day date, primary key (user_id, id));
create table f_single (id int primary key, who bigint, word text, price float8);
/* shardyard: reference */ create table f_codes (code bigint primary key, label text);
insert into f_single values (1, 1, 'one', 1.5), (2, 2, 'two', 2.5), (3, 3, E'th\'r\\ee', 3.25), (4, null, 'none', null);
insert into f_codes values (21, 'a'), (22, 'b'), (23, null);
insert into f_orders (user_id, id, total) select n, n % 3, n * 1.5 from generate_series(1, 12) as n;
insert into f_orders (user_id, id, note) select who, 10 + id, word from f_single where who is not null returning user_id, id, note;
insert into f_orders select code, 1, 7.777, label, timestamp '2024-01-01 10:00', timestamp '2024-02-29 23:59' from f_codes returning *;
insert into f_orders (user_id, id, total) select user_id + 100, id, total from f_orders where total > 3;
insert into f_orders (user_id, id, total) select 200 + id, count(*), sum(total) from f_orders group by id;
insert into f_orders (user_id, id, total, note) (select n, 50, n::float8 / 3, 'say ''' || n || '''' from generate_series(1, 5) n order by n desc limit 3) returning user_id, total, note;
insert into f_orders (user_id, id) select n, 50 from generate_series(3, 8) n on conflict (user_id, id) do update set note = 'again' returning user_id, note;
insert into f_orders (user_id, id) select n, 50 from generate_series(3, 9) n on conflict do nothing returning user_id;
insert into f_orders (user_id, id) select n % 2, 60 from generate_series(1, 4) n on conflict (user_id, id) do update set note = 'twice';
insert into f_orders (user_id, id) select n, 50 from generate_series(30, 33) n union all select 3, 50;
insert into f_orders (user_id, id) select who, 70 + id from f_single;
insert into f_orders (user_id, id) select word, 1 from f_single;
insert into f_orders (user_id, id) select who from f_single;
insert into f_orders (user_id) select who, 1 from f_single;
insert into f_orders (user_id, id, note) select who, 80, repeat(word, 20) from f_single where who is not null;
insert into f_orders (user_id, id) select 1 / (who - who), 1 from f_single where who is not null;
insert into f_orders (user_id, id) values (1 + 1, 90), (2 + 1, 90), ((select 7), 90) returning user_id;
insert into f_orders (user_id, id) values (abs(-5), 91);
with src as (select 83 as k, 1 as v union all select 84, 2) insert into f_orders (user_id, id) select k, v from src;
insert into f_orders (user_id, id) with src as (select 85 as k, 1 as v union all select 86, 2) select k, v from src returning user_id;
insert into f_orders as o (user_id, id) select n, 92 from generate_series(1, 3) n on conflict (user_id, id) do update set total = o.total returning o.user_id, o.id;
insert into f_orders (user_id, id) select n, 1 from generate_series(1, 0) n;
insert into f_orders (user_id, id) select n, 1 from generate_series(1, 0) n returning user_id;
--@ bind _ {101,102,103}, _ 3
insert into f_orders (user_id, id) select unnest($1::bigint[]), $2 + 1 returning user_id, id;
--@ bind _ {111,112,113}, _ a'b, _ null
insert into f_orders (user_id, id, note, total) select k, 5, $2, $3 from unnest($1::bigint[]) as k on conflict do nothing;
--@ bind int4 6
insert into f_orders (user_id, id) values (abs($1), 93), (abs($1) + 1, 93) returning user_id;
begin;
insert into f_orders (user_id, id) values (300, 1), (301, 1), (302, 1);
insert into f_orders (user_id, id, note) select user_id + 10, id, 'copied' from f_orders where user_id in (300, 301, 302);
rollback;
--@ check f_orders
-- Types whose names mean a length where none is given.
create table f_short (user_id bigint primary key, c char(6), b bit(5), v varchar(4));
insert into f_short (user_id, c, b, v) select n, 'f' || n || 'x', b'10101', 'v' || n from generate_series(1, 6) n returning *;
insert into f_short (user_id, c) select n, 'too long ' || n from generate_series(7, 9) n;
--@ bind bpchar abc, _ 20
insert into f_short (user_id, c) select n, $1 from generate_series(20, $2::int) n returning c;
--@ check f_short
