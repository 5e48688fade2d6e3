-- COPY, both ways.
create table p_rows (user_id bigint not null, id int not null, word text, price numeric(8,2), made date, flag boolean, primary key (user_id, id));
create table p_text (user_id text primary key, n int);
create table p_uuid (user_id uuid primary key, tags text[]);
create table p_single (id int primary key, word text);
/* shardyard: reference */ create table p_ref (code text primary key, n int);
copy p_rows from stdin;
1	1	one	1.50	2024-02-29	t
2	1	two	\N	\N	f
3	1	tab\there	3	2024-01-01	\N
4	1	line\nbreak	4	2024-01-01	t
5	1	back\\slash	5	2024-01-01	t
6	1		6	2024-01-01	t
7	1	\N	7	2024-01-01	t
\.
--@ check p_rows
copy p_rows (id, user_id, word) from stdin;
2	1	x
2	2	y
2	3	é
2	4	日本
\.
copy p_rows from stdin with (format csv);
1,3,"quoted, comma",1.5,2024-01-01,t
2,3,"quoted ""quote""",1.5,2024-01-01,t
3,3,"line
break",1.5,2024-01-01,t
4,3,,,,
5,3,"",,,
\.
copy p_rows (user_id, id, word) from stdin with (format csv, header);
user_id,id,word
1,4,header
2,4,header
\.
copy p_rows (word, user_id, id) from stdin with (format csv, delimiter ';', null 'NIL', quote '''', escape '\');
'a;b';1;5
NIL;2;5
'it\'s';3;5
plain;4;5
\.
copy p_rows (user_id, id, word) from stdin (delimiter '|', null '-');
1|6|-
2|6|a b
3|6|\|
\.
copy p_rows (user_id, id, word) from stdin (format csv, force_null (word), force_not_null (id));
1,7,""
2,7,x
\.
--@ check p_rows
copy p_rows from stdin;
\.
copy p_rows (user_id, id) from stdin;
50	1
51	1
1	1
52	1
\.
copy p_rows (user_id, id) from stdin;
50	1
51	x
52	1
\.
copy p_rows (user_id, id) from stdin;
50	1
51
52	1
\.
copy p_rows (user_id, id) from stdin;
50	1
51	1	1
\.
copy p_rows (user_id, id) from stdin;
50	1
\N	1
\.
copy p_rows (user_id, id) from stdin;
50	1
x	1
\.
copy p_rows (user_id, id) from stdin;
50	1
99999999999999999999	1
\.
copy p_rows (user_id, nosuch) from stdin;
\.
copy p_rows (user_id, id, word) from stdin (format csv);
50,1,"unterminated
\.
copy nosuch from stdin;
\.
--@ check p_rows
copy p_rows (user_id, id) from stdin where id > 10;
60	5
61	15
\.
copy p_rows from stdin (freeze);
\.
begin;
copy p_rows (user_id, id) from stdin;
70	1
71	1
72	1
\.
select count(*) from p_rows where user_id in (70, 71, 72);
select count(*) from p_rows;
rollback;
begin;
copy p_rows (user_id, id) from stdin;
73	1
74	1
\.
savepoint s;
copy p_rows (user_id, id) from stdin;
75	1
76	1
73	1
\.
rollback to s;
commit;
--@ check p_rows
copy p_text from stdin;
a	1
A	2
é	3
 a	4
a 	5
	6
\.
copy p_text from stdin (format csv);
"x,y",1
"q""q",2
042,3
42,4
\.
--@ check p_text
copy p_uuid from stdin;
00000000-0000-0000-0000-000000000001	{a,b}
AAAAAAAA-0000-0000-0000-000000000001	\N
{bbbbbbbb-0000-0000-0000-000000000001}	{}
cccccccc000000000000000000000001	{"x y"}
\.
copy p_uuid from stdin;
nonsense	{}
\.
--@ check p_uuid
copy p_ref from stdin;
a	1
b	\N
\.
copy p_ref from stdin;
c	1
a	2
\.
--@ check p_ref*
copy p_single from stdin;
1	one
2	\N
\.
--@ check p_single
copy p_single to stdout;
copy p_ref to stdout;
copy p_rows to stdout;
copy p_rows (user_id, id, word) to stdout;
--@ o = format csv | format csv, delimiter ';', null 'NIL' | format csv, force_quote * | format csv, force_quote (word), quote '''' | delimiter '|', null '-' | format text | format binary
copy p_rows (user_id, id, word, price, made, flag) to stdout with ({o});
copy p_text to stdout csv;
copy p_uuid to stdout;
--@ o = format csv | format text | format binary
copy (select user_id, id, word from p_rows where user_id = 1) to stdout ({o});
--@ o = format csv | format text | format binary
copy (select user_id, id, word from p_rows where id = 2) to stdout ({o});
--@ total
copy (select user_id, id, word from p_rows order by user_id, id) to stdout;
--@ total
copy (select id, count(*) from p_rows group by id order by id) to stdout (format csv);
--@ total
copy (select count(*) from p_rows) to stdout;
--@ total
copy (select a.user_id, b.n from p_rows a join p_ref b on b.n = a.id order by 1) to stdout csv;
copy (values (1, 'a'), (2, null)) to stdout;
copy (select n from d_numbers where n < 4 order by n) to stdout;
copy (insert into p_rows (user_id, id) values (80, 1) returning user_id) to stdout;
copy (delete from p_rows where id = 7 returning user_id, id) to stdout;
copy (select 1 / 0) to stdout;
copy (select nosuch from p_rows) to stdout;
copy nosuch to stdout;
copy p_rows (nosuch) to stdout;
--@ check p_rows
