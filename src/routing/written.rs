//! Statements whose tables of WITH write, where each shard can run the whole: no part combines rows of different keys.
//!
//! Every part (each table of WITH that writes, and the statement itself) writes a sharded table, and all that it reads, rows that another
//! part returns included, has the key of the row that it writes. So each shard's parts concern its own keys and no others, and what the
//! shards do together is what one server would do.

use std::ops::Range;

use crate::routing::each::names_clock;
use crate::routing::facts::{ShardedUse, UseKey};
use crate::routing::region::{RegionId, Term};
use crate::routing::spread::Sought;
use crate::sql::ast::{Source, Statement, Target, With};

/// A table of WITH that writes.
#[derive(Clone, Debug)]
pub(crate) struct WrittenTable {
    /// The appearances of sharded tables in it, as places among [`crate::routing::facts::Facts::sharded`].
    pub uses: Range<usize>,
    /// Where it reads what others return, as places among [`crate::routing::facts::Facts::returned`].
    pub returned: Range<usize>,
    /// As [`crate::routing::facts::Facts::stored`].
    pub stored: Option<(Term, RegionId)>,
}

/// A place where rows that a table of WITH returns are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReturnedUse {
    /// The column that is the key of the written row.
    pub key: Option<Term>,
    pub region: RegionId,
}

/// Whether a table of WITH writes.
pub(crate) fn has_written(with: &With) -> bool {
    with.tables.iter().any(|table| !matches!(table.statement, Statement::Query(_)))
}

/// Whether every shard can run the statement; else why not.
pub(crate) fn check(sought: &Sought<'_>, with: &With) -> Result<(), String> {
    let facts = &sought.analyzer.facts;
    if let Some(table) = facts.single.first().or(facts.home.first()).or(facts.reference_writes.first()) {
        return Err(format!("\"{table}\" is not sharded, and a table of WITH writes"));
    }
    if let Some(what) = facts.differences.iter().find(|what| what.starts_with("the default of") || *what == "DEFAULT") {
        return Err(format!("a table of WITH writes, and {what} may differ between shards"));
    }
    let written = with.tables.iter().filter(|table| !matches!(table.statement, Statement::Query(_)));
    for (table, found) in written.zip(&facts.written) {
        let part = Part {
            sought,
            uses: facts.sharded.get(found.uses.clone()).unwrap_or_default().iter().collect(),
            returned: facts.returned.get(found.returned.clone()).unwrap_or_default().to_vec(),
            stored: found.stored,
        };
        let unnamed = |target: &Target| target.alias.is_none() && names_clock(&target.expr);
        if returning(&table.statement).iter().any(unnamed) {
            return Err(format!("\"{}\" of WITH writes: RETURNING names the clock without AS", table.name));
        }
        part.check(&table.statement).map_err(|reason| format!("\"{}\" of WITH writes: {reason}", table.name))?;
    }
    let is_apart = |at: usize, range: fn(&WrittenTable) -> &Range<usize>| facts.written.iter().any(|table| range(table).contains(&at));
    let uses = facts.sharded.iter().enumerate().filter(|(at, _)| !is_apart(*at, |table| &table.uses)).map(|(_, sharded)| sharded);
    let returned =
        facts.returned.iter().enumerate().filter(|(at, _)| !is_apart(*at, |table| &table.returned)).map(|(_, returned)| *returned);
    let part = Part { sought, uses: uses.collect(), returned: returned.collect(), stored: facts.stored };
    part.check(sought.statement).map_err(|reason| format!("a table of WITH writes: {reason}"))
}

fn returning(statement: &Statement) -> &[Target] {
    match statement {
        Statement::Insert(insert) => &insert.returning,
        Statement::Update(update) => &update.returning,
        Statement::Delete(delete) => &delete.returning,
        Statement::Merge(merge) => &merge.returning,
        Statement::Query(_) => &[],
    }
}

/// One statement among those that make up the whole.
struct Part<'a> {
    sought: &'a Sought<'a>,
    uses: Vec<&'a ShardedUse>,
    returned: Vec<ReturnedUse>,
    stored: Option<(Term, RegionId)>,
}

impl Part<'_> {
    fn check(&self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::Update(_) | Statement::Delete(_) => self.change(),
            Statement::Insert(insert) if matches!(insert.source, Source::Query(_)) => self.insert(),
            Statement::Insert(_) => Err("an INSERT without a query".to_owned()),
            Statement::Query(_) => Err("the statement itself is a query".to_owned()),
            Statement::Merge(_) => Err("a MERGE".to_owned()),
        }
    }

    /// UPDATE and DELETE: the first of its tables is the one that is written.
    fn change(&self) -> Result<(), String> {
        match self.uses.split_first() {
            Some((ShardedUse { by: UseKey::Term { term, .. }, .. }, others)) => self.all_equal(*term, others),
            _ => Err("what is written is not understood".to_owned()),
        }
    }

    /// INSERT of a query's rows: its table's own appearance says nothing of what is read.
    fn insert(&self) -> Result<(), String> {
        let Some((stored, block)) = self.stored else { return Err("the key that is stored is no column of the query".to_owned()) };
        let mut read = Vec::with_capacity(self.uses.len());
        read.extend(self.uses.iter().copied().filter(|sharded| matches!(sharded.by, UseKey::Term { .. })));
        if self.uses.len() != read.len() + 1 {
            return Err("what is written is not understood".to_owned());
        }
        let tables =
            read.iter().filter_map(|sharded| if let UseKey::Term { term, region } = sharded.by { Some((term, region)) } else { None });
        let returned = self.returned.iter().filter_map(|returned| Some((returned.key?, returned.region)));
        let regions = self.sought.regions();
        let source = tables.chain(returned).find(|(term, region)| *region == block && regions.are_equal(block, *term, stored));
        match source {
            Some((source, _)) => self.all_equal(source, &read),
            None => Err("the key that is stored is not that of a row it reads".to_owned()),
        }
    }

    fn all_equal(&self, key: Term, uses: &[&ShardedUse]) -> Result<(), String> {
        let regions = self.sought.regions();
        for sharded in uses {
            let equal = matches!(sharded.by, UseKey::Term { term, region } if regions.are_equal(region, term, key));
            if !equal {
                return Err(format!("\"{}\" is not joined by the shard key", sharded.table));
            }
        }
        for returned in &self.returned {
            let Some(term) = returned.key else { return Err("RETURNING does not give the shard key of what is read".to_owned()) };
            if term != key && !regions.are_equal(returned.region, term, key) {
                return Err("what is returned is not joined by the shard key".to_owned());
            }
        }
        Ok(())
    }
}
