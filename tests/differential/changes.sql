-- UPDATE and DELETE without a key, over keys of several shards, with joins; reference and single tables; TRUNCATE.
create table c_items (user_id bigint not null, id int not null, n int, word text, price numeric(8,2), primary key (user_id, id));
create table c_owners (user_id bigint primary key, name text, score int default 0);
create table c_text (user_id text primary key, n int);
create table c_single (id int primary key, n int, word text);
/* shardyard: reference */ create table c_ref (code text primary key, n int);
--@ k = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12
insert into c_items select {k}, n, ({k} * n) % 7, case when n % 3 = 0 then null else 'w' || ({k} + n) % 4 end, {k} + n / 4.0 from generate_series(1, 1 + {k} % 5) n;
--@ k = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 20
insert into c_owners values ({k}, 'owner' || {k} % 3, {k} % 4);
--@ k = a | b | c | d | é
insert into c_text values ('{k}', ascii('{k}') % 10);
insert into c_ref values ('w0', 0), ('w1', 1), ('w2', 2), ('w3', null);
insert into c_single values (1, 1, 'w1'), (2, 2, 'w2'), (3, null, 'x');
update c_items set n = n + 1;
update c_items set word = 'none' where word is null;
update c_items set n = n * 2, price = price + 0.05 where n > 3;
update c_items set n = 0 where false;
update c_items set n = null where n = 5;
--@ op = < | >= | is distinct from
update c_items set price = price - 0.01 where n {op} 4;
update c_items set n = n + 1 where user_id = 3;
update c_items set n = n + 1 where user_id in (1, 2, 3, 4);
update c_items set n = n + 1 where user_id = any ('{5,6,7}');
update c_items set n = n + 1 where user_id = 1 or user_id = 2;
update c_items set n = n + 1 where user_id > 6;
update c_items set n = n + 1 where user_id between 2 and 4 and id = 1;
update c_items set n = n + 1 where (user_id, id) in ((1, 1), (2, 1), (3, 1), (4, 9));
update c_items set word = upper(word), n = length(word) where word like 'w%' returning user_id, id, word, n;
update c_items set n = 7 where id = 1 returning *;
update c_items i set n = 8 where i.id = 2 returning i.user_id as k, i.n * 2 as twice;
update c_items set (n, word) = (9, 'pair') where id = 3;
update c_items set (n, word) = row (10, 'row') where id = 4;
update c_items set n = default where id = 5;
update c_items set n = case when price > 5 then 1 else 2 end, word = coalesce(word, 'c');
--@ check c_items
update c_items i set word = o.name from c_owners o where o.user_id = i.user_id;
update c_items i set word = o.name, n = o.score from c_owners o where o.user_id = i.user_id and o.score > 1 returning i.user_id, i.id, o.name;
update c_items i set n = r.n from c_ref r where r.code = 'w' || (i.id % 4);
update c_items i set n = s.n from c_single s where s.id = i.id;
update c_items i set n = o.score from c_owners o where o.score = i.n;
update c_owners o set score = (select count(*) from c_items i where i.user_id = o.user_id);
update c_owners o set score = score + 1 where exists (select 1 from c_items i where i.user_id = o.user_id and i.n > 1);
update c_owners set score = score + 1 where user_id in (select user_id from c_items where id = 3);
update c_owners set score = (select max(n) from c_items);
update c_owners set score = score + 1 where score < (select avg(score) from c_owners);
update c_owners set score = (select n from c_ref where code = 'w2');
update c_owners set name = 'x' where user_id not in (select user_id from c_items);
update c_owners set (name, score) = (select 'sub', count(*) from c_items i where i.user_id = c_owners.user_id) where user_id < 4;
with big as (select user_id from c_items group by user_id having count(*) > 3) update c_owners set name = 'big' where user_id in (select user_id from big);
with changed as (update c_items set n = 100 where id = 1 returning user_id) select count(*) from changed;
--@ check c_items, c_owners
update c_owners set user_id = 99 where user_id = 1;
update c_owners set user_id = user_id;
update c_owners set user_id = user_id + 1;
update c_items set price = 'x';
update c_items set price = 1 / 0 where id = 1;
update c_items set price = 1e9;
update c_items set id = null;
update c_items set id = 1;
update c_items set nosuch = 1;
update c_items set n = n / (n - n) where id = 2;
--@ bind int4 3, int4 2
update c_items set n = $1 where id = $2;
--@ bind _ 5, _ 1, _ 2
update c_items set n = $1 where user_id in ($2, $3) returning user_id, id, n;
--@ bind int8[] {1,3,5,7}
update c_items set word = 'any' where user_id = any ($1);
--@ bind text é
update c_text set n = n + 1 where user_id >= $1;
update c_text set n = n + 1;
update c_text set n = n * 2 where user_id in ('a', 'b', 'zz');
--@ check c_items, c_owners, c_text
update c_ref set n = n + 1;
update c_ref set n = 5 where code = 'w3' returning *;
update c_ref set n = (random() * 0)::int where code = 'w1';
update c_ref r set n = 1 from c_single s where s.word = r.code;
update c_ref set n = (select count(*) from c_items) where code = 'w2';
delete from c_ref where n is null;
--@ check c_ref*
update c_single set n = n + 1;
update c_single s set word = r.code from c_ref r where r.n = s.n;
update c_single s set n = (select count(*) from c_items);
update c_single s set word = o.name from c_owners o where o.user_id = s.id;
delete from c_single where id in (select user_id from c_owners where user_id = 3);
--@ check c_single
delete from c_items where n = 9;
delete from c_items where id = 4 returning user_id, id;
delete from c_items where user_id in (1, 2) and id = 2;
delete from c_items where (user_id, id) in ((3, 1), (4, 1));
delete from c_items i using c_owners o where o.user_id = i.user_id and o.name = 'big';
delete from c_items i using c_ref r where r.code = i.word;
delete from c_items i using c_single s where s.id = i.id and i.user_id > 8;
delete from c_items where user_id not in (select user_id from c_owners) and id = 1;
delete from c_items i where exists (select 1 from c_owners o where o.user_id = i.user_id and o.score > 1000);
delete from c_items where price = (select max(price) from c_items);
delete from c_items where ctid in (select ctid from c_items limit 1) and false;
with gone as (delete from c_items where id = 3 returning *) select count(*), sum(n) from gone;
with gone as (delete from c_items where user_id = 5 returning *) insert into c_items select 6, id + 50, n, word, price from gone;
--@ bind int4 2
delete from c_items where id = $1;
--@ check c_items, c_owners
merge into c_owners o using (values (1, 'm'), (50, 'new')) v(k, name) on o.user_id = v.k when matched then update set name = v.name when not matched then insert values (v.k, v.name, 0);
merge into c_owners o using c_items i on i.user_id = o.user_id and i.id = 1 when matched then update set score = i.n;
delete from c_owners;
delete from c_owners where true returning *;
--@ check c_items, c_owners
truncate c_items;
select count(*) from c_items where user_id = 1;
truncate c_owners, c_text;
truncate c_ref;
truncate nosuch;
--@ check c_items, c_owners, c_text, c_ref*
