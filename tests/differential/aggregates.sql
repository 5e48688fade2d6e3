-- Aggregates with and without groups; HAVING; DISTINCT; grouping sets.
select count(*) from d_orders;
select count(*) from d_empty;
select count(*), count(total), count(note), count(distinct note) from d_orders;
--@ a = count(total) | sum(total) | avg(total) | min(total) | max(total) | sum(price) | avg(price) | min(price) | max(price) | min(note) | max(note) | min(placed) | max(placed) | min(weight) | max(weight) | sum(user_id) | avg(user_id) | min(user_id) | sum(id) | avg(item) | sum(distinct item) | count(distinct status) | avg(distinct total) | min(status collate "C") | sum(total + item) | sum(total) + count(*) | sum(total) / count(total) | max(total) - min(total) | sum(-total) | sum(total) filter (where item > 2) | count(*) filter (where note is null) | string_agg(status, ',' order by user_id, id) | array_agg(total order by total nulls first, user_id, id) | array_agg(distinct note order by note) | bool_and(total > -10) | bool_or(total > 40) | every(total is not null) | bit_and(item) | bit_or(item) | bit_xor(item) | stddev(total) | variance(item) | stddev_pop(price) | var_samp(total) | json_agg(id order by user_id, id) | jsonb_object_agg(user_id || '-' || id, total) | percentile_cont(0.5) within group (order by total) | percentile_disc(0.25) within group (order by price) | mode() within group (order by item) | round(corr(total, item)::numeric, 9) | regr_count(total, item) | sum(case when total > 10 then 1 else 0 end) | coalesce(sum(total), 0) | round(avg(price), 2) | sum(total)::text | abs(min(total)) | count(*) > 5 | 'n=' || count(*) | max(length(note)) | sum(quantity_x)
select {a} as value from d_orders;
--@ a = count(*) | sum(n) | avg(n) | min(n) | max(word) | array_agg(n) | string_agg(word, ',') | bool_and(n > 1) | count(distinct n) | coalesce(sum(n), 0)
select {a} as value from d_empty;
--@ a = count(*) | sum(n) | avg(n) | min(word) | count(word) | count(distinct word) | array_agg(n order by n)
select {a} as value from d_lone;
--@ a = min(secret) | max(secret) | min(opened) | max(user_id) | min(kind) | max(kind) | count(distinct kind) | sum(owner) | sum(length(user_id))
select {a} as value from d_accounts;
--@ a = min(at) | max(at) | min(user_id::text) | count(distinct user_id) | count(kind) | sum(seq) | max((payload->>'n')::int) | max(at) - min(at)
select {a} as value from d_events;
--@ a = count(*) | sum(total) | avg(total) | min(price) | max(note) | count(distinct item) | sum(total) filter (where item > 2) | bool_or(total > 40) | string_agg(id::text, ',' order by user_id, id) | sum(price) / count(*) | max(total) - min(total) | avg(price)
select status, {a} as value from d_orders group by status order by status nulls first;
--@ g = status | note | item | total % 5 | user_id | user_id, status | status, note | placed::date | extract(dow from placed) | total > 10 | lower(note) | length(note) | coalesce(status, 'none') | price | weight | date_trunc('month', placed) | user_id % 3 | case when total > 20 then 1 else 2 end | ()
--@ any
select {g}, count(*), sum(total), min(id) from d_orders group by {g};
--@ g = name | region | active | born | score | tags | balance | joined | profile->>'city' | email | profile
--@ any
select {g} as g, count(*), sum(score), max(user_id) from d_buyers group by {g};
--@ h = count(*) > 3 | sum(total) > 100 | sum(total) is null | min(total) < 0 and max(total) > 30 | count(distinct item) = 5 | avg(total) > 15 | status = 'new' | status is null | bool_or(note = '') | count(*) % 2 = 0 | false | null | max(note) > 'b' | sum(total) > (select 50)
select status, count(*), sum(total) from d_orders group by status having {h} order by status;
--@ h = count(*) > 3 | sum(total) > 50 | user_id > 9 | min(total) is null
select user_id, count(*), sum(total) from d_orders group by user_id having {h} order by user_id;
--@ h = count(*) > 5 | count(*) > 500 | sum(total) > 0 | true
select count(*) from d_orders having {h};
select 1 from d_orders having count(*) > 5;
select status from d_orders group by status order by count(*) desc, status limit 2;
select status, count(*) as n from d_orders group by 1 order by n desc, 1 nulls first;
select status, sum(total) as s from d_orders group by status order by sum(total) desc nulls last, status limit 3;
select item, note, sum(total) from d_orders group by item, note order by sum(total) desc nulls last, item, note limit 10 offset 3;
select user_id, sum(total) from d_orders group by user_id order by 2 desc nulls last, 1 limit 5;
select user_id, status, count(*) from d_orders group by user_id, status order by user_id, status nulls first;
select sum(total), user_id from d_orders where status = 'paid' group by user_id order by 1, 2;
select status || '!' as s, count(*) + 1 as n, sum(total) * 2 from d_orders group by status order by n, s;
select upper(note) as loud, count(*) from d_orders group by upper(note) order by loud nulls first;
select total / 10 as ten, count(*) from d_orders group by total / 10 order by ten;
select total / 10 as ten, count(*) from d_orders group by ten having count(*) > 2 order by ten;
select count(*) from d_orders group by status;
select 1 from d_orders group by status;
select sum(total) from d_orders group by user_id;
select max(sum_total) from (select sum(total) as sum_total from d_orders group by user_id) t;
select avg(n) from (select count(*) as n from d_orders group by status) t;
--@ c = status | note | item | total | user_id | status, item | note, status | total > 10 | lower(note) | price | weight | placed::date | user_id % 4 | user_id, status | null | 1
--@ any
select distinct {c} from d_orders;
--@ c = status | note | item | total | user_id | price | weight
select distinct {c} from d_orders order by {c} desc;
--@ c = status | note | item
select distinct {c} from d_orders order by {c} nulls first limit 3;
--@ c = name | region | active | tags | born | profile | email
select distinct {c} from d_buyers order by {c};
select distinct on (status) status, user_id, id from d_orders order by status, total desc nulls last, user_id, id;
select distinct on (user_id) user_id, id, total from d_orders order by user_id, total nulls first, id;
select distinct on (note, item) note, item, total from d_orders order by note nulls first, item desc, total, user_id, id;
select distinct on (total % 3) total % 3 as rest, total from d_orders order by total % 3, total, user_id;
select distinct status, count(*) from d_orders group by status, item;
select distinct count(*) from d_orders group by status;
select count(*) from (select distinct status, item from d_orders) t;
--@ g = rollup (status, item) | cube (status, item) | grouping sets ((status), (item), ()) | rollup (user_id) | status, rollup (item) | grouping sets ((), ())
--@ any
select status, count(*), sum(total) from d_orders group by {g}, status;
--@ any
select status, item, count(*), grouping(status, item) from d_orders group by cube (status, item);
select status, item, sum(total), grouping(status) + grouping(item) as level from d_orders group by rollup (status, item) order by level, status nulls first, item nulls first;
select region, active, count(*), avg(balance) from d_buyers group by grouping sets ((region, active), (region), ()) order by grouping(region, active), region nulls last, active nulls last;
select name, region, sum(balance) from d_buyers group by name, region order by name nulls last, region;
select user_id, name from d_buyers group by user_id order by user_id;
select user_id, name, count(*) from d_buyers group by user_id order by user_id;
select kind, count(*), sum(owner), min(opened) from d_accounts group by kind order by kind;
select user_id, count(*), min(at), max(payload->>'n') from d_events group by user_id order by user_id;
select kind, array_agg(seq order by user_id, seq) from d_events group by kind order by kind nulls first;
--@ bind int4 10
select status, count(*) from d_orders where total > $1 group by status order by status;
--@ bind int8 2
select status, count(*) from d_orders group by status having count(*) > $1 order by status;
--@ bind _ 3
select total % $1, count(*) from d_orders group by 1 order by 1;
--@ bind int4 2, int4 3
select sum(total * $1), sum(item + $2) from d_orders;
select sum(total) over () from d_orders group by total order by 1;
select user_id, note from d_orders group by user_id;
select sum(note) from d_orders;
select sum(sum(total)) from d_orders;
select count(*) from d_orders group by count(*);
select sum(9223372036854775807) from d_orders;
select sum(9223372036854775807::bigint + user_id) from d_orders;
select sum(total::smallint), sum(total::bigint), sum(total::numeric), sum(total::real::int), avg(total::smallint), avg(total::bigint) from d_orders;
select sum(interval '1 hour' * total), avg(interval '1 minute' * item) from d_orders;
select min(inet_x) from d_orders;
select sum(weight) from d_orders where weight <> 'NaN';
select avg(weight), sum(weight), max(weight), min(weight) from d_orders where weight <> 'NaN';
select max(weight), sum(weight) from d_orders;
select any_value_x(total) from d_orders;
select min(array[total, item]) from d_orders;
select max(row(total, item)::text) from d_orders;
