//! Commands by their texts.

use crate::sql::classify::classify;
use crate::sql::command::{Command, DdlObject, DdlVerb, DiscardTarget, Listen, Scope};
use crate::sql::cursor::Tokens;

fn command(text: &str) -> Command {
    let tokens = Tokens::new(text.as_bytes(), true).unwrap_or_else(|error| panic!("{text}: {error}"));
    classify(tokens.cursor()).command
}

fn set(name: &str, value: Option<&str>, scope: Scope) -> Command {
    Command::Set { name: name.to_owned(), value: value.map(str::to_owned), scope }
}

#[test]
fn transactions() {
    let begin = |read_only| Command::Begin { read_only };
    let cases = [
        ("", Command::Empty),
        ("-- nothing", Command::Empty),
        ("BEGIN", begin(None)),
        ("begin work;", begin(None)),
        ("START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", begin(Some(true))),
        ("BEGIN READ WRITE NOT DEFERRABLE", begin(Some(false))),
        ("BEGIN nonsense", Command::Query),
        ("BEGIN READ ONLY,", Command::Query),
        ("COMMIT", Command::Commit { chain: false }),
        ("END TRANSACTION AND CHAIN", Command::Commit { chain: true }),
        ("ROLLBACK AND NO CHAIN", Command::Rollback { chain: false }),
        ("ABORT", Command::Rollback { chain: false }),
        ("ROLLBACK TO a", Command::RollbackTo("a".to_owned())),
        ("ROLLBACK WORK TO SAVEPOINT \"A\"", Command::RollbackTo("A".to_owned())),
        ("SAVEPOINT Abc", Command::Savepoint("abc".to_owned())),
        ("RELEASE SAVEPOINT a", Command::Release("a".to_owned())),
        ("RELEASE a", Command::Release("a".to_owned())),
        ("PREPARE TRANSACTION 'x'", Command::TwoPhase),
        ("COMMIT PREPARED 'x'", Command::TwoPhase),
        ("ROLLBACK PREPARED 'x'", Command::TwoPhase),
    ];
    for (text, expected) in cases {
        assert_eq!(command(text), expected, "{text}");
    }
}

#[test]
fn settings() {
    let session = Scope::Session;
    let cases = [
        ("SET search_path = a, \"B\"", set("search_path", Some("a, \"B\""), session)),
        ("SET LOCAL statement_timeout TO '5s'", set("statement_timeout", Some("'5s'"), Scope::Transaction)),
        ("SET SESSION DateStyle = ISO, DMY;", set("datestyle", Some("ISO, DMY"), session)),
        ("SET x.y = -1", set("x.y", Some("-1"), session)),
        ("SET a TO DEFAULT", set("a", None, session)),
        ("SET a = on", set("a", Some("on"), session)),
        ("SET TIME ZONE 'UTC'", set("timezone", Some("'UTC'"), session)),
        ("SET TIME ZONE LOCAL", set("timezone", None, session)),
        ("SET ROLE none", set("role", Some("none"), session)),
        ("SET LOCAL ROLE 'x'", set("role", Some("'x'"), Scope::Transaction)),
        ("SET SESSION AUTHORIZATION DEFAULT", set("session_authorization", None, session)),
        ("SET NAMES 'utf8'", set("client_encoding", Some("'utf8'"), session)),
        ("SET SCHEMA 'a'", set("search_path", Some("'a'"), session)),
        ("SET TRANSACTION READ ONLY", Command::SetTransaction { session: false }),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Command::SetTransaction { session: true }),
        ("SET CONSTRAINTS ALL DEFERRED", Command::SetTransaction { session: false }),
        ("SET shardyard.key = '42'", set("shardyard.key", Some("'42'"), session)),
        ("SET a = 1 + 1", Command::Query),
        ("SET", Command::Query),
        ("RESET a", Command::Reset { name: "a".to_owned() }),
        ("RESET ALL", Command::ResetAll),
        ("RESET TIME ZONE", Command::Reset { name: "timezone".to_owned() }),
        ("SHOW shardyard.key", Command::ShowOwn { name: "shardyard.key".to_owned() }),
        ("SHOW all", Command::Query),
        ("SELECT set_config('a', 'b', false)", Command::SetConfig { name: "a".to_owned(), value: "'b'".to_owned(), scope: session }),
        (
            "SELECT pg_catalog.set_config('A', 'b', true) AS x",
            Command::SetConfig { name: "a".to_owned(), value: "'b'".to_owned(), scope: Scope::Transaction },
        ),
        ("SELECT set_config('a', b, false) FROM t", Command::Query),
        ("DISCARD ALL", Command::Discard(DiscardTarget::All)),
        ("DISCARD TEMP", Command::Discard(DiscardTarget::Temporary)),
    ];
    for (text, expected) in cases {
        assert_eq!(command(text), expected, "{text}");
    }
}

