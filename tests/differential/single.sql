-- Home, reference and catalog statements: no shard key anywhere.
select 1, 'a'::text, null, 1.50, true, date '2024-02-29', array[1, 2], '{"a": 1}'::jsonb;
--@ e = 1 + 1 | 7 / 2 | 7 % 3 | -7 / 2 | 2 ^ 10 | 7.0 / 3 | 1e10 | '5' + 3 | abs(-4) | round(2.5) | round(2.567, 2) | ceil(-1.5) | floor(-1.5) | trunc(9.99) | sqrt(16) | mod(10, 4) | sign(-3) | greatest(1, null, 3) | least(2, 1) | width_bucket(5, 0, 10, 5) | gcd(12, 18) | lcm(4, 6) | factorial(10) | power(2, 0.5) | 5::bit(4) | 10 # 3 | 91 & 15 | 32 | 3 << 4 | ~5
select {e} as result;
--@ e = upper('aé') | lower('AÉ') | length('aé') | octet_length('aé') | initcap('the end') | substring('hello' from 2 for 3) | substring('hello' from 'l+') | position('l' in 'hello') | overlay('abcdef' placing 'XX' from 3) | trim(both 'x' from 'xxaxx') | lpad('7', 3, '0') | rpad('a', 3, '.') | left('abc', -1) | right('abc', 2) | repeat('ab', 3) | replace('aaa', 'a', 'bb') | reverse('abc') | split_part('a,b,c', ',', 2) | strpos('abc', 'c') | translate('123', '12', 'ab') | concat('a', null, 1) | concat_ws('-', 'a', null, 'b') | format('%s|%I|%L', 1, 'A b', 'x''y') | md5('a') | ascii('A') | chr(233) | quote_literal('o''k') | quote_ident('A b') | regexp_replace('foobar', 'o+', '0') | to_hex(255) | encode('\x00ff', 'base64') | 'a' like 'A' | 'a' ilike 'A' | 'abc' ~ '^a.c$' | 'abc' similar to 'a%' | 'a' || null | 'x' collate "C" < 'Y' | starts_with('abc', 'ab') | btrim('  a ') | to_char(1234.5, '9,999.99') | to_number('1,234', '9,999') | string_to_array('a,b', ',') | array_to_string(array[1, null, 2], ',', '*') | unistr('\0041')
select {e} as result;
--@ e = date '2024-02-29' + 1 | date '2024-03-01' - date '2024-02-01' | timestamp '2024-01-31' + interval '1 month' | extract(dow from date '2024-02-29') | extract(epoch from interval '1 day 2 hours') | date_trunc('week', timestamp '2024-02-29 13:14') | age(date '2024-03-01', date '2023-02-28') | date_part('year', date '2024-02-29') | to_char(date '2024-02-29', 'YYYY-"W"IW Dy') | to_date('29 Feb 2024', 'DD Mon YYYY') | make_date(2024, 2, 29) | make_interval(days => 3) | justify_hours(interval '27 hours') | interval '1 day' * 1.5 | timestamptz '2024-02-29 12:00+02' at time zone 'UTC' | isfinite(date 'infinity') | date 'infinity' | overlaps_x | (date '2024-01-01', date '2024-02-01') overlaps (date '2024-01-15', date '2024-03-01') | date_bin('15 minutes', timestamp '2024-02-29 12:08', timestamp '2024-01-01') | time '23:59:59' + interval '2 seconds' | interval '1 year -1 day'
select {e} as result;
--@ e = array[1, 2] || 3 | array_append(null, 1) | array_length(array[[1, 2], [3, 4]], 2) | (array[5, 6, 7])[2:3] | 2 = any (array[1, 2]) | array[1, 2] @> array[2] | array[1, 2] && array[3] | unnest(array[3, 1, 2]) | array_position(array['a', 'b'], 'b') | array_remove(array[1, 2, 1], 1) | cardinality(array[1, 2, 3]) | array_fill(7, array[3]) | array_agg_x | '{1,NULL,3}'::int[] | array_ndims('{{1}}'::int[]) | array[row(1, 'a')]::text
select {e} as result;
--@ e = '{"a": {"b": [1, 2]}}'::jsonb #> '{a,b,1}' | '{"a": 1}'::jsonb ->> 'a' | '{"a": 1}'::json -> 'b' | '[1, 2]'::jsonb @> '2' | jsonb_set('{"a": 1}', '{a}', '2') | '{"a": 1}'::jsonb || '{"b": null}' | '{"a": 1, "b": 2}'::jsonb - 'a' | jsonb_array_length('[1, 2, 3]') | jsonb_typeof('null') | to_jsonb(array[1, 2]) | jsonb_strip_nulls('{"a": null}') | jsonb_path_query('{"a": [1, 5]}', '$.a[*] ? (@ > 2)') | '{"a": 1}'::jsonb ? 'a' | json_build_array(1, 'x', null) | row_to_json(row(1, 'a')) | jsonb_pretty('{"a": [1]}') | '{"b": 1, "a": 2}'::jsonb | '{"b":1, "a":2}'::json | jsonb_each_text('{"k": "v"}')
select {e} as result;
--@ t = smallint | int | bigint | numeric | real | float8 | text | varchar(2) | char(3) | boolean | date | bytea | oid | numeric(3,1)
select '1'::{t} as one, cast(null as {t}) as nothing, pg_typeof('1'::{t});
--@ bad = 1 / 0 | 'x'::int | '2024-02-30'::date | 99999999999::int | sqrt(-1) | 'a'::boolean | ln(0) | '{1'::int[] | '{'::jsonb | substring('a' from 1 for -1) | nosuch(1) | nosuch | 1 + 'x' | chr(0) | 'ab'::char(1)::int | repeat('a', -1)::int
select {bad};
select * from d_codes order by code;
select * from d_regions order by tax nulls first;
select c.code, r.region from d_codes c cross join d_regions r order by 1, 2;
select label, rank from d_codes where rank is not null order by rank desc, label;
select * from d_notes order by written nulls first, id;
select body, count(*) from d_notes group by body order by body nulls last;
select n.id, c.code from d_notes n join d_codes c on c.rank = n.id order by 1, 2;
select n, n * n from d_numbers where n % 10 = 0 order by n desc;
select count(*), sum(n), avg(n), min(n), max(n), stddev(n), variance(n) from d_numbers;
select relname, relkind from pg_class where relname in ('d_buyers', 'd_rich', 'd_codes') order by relname;
select column_name, data_type, is_nullable from information_schema.columns where table_name = 'd_orders' order by ordinal_position;
select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'd_accounts'::regclass and attnum > 0 order by attnum;
select indexrelid::regclass::text from pg_index where indrelid = 'd_lines'::regclass;
select 'd_buyers'::regclass::text, to_regclass('nosuch'), to_regtype('int8');
select current_schema(), current_user, session_user, current_database();
select current_setting('standard_conforming_strings'), current_setting('nosuch.setting', true);
show server_encoding;
show datestyle;
values (1, 'a'), (2, null), (3, 'c') order by 1 desc;
values (1), (2.5), (null);
table d_codes order by code;
select * from generate_series(1, 10, 3);
select * from generate_series(date '2024-02-27', date '2024-03-02', interval '1 day') as d(day) order by day;
select * from unnest(array[1, 2, 3], array['a', 'b']) with ordinality as t(x, y, o) order by o;
select * from json_to_recordset('[{"a": 1, "b": "x"}, {"a": 2}]') as t(a int, b text) order by a;
select * from regexp_split_to_table('a,b;c', '[,;]') as part;
with recursive t(n) as (values (1) union all select n + 1 from t where n < 20) select sum(n), count(*) from t;
with recursive t(a, b) as (select 0, 1 union all select b, a + b from t where b < 100) select a from t order by a;
with x as materialized (select n from d_numbers where n < 4) select x.n, y.n from x, x as y where x.n < y.n order by 1, 2;
select case n when 1 then 'one' when 2 then 'two' else 'many' end, count(*) from d_numbers group by 1 order by 1;
select coalesce(null, 2), nullif(1, 1), nullif(1, 2), 1 is distinct from null, null = null, null is null, true or null, false and null, not null::boolean;
select 1 where null;
select 1 in (2, null), 1 not in (2, null), 1 in (1, null), null in (1);
select row(1, null) = row(1, null), row(1, 2) < row(1, 3), row(null, null) is null, row(1, null) is not null;
select n from d_numbers order by n limit 3 offset 2;
select n from d_numbers order by n fetch first 2 rows only;
select n / 10 as ten from d_numbers order by n fetch first 9 rows with ties;
select n from d_numbers limit 0;
select n from d_numbers order by n offset 38;
select n from d_numbers order by n limit null;
select n from d_numbers limit -1;
select distinct n % 4 from d_numbers order by 1;
select n % 3, array_agg(n order by n desc) from d_numbers where n < 10 group by 1 order by 1;
select string_agg(code, ', ' order by rank nulls last, code) from d_codes;
select count(*) filter (where n > 20), sum(n) filter (where n > 100) from d_numbers;
select percentile_cont(0.5) within group (order by n), percentile_disc(0.9) within group (order by n), mode() within group (order by n % 5) from d_numbers;
select bool_and(n > 0), bool_or(n > 39), every(n < 41), bit_and(n), bit_or(n) from d_numbers;
select corr(n, n * 2), regr_slope(n * 2, n), covar_pop(n, n) from d_numbers;
select n % 2, n % 3, count(*) from d_numbers group by cube (n % 2, n % 3) order by 1 nulls last, 2 nulls last;
select n % 2, n % 3, count(*), grouping(n % 2, n % 3) from d_numbers group by grouping sets ((n % 2), (n % 3), ()) order by 4, 1, 2;
select n, lag(n) over w, lead(n, 2, 0) over w, first_value(n) over w, ntile(3) over w from d_numbers where n <= 9 window w as (order by n) order by n;
select n, sum(n) over (order by n rows between 1 preceding and 1 following), count(*) over (order by n / 3 range between 1 preceding and current row), sum(n) over (order by n groups current row exclude current row) from d_numbers where n <= 9 order by n;
--@ bind int4 5, text x
select $1 + 1, $2 || 'y';
--@ bind _ 5, _ 7
select n from d_numbers where n between $1 and $2 order by n;
--@ bind int4[] {1,3,5}
select n from d_numbers where n = any ($1) order by n;
--@ bind _ null
select code from d_codes where rank is not distinct from $1;
--@ bind date 2024-02-29, numeric 1.50, bool t, jsonb {"a":[1]}, bytea \x00ff, timestamptz 2024-02-29 12:00:00+02, text[] {a}
select $1, $2, $3, $4, $5, $6, $7;
--@ simple
select 1; select 'two' as b; values (3), (4);
--@ simple
select 1; select 1 / 0; select 2;
--@ simple
;
select from d_codes;
select count(*) from d_codes, d_notes, d_numbers;
selec 1;
select * from nosuch;
select nosuch from d_codes;
select code from d_codes group by label;
select 1 from d_codes having rank > 1;
select 'unterminated;
