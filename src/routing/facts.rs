//! What a statement is found to do: tables by kind, functions by volatility, writes.

use std::ops::Range;
use std::sync::Arc;

use crate::routing::refusal::Refusal;
use crate::routing::region::{RegionId, Term, ValueSet};
use crate::routing::scope::Ranges;
use crate::routing::value::Value;
use crate::routing::written::{ReturnedUse, WrittenTable};
use crate::topology::KeyType;
use crate::topology::schema::{Relation, Volatility};

/// One appearance of a sharded table.
#[derive(Clone, Debug)]
pub(crate) struct ShardedUse {
    pub table: String,
    pub key_column: String,
    pub key_type: KeyType,
    pub by: UseKey,
}

/// How an appearance gets its key.
#[derive(Clone, Debug)]
pub(crate) enum UseKey {
    /// By the conditions on the key column.
    Term { term: Term, region: RegionId },
    /// By the rows an INSERT stores; every one has to fit.
    Rows(ValueSet),
    /// By the query an INSERT reads: any of these sets holds all its keys.
    Sets(Vec<ValueSet>),
    /// Not at all.
    Unknown,
}

/// SET of the key column to a constant: right only where it changes nothing.
#[derive(Clone, Debug)]
pub(crate) struct KeyUpdate {
    pub table: String,
    pub key_column: String,
    pub key_type: KeyType,
    pub value: Value,
}

/// A MERGE: what is joined in it.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The key of the target, if it is sharded.
    pub key: Option<Term>,
    /// Where ON holds.
    pub matched: RegionId,
    /// Where the source's own conditions hold.
    pub region: RegionId,
    pub source: Ranges,
    /// The sharded tables that the source reads, as places among [`Facts::sharded`].
    pub source_uses: Range<usize>,
    /// The source's column that each INSERT stores as the key; `None`: something else.
    pub inserted: Vec<Option<Term>>,
}

/// Everything the decision needs.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub sharded: Vec<ShardedUse>,
    pub key_updates: Vec<KeyUpdate>,
    pub reference: Vec<String>,
    pub reference_writes: Vec<String>,
    /// Single tables of users.
    pub single: Vec<String>,
    /// Catalogs, temporary tables and unknown relations: on the home shard.
    pub home: Vec<String>,
    /// What it names outside of views, each once.
    pub relations: Vec<Arc<Relation>>,
    /// Catalogs among `home`.
    pub catalogs: Vec<String>,
    pub unknown_relations: bool,
    /// INSERT, UPDATE, DELETE, MERGE somewhere.
    pub writes: bool,
    /// FOR UPDATE and the like somewhere.
    pub locking: bool,
    /// The same in a query within the statement's own.
    pub locking_inside: bool,
    /// A refusal that no routing hint lifts.
    pub hard: Option<Refusal>,
    /// A refusal that a routing hint lifts.
    pub soft: Option<Refusal>,
    /// A view is not understood; a gather needs only the names in it.
    pub unclear_view: Option<Refusal>,
    /// A function that is volatile, or unknown.
    pub volatile: Option<String>,
    /// A function or clause whose value may differ from shard to shard, for writes that run on all.
    pub differing: Option<String>,
    /// All of those, and all calls, for writes that run on several shards.
    pub differences: Vec<String>,
    pub calls: Vec<(String, Option<Volatility>)>,
    /// INSERT … SELECT: the column that becomes the key, and the region of the SELECT's own block.
    pub stored: Option<(Term, RegionId)>,
    /// Tables of WITH that write, in order, and where rows that they return are read.
    pub written: Vec<WrittenTable>,
    pub returned: Vec<ReturnedUse>,
    /// The statement's own MERGE.
    pub merged: Option<Merged>,
    /// Something whose value or rows differ from server to server, for reads that run on several.
    pub varying: Option<String>,
    /// Something stays behind in the server's session: session advisory locks, what set_config sets, what functions leave.
    pub session_state: bool,
    pub too_complex: bool,
}

impl Facts {
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.hard.get_or_insert(refusal);
    }

    pub(crate) fn refuse_unless_hinted(&mut self, refusal: Refusal) {
        self.soft.get_or_insert(refusal);
    }

    pub(crate) fn varies(&mut self, what: &str) {
        if self.varying.is_none() {
            self.varying = Some(what.to_owned());
        }
    }

    pub(crate) fn differs(&mut self, what: &str) {
        self.differences.push(what.to_owned());
        if self.differing.is_none() {
            self.differing = Some(what.to_owned());
        }
    }
}
