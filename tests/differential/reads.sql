-- Over all shards, one table at a time.
select * from d_buyers order by user_id;
select * from d_buyers;
select * from d_orders;
select * from d_empty;
select * from d_lone order by n;
select * from d_accounts order by user_id;
select * from d_events order by user_id, seq;
select user_id, id, total from d_orders where total > 20 order by user_id, id;
--@ op = < | <= | > | >= | <> | is distinct from | is not distinct from
select user_id, id from d_orders where total {op} 20;
--@ c = total is null | note = '' | note like 'B%' | note ~* '^b' | not (total > 5) | total between 5 and 15 | total not in (1, 8, null) | total in (8, 21, 34) | coalesce(note, 'none') = 'none' | (status, item) in (('new', 1), ('paid', 2)) | total % 2 = 0 and item is not null | placed >= '2024-03-05' | placed::date = '2024-03-01' | price > 50.5 | weight = 'NaN' | weight < 1 or status is null | case when item > 3 then total > 10 else false end | length(note) > 3 | nullif(note, '') is null | extract(dow from placed) = 1 | id = any (array[1, 3]) | user_id % 2 = 0 | user_id > 10 | user_id <> 3 | user_id between 5 and 9 | user_id in (1, 2, 3) | user_id = 1 or user_id = 2 | user_id = 1 or total = 8 | not (user_id = 3) | user_id is not null | user_id is null | false | null | true
select user_id, id, total from d_orders where {c} order by user_id, id;
--@ o = total | total desc | total nulls first | total desc nulls last | note | note desc | note nulls first | note collate "C" desc | lower(note) | lower(note) desc nulls first | price | price desc nulls last | weight | weight desc | weight nulls first | placed | placed desc | status, total desc | item desc nulls last, total | total + item | -total | total is null, total | (total % 7) desc nulls last | abs(total), price | length(note) nulls first | 3 | 3 desc, 4
select user_id, id, total, note from d_orders order by {o}, user_id, id;
--@ o = name | name desc nulls last | email | region nulls first | born | born desc | score | balance desc nulls last | active | active desc | joined | tags | tags desc | profile | user_id desc
select user_id, {o} from d_buyers order by {o}, user_id;
--@ o = name | name desc | email nulls first | region | born | score desc | balance | active desc nulls last | joined desc | tags nulls first
select name, user_id from d_buyers order by {o}, user_id limit 5 offset 2;
--@ o = kind | owner | opened desc | secret | secret desc | user_id desc | kind desc, owner | user_id collate "C"
select user_id, kind, owner from d_accounts order by {o}, user_id;
--@ o = at | at desc nulls last | kind | user_id | user_id desc | payload | payload->>'n' | (payload->>'n')::int desc
select user_id, seq, at from d_events order by {o}, user_id, seq;
--@ l = limit 3 | limit 3 offset 2 | offset 60 | limit 0 | limit 1000 | limit all | limit null | fetch first 4 rows only | fetch first row only | offset 3 rows fetch next 2 rows only | limit 2 + 3 | limit -1 | offset -1 | limit (select 3) | offset null
select user_id, id, total from d_orders order by total desc nulls last, user_id, id {l};
--@ by 0
select total from d_orders order by total limit 12;
--@ by 0
select status from d_orders order by status desc nulls last fetch first 30 rows with ties;
--@ bind int8 3, int4 10
select user_id, id, total from d_orders where user_id > $1 and total > $2 order by total, user_id, id;
--@ bind _ 5, _ 3
select user_id, id from d_orders order by placed desc, user_id, id limit $1 offset $2;
--@ bind _ null
select user_id, id from d_orders where total > 30 order by user_id, id limit $1;
--@ bind text Blue
select user_id, id from d_orders where note = $1;
--@ bind int8[] {1,2,3,10}
select user_id, id from d_orders where user_id = any ($1) order by user_id, id;
--@ bind _ 1, _ 2
select user_id, id from d_orders where user_id in ($1, $2) order by user_id, id;
--@ bind int4 2
select user_id, total * $1 as twice from d_orders order by twice desc nulls last, user_id, id;
select user_id = 5 from d_orders;
select user_id = 5 as mine, total from d_orders where total > 30;
select 1 from d_orders;
select from d_orders;
select total, total, total as again from d_orders where user_id in (1, 2);
select o.*, o.total + 1 from d_orders o where o.total > 30;
select (o).total from d_orders o where o.total > 40;
select o from d_orders o where o.total > 40;
select d_orders from d_orders where total > 40;
select public.d_orders.total from public.d_orders where total > 40;
select "user_id", "total" from "d_orders" where "total" > 40 order by "user_id", "id";
select user_id, id, case when total > 20 then 'much' when total is null then 'unknown' else 'little' end as how from d_orders order by how, user_id, id;
select user_id, upper(note) || '!' as loud, total::text, price::int, placed::date, to_char(placed, 'Mon DD') from d_orders where note is not null order by user_id, id;
select user_id, tags[1], array_length(tags, 1), profile->'level', profile->>'city', profile#>>'{likes,1}' from d_buyers order by user_id;
select user_id from d_buyers where tags @> array['t1'] order by user_id;
select user_id from d_buyers where 't2' = any (tags) order by user_id;
select user_id from d_buyers where profile @> '{"level": 2}' order by user_id;
select user_id from d_buyers where profile ? 'city' and profile->>'city' <> 'c1' order by user_id;
select user_id, born, born + 30, born - date '1980-01-01', extract(year from born), age(timestamp '2024-01-01', born) from d_buyers order by user_id;
select user_id, joined at time zone 'Europe/Berlin', date_trunc('month', joined), joined::date from d_buyers order by user_id;
select user_id, balance * 1.19, round(balance, 1), balance / 3, balance::int, -balance from d_buyers order by user_id;
select user_id, active and score > 0, active or score is null, not active, score is distinct from 1 from d_buyers order by user_id;
select user_id, coalesce(name, email, 'nobody'), nullif(region, 'north'), greatest(score, 2), least(score, null, 5) from d_buyers order by user_id;
select user_id, kind || '|', length(kind), kind = 'tin', secret, encode(secret, 'hex') from d_accounts order by user_id;
select user_id::text, substr(user_id::text, 1, 2), at at time zone 'UTC', payload from d_events order by user_id, seq;
select * from d_orders where total / (item - item) > 1;
select total / item from d_orders where item = 0;
select name::int from d_buyers;
select nosuch from d_orders;
select * from d_orders order by nosuch;
select * from d_orders where note > 5;
select * from d_orders limit 'x';
select sum(total) from d_orders where sum(total) > 1;
