//! Where mutation begins: one valid input of each kind.

pub(crate) const STARTUP: &[&[u8]] = &[
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\0\0\0\x08\x04\xd2\x16\x30",
    b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x2a\0\0\0\x07",
    b"\0\0\0\x21\0\x03\0\0user\0app\0database\0app\0\0",
    b"\0\0\0\x2b\0\x03\0\x02user\0app\0_pq_.unknown\0on\0options\0-c a=b\0\0",
    b"\0\0\x27\x11\0\x03\0\0",
];

pub(crate) const CLIENT_STREAM: &[&[u8]] = &[
    b"Q\0\0\0\x0dSELECT 1\0",
    b"P\0\0\0\x12s\0SELECT $1\0\0\0B\0\0\0\x13p\0s\0\0\0\0\x01\0\0\0\x011\0\0D\0\0\0\x07Pp\0E\0\0\0\x0bp\0\0\0\0\0S\0\0\0\x04",
    b"d\0\0\0\x091\t2\n\nc\0\0\0\x04f\0\0\0\x08why\0",
    b"p\0\0\0\x0bsecret\0X\0\0\0\x04",
    b"H\0\0\0\x04C\0\0\0\x07Ss\0F\0\0\0\x10\0\0\0\x01\0\0\0\0\0\0",
];

pub(crate) const CLIENT_BODY: &[&[u8]] = &[
    b"SELECT 1\0",
    b"s\0SELECT $1, $2\0\0\x02\0\0\0\x17\0\0\0\0",
    b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x2a\xff\xff\xff\xff\0\x01\0\x01",
    b"\0\0\0\0\0\0\0\0",
    b"Ss\0",
    b"Pp\0",
    b"p\0\0\0\0\x64",
    b"SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=rOprNGfwEbeRWgbNEkqO12345",
    b"SCRAM-SHA-256-PLUS\0\xff\xff\xff\xff",
];

pub(crate) const SERVER_BODY: &[&[u8]] = &[
    b"SERROR\0VERROR\0C42P01\0Mrelation \"t\" does not exist\0P15\0Fparse_relation.c\0L1392\0RparserOpenTable\0\0",
    b"SNOTICE\0C00000\0Mhello\0Dmore\0Hless\0\0",
    b"TimeZone\0Europe/Vaduz\0",
    b"\0\0\x01\x02abcd",
    b"I",
];

pub(crate) const SQL: &[&[u8]] = &[
    b"SELECT a, b FROM t WHERE user_id = 42 AND c > 1.5e3 ORDER BY b LIMIT 10",
    b"select * from orders o join items i on i.user_id = o.user_id and i.order_id = o.id where o.user_id = $1",
    b"INSERT INTO t (user_id, note) VALUES (7, 'it''s'), (8, E'a\\'b\\n\\u00e9') ON CONFLICT (user_id) DO UPDATE SET note = excluded.note RETURNING *",
    b"UPDATE t SET a = a + 1, b = U&'d\\0061t\\+000061' UESCAPE '!' WHERE user_id IN (1, 2, -3)",
    b"DELETE FROM public.\"T\"\"x\" USING u WHERE \"T\"\"x\".user_id = ANY('{1,2}'::bigint[])",
    b"WITH x AS (SELECT 1) SELECT $tag$ a $$ 'b' $tag$, $$c$$, B'101', X'1F', N'n' /* a /* nested */ comment */ -- end\n FROM x",
    b"/* shardyard: key=42 */ SELECT 1; SET shardyard.key = '42'; SHOW shardyard.token",
    b"CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END; SELECT 2",
    b"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
    b"SELECT 'a'\n'b' -- c\n'd', 0x1F, 0b1, 1_000, 1., .5, 1..2, a[1:2], x->>'y', (r).f, @-1, !!3, a<=-1, 2*-1",
    b"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; COMMIT AND CHAIN",
    b"COPY t (user_id, a) FROM STDIN WITH (FORMAT csv, HEADER)",
    b"PREPARE p (bigint, text) AS SELECT * FROM t WHERE user_id = $1; EXECUTE p (1, 'x'); DEALLOCATE p",
    b"EXPLAIN (ROUTE) SELECT * FROM t WHERE (a, user_id) = (1, 2) AND NOT EXISTS (SELECT 1 FROM u WHERE u.user_id = t.user_id)",
    b"MERGE INTO t USING s ON t.user_id = s.user_id WHEN MATCHED THEN UPDATE SET a = s.a WHEN NOT MATCHED THEN INSERT VALUES (s.user_id, 1)",
    b"SELECT set_config('search_path', 'a, b', false), \"set_config\"('x', 'y', true)",
];

pub(crate) const KEYS: &[&[u8]] = &[
    b"42",
    b" -0042 ",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"1.50",
    b"1e300000000",
    b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    b"{A0EEBC999C0B4EF8BB6D6BB9BD380A11}",
    b"0x2a",
    b"1_000",
    b"text  ",
    b"\xff",
];

/// Numbers from which statements are made.
pub(crate) const SEEDS: &[&[u8]] = &[b"\0\0\0\0\0\0\0\0", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"12345678"];
