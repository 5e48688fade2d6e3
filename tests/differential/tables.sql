-- What the corpus reads. Sharded by bigint, text and uuid keys, with NULLs, duplicates and skew; one table is empty, one has all rows on one shard.
create table d_buyers (user_id bigint primary key, name text, email varchar(40), region text, born date, score int, balance numeric(12,2), active boolean, joined timestamptz, tags text[], profile jsonb);
create table d_orders (user_id bigint not null, id int not null, item int, total int, price numeric(10,2), note text, placed timestamp, status text, weight float8, primary key (user_id, id));
create table d_lines (user_id bigint not null, order_id int not null, line int not null, product text, quantity smallint, primary key (user_id, order_id, line));
create table d_accounts (user_id text primary key, owner bigint, kind char(4), opened date, secret bytea);
create table d_events (user_id uuid not null, seq int not null, at timestamptz, kind text, payload jsonb, primary key (user_id, seq));
create table d_empty (user_id bigint primary key, n int, word text);
create table d_lone (user_id bigint not null, n int, word text);
/* shardyard: reference */ create table d_codes (code text primary key, label text, rank int);
/* shardyard: reference */ create table d_regions (region text primary key, country text, tax numeric(4,2));
create table d_notes (id int primary key, author bigint, body text, written date);
create table d_numbers (n int primary key);
create view d_rich as select user_id, name, balance from d_buyers where balance > 100;
create view d_totals as select user_id, count(*) as orders, sum(total) as total from d_orders group by user_id;
create view d_labels as select o.user_id, o.id, o.total, c.label from d_orders o left join d_codes c on c.code = o.status;

--@ k = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 16 | 17 | 18 | 19 | 20 | 21 | 22 | 23 | 24
insert into d_buyers select {k}, case when {k} % 8 = 0 then null else (array['Ada', 'Bob', 'cyd', 'Dag', 'eva', 'Ábel'])[1 + {k} % 6] end,
  case when {k} % 5 = 0 then null else 'u' || ({k} % 9) || '@example.org' end, (array['north', 'south', 'east', null, 'west'])[1 + {k} % 5],
  case when {k} % 7 = 3 then null else date '1980-02-27' + {k} % 4 * 400 end, case when {k} % 6 = 1 then null else {k} * 7 % 11 - 3 end,
  case when {k} % 9 = 4 then null else ({k} * 1037 % 731)::numeric / 4 end, case {k} % 3 when 0 then true when 1 then false end,
  timestamptz '2024-03-30 22:15:00+00' + {k} % 6 * interval '5 hours', case when {k} % 4 = 0 then null else array['t' || {k} % 3, 'x'] end,
  case when {k} % 6 = 5 then null else jsonb_build_object('level', {k} % 4, 'city', 'c' || {k} % 3, 'likes', jsonb_build_array({k} % 2, 'tea')) end;

-- Key 3 has forty orders, keys 4, 8, 12 … none, others a few; keys 30 and 31 have orders and no buyer.
--@ k = 1 | 2 | 3 | 5 | 6 | 7 | 9 | 10 | 11 | 13 | 14 | 15 | 17 | 18 | 19 | 21 | 22 | 30 | 31
insert into d_orders select {k}, n, case when n % 6 = 5 then null else ({k} + n) % 7 end, case when ({k} + n) % 9 = 2 then null else {k} * n * 13 % 50 - 5 end,
  case when n % 8 = 7 then null else ({k} * 31 + n * 17) % 97 * 1.25 end, case when n % 5 = 0 then null else (array['red', 'Blue', 'green', '', 'a b'])[1 + ({k} + n) % 5] end,
  timestamp '2024-02-28 12:00:00' + ({k} * 5 + n * 7) % 40 * interval '9 hours', (array['new', 'paid', 'sent', 'lost', null])[1 + ({k} * 2 + n) % 5],
  case when n % 7 = 6 then null when n % 7 = 5 then 'NaN' else ({k} * n % 16) * 0.25 end
  from generate_series(1, case {k} when 3 then 40 else 1 + {k} % 6 end) as n;

--@ k = 1 | 2 | 3 | 5 | 6 | 7 | 9 | 10 | 13 | 17 | 21 | 30
insert into d_lines select {k}, 1 + n / 3, 1 + n % 3, case when n % 4 = 3 then null else 'p' || ({k} + n) % 6 end, case when n % 5 = 4 then null else {k} * n % 9 end from generate_series(0, 2 + {k} % 5) as n;

--@ k = ann | bea | cas | 'dot' | ève | 042 | 42 | a b | ann2 | Zoe | tom | ulf
insert into d_accounts select $k${k}$k$, length($k${k}$k$), (array['gold', 'tin', 'gold'])[1 + ascii($k${k}$k$) % 3], case when ascii($k${k}$k$) % 4 = 1 then null else date '2020-01-31' + ascii($k${k}$k$) end, decode(md5($k${k}$k$), 'hex');

--@ k = 00 | 11 | 22 | 33 | 44 | 55 | ab | cd | ef
insert into d_events select '{k}000000-0000-4000-8000-0000000000{k}', n, case when n % 4 = 3 then null else timestamptz '2024-10-27 00:30:00+00' + n * interval '30 minutes' end, (array['open', 'shut', null])[1 + n % 3], jsonb_build_object('n', n, 'k', '{k}') from generate_series(1, 1 + ascii('{k}') % 4) as n;

insert into d_lone select 7, n, case when n % 3 = 0 then null else 'w' || n % 4 end from generate_series(1, 12) as n;
insert into d_codes values ('new', 'Fresh', 1), ('paid', 'Paid for', 2), ('sent', 'On its way', 2), ('gone', 'Gone', null), ('back', null, 5);
insert into d_regions values ('north', 'N', 0.19), ('south', 'S', 0.21), ('east', 'E', null), ('up', null, 0.07);
insert into d_notes values (1, 1, 'first', '2024-01-31'), (2, 2, 'second', null), (3, 2, null, '2024-02-29'), (4, 30, 'of nobody', '2023-12-31'), (5, null, 'unsigned', '2024-01-31'), (6, 3, 'first', '2024-03-01'), (7, 9, 'x', '2024-02-29');
insert into d_numbers select generate_series(1, 40);
analyze d_orders;
