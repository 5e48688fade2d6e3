//! Where one execution of a statement goes.

use crate::topology::ShardId;

/// Where one execution of a statement goes. The later multi-shard routes (scatter, gather, split) join here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// No table, or only the catalogs: the home shard answers.
    Home,
    /// Only reference tables are read: any shard can answer.
    Any,
    /// All sharded tables in the statement are bound to keys of this one shard.
    One(ShardId),
    /// The same on every shard, in one transaction: writes to reference tables that are the same wherever they run.
    Everywhere,
}

/// The parameters of a Bind message, undecoded.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParameterValues<'a> {
    /// One per parameter: its bytes, `None` for NULL.
    pub values: &'a [Option<&'a [u8]>],
    /// As in Bind: empty (all text), one for all, or one each; 0 text, 1 binary.
    pub formats: &'a [i16],
    /// Type oids from Parse; 0 or absent where Parse left them open (then the key column's type counts).
    pub types: &'a [u32],
}
