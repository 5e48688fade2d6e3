// node-postgres against DATABASE_URL: create, insert, read, transaction, rollback, error, named statements, types, large rows, a pool.
"use strict";

const assert = require("node:assert/strict");
const { Client, Pool } = require("pg");

const table = "driver_node";
const connectionString = process.env.DATABASE_URL;

const steps = {
  async create(client) {
    await client.query(`drop table if exists ${table}`);
    await client.query(`create table ${table} (user_id bigint, item int, name text, price numeric, made timestamptz, data jsonb, raw bytea,
      primary key (user_id, item))`);
  },

  async insertAndRead(client) {
    const made = new Date("2024-02-29T12:30:00Z");
    const values = [7, 1, "naïve ☃", "12.3400", made, JSON.stringify({ a: [1, null] }), Buffer.from([0, 255])];
    const inserted = await client.query(`insert into ${table} values ($1, $2, $3, $4, $5, $6, $7)`, values);
    assert.equal(inserted.rowCount, 1);
    const { rows } = await client.query(`select * from ${table} where user_id = $1`, [7]);
    assert.deepEqual(rows, [
      { user_id: "7", item: 1, name: "naïve ☃", price: "12.3400", made, data: { a: [1, null] }, raw: Buffer.from([0, 255]) },
    ]);
  },

  async transactions(client) {
    await client.query("begin");
    await client.query(`insert into ${table} (user_id, item) values (8, 1)`);
    await client.query("commit");
    await client.query("begin");
    await client.query(`insert into ${table} (user_id, item) values (8, 2)`);
    await client.query("rollback");
    const { rows } = await client.query(`select item from ${table} where user_id = 8`);
    assert.deepEqual(rows, [{ item: 1 }]);
  },

  async errors(client) {
    await assert.rejects(client.query(`insert into ${table} (user_id, item) values ($1, $2)`, [8, 1]), {
      code: "23505",
      constraint: `${table}_pkey`,
    });
    await assert.rejects(client.query("selec 1"), { code: "42601", position: "1" });
    await client.query("begin");
    await assert.rejects(client.query("select 1/0"), { code: "22012" });
    await assert.rejects(client.query("select 1"), { code: "25P02" });
    await client.query("rollback");
    assert.equal((await client.query("select 1 as one")).rows[0].one, 1);
  },

  async prepared(client) {
    for (let turn = 1; turn <= 8; turn++) {
      for (let key = 1000; key < 1040; key++) {
        const text = `insert into ${table} (user_id, item, name) values ($1, $2, $3)`;
        await client.query({ name: "insert", text, values: [key, turn, `${key}-${turn}`] });
      }
    }
    for (let key = 1000; key < 1040; key++) {
      const text = `select item, name from ${table} where user_id = $1 order by item`;
      const { rows } = await client.query({ name: "select", text, values: [key] });
      assert.deepEqual(rows, Array.from({ length: 8 }, (_, turn) => ({ item: turn + 1, name: `${key}-${turn + 1}` })));
    }
  },

  async multipleStatements(client) {
    const results = await client.query("select 1 as a; select 2 as b");
    assert.deepEqual(results.map((result) => result.rows), [[{ a: 1 }], [{ b: 2 }]]);
  },

  async largeRows(client) {
    const text = "long ☃ text ".repeat(200000);
    await client.query(`insert into ${table} (user_id, item, name) values (10, 1, $1)`, [text]);
    assert.equal((await client.query(`select name from ${table} where user_id = 10`)).rows[0].name, text);
  },

  async pool() {
    const pool = new Pool({ connectionString, max: 8 });
    const counts = await Promise.all(
      Array.from({ length: 40 }, (_, at) => pool.query(`select count(*)::int as n from ${table} where user_id = $1`, [1000 + at])),
    );
    assert.ok(counts.every((result) => result.rows[0].n === 8));
    await pool.end();
  },
};

async function main() {
  const client = new Client({ connectionString });
  await client.connect();
  for (const [name, step] of Object.entries(steps)) {
    await step(client);
    console.log("ok", name);
  }
  await client.query(`drop table ${table}`);
  await client.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
