-- Subqueries of each kind, CTEs, set operations, windows, views.
select name, (select count(*) from d_orders o where o.user_id = b.user_id) as n from d_buyers b order by b.user_id;
select name, (select sum(total) from d_orders) from d_buyers where user_id = 5;
select name, (select max(n) from d_numbers) from d_buyers order by user_id;
select user_id, (select label from d_codes c where c.code = o.status) from d_orders o order by user_id, id;
select user_id, (select name from d_buyers b where b.user_id = o.user_id) from d_orders o where total > 20 order by user_id, id;
select user_id, (select o.id from d_orders o where o.user_id = b.user_id) from d_buyers b order by 1;
--@ q = exists | not exists
select user_id from d_buyers b where {q} (select 1 from d_orders o where o.user_id = b.user_id) order by 1;
--@ q = exists | not exists
select user_id from d_buyers b where {q} (select 1 from d_orders o where o.user_id = b.user_id and o.total > 20) order by 1;
--@ q = exists | not exists
select user_id from d_buyers b where {q} (select 1 from d_orders o where o.item = b.score) order by 1;
--@ q = exists | not exists
select user_id from d_buyers b where {q} (select 1 from d_notes n where n.author = b.user_id) order by 1;
--@ q = exists | not exists
select user_id from d_buyers b where {q} (select from d_orders where total > 44) order by 1;
--@ q = exists | not exists
select code from d_codes c where {q} (select 1 from d_orders o where o.status = c.code) order by 1;
--@ q = exists | not exists
select n from d_numbers k where {q} (select 1 from d_orders o where o.total = k.n) order by 1;
--@ q = in | not in
select user_id from d_buyers where user_id {q} (select user_id from d_orders) order by 1;
--@ q = in | not in
select user_id from d_buyers where user_id {q} (select user_id from d_orders where total > 20) order by 1;
--@ q = in | not in
select user_id from d_buyers where score {q} (select item from d_orders) order by 1;
--@ q = in | not in
select user_id from d_buyers where score {q} (select item from d_orders where item is not null) order by 1;
--@ q = in | not in
select user_id, id from d_orders where (user_id, id) {q} (select user_id, order_id from d_lines) order by 1, 2;
--@ q = in | not in
select user_id from d_buyers where user_id {q} (select author from d_notes where author is not null) order by 1;
--@ q = in | not in
select user_id from d_buyers where region {q} (select region from d_regions) order by 1;
--@ q = in | not in
select id from d_notes where author {q} (select user_id from d_buyers) order by 1;
--@ q = = any | = all | > any | > all | <= all | <> all
select user_id, id from d_orders where total {q} (select score from d_buyers where score is not null) order by 1, 2;
--@ q = = | > | < | <>
select user_id, id from d_orders where total {q} (select max(score) from d_buyers) order by 1, 2;
--@ q = avg | max | min
select user_id, id, total from d_orders o where total > (select {q}(total) from d_orders i where i.user_id = o.user_id) order by 1, 2;
--@ q = avg | max | min
select user_id, id, total from d_orders where total >= (select {q}(total) from d_orders) order by 1, 2;
select user_id from d_orders where total = (select total from d_orders);
select user_id from d_buyers where user_id = (select 5 + 0) order by 1;
select user_id from d_buyers where user_id = (select max(user_id) from d_orders where total > 40) order by 1;
select array(select user_id from d_buyers order by 1);
select array(select total from d_orders o where o.user_id = b.user_id order by id) from d_buyers b order by b.user_id;
select row(1, 2) = (select 1, 2 from d_buyers where user_id = 1);
select case when exists (select 1 from d_orders where total > 44) then 'yes' else 'no' end;
select user_id from d_buyers where user_id in (1, 2) and exists (select 1 from d_empty) order by 1;
select name from d_buyers where user_id = 5 and exists (select 1 from d_orders where total > 1);
select t.s, count(*) from (select status as s, user_id from d_orders where total > 5) t group by t.s order by 1;
select * from (select user_id, count(*) as n from d_orders group by user_id) t where n > 3 order by 1;
select * from (select * from d_orders order by total desc nulls last, user_id, id limit 5) t order by user_id, id;
select t.user_id, b.name from (select user_id, max(total) as m from d_orders group by user_id having max(total) > 30) t join d_buyers b using (user_id) order by 1;
select (select count(*) from d_buyers), (select count(*) from d_orders), (select count(*) from d_codes), (select count(*) from d_notes);
select (select (select max(total) from d_orders) + min(score) from d_buyers);
select x.n from (select (select count(*) from d_orders o where o.user_id = b.user_id) as n from d_buyers b) x where x.n > 2 order by 1;
with o as (select user_id, sum(total) as s from d_orders group by user_id) select b.user_id, o.s from d_buyers b left join o using (user_id) order by 1;
with o as (select * from d_orders where total > 20), n as (select user_id, count(*) as c from o group by user_id) select * from n order by 1;
with a as (select user_id from d_buyers where score > 2), b as (select user_id from d_orders where total > 20) select * from a intersect select * from b order by 1;
with o as materialized (select * from d_orders) select count(*) from o x join o y on y.user_id = x.user_id and y.id = x.id + 1;
with o as not materialized (select * from d_orders) select count(*) from o where user_id in (1, 2, 3);
with d_orders as (select 1 as user_id, 2 as total) select * from d_orders;
with t(k, n) as (select user_id, count(*) from d_orders group by 1) select k from t where n = (select max(n) from t) order by 1;
with recursive t(user_id, depth) as (select user_id, 0 from d_buyers where user_id = 1 union all select b.user_id, depth + 1 from t join d_buyers b on b.user_id = t.user_id + 3 where depth < 4) select * from t order by 2;
with recursive t(id, n) as (select id, 1 from d_orders where user_id = 3 and id = 1 union all select o.id, n + 1 from t join d_orders o on o.user_id = 3 and o.id = t.id + 1 where n < 10) select * from t order by id;
with recursive t(n) as (select min(total) from d_orders union select n + 5 from t where n < 30) select n, (select count(*) from d_orders where total = n) from t order by 1;
with x as (select 1 as n) select x.n, b.user_id from x join d_buyers b on b.user_id = x.n;
--@ o = union | union all | intersect | intersect all | except | except all
select user_id from d_buyers {o} select user_id from d_orders order by 1;
--@ o = union | union all | intersect | intersect all | except | except all
select status from d_orders where user_id < 10 {o} select status from d_orders where user_id >= 10 order by 1 nulls first;
--@ o = union | union all | intersect | except
select total, item from d_orders where status = 'new' {o} select score, score from d_buyers order by 1 nulls last, 2 nulls last;
--@ o = union | union all | intersect | except all
select code from d_codes {o} select status from d_orders order by 1 nulls first;
--@ o = union | union all | intersect all | except
select author from d_notes {o} select user_id from d_buyers order by 1;
--@ o = union | union all
select name from d_buyers where user_id = 1 {o} select name from d_buyers where user_id = 2 order by 1;
--@ o = union | union all
select user_id from d_buyers where user_id = 5 {o} select user_id from d_orders order by 1;
--@ o = union all | union | except
(select user_id, total from d_orders order by total desc nulls last, user_id, id limit 4) {o} (select user_id, total from d_orders order by total nulls last, user_id, id limit 4) order by 1, 2;
select user_id from d_buyers union all select user_id from d_orders union select owner from d_accounts order by 1 limit 8;
select user_id from d_buyers except (select user_id from d_orders intersect select user_id from d_lines) order by 1;
select 'buyers' as what, count(*) from d_buyers union all select 'orders', count(*) from d_orders union all select 'codes', count(*) from d_codes order by 1;
select user_id::text from d_buyers where user_id < 3 union select user_id from d_accounts where owner < 3 order by 1;
select total from d_orders where total > 40 union all values (1), (null) order by 1;
select count(*) from (select user_id from d_buyers union select user_id from d_orders) t;
select user_id from d_buyers union select name from d_buyers;
select user_id from d_buyers union select user_id, id from d_orders;
--@ w = row_number() | rank() | dense_rank() | percent_rank() | cume_dist() | ntile(4) | lag(total) | lead(total, 2, -1) | first_value(total) | last_value(total) | nth_value(total, 2) | count(*) | sum(total) | min(total) | max(note) | array_agg(id)
select user_id, id, {w} over (order by placed, user_id, id) from d_orders order by user_id, id;
--@ w = row_number() | rank() | lag(total) | sum(total) | count(*) | first_value(id) | max(total) | avg(item)
select user_id, id, {w} over (partition by user_id order by id) from d_orders order by user_id, id;
--@ w = row_number() | dense_rank() | lead(user_id) | sum(total) | count(note)
select user_id, id, {w} over (partition by status order by total nulls first, user_id, id) from d_orders order by user_id, id;
--@ w = count(*) | sum(total) | max(placed) | avg(total)
select user_id, id, {w} over () from d_orders order by user_id, id;
--@ w = count(*) | sum(total) | min(note)
select user_id, id, {w} over (partition by item) from d_orders order by user_id, id;
--@ f = total range between 5 preceding and 5 following | total groups between 1 preceding and 1 following | total range between unbounded preceding and current row exclude ties | total, user_id, id rows between 2 preceding and current row | total desc, user_id, id rows between unbounded preceding and 1 following | total, user_id desc, id rows between current row and unbounded following exclude current row
select user_id, id, sum(item) over (order by {f}) from d_orders where total is not null and user_id in (1, 2, 5, 7) order by user_id, id;
select * from (select user_id, id, row_number() over (partition by user_id order by total desc nulls last, id) as place from d_orders) t where place <= 2 order by 1, 3;
select status, sum(total), rank() over (order by sum(total) desc nulls last) from d_orders group by status order by 3, 1;
select user_id, sum(total) over w, avg(item) over w from d_orders window w as (partition by user_id) order by user_id, id;
select sum(total) filter (where item > 2) over (partition by status) as s, user_id, id from d_orders order by 2, 3;
select distinct first_value(total) over (partition by user_id order by id) as f, user_id from d_orders order by 2;
select * from d_rich order by user_id;
select count(*) from d_rich;
select * from d_totals order by user_id;
select sum(orders), max(total) from d_totals;
select label, count(*) from d_labels group by label order by 1 nulls last;
select t.user_id, r.name, t.total from d_totals t left join d_rich r using (user_id) order by 1;
select * from d_labels l where l.total > (select avg(total) from d_labels) order by user_id, id;
select r.user_id from d_rich r where exists (select 1 from d_labels l where l.user_id = r.user_id and l.label is null) order by 1;
select user_id from d_rich union select user_id from d_totals order by 1;
select user_id, name from d_rich where user_id in (1, 2, 3) order by 1;
--@ bind int4 20
select user_id from d_buyers b where exists (select 1 from d_orders o where o.user_id = b.user_id and o.total > $1) order by 1;
--@ bind int4 20, text new
with o as (select * from d_orders where total > $1) select user_id, id from o where status = $2 order by 1, 2;
--@ bind int8 5
select user_id, (select count(*) from d_orders o where o.user_id = $1) from d_buyers order by 1;
--@ bind _ 3
select user_id, id from (select *, row_number() over (partition by user_id order by id desc) as r from d_orders) t where r <= $1 order by 1, 2;
select user_id from d_buyers where user_id in (select user_id, id from d_orders);
select (select user_id, id from d_orders);
select nosuch from (select user_id from d_buyers) t;
