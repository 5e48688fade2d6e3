"""psycopg 3 against DATABASE_URL: create, insert, read, transaction, rollback, error, prepared statements, types, large rows, COPY, cursors."""

import os
import threading
import uuid
from datetime import date, datetime, timezone
from decimal import Decimal

import psycopg
from psycopg.rows import dict_row

KEYS = range(1, 41)
TABLE = "driver_psycopg"


def create(connection):
    connection.execute(f"drop table if exists {TABLE}")
    connection.execute(
        f"""create table {TABLE} (user_id bigint, item int, name text, price numeric(12, 2), made timestamptz, day date, tag uuid,
            data jsonb, raw bytea, flags boolean[], primary key (user_id, item))"""
    )
    connection.commit()


def insert_and_read(connection):
    tag = uuid.UUID(int=42)
    moment = datetime(2024, 2, 29, 12, 30, tzinfo=timezone.utc)
    row = (7, 1, "naïve ☃", Decimal("12.34"), moment, date(2024, 2, 29), tag, psycopg.types.json.Jsonb({"a": [1, None]}), b"\0\xff", [True, None])
    connection.execute(f"insert into {TABLE} values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", row)
    connection.commit()
    for binary in (False, True):
        cursor = connection.cursor(binary=binary, row_factory=dict_row)
        read = cursor.execute(f"select * from {TABLE} where user_id = %s", (7,)).fetchone()
        assert read["name"] == "naïve ☃" and read["price"] == Decimal("12.34") and read["made"] == moment, read
        assert read["day"] == date(2024, 2, 29) and read["tag"] == tag and read["data"] == {"a": [1, None]}, read
        assert read["raw"] == b"\0\xff" and read["flags"] == [True, None], read
    connection.commit()


def transactions(connection):
    with connection.transaction():
        connection.execute(f"insert into {TABLE} (user_id, item, name) values (8, 1, 'kept')")
        try:
            with connection.transaction():
                connection.execute(f"insert into {TABLE} (user_id, item, name) values (8, 2, 'savepoint')")
                raise psycopg.Rollback()
        except psycopg.Rollback:
            pass
    assert connection.execute(f"select item from {TABLE} where user_id = 8").fetchall() == [(1,)]
    connection.rollback()
    connection.execute(f"insert into {TABLE} (user_id, item) values (8, 3)")
    connection.rollback()
    assert connection.execute(f"select count(*) from {TABLE} where user_id = 8").fetchone() == (1,)
    connection.commit()


def errors(connection):
    try:
        connection.execute(f"insert into {TABLE} (user_id, item) values (8, 1)")
        raise AssertionError("no error for a key that exists")
    except psycopg.errors.UniqueViolation as error:
        assert error.diag.constraint_name == f"{TABLE}_pkey" and error.diag.table_name == TABLE, error.diag.constraint_name
    try:
        connection.execute("select 1")
        raise AssertionError("a failed transaction went on")
    except psycopg.errors.InFailedSqlTransaction:
        connection.rollback()
    try:
        connection.execute("selec 1")
        raise AssertionError("no error for bad syntax")
    except psycopg.errors.SyntaxError as error:
        assert error.diag.statement_position == "1"
        connection.rollback()


def prepared(connection):
    """Ten times over forty keys: psycopg prepares from the sixth run on."""
    for turn in range(1, 11):
        for key in KEYS:
            connection.execute(f"insert into {TABLE} (user_id, item, name) values (%s, %s, %s)", (1000 + key, turn, f"{key}-{turn}"))
        connection.commit()
    for key in KEYS:
        rows = connection.execute(f"select item, name from {TABLE} where user_id = %s order by item", (1000 + key,), prepare=True).fetchall()
        assert rows == [(turn, f"{key}-{turn}") for turn in range(1, 11)], (key, rows)
    connection.commit()
    assert connection.execute("select %s::int + 1", (41,), prepare=True).fetchone() == (42,)
    connection.commit()


def pipeline(connection):
    with connection.pipeline():
        for item in range(100, 200):
            connection.execute(f"insert into {TABLE} (user_id, item) values (9, %s)", (item,))
        count = connection.execute(f"select count(*) from {TABLE} where user_id = 9")
        assert count.fetchone() == (100,)
    connection.commit()


def large_rows(connection):
    text = "long ☃ text " * 200_000
    connection.execute(f"insert into {TABLE} (user_id, item, name, raw) values (10, 1, %s, %s)", (text, b"\1" * 2_000_000))
    connection.commit()
    name, raw = connection.execute(f"select name, raw from {TABLE} where user_id = 10").fetchone()
    assert name == text and raw == b"\1" * 2_000_000
    connection.commit()


def server_cursor(connection):
    with connection.cursor(name="pieces") as cursor:
        cursor.itersize = 7
        cursor.execute(f"select item from {TABLE} where user_id = 9 order by item")
        assert [row[0] for row in cursor] == list(range(100, 200))
    connection.commit()


def copy_out(connection):
    with connection.cursor().copy(f"copy (select item from {TABLE} where user_id = 9 order by item) to stdout") as copy:
        assert [int(row[0]) for row in copy.rows()] == list(range(100, 200))
    connection.commit()


def settings(connection):
    connection.execute("set time zone 'Asia/Tokyo'")
    connection.commit()
    assert connection.info.parameter_status("TimeZone") == "Asia/Tokyo"
    connection.execute("set local statement_timeout = '7s'")
    assert connection.execute("show statement_timeout").fetchone() == ("7s",)
    connection.rollback()
    assert connection.execute("show statement_timeout").fetchone() == ("0",)
    connection.commit()


def cancel(connection):
    timer = threading.Timer(0.5, connection.cancel_safe)
    timer.start()
    try:
        connection.execute("select pg_sleep(30)")
        raise AssertionError("not cancelled")
    except psycopg.errors.QueryCanceled:
        connection.rollback()
    timer.join()


def main():
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        for step in (create, insert_and_read, transactions, errors, prepared, pipeline, large_rows, server_cursor, copy_out, settings, cancel):
            step(connection)
            print("ok", step.__name__)
        connection.execute(f"drop table {TABLE}")


main()