#[test]
fn statements_within_statements() {
    let text = "PREPARE p (int, text) AS SELECT $1";
    assert_eq!(command(text), Command::Prepare { name: "p".to_owned(), types: Some(11..20), statement: 25..34 });
    assert_eq!(&text[11..20], "int, text");
    assert_eq!(&text[25..34], "SELECT $1");
    let text = "EXECUTE \"P\" (1, 'x')";
    assert_eq!(command(text), Command::Execute { name: "P".to_owned(), name_span: 8..11, arguments: Some(13..19) });
    assert_eq!(command("EXECUTE p"), Command::Execute { name: "p".to_owned(), name_span: 8..9, arguments: None });
    assert_eq!(command("DEALLOCATE PREPARE p"), Command::Deallocate { name: Some("p".to_owned()) });
    assert_eq!(command("DEALLOCATE ALL"), Command::Deallocate { name: None });
    assert_eq!(command("EXPLAIN (ROUTE) SELECT 1"), Command::ExplainRoute { statement: 16..24 });
    assert_eq!(command("EXPLAIN (ANALYZE, VERBOSE) SELECT 1"), Command::Query);
    assert_eq!(command("DECLARE c CURSOR WITH HOLD FOR SELECT 1"), Command::DeclareCursor { name: "c".to_owned(), hold: true });
    assert_eq!(command("DECLARE c NO SCROLL CURSOR FOR SELECT 1"), Command::DeclareCursor { name: "c".to_owned(), hold: false });
    assert_eq!(command("FETCH FORWARD 5 FROM c"), Command::Cursor { name: Some("c".to_owned()), close: false });
    assert_eq!(command("MOVE ALL IN c"), Command::Cursor { name: Some("c".to_owned()), close: false });
    assert_eq!(command("CLOSE c"), Command::Cursor { name: Some("c".to_owned()), close: true });
    assert_eq!(command("CLOSE ALL"), Command::Cursor { name: None, close: true });
    assert_eq!(command("COPY t (a, b) FROM STDIN WITH (FORMAT csv)"), Command::CopyFrom);
    assert_eq!(command("COPY (SELECT 1) TO STDOUT"), Command::CopyTo);
    assert_eq!(command("COPY t TO '/tmp/x'"), Command::Query);
    assert_eq!(command("LISTEN Chan"), Command::Listen(Listen::To("chan".to_owned())));
    assert_eq!(command("listen \"A b\";"), Command::Listen(Listen::To("A b".to_owned())));
    assert_eq!(command("UNLISTEN c"), Command::Listen(Listen::Not("c".to_owned())));
    assert_eq!(command("unlisten * ;"), Command::Listen(Listen::NotAny));
    assert_eq!(command("listen U&\"c\""), Command::Listen(Listen::Unclear));
    assert_eq!(command("listen a b"), Command::Listen(Listen::Unclear));
    assert_eq!(command("NOTIFY c, 'x'"), Command::Notify);
    assert_eq!(command("LOAD 'x'"), Command::Pinning { temporary_tables: Vec::new(), ddl: None });
}

