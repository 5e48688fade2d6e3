"""asyncpg against DATABASE_URL: everything it sends is prepared and binary, its type introspection runs on the catalogs."""

import asyncio
import os
import uuid
from datetime import datetime, timezone
from decimal import Decimal

import asyncpg

TABLE = "driver_asyncpg"


async def create(connection):
    await connection.execute(f"drop table if exists {TABLE}")
    await connection.execute(
        f"create table {TABLE} (user_id bigint, item int, name text, price numeric, made timestamptz, tag uuid, list int[], primary key (user_id, item))"
    )


async def insert_and_read(connection):
    row = (7, 1, "naïve ☃", Decimal("12.3400"), datetime(2024, 2, 29, 12, 30, tzinfo=timezone.utc), uuid.UUID(int=42), [1, None, 3])
    assert await connection.execute(f"insert into {TABLE} values ($1, $2, $3, $4, $5, $6, $7)", *row) == "INSERT 0 1"
    assert tuple(await connection.fetchrow(f"select * from {TABLE} where user_id = $1", 7)) == row


async def transactions(connection):
    async with connection.transaction():
        await connection.execute(f"insert into {TABLE} (user_id, item) values (8, 1)")
        try:
            async with connection.transaction():
                await connection.execute(f"insert into {TABLE} (user_id, item) values (8, 2)")
                raise KeyError
        except KeyError:
            pass
    assert await connection.fetchval(f"select count(*) from {TABLE} where user_id = 8") == 1
    try:
        async with connection.transaction(isolation="serializable"):
            await connection.execute(f"insert into {TABLE} (user_id, item) values (8, 3)")
            raise KeyError
    except KeyError:
        pass
    assert await connection.fetchval(f"select count(*) from {TABLE} where user_id = 8") == 1


async def errors(connection):
    try:
        await connection.execute(f"insert into {TABLE} (user_id, item) values ($1, $2)", 8, 1)
        raise AssertionError("no error for a key that exists")
    except asyncpg.UniqueViolationError as error:
        assert error.constraint_name == f"{TABLE}_pkey", error.constraint_name
    try:
        await connection.fetch("select $1::int / 0", 1)
        raise AssertionError("no error for a division by zero")
    except asyncpg.DivisionByZeroError:
        pass
    assert await connection.fetchval("select 1") == 1


async def prepared(connection):
    insert = await connection.prepare(f"insert into {TABLE} (user_id, item, name) values ($1, $2, $3)")
    select = await connection.prepare(f"select item, name from {TABLE} where user_id = $1 order by item")
    for turn in range(1, 9):
        for key in range(1000, 1040):
            await insert.fetch(key, turn, f"{key}-{turn}")
    for key in range(1000, 1040):
        assert [tuple(row) for row in await select.fetch(key)] == [(turn, f"{key}-{turn}") for turn in range(1, 9)], key
    assert [attribute.name for attribute in select.get_attributes()] == ["item", "name"]


async def many(connection):
    await connection.executemany(f"insert into {TABLE} (user_id, item) values ($1, $2)", [(9, item) for item in range(500)])
    assert await connection.fetchval(f"select count(*) from {TABLE} where user_id = 9") == 500


async def cursors(connection):
    async with connection.transaction():
        items = [row["item"] async for row in connection.cursor(f"select item from {TABLE} where user_id = $1 order by item", 9, prefetch=33)]
    assert items == list(range(500))


async def large_rows(connection):
    text = "long ☃ text " * 200_000
    await connection.execute(f"insert into {TABLE} (user_id, item, name) values (10, 1, $1)", text)
    assert await connection.fetchval(f"select name from {TABLE} where user_id = 10") == text


async def own_types(connection):
    await connection.execute("drop type if exists driver_mood")
    await connection.execute("create type driver_mood as enum ('sad', 'glad')")
    await connection.reload_schema_state()
    assert await connection.fetchval("select $1::driver_mood", "glad") == "glad"
    await connection.execute("drop type driver_mood")


async def timeout(connection):
    try:
        await connection.execute("select pg_sleep(30)", timeout=0.5)
        raise AssertionError("no timeout")
    except asyncio.TimeoutError:
        pass
    assert await connection.fetchval("select 2") == 2


async def pool(_connection):
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=2, max_size=8) as clients:
        async def one(key):
            async with clients.acquire() as client:
                return await client.fetchval(f"select count(*) from {TABLE} where user_id = $1", key)

        assert await asyncio.gather(*(one(key) for key in range(1000, 1040))) == [8] * 40


async def main():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    for step in (create, insert_and_read, transactions, errors, prepared, many, cursors, large_rows, own_types, timeout, pool):
        await step(connection)
        print("ok", step.__name__)
    await connection.execute(f"drop table {TABLE}")
    await connection.close()


asyncio.run(main())
