#!/usr/bin/env bash
# psql against DATABASE_URL: what people type, with the backslash commands that read the catalogs.
set -euo pipefail

export PGOPTIONS= PSQLRC=/dev/null PAGER=cat
table=driver_psql
run() { psql -X -q -v ON_ERROR_STOP=1 "$DATABASE_URL" "$@"; }
value() { run -At -c "$1"; }
fail() { echo "failed: $*" >&2; exit 1; }
expect() { [ "$2" = "$3" ] || fail "$1: expected '$3', came '$2'"; echo "ok $1"; }
contains() { grep -q -- "$3" <<<"$2" || fail "$1: no '$3' in: $2"; echo "ok $1"; }

run -c "drop table if exists $table" -c "create table $table (user_id bigint, item int, note text, primary key (user_id, item))"
run -c "insert into $table values (1, 1, 'one')" -c "insert into $table values (2, 1, 'two')"
expect insert_and_read "$(value "select note from $table where user_id = 2")" two

run <<SQL
begin;
insert into $table values (3, 1, 'kept');
commit;
begin;
insert into $table values (3, 2, 'gone');
rollback;
SQL
expect transactions "$(value "select item from $table where user_id = 3")" 1

if run -c "insert into $table values (3, 1)" 2>/dev/null; then fail "no error for a key that exists"; fi
contains error "$(psql -X "$DATABASE_URL" -c '\set VERBOSITY verbose' -c "insert into $table values (3, 1)" 2>&1 || true)" 23505

expect prepared "$(run -At <<SQL
prepare get as select note from $table where user_id = \$1;
execute get(1);
execute get(2);
execute get(1);
deallocate get;
SQL
)" "$(printf 'one\ntwo\none')"

if [ "$(psql --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')" -ge 16 ]; then
  expect bind "$(printf '%s\n' "select note from $table where user_id = \$1 \\bind 2 \\g" | run -At)" two
fi

contains list_tables "$(run -c '\dt')" "$table"
contains describe "$(run -c "\\d $table")" "${table}_pkey"
contains describe_more "$(run -c "\\d+ $table")" "note"
contains list_schemas "$(run -c '\dn+')" public
contains list_functions "$(run -c '\df pg_catalog.now')" now
contains list_roles "$(run -c '\du')" app
contains list_databases "$(run -c '\l')" UTF8
contains list_indexes "$(run -c '\di')" "${table}_pkey"
contains privileges "$(run -c '\dp')" "$table"
contains connection "$(run -c '\conninfo')" 'connected to database'

printf '5\t1\tfive\n' | run -c "/* shardyard: key=5 */ copy $table from stdin"
expect copy "$(run -c "copy (select user_id, note from $table where user_id = 5) to stdout")" "$(printf '5\tfive')"
expect fetch_count "$(run -At -v FETCH_COUNT=10 -c 'select count(*) from (select 1) as t' -c 'select n from generate_series(1, 35) as n' | wc -l)" 36
expect multi "$(run -At -c 'select 1; select 2')" "$(printf '1\n2')"

run -c "drop table $table"
