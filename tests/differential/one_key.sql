-- Bound to one key: relayed as it is.
--@ k = 1 | 3 | 4 | 8 | 30 | 99
select * from d_buyers where user_id = {k};
--@ k = 1 | 3 | 4 | 30
select id, total, note from d_orders where user_id = {k} order by id;
--@ k = 2 | 3 | 12
select count(*), sum(total), avg(price), min(note), max(placed) from d_orders where user_id = {k};
--@ op = < | <= | > | >= | <> | is distinct from | is not distinct from
select id, total from d_orders where user_id = 3 and total {op} 20 order by id;
--@ k = 1 | 3 | 30
select b.name, o.id, l.product from d_buyers b left join d_orders o using (user_id) left join d_lines l on l.user_id = o.user_id and l.order_id = o.id where b.user_id = {k} order by 1, 2, 3;
--@ k = 042 | 42 | ann | Ann | ève | a b
select owner, kind, opened from d_accounts where user_id = '{k}';
--@ k = 11000000-0000-4000-8000-000000000011 | AB000000-0000-4000-8000-0000000000AB | {ef000000-0000-4000-8000-0000000000ef} | 00000000-0000-0000-0000-000000000000
select seq, at, kind, payload->>'n' from d_events where user_id = '{k}' order by seq;
--@ bind int8 3
select id, total from d_orders where user_id = $1 order by id;
--@ bind _ 3
select id, total from d_orders where user_id = $1 order by total desc nulls last, id limit 5;
--@ bind _ 3, int4 20
select count(*) from d_orders where user_id = $1 and total > $2;
--@ bind _ null
select count(*) from d_orders where user_id = $1;
--@ bind text 042
select owner from d_accounts where user_id = $1;
--@ bind _ ef000000-0000-4000-8000-0000000000ef
select count(*) from d_events where user_id = $1;
--@ k = 1 | 2
select note, sum(total) over (order by id), rank() over (partition by note order by total nulls first, id) from d_orders where user_id = {k} order by id;
with mine as (select * from d_orders where user_id = 3), heavy as (select * from mine where weight > 1) select m.id, h.weight from mine m left join heavy h using (id) order by m.id;
select name from d_buyers b where user_id = 3 and exists (select 1 from d_orders o where o.user_id = b.user_id and o.total > 10);
select (select max(total) from d_orders o where o.user_id = b.user_id) from d_buyers b where b.user_id = 5;
select * from d_totals where user_id = 3;
select label, count(*) from d_labels where user_id = 3 group by label order by label nulls first;
select user_id, id from d_orders where user_id = 3 union select user_id, order_id from d_lines where user_id = 3 order by 2;
select user_id = 3 as mine from d_buyers where user_id = 3;
select * from d_buyers where user_id = 3 and user_id = 4;
select count(*) from d_buyers where user_id in (3, 3, 3);
select count(*) from d_orders where user_id = any (array[3]);
select count(*) from d_orders where user_id = any ('{3}');
select count(*) from d_orders where user_id = any ('{}');
--@ v = 3.0 | 3.5 | '3' | 3::int | 3::smallint | 3::numeric | null | -3 | 9223372036854775807
select count(*) from d_orders where user_id = {v};
select count(*) from d_orders where (user_id, id) = (3, 7);
select count(*) from d_orders where (user_id, id) in ((3, 7), (3, 8));
select distinct on (status) status, id from d_orders where user_id = 3 order by status nulls first, id;
select status, count(*), grouping(status) from d_orders where user_id = 3 group by rollup (status) order by 3, 1 nulls last;
select l.product, t.n from d_lines l, lateral (select count(*) as n from d_orders o where o.user_id = l.user_id and o.id = l.order_id) t where l.user_id = 3 order by l.order_id, l.line;
select o.id, c.label from d_orders o join d_codes c on c.code = o.status where o.user_id = 3 order by o.id;
select c.code, count(o.id) from d_codes c left join d_orders o on o.status = c.code and o.user_id = 3 group by c.code order by c.code;
