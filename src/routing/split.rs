//! Writes that run on several shards: rows shared out by their keys, or the same on each shard.

use crate::routing::spread::{Sought, Spread};

/// How a statement's rows or keys are shared out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitPlan {}

/// How a write runs on several shards (`Spread::Each` or `Spread::Split`); else why it cannot.
pub(crate) fn plan(_sought: &Sought<'_>) -> Result<Spread, String> {
    Err("not built yet".to_owned())
}
