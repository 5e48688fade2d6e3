create table items (user_id bigint not null, item int not null, note text, price numeric(12, 2), primary key (user_id, item));
create table documents (user_id bigint primary key, body text, data bytea);
create table words (id int primary key, word text);
create table numbers (n int primary key);
insert into words values (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'), (5, 'five'), (6, 'six'), (7, 'seven');
insert into numbers select generate_series(1, 1000);
create function announce_sleep() returns text language plpgsql as 'begin raise notice ''asleep''; perform pg_sleep(60); return ''woken''; end';