#[test]
fn definitions_name_their_relations() {
    let cases = [
        ("CREATE TABLE a.b (id int REFERENCES c, LIKE d)", DdlVerb::Create, DdlObject::Table, "a.b", "c d"),
        ("CREATE UNLOGGED TABLE IF NOT EXISTS b PARTITION OF p FOR VALUES IN (1)", DdlVerb::Create, DdlObject::Table, "b", "p"),
        ("CREATE TABLE b () INHERITS (p, q)", DdlVerb::Create, DdlObject::Table, "b", "p q"),
        ("CREATE TABLE b AS SELECT x FROM c", DdlVerb::Create, DdlObject::TableAs, "b", "select x from c"),
        ("CREATE UNIQUE INDEX CONCURRENTLY i ON ONLY t (a)", DdlVerb::Create, DdlObject::Index, "t", ""),
        ("CREATE OR REPLACE VIEW v AS TABLE t", DdlVerb::Create, DdlObject::View, "v", "table t"),
        ("CREATE MATERIALIZED VIEW v AS TABLE t", DdlVerb::Create, DdlObject::MaterializedView, "v", "table t"),
        ("CREATE SEQUENCE s", DdlVerb::Create, DdlObject::Sequence, "s", ""),
        ("CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f()", DdlVerb::Create, DdlObject::Trigger, "t", ""),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'", DdlVerb::Create, DdlObject::Global, "", ""),
        ("CREATE DATABASE d", DdlVerb::Create, DdlObject::Server, "", ""),
        ("ALTER TABLE IF EXISTS ONLY t ADD COLUMN a int REFERENCES u", DdlVerb::Alter, DdlObject::Table, "t", "u"),
        ("ALTER TABLE t ATTACH PARTITION p DEFAULT", DdlVerb::Alter, DdlObject::Table, "t", "p"),
        ("DROP TABLE IF EXISTS a, s.b CASCADE", DdlVerb::Drop, DdlObject::Table, "a s.b", ""),
        ("DROP INDEX CONCURRENTLY i", DdlVerb::Drop, DdlObject::Index, "i", ""),
        ("TRUNCATE TABLE ONLY a, b RESTART IDENTITY", DdlVerb::Truncate, DdlObject::Table, "a b", ""),
        ("COMMENT ON TABLE t IS 'x'", DdlVerb::Comment, DdlObject::Table, "t", ""),
        ("COMMENT ON COLUMN s.t.c IS 'x'", DdlVerb::Comment, DdlObject::Table, "s.t", ""),
        ("GRANT SELECT (a), INSERT ON TABLE a, b TO x", DdlVerb::Grant, DdlObject::Table, "a b", ""),
        ("REVOKE ALL ON SCHEMA s FROM x", DdlVerb::Grant, DdlObject::Global, "", ""),
        ("GRANT role TO x", DdlVerb::Grant, DdlObject::Global, "", ""),
        ("VACUUM (ANALYZE) a, b (c)", DdlVerb::Maintain, DdlObject::Table, "a b", ""),
        ("ANALYZE t", DdlVerb::Maintain, DdlObject::Table, "t", ""),
        ("REINDEX TABLE CONCURRENTLY t", DdlVerb::Maintain, DdlObject::Table, "t", ""),
        ("REFRESH MATERIALIZED VIEW v", DdlVerb::Maintain, DdlObject::MaterializedView, "v", ""),
        ("LOCK TABLE a IN SHARE MODE", DdlVerb::Lock, DdlObject::Table, "a", ""),
    ];
    for (text, verb, object, relations, uses) in cases {
        let Command::Ddl(ddl) = command(text) else { panic!("{text}") };
        let names = |list: &[crate::sql::command::ObjectName]| {
            let name = |name: &crate::sql::command::ObjectName| {
                name.schema.as_ref().map_or(name.name.clone(), |schema| format!("{schema}.{}", name.name))
            };
            list.iter().map(name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            (ddl.verb, ddl.object, names(&ddl.relations).as_str(), names(&ddl.uses).as_str()),
            (verb, object, relations, uses),
            "{text}"
        );
    }
    let Command::Pinning { temporary_tables, ddl: Some(_) } = command("CREATE TEMP TABLE a (b int)") else { panic!() };
    assert_eq!(temporary_tables, ["a"]);
    let Command::Ddl(ddl) = command("DROP INDEX CONCURRENTLY i") else { panic!() };
    assert!(ddl.outside_transaction);
}
