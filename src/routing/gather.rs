//! Reads that the home shard computes over the rows of all shards.

use crate::routing::spread::Sought;
use crate::sql::ast::Query;

/// What is brought to the home shard before the statement runs there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatherPlan {}

/// The plan of a query; else why it cannot be gathered.
pub(crate) fn plan(_sought: &Sought<'_>, _query: &Query) -> Result<GatherPlan, String> {
    Err("not built yet".to_owned())
}
