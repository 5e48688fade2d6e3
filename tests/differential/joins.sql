-- Joins on the key, not on the key, with reference and single tables, lateral, self joins.
--@ j = join | left join | right join | full join
select b.user_id, b.name, o.user_id, o.id from d_buyers b {j} d_orders o on o.user_id = b.user_id order by 1, 3, 4;
--@ j = join | left join | right join | full join
select user_id, name, id, total from d_buyers {j} d_orders using (user_id) order by user_id, id;
--@ j = join | left join | right join | full join
select count(*), count(b.name), sum(o.total) from d_buyers b {j} d_orders o on o.user_id = b.user_id and o.total > 10;
--@ j = left join | right join | full join
select b.user_id, o.id from d_buyers b {j} d_orders o on o.user_id = b.user_id and b.user_id = 5 order by 1, 2, o.user_id;
--@ j = left join | right join | full join
select b.user_id, o.id from d_buyers b {j} d_orders o on b.user_id = o.user_id and o.user_id = 5 order by 1, 2, o.user_id;
--@ j = left join | right join | full join
select b.user_id, o.id from d_buyers b {j} d_orders o on b.user_id = o.user_id where o.total is null order by 1, 2, o.user_id;
--@ j = natural join | natural left join | natural full join
select user_id, count(*) from d_buyers {j} d_orders group by user_id order by user_id;
--@ j = join | left join | full join
select o.user_id, o.id, l.line, l.product from d_orders o {j} d_lines l on l.user_id = o.user_id and l.order_id = o.id order by 1, 2, 3, l.user_id, l.order_id, l.line;
--@ j = join | left join
select b.name, o.id, l.product from d_buyers b {j} d_orders o using (user_id) {j} d_lines l on l.user_id = b.user_id and l.order_id = o.id order by 1, 2, 3, b.user_id;
--@ j = join | left join | right join | full join
select b.user_id, b.score, o.user_id, o.id from d_buyers b {j} d_orders o on o.item = b.score order by 1, 3, 4;
--@ j = join | left join | right join | full join
select b.user_id, a.user_id from d_buyers b {j} d_accounts a on a.owner = b.user_id order by 1, 2;
--@ j = join | left join | full join
select a.user_id, e.seq from d_accounts a {j} d_events e on e.seq = a.owner order by 1, e.user_id, 2;
--@ j = join | left join | right join | full join
select b.user_id, b.region, r.country from d_buyers b {j} d_regions r on r.region = b.region order by 1, 2, 3, r.region;
--@ j = join | left join | right join | full join
select o.user_id, o.id, c.label from d_orders o {j} d_codes c on c.code = o.status order by 1, 2, 3, c.code;
--@ j = join | left join | right join | full join
select b.user_id, n.id, n.body from d_buyers b {j} d_notes n on n.author = b.user_id order by 1, 2;
--@ j = join | left join | right join
select o.user_id, o.id, k.n from d_orders o {j} d_numbers k on k.n = o.total order by 1, 2, 3;
--@ j = cross join | , | join d_regions r on true cross join
select count(*) from d_codes c {j} d_buyers b;
select count(*) from d_buyers, d_accounts;
select count(*) from d_buyers cross join d_orders;
select a.user_id, b.user_id from d_buyers a join d_buyers b on b.score = a.score and b.user_id < a.user_id order by 1, 2;
select a.user_id, count(*) from d_orders a join d_orders b on b.user_id = a.user_id and b.id < a.id group by a.user_id order by 1;
select a.user_id, a.id, b.id from d_orders a left join d_orders b on b.user_id = a.user_id and b.id = a.id + 1 order by 1, 2;
select b.name, sum(o.total) from d_buyers b join d_orders o using (user_id) group by b.name order by 2 desc nulls last, 1;
select b.region, count(distinct o.user_id), count(*) from d_buyers b left join d_orders o using (user_id) group by b.region order by 1 nulls first;
select c.label, count(*), sum(o.total) from d_orders o join d_codes c on c.code = o.status group by c.label order by 1 nulls last;
select c.code, count(o.id) from d_codes c left join d_orders o on o.status = c.code group by c.code order by c.code;
select r.country, b.name, o.total from d_regions r join d_buyers b on b.region = r.region join d_orders o on o.user_id = b.user_id where o.total > 5 order by 1, 2, 3, o.user_id, o.id;
select b.user_id, t.id from d_buyers b, lateral (select id from d_orders o where o.user_id = b.user_id order by total desc nulls last, id limit 2) t order by 1, 2;
select b.user_id, t.n from d_buyers b left join lateral (select count(*) as n from d_orders o where o.item = b.score) t on true order by 1;
select b.user_id, t.total from d_buyers b cross join lateral (select sum(total) as total from d_orders o where o.user_id = b.user_id) t order by 1;
select b.user_id, x from d_buyers b, unnest(b.tags) as x order by 1, 2;
select b.user_id, k, v from d_buyers b, jsonb_each_text(b.profile) as p(k, v) order by 1, 2;
select o.user_id, o.id, g from d_orders o, generate_series(1, o.item) g where o.user_id in (1, 2, 5) order by 1, 2, 3;
select b.user_id, v.x from d_buyers b join (values (1, 'one'), (2, 'two'), (25, 'none')) v(n, x) on v.n = b.user_id order by 1;
select v.n, b.name from (values (1), (2), (25)) v(n) left join d_buyers b on b.user_id = v.n order by 1;
select * from (d_buyers b join d_orders o using (user_id)) where total > 40 order by user_id, id;
select * from (d_buyers join d_orders using (user_id)) as j where total > 30 order by user_id, id;
select b.user_id from d_buyers b join d_orders o on o.user_id = b.user_id and o.id = b.user_id order by 1;
select b.user_id from d_buyers b join d_orders o on o.user_id = b.user_id + 1 and o.id = 1 order by 1;
select b.user_id from d_buyers b join d_orders o on o.user_id <> b.user_id and o.total = 34 and b.score = 1 order by 1, o.user_id;
select b.user_id, o.id from d_buyers b join d_orders o on o.user_id = b.user_id or o.item = b.score where b.user_id < 6 order by 1, 2, o.user_id;
select b.user_id, o.id from d_buyers b, d_orders o where b.user_id = o.user_id and b.region = o.status order by 1, 2;
select b.name, o.id from d_buyers b, d_orders o where b.user_id = 3 and o.user_id = 5 order by 2;
select b.name, o.id from d_buyers b, d_orders o where b.user_id = 5 and o.total > 35 order by 2, o.user_id;
select * from d_buyers b join d_orders o on b.name = o.note where b.user_id = 5;
select a.user_id, b.user_id from d_buyers a full join d_buyers b on a.user_id = b.score order by 1, 2;
select count(*) from d_lone l join d_buyers b using (user_id);
select l.n, b.name, o.id from d_lone l left join d_buyers b using (user_id) left join d_orders o on o.user_id = l.user_id and o.id = l.n order by 1, 3;
select count(*), count(e.n) from d_buyers b left join d_empty e using (user_id);
select count(*) from d_empty e full join d_lone l using (user_id);
select b.user_id, coalesce(o.n, 0) from d_buyers b left join (select user_id, count(*) as n from d_orders group by user_id) o using (user_id) order by 1;
select b.user_id, o.id from d_buyers b left join (d_orders o join d_lines l on l.user_id = o.user_id and l.order_id = o.id) on o.user_id = b.user_id order by 1, 2, l.line;
select b.user_id, o.id, c.label, r.country from d_buyers b left join d_orders o on o.user_id = b.user_id left join d_codes c on c.code = o.status left join d_regions r on r.region = b.region order by 1, 2;
select x.user_id, y.user_id, z.user_id from d_buyers x join d_buyers y on y.user_id = x.user_id join d_buyers z on z.user_id = y.user_id order by 1;
select x.user_id from d_buyers x join d_orders y on y.user_id = x.user_id join d_lines z on z.user_id = y.user_id join d_empty e on e.user_id = z.user_id;
select x.user_id, count(*) from d_buyers x left join d_orders y using (user_id) left join d_lines z using (user_id) left join d_lone w using (user_id) group by 1 order by 1;
--@ bind int4 20
select b.user_id, o.id from d_buyers b join d_orders o using (user_id) where o.total > $1 order by 1, 2;
--@ bind text paid, int8 3
select b.name, o.id from d_buyers b left join d_orders o on o.user_id = b.user_id and o.status = $1 where b.user_id <> $2 order by b.user_id, 2;
select user_id from d_buyers join d_orders on true;
select * from d_buyers b join d_orders b using (user_id);
select * from d_buyers join d_orders using (nosuch);
select * from d_buyers join d_orders using (name);
select b.user_id from d_buyers b, lateral (select b.nosuch) t;
