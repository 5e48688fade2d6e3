//! PostgreSQL's keywords by where they may stand as names: `kwlist.h` of PostgreSQL 18. Words not listed may stand anywhere.

/// Whether `word`, folded, may be a column's or table's name, or an alias behind a table.
#[must_use]
pub fn is_column_name(word: &str) -> bool {
    !has(&RESERVED, word) && !has(&TYPE_OR_FUNCTION, word)
}

/// Whether `word` may be a function's or type's name.
#[must_use]
pub fn is_function_name(word: &str) -> bool {
    !has(&RESERVED, word) && !has(&COLUMN_ONLY, word)
}

/// Whether `word` may be the alias of a target without AS.
#[must_use]
pub fn is_bare_label(word: &str) -> bool {
    !has(&NEEDS_AS, word)
}

#[must_use]
pub fn is_reserved(word: &str) -> bool {
    has(&RESERVED, word)
}

fn has(list: &[&str], word: &str) -> bool {
    list.binary_search(&word).is_ok()
}

/// Names of nothing unless quoted.
#[rustfmt::skip]
const RESERVED: [&str; 78] = [
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both", "case", "cast", "check", "collate", "column",
    "constraint", "create", "current_catalog", "current_date", "current_role", "current_time", "current_timestamp", "current_user",
    "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "from", "grant",
    "group", "having", "in", "initially", "intersect", "into", "lateral", "leading", "limit", "localtime", "localtimestamp", "not",
    "null", "offset", "on", "only", "or", "order", "placing", "primary", "references", "returning", "select", "session_user", "some",
    "symmetric", "system_user", "table", "then", "to", "trailing", "true", "union", "unique", "user", "using", "variadic", "when",
    "where", "window", "with",
];

/// Names of functions and types, not of columns.
#[rustfmt::skip]
const TYPE_OR_FUNCTION: [&str; 23] = [
    "authorization", "binary", "collation", "concurrently", "cross", "current_schema", "freeze", "full", "ilike", "inner", "is",
    "isnull", "join", "left", "like", "natural", "notnull", "outer", "overlaps", "right", "similar", "tablesample", "verbose",
];

/// Names of columns, not of functions; some begin expressions of their own.
#[rustfmt::skip]
const COLUMN_ONLY: [&str; 63] = [
    "between", "bigint", "bit", "boolean", "char", "character", "coalesce", "dec", "decimal", "exists", "extract", "float", "greatest",
    "grouping", "inout", "int", "integer", "interval", "json", "json_array", "json_arrayagg", "json_exists", "json_object",
    "json_objectagg", "json_query", "json_scalar", "json_serialize", "json_table", "json_value", "least", "merge_action", "national",
    "nchar", "none", "normalize", "nullif", "numeric", "out", "overlay", "position", "precision", "real", "row", "setof", "smallint",
    "substring", "time", "timestamp", "treat", "trim", "values", "varchar", "xmlattributes", "xmlconcat", "xmlelement", "xmlexists",
    "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable",
];

/// As a target's alias only behind AS.
#[rustfmt::skip]
const NEEDS_AS: [&str; 39] = [
    "array", "as", "char", "character", "create", "day", "except", "fetch", "filter", "for", "from", "grant", "group", "having", "hour",
    "intersect", "into", "isnull", "limit", "minute", "month", "notnull", "offset", "on", "order", "over", "overlaps", "precision",
    "returning", "second", "to", "union", "varying", "where", "window", "with", "within", "without", "year",
];
