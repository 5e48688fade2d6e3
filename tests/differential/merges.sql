-- MERGE over several shards.
create table m_stock (user_id bigint, item int, amount int not null default 0, note text, primary key (user_id, item));
create table m_moves (user_id bigint, item int, change int, primary key (user_id, item));
create table m_keys (user_id bigint primary key, n int, made timestamptz default now());
create table m_texts (user_id text primary key, n int);
create table m_home (id int, n int);
/* shardyard: reference */ create table m_codes (item int primary key, word text);
/* shardyard: reference */ create table m_users (user_id bigint primary key, n int);
insert into m_stock select k, i, 10 * k + i, 'first' from generate_series(1, 12) k, generate_series(1, 3) i;
insert into m_moves select k, i, k - 6 from generate_series(4, 20) k, generate_series(2, 4) i;
insert into m_codes values (1, 'one'), (2, 'two');
insert into m_users select n, n * 2 from generate_series(5, 15) n;
insert into m_keys select n, 0, null from generate_series(1, 8) n;
insert into m_home values (1, 1), (2, 2);
-- The source's rows are where their partners are.
merge into m_stock s using m_moves m on s.user_id = m.user_id and s.item = m.item when matched then update set amount = s.amount + m.change when not matched then insert values (m.user_id, m.item, m.change);
--@ check m_stock
merge into m_stock as s using m_moves as m on m.user_id = s.user_id and s.item = m.item and s.amount > 0 when matched and m.change > 5 then delete when matched then do nothing when not matched and m.change < 0 then do nothing when not matched then insert (item, user_id, amount, note) values (m.item + 100, m.user_id, m.change, case when m.change > 3 then 'much' else 'little' end);
--@ check m_stock
merge into m_stock using m_moves on m_stock.user_id = m_moves.user_id and m_stock.item = m_moves.item when matched and case when m_stock.amount > 3 then true else false end then update set note = (select max(k.word) from m_codes k where k.item = m_stock.item), amount = default;
--@ check m_stock
with few as (select user_id, sum(change) as change from m_moves group by user_id) merge into m_stock s using few f on s.user_id = f.user_id and s.item = 1 when matched then update set amount = f.change when not matched then insert values (f.user_id, 1, f.change, 'with');
merge into m_stock s using (select m.user_id, m.item, c.word from m_moves m join m_codes c using (item)) as m on (s.user_id, s.item) = (m.user_id, m.item) when matched then update set note = m.word when not matched then insert (user_id, item, note) values (m.user_id, m.item, m.word);
merge into m_keys k using (select user_id, count(*) as n from m_stock group by user_id) s on k.user_id = s.user_id when matched then update set n = s.n when not matched then insert (user_id, n, made) values (s.user_id, s.n, '2024-01-01');
--@ check m_stock, m_keys
-- The source is whole on every shard: each row is inserted on its own.
merge into m_keys k using (values (1, 10), (3, 30), (101, 11), (102, 12), (103, 13), (104, 14), (105, 15)) as v (user_id, n) on k.user_id = v.user_id when matched then update set n = v.n when not matched then insert (user_id, n, made) values (v.user_id, v.n, null);
merge into m_keys k using (values (1, 10), (101, 11), (106, 12), (107, 13)) as v (user_id, n) on k.user_id = v.user_id when matched then delete when not matched and v.n > 12 then insert (user_id, n, made) values (v.user_id, v.n, null) when not matched then do nothing;
merge into m_keys k using m_users u on k.user_id = u.user_id when matched and u.n > 20 then delete when matched then update set n = u.n when not matched then insert (user_id, n, made) values (u.user_id, -1, null);
merge into m_texts t using (values ('a', 1), ('b', 2), ('c', 3), ('ö', 4), ('d''e', 5)) as v (user_id, n) on t.user_id = v.user_id when not matched then insert values (v.user_id, v.n) when matched then update set n = v.n;
merge into m_texts t using (values ('a', 10), ('x', 2)) as v (user_id, n) on t.user_id = v.user_id when not matched then insert values (v.user_id, v.n) when matched then update set n = v.n;
merge into m_stock s using m_codes c on s.item = c.item when matched and s.amount < 100 then update set note = c.word;
merge into m_stock s using generate_series(2, 3) g (n) on s.item = g.n when matched then delete;
--@ bind int8 201, int8 202, int8 203, int4 5
merge into m_keys k using (values ($1::bigint), ($2::bigint), ($3::bigint)) as v (user_id) on k.user_id = v.user_id when matched then update set n = $4 when not matched then insert (user_id, n, made) values (v.user_id, $4, null);
merge into m_keys k using (values (201), (301)) as v (user_id) on k.user_id = v.user_id when matched then delete when not matched then insert (user_id, made) values (v.user_id, now());
select user_id from m_keys where made > now() - interval '1 hour';
update m_keys set made = null;
--@ check m_stock, m_keys, m_texts
-- What PostgreSQL itself refuses.
merge into m_keys k using (values (401), (402), (null)) as v (user_id) on k.user_id = v.user_id when not matched then insert (user_id) values (v.user_id);
merge into m_keys k using (values (1), (2), (2), (3)) as v (user_id) on k.user_id = v.user_id when matched then update set n = 5;
merge into m_keys k using (values (501), (502), (502), (503)) as v (user_id) on k.user_id = v.user_id when not matched then insert (user_id) values (v.user_id);
merge into m_keys k using m_moves m on k.user_id = m.user_id when matched then delete;
merge into m_keys k using m_users u on k.user_id = u.user_id when matched then update set n = u.n / 0;
merge into m_keys k using m_users u on k.user_id = u.missing when matched then delete;
--@ check m_stock, m_keys, m_texts
-- One key only, and in a transaction.
merge into m_keys k using (values (3, 7)) as v (user_id, n) on k.user_id = v.user_id when matched then update set n = v.n when not matched then insert (user_id, n) values (v.user_id, v.n);
begin;
merge into m_keys k using m_users u on k.user_id = u.user_id when matched then delete when not matched then insert (user_id, made) values (u.user_id, null);
select count(*) from m_keys;
rollback;
--@ check m_keys
-- Not to be told apart: refused.
merge into m_stock s using m_moves m on s.item = m.item when matched then delete;
merge into m_stock s using m_moves m on s.user_id = m.user_id and s.item = m.item when not matched then insert values (m.user_id + 1, m.item, 1);
merge into m_keys k using m_users u on k.n = u.n when not matched then insert values (u.user_id, 1);
merge into m_keys k using (values (1), (2), (3), (4), (5)) as v (user_id) on k.user_id = v.user_id when not matched then insert values (7, 1);
merge into m_keys k using m_home h on k.user_id = h.id when matched then delete;
merge into m_keys k using (select user_id from m_moves limit 3) m on k.user_id = m.user_id when matched then delete;
--@ check m_stock, m_keys, m_texts
