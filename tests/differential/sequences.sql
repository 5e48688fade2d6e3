-- setval as frameworks and restored dumps send it.
create table q_rows (user_id bigint, id bigserial, word text, primary key (user_id, id));
create table q_home (id serial primary key, word text);
create sequence q_alone;
insert into q_rows (user_id, id) select n, n * 3 from generate_series(1, 30) n;
insert into q_home values (1, 'a'), (41, 'b');
--@ called = | , true | , false
select setval('q_rows_id_seq', 500{called});
--@ table = q_rows | q_home
select setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 1), max(id) is not null) from {table};
--@ table = q_rows | q_home
select setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 1), max(id) is not null) from {table} where word = 'none';
--@ value = (select max(id) from {table}) | (select max(id) + 1 from {table}), false | (select max(id) from {table} where id < 0) | (select 7 where false)
--@ table = q_rows | q_home
select setval('{table}_id_seq', {value});
--@ table = q_rows | q_home
select setval('{table}_id_seq', max(id)) as done from {table} having count(*) > 1000;
select setval('q_alone', (select count(*) from q_rows));
select nextval('q_alone');
select setval('q_alone', 5) where false;
--@ bind _ q_rows_id_seq, _ 700, _ t
select setval($1, $2, $3);
--@ bind text q_rows_id_seq, int8 700
select setval($1::text::regclass, $2) as n;
--@ bind _ 20
select setval('q_rows_id_seq', max(id)) from q_rows where user_id < $1;
--@ bind _ null
select setval('q_rows_id_seq', $1);
select setval('q_rows_id_seq', null);
select setval(null, 5);
select setval('q_missing', max(id)) from q_rows;
select setval('q_rows', max(id)) from q_rows;
select setval('q_rows_id_seq', 0 * max(id)) from q_rows;
select setval('q_rows_id_seq', max(id) * 1.5) from q_rows;
select setval('q_rows_id_seq', max(missing)) from q_rows;
select setval('q_rows_id_seq', max(word)) from q_rows;
select setval('q_rows_id_seq', max(id) / 0) from q_rows;
