//! What a statement asks of the session, apart from where it runs.

/// A possibly qualified name, folded to lower case unless it was quoted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    pub schema: Option<String>,
    pub name: String,
}

impl ObjectName {
    /// As SQL that means this name whatever it is made of.
    #[must_use]
    pub fn quoted(&self) -> String {
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        self.schema.iter().chain([&self.name]).map(|name| quote(name)).collect::<Vec<_>>().join(".")
    }
}

/// The value of `SET name = …`, as the client wrote it after `=` or `TO`: safe to send again as SQL.
pub type SettingText = String;

/// Whether a setting lasts for the session or for the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Session,
    Transaction,
}

/// What `DISCARD` throws away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardTarget {
    All,
    Plans,
    Temporary,
    Sequences,
}

/// The statement's kind. What is not special to a session is `Query` (returns to its caller whatever the server says).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing but blanks and comments.
    Empty,
    /// SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE, EXPLAIN of those, and everything the session need not know.
    Query,
    /// BEGIN or START TRANSACTION, of a form known to be valid (else `Query`). `read_only` as far as it says so.
    Begin {
        read_only: Option<bool>,
    },
    /// COMMIT or END.
    Commit {
        chain: bool,
    },
    /// ROLLBACK or ABORT.
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    /// PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED: refused, two-phase commit belongs to the proxy.
    TwoPhase,
    /// SET [SESSION|LOCAL] name = value, SET TIME ZONE, SET ROLE, SET NAMES, SET SCHEMA, all under their `pg_settings` name (`TimeZone`, `role`, `client_encoding`, `search_path`),
    /// lower case. `None` for DEFAULT. `SELECT set_config('name', 'value', is_local)` with literals and nothing else in the SELECT is `SetConfig`.
    Set {
        name: String,
        value: Option<SettingText>,
        scope: Scope,
    },
    /// SET [SESSION CHARACTERISTICS AS] TRANSACTION …: run where the transaction is. `session` for SESSION CHARACTERISTICS.
    SetTransaction {
        session: bool,
    },
    /// `SELECT set_config(…)`; value as an SQL literal. The statement itself is still run as a query.
    SetConfig {
        name: String,
        value: SettingText,
        scope: Scope,
    },
    Reset {
        name: String,
    },
    ResetAll,
    /// SHOW of `shardyard.*`; other SHOWs are `Query`.
    ShowOwn {
        name: String,
    },
    Discard(DiscardTarget),
    /// PREPARE name [(types)] AS statement. Both spans are byte ranges of the statement's text.
    Prepare {
        name: String,
        types: Option<std::ops::Range<usize>>,
        statement: std::ops::Range<usize>,
    },
    /// EXECUTE name [(arguments)]. `name_span` covers the name's token, `arguments` the text between the parentheses.
    Execute {
        name: String,
        name_span: std::ops::Range<usize>,
        arguments: Option<std::ops::Range<usize>>,
    },
    /// DEALLOCATE name, or ALL.
    Deallocate {
        name: Option<String>,
    },
    /// DECLARE name CURSOR … FOR query. Runs where the query runs.
    DeclareCursor {
        name: String,
        hold: bool,
    },
    /// FETCH, MOVE or CLOSE (`None` for CLOSE ALL): runs where the cursor is.
    Cursor {
        name: Option<String>,
        close: bool,
    },
    /// COPY … FROM STDIN.
    CopyFrom,
    /// COPY … TO STDOUT.
    CopyTo,
    Listen(Listen),
    Notify,
    /// CREATE, ALTER, DROP, TRUNCATE, COMMENT, GRANT, REVOKE, REINDEX, VACUUM, ANALYZE, CLUSTER, REFRESH, SECURITY LABEL, LOCK, IMPORT …
    Ddl(Ddl),
    /// EXPLAIN (ROUTE) statement; the span of the statement.
    ExplainRoute {
        statement: std::ops::Range<usize>,
    },
    /// A statement that leaves state in the server's session which cannot be carried to another server connection:
    /// LOAD, CREATE TEMP …, SELECT … INTO TEMP, session advisory locks (any call of pg_advisory_lock, pg_try_advisory_lock and their shared forms).
    Pinning {
        temporary_tables: Vec<String>,
        ddl: Option<Ddl>,
    },
}

/// LISTEN or UNLISTEN, with the channel as the server folds and cuts its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    To(String),
    Not(String),
    /// UNLISTEN *.
    NotAny,
    /// A form not known to be valid.
    Unclear,
}

/// What a DDL or utility statement works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ddl {
    pub verb: DdlVerb,
    pub object: DdlObject,
    /// Relations named as the statement's object (CREATE INDEX: its table), in order.
    pub relations: Vec<ObjectName>,
    /// Every other relation that the statement names (REFERENCES, LIKE, INHERITS, PARTITION OF, the query of a view or of CREATE TABLE AS).
    pub uses: Vec<ObjectName>,
    /// CONCURRENTLY, VACUUM, CREATE DATABASE …: PostgreSQL refuses it inside a transaction block.
    pub outside_transaction: bool,
    /// `/* shardyard: reference */` stands before the statement.
    pub as_reference: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DdlVerb {
    Create,
    Alter,
    Drop,
    Truncate,
    Comment,
    Grant,
    Maintain,
    Lock,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DdlObject {
    Table,
    TableAs,
    Index,
    View,
    MaterializedView,
    Sequence,
    Trigger,
    /// Of no single relation, wanted alike on every shard: SCHEMA, TYPE, DOMAIN, FUNCTION, EXTENSION, ROLE, …
    Global,
    /// DATABASE, TABLESPACE, SUBSCRIPTION, …: refused through the proxy.
    Server,
}
