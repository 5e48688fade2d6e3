-- Writes that read rows of other shards, and writes to tables of the home shard and reference tables that read sharded ones.
create table s_orders (user_id bigint, id int, total numeric(10,2), note varchar(20), tags text[], day date, primary key (user_id, id));
create table s_lines (user_id bigint, order_id int, line int, amount int, word text, primary key (user_id, order_id, line));
create table s_single (id int primary key, who bigint, word text, price numeric);
/* shardyard: reference */ create table s_codes (id serial primary key, code text, rate numeric, made timestamptz default now(), draw float default random());
/* shardyard: reference */ create table s_ident (id int generated always as identity primary key, name text default 'n', twice int generated always as (length(name) * 2) stored);
create view s_rich as select user_id, id, total from s_orders where total > 20;
insert into s_orders select k, n, k * n * 1.25, 'o' || n, array['t' || k, 'it''s', null], date '2024-01-31' + n from generate_series(1, 10) k, generate_series(1, 3) n;
insert into s_lines select k, n, 1, k + n, case when k % 3 = 0 then null else E'w\\' || n end from generate_series(2, 12) k, generate_series(1, 2) n;
insert into s_single values (1, 1, 'o1', 3), (2, 2, 'o2', 4), (3, null, E'q\'\\', null);
--@ check s_orders, s_lines

delete from s_orders where id in (select amount from s_lines where amount < 3) returning user_id, id;
delete from s_orders where user_id not in (select user_id from s_lines) and id = 2;
update s_orders set note = 'above' where total > (select avg(total) from s_orders) returning user_id, id;
update s_orders o set total = total + s.price from s_single s where s.word = o.note returning o.user_id, s.price;
update s_orders o set note = l.word from s_lines l where l.order_id = o.id and l.user_id = 5 and o.id = 1;
update s_orders set total = 0 where id in (select id from s_single) and user_id in (1, 2, 3);
update s_orders set tags = (select array_agg(word order by id) from s_single) where id = 3;
update s_orders set note = (select max(word) from s_lines where word > 'a') where user_id = any (select who from s_single);
with big as (select * from s_lines where amount > 8) update s_orders o set total = (select count(*) from big b where b.order_id = o.id) where o.id = 2 returning user_id, total;
with recursive up as (select 1 as n union all select n + 1 from up where n < 3) delete from s_orders where id in (select n from up) and total > (select max(price) from s_single) returning user_id;
delete from s_orders o using s_rich r where r.id = o.id and o.user_id > 9;
update s_orders set day = day + 1 where exists (select 1 from s_lines l where l.amount = 9) and not exists (select 1 from s_single where id = 77);
delete from s_lines where amount > (select count(*) from s_orders);
delete from s_lines where (order_id, line) in (select id, 1 from s_orders where user_id <> s_lines.user_id and user_id = 4);
--@ bind _ 3, _ o3
update s_orders set note = $2 where id = $1 and total >= (select min(total) from s_orders where id = $1) returning user_id, note;
delete from s_orders where id in (select missing from s_lines);
update s_orders set total = (select word from s_single limit 1);
--@ check s_orders, s_lines

-- Tables of the home shard.
insert into s_single (id, who, word) select 100 + user_id * 10 + id, user_id, note from s_orders where id = 1 returning id, word;
insert into s_single (id, price) select 500 + count(*), sum(total) from s_orders;
insert into s_single (id, price) select 500 + count(*), 1 from s_orders on conflict (id) do update set price = s_single.price + excluded.price returning price;
update s_single s set price = o.total from s_orders o where o.user_id = s.who and o.id = 3 returning s.id, s.price;
update s_single set word = (select max(note) from s_orders) where id = 1;
delete from s_single where who in (select user_id from s_lines where amount > 13) returning id;
select * from s_single order by id;

-- Reference tables.
insert into s_codes (code, rate) values ('a', 1), ('b', 2) returning id, code, rate;
insert into s_codes (code, rate) select note, max(total) from s_orders group by note order by note returning code;
insert into s_codes (code) select word from s_single where word is not null on conflict do nothing;
insert into s_codes values (100, 'given', 5, '2024-01-01', 0.5) returning *;
insert into s_codes (code, draw) values ('r', random() * 0), ('s', 0) returning code, draw;
insert into s_ident (name) values ('x'), ('yy') returning *;
insert into s_ident (name) select 'z' || n from generate_series(1, 3) n returning id, twice;
insert into s_ident as i (name) values ('last') returning i.id, i.name;
update s_codes set rate = (select sum(total) from s_orders) where code = 'a' returning code, rate;
delete from s_codes where code in (select word from s_lines);
update s_codes set made = now() where code = 'b' returning code, made = now() as same;
update s_codes set made = '2024-01-01', draw = 0;
--@ check s_codes*, s_ident*

create table s_merge (user_id bigint primary key, n int);
begin;
delete from s_lines where amount > (select avg(amount) from s_lines);
update s_orders set total = (select count(*) from s_lines);
insert into s_codes (code) select 'tx' || user_id from s_orders where id = 1 order by user_id;
update s_codes set made = '2024-01-01', draw = 0;
commit;
--@ check s_orders, s_lines, s_codes*
