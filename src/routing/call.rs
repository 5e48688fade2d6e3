//! Functions: which may run on a replica, which give the same on every shard, which read tables unseen.

use crate::routing::analyze::Analyzer;
use crate::routing::refusal::Refusal;
use crate::sql::ast::Call;
use crate::sql::session_state::locks_for_the_session;
use crate::topology::schema::Volatility;

impl Analyzer<'_> {
    pub(crate) fn call(&mut self, call: &Call) {
        let name = call.name.as_str();
        let volatility = self.volatility(call);
        self.facts.calls.push((name.to_owned(), volatility));
        if volatility.is_none_or(|volatility| volatility == Volatility::Volatile) {
            self.facts.volatile.get_or_insert_with(|| name.to_owned());
        }
        if volatility != Some(Volatility::Immutable) || call.ordered || call.window || depends_on_order(name) {
            self.facts.differs(&format!("{name}()"));
        }
        if !is_alike_everywhere(call, volatility) {
            self.facts.varies(&format!("{name}()"));
        }
        self.sequence_state(name);
        self.listening_state(name);
        let facts = self.planner.schema.function(name);
        self.facts.session_state |=
            locks_for_the_session(name) || name == "set_config" || facts.is_some_and(|facts| facts.leaves_session_state);
        if facts.is_some_and(|facts| facts.names_sharded_table) {
            self.facts.refuse_unless_hinted(Refusal::with_routing_hint(
                format!("function \"{name}\" reads a sharded table"),
                "Its body names a sharded table, so what it does depends on the shard it runs on.".to_owned(),
            ));
        }
        if reads_a_text_query(name) && self.has_sharded_tables() {
            self.facts.refuse_unless_hinted(Refusal::with_routing_hint(
                format!("function \"{name}\" reads tables that the proxy cannot see"),
                "It runs a query that it is given as text.".to_owned(),
            ));
        }
    }

    /// The values of `currval` and `lastval` are a server connection's, which the next statement need not meet again.
    fn sequence_state(&mut self, name: &str) {
        if matches!(name, "currval" | "lastval") && self.has_sharded_tables() {
            self.facts.refuse_unless_hinted(Refusal::unsupported(
                format!("function \"{name}\" is not supported on a sharded database"),
                "Its value belongs to the server connection that drew from the sequence, on whichever shard that was.".to_owned(),
                "Use INSERT … RETURNING.".to_owned(),
            ));
        }
    }

    /// No server connection listens for the client: the proxy does.
    fn listening_state(&mut self, name: &str) {
        if name == "pg_listening_channels" {
            self.facts.refuse(Refusal::unsupported(
                format!("function \"{name}\" is not supported"),
                "The proxy listens for its clients on connections of its own.".to_owned(),
                "Keep the names of the channels where LISTEN is sent.".to_owned(),
            ));
        }
    }

    fn volatility(&self, call: &Call) -> Option<Volatility> {
        let known = self.planner.schema.function(&call.name).map(|facts| facts.volatility);
        known.or_else(|| keyword_volatility(&call.name))
    }

    pub(crate) fn has_sharded_tables(&self) -> bool {
        self.planner.schema.relations().any(|relation| matches!(relation.placement, crate::topology::Placement::Sharded { .. }))
    }
}

/// Functions that are keywords to PostgreSQL's grammar, and not by these names in `pg_proc`.
fn keyword_volatility(name: &str) -> Option<Volatility> {
    match name {
        "overlay" | "position" | "substring" | "trim" | "normalize" => Some(Volatility::Immutable),
        "current_date" | "current_time" | "current_timestamp" | "localtime" | "localtimestamp" | "extract" | "json_object"
        | "json_array" => Some(Volatility::Stable),
        "current_user" | "session_user" | "user" | "current_role" | "current_catalog" | "current_schema" | "system_user" => {
            Some(Volatility::Stable)
        }
        _ => None,
    }
}

/// Aggregates whose result depends on the order of rows, which each server chooses.
pub(crate) fn depends_on_order(name: &str) -> bool {
    const ORDERED: [&str; 13] = [
        "array_agg",
        "avg",
        "json_agg",
        "json_object_agg",
        "jsonb_agg",
        "jsonb_object_agg",
        "mode",
        "stddev",
        "string_agg",
        "sum",
        "variance",
        "xmlagg",
        "any_value",
    ];
    ORDERED.contains(&name)
        || name.starts_with("stddev_")
        || name.starts_with("var_")
        || name.starts_with("regr_")
        || name.starts_with("json_")
}

/// Whether the call gives the same on every server that has the same settings: immutable functions, and of the built-in stable ones those
/// that ask neither the clock nor the server.
fn is_alike_everywhere(call: &Call, volatility: Option<Volatility>) -> bool {
    const STABLE: [&str; 44] = [
        "any_value",
        "array_agg",
        "array_to_json",
        "array_to_string",
        "array_to_tsvector",
        "concat",
        "concat_ws",
        "current_role",
        "current_schema",
        "current_user",
        "date_bin",
        "date_part",
        "date_trunc",
        "extract",
        "format",
        "generate_series",
        "json_agg",
        "json_array",
        "json_build_array",
        "json_build_object",
        "json_object",
        "length",
        "json_object_agg",
        "jsonb_agg",
        "jsonb_build_array",
        "jsonb_build_object",
        "jsonb_object_agg",
        "make_timestamptz",
        "overlaps",
        "plainto_tsquery",
        "quote_literal",
        "quote_nullable",
        "row_to_json",
        "session_user",
        "string_agg",
        "timezone",
        "to_char",
        "to_date",
        "to_json",
        "to_jsonb",
        "to_timestamp",
        "to_tsquery",
        "to_tsvector",
        "unnest",
    ];
    match volatility {
        Some(Volatility::Immutable) => true,
        // age(x) counts from today.
        Some(Volatility::Stable) if call.name == "age" => call.arguments.len() > 1,
        Some(Volatility::Stable) => STABLE.contains(&call.name.as_str()),
        Some(Volatility::Volatile) | None => false,
    }
}

fn reads_a_text_query(name: &str) -> bool {
    const READERS: [&str; 4] = ["query_to_", "table_to_xml", "schema_to_xml", "database_to_xml"];
    READERS.iter().any(|prefix| name.starts_with(prefix)) || matches!(name, "cursor_to_xml" | "ts_stat" | "dblink" | "crosstab")
}
