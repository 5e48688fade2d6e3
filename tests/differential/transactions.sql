-- Transactions over several shards, savepoints, errors inside, cursors, prepared statements.
create table t_bank (user_id bigint primary key, amount int check (amount >= 0), note text);
create table t_log (user_id bigint not null, id int not null, what text, primary key (user_id, id));
create table t_single (id int primary key, total int);
/* shardyard: reference */ create table t_ref (code text primary key, n int);
--@ k = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8
insert into t_bank values ({k}, {k} * 100, 'start');
insert into t_single values (1, 0), (2, 0);
insert into t_ref values ('fee', 1), ('tax', 2);
begin;
update t_bank set amount = amount - 10 where user_id = 1;
update t_bank set amount = amount + 10 where user_id = 2;
select amount from t_bank where user_id = 1;
select sum(amount) from t_bank;
select user_id, amount from t_bank order by user_id;
commit;
--@ check t_bank
begin;
update t_bank set amount = amount - 1000 where user_id = 1;
select 1;
commit;
begin isolation level repeatable read;
select sum(amount) from t_bank;
insert into t_log values (1, 1, 'a');
insert into t_log values (2, 1, 'b');
select count(*) from t_log;
rollback;
--@ check t_bank, t_log
begin;
insert into t_log values (1, 1, 'kept');
savepoint one;
insert into t_log values (2, 1, 'undone');
insert into t_log values (3, 1, 'undone');
select user_id, what from t_log order by 1;
rollback to one;
select user_id, what from t_log order by 1;
insert into t_log values (4, 1, 'kept');
savepoint two;
insert into t_log values (4, 1, 'duplicate');
rollback to savepoint two;
release one;
select count(*) from t_log where user_id = 4;
commit;
--@ check t_log
begin;
savepoint a;
update t_bank set amount = 0;
rollback to a;
select count(*) from t_bank where amount = 0;
update t_bank set note = 'all';
savepoint b;
savepoint c;
delete from t_bank where user_id > 4;
release b;
select count(*) from t_bank;
rollback;
--@ check t_bank
begin;
insert into t_log values (5, 1, 'x'), (6, 1, 'y'), (7, 1, 'z');
update t_ref set n = n + 1;
update t_single set total = total + 1;
select l.user_id, b.amount, r.n from t_log l join t_bank b using (user_id) cross join t_ref r where r.code = 'fee' order by 1;
update t_bank set amount = amount + 1 where user_id in (5, 6, 7) returning user_id, amount;
commit;
--@ check t_bank, t_log, t_ref*, t_single
begin;
select count(*) from t_bank;
select 1 / 0;
select count(*) from t_bank;
update t_bank set amount = 1;
rollback;
begin read only;
select count(*), sum(amount) from t_bank;
select b.user_id from t_bank b join t_log l on l.user_id = b.user_id + 1 order by 1;
update t_bank set amount = 1 where user_id = 1;
commit;
begin;
set local timezone = 'Asia/Tokyo';
select timestamptz '2024-01-01 00:00+00' from t_bank where user_id = 1;
select user_id, timestamptz '2024-01-01 00:00+00' as at from t_bank order by 1;
commit;
begin;
update t_bank set amount = amount - 1 where user_id = 1;
update t_bank set amount = amount - 99999 where user_id = 2;
commit;
--@ check t_bank
start transaction;
end;
begin;
begin;
commit;
commit;
rollback;
savepoint outside;
release savepoint nosuch;
begin;
rollback to nosuch;
rollback;
begin;
commit and chain;
insert into t_log values (8, 8, 'chained');
rollback and no chain;
begin;
declare one cursor for select id, what from t_log where user_id = 1 order by id;
fetch 1 from one;
fetch all from one;
close one;
commit;
begin;
declare every cursor for select user_id, id from t_log order by user_id, id;
--@ total
fetch 2 from every;
--@ total
fetch next from every;
--@ total
fetch all from every;
move backward all in every;
close every;
commit;
begin;
declare scrolls scroll cursor for select user_id, amount from t_bank order by amount desc, user_id;
--@ total
fetch 3 from scrolls;
--@ total
fetch prior from scrolls;
--@ total
fetch last from scrolls;
--@ total
fetch absolute 2 from scrolls;
--@ total
fetch relative -1 from scrolls;
--@ total
fetch backward 5 from scrolls;
commit;
fetch 1 from scrolls;
begin;
declare joined cursor for select b.user_id, l.id from t_bank b left join t_log l on l.id = b.user_id order by 1, 2, l.user_id;
--@ total
fetch forward 4 from joined;
insert into t_log values (1, 50, 'meanwhile');
--@ total
fetch all from joined;
rollback;
prepare p_one (bigint) as select amount from t_bank where user_id = $1;
execute p_one (1);
execute p_one (2);
execute p_one (99);
prepare p_all as select user_id, amount from t_bank order by user_id;
--@ total
execute p_all;
prepare p_some (int) as select count(*) from t_bank where amount > $1;
execute p_some (300);
execute p_some (null);
prepare p_many (bigint, bigint) as select user_id, amount from t_bank where user_id in ($1, $2) order by user_id;
--@ total
execute p_many (1, 2);
--@ total
execute p_many (3, 3);
prepare p_set (int) as update t_bank set note = 'p' || $1;
execute p_set (5);
prepare p_put (bigint, int) as insert into t_log values ($1, $2, 'p'), ($1 + 1, $2, 'q');
execute p_put (20, 1);
execute p_put (20, 1);
execute p_one ('x');
execute p_one (1, 2);
execute nosuch;
deallocate p_one;
execute p_one (1);
deallocate all;
--@ check t_bank, t_log
--@ simple
begin; update t_bank set amount = amount + 5 where user_id = 3; update t_bank set amount = amount - 5 where user_id = 4; commit;
--@ simple
update t_bank set amount = amount + 5 where user_id = 3; update t_bank set amount = -1 where user_id = 4;
--@ simple
insert into t_log values (30, 1, 'a'); insert into t_log values (31, 1, 'b'); select count(*) from t_log where user_id in (30, 31);
--@ simple
select count(*) from t_bank; select sum(amount) from t_bank; select 'end';
--@ simple
select count(*) from t_bank; select 1 / 0; select 'never';
--@ check t_bank, t_log
select pg_advisory_xact_lock(77001) is null;
begin;
select user_id from t_bank where amount > 100 order by user_id for update;
select user_id from t_bank where user_id = 1 for update;
select user_id from t_bank where user_id in (1, 2, 3) order by user_id for share;
select b.user_id from t_bank b join t_log l using (user_id) order by 1 for update of b;
select user_id from t_bank for no key update skip locked limit 0;
commit;
select count(*) from t_bank for update;
select distinct note from t_bank for update;
