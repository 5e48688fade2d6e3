//! Where one execution of a statement goes.

use std::sync::Arc;

use crate::routing::copy::CopyPlan;
use crate::routing::each::EachPlan;
use crate::routing::feed::FeedPlan;
use crate::routing::gather::GatherPlan;
use crate::routing::locked::LockedPlan;
use crate::routing::plan::Access;
use crate::routing::scatter::ScatterPlan;
use crate::routing::sequence::Setting;
use crate::routing::split::Split;
use crate::sql::literal::Literal;
use crate::topology::ShardId;

/// Where one execution of a statement goes.
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
    /// Read on these shards, merged in the proxy.
    Scatter { plan: Arc<ScatterPlan>, shards: Vec<ShardId> },
    /// Its tables are brought to the home shard, which computes.
    Gather(Arc<GatherPlan>),
    /// The same on each of these shards, counts added, in one transaction.
    Each { plan: Arc<EachPlan>, shards: Vec<ShardId> },
    /// Rows shared out over shards, in one transaction.
    Split(Arc<Split>),
    /// The rows of its query shared out over shards, in one transaction.
    Feed(Arc<FeedPlan>),
    /// A write of rows that queries in it lock: those run first, then it is planned with their rows, in one transaction.
    Locked(Arc<LockedPlan>),
    /// Rows are locked, and the clock is named: to be planned again with a moment in the clock's place.
    Timed,
    /// setval; on all shards if the sequence is a sharded table's.
    Sequence(Arc<Setting>),
    /// COPY of a table on several shards.
    Copy(Arc<CopyPlan>),
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
    /// SQL's PREPARE may have named types that are not among these.
    pub types_unknown: bool,
}

/// Where the values of one execution stand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values<'a> {
    /// The statement's text, the one that was scanned.
    pub text: &'a [u8],
    pub literals: &'a [Literal],
    pub parameters: ParameterValues<'a>,
    /// The client's encoding is not UTF-8: keys with bytes outside ASCII are refused, their hash is made of UTF-8.
    pub other_encoding: bool,
}

/// What a hint asks for: the shard of a key, or a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HintTarget {
    Key(String),
    Shard(u16),
}

/// The session's `SET shardyard.key`, `shardyard.shard` and the like. Hints in the statement's text win over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    pub target: Option<HintTarget>,
    pub access: Option<Access>,
}
