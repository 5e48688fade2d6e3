//! INSERT of a query's rows whose keys only the query tells: it is run first, and its rows are shared out like those of VALUES.

use std::ops::Range;

use crate::routing::copy::CopyKey;
use crate::routing::each::FREE;
use crate::routing::spread::Sought;
use crate::sql::ast::{Body, Expr, Insert, Source, Statement, Target, walk};
use crate::sql::clock::CLOCK;
use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::splice::{Replacement, Spliced};
use crate::topology::Placement;
use crate::topology::schema::{Relation, RelationKind, Volatility};

/// Where the parts of the statement stand, in tokens, and what its rows become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPlan {
    pub target: FeedTarget,
    pub alias: Option<String>,
    /// The defaults of the columns that are not given are made once, on the home shard: one moment for all rows.
    pub defaults: bool,
    pub schema: String,
    pub table: String,
    /// The columns that are given, in order; of a statement that does not name them all of the table.
    pub columns: Vec<String>,
    with: Range<usize>,
    head: Range<usize>,
    source: Range<usize>,
    tail: Range<usize>,
    pub returning: bool,
}

/// Where the rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedTarget {
    /// Each to the shard of its key.
    ByKey(CopyKey),
    /// A table of the home shard.
    Home,
    /// A reference table: to every shard, the defaults of the other columns made once.
    Every,
}

/// The plan, or why the statement is none of these.
pub(crate) fn plan(sought: &Sought<'_>) -> Result<FeedPlan, String> {
    let Statement::Insert(insert) = sought.statement else { return Err("it is no INSERT".to_owned()) };
    let Source::Query(query) = &insert.source else { return Err("it has no rows".to_owned()) };
    if insert.with.tables.iter().any(|table| !matches!(table.statement, Statement::Query(_))) {
        return Err("a table of WITH writes".to_owned());
    }
    if let Body::Values(rows) = &query.body
        && rows.iter().flatten().any(|value| matches!(value, Expr::Default))
    {
        return Err("its rows have DEFAULT".to_owned());
    }
    let facts = &sought.analyzer.facts;
    if facts.locking {
        return Err("rows are locked where they are".to_owned());
    }
    let relation = sought.analyzer.planner.relation(&insert.table).filter(|relation| is_table(relation));
    let relation = relation.ok_or_else(|| "it is not into a table".to_owned())?;
    runs_on_any_shard(sought, insert)?;
    let columns = match &insert.columns {
        Some(columns) => columns.clone(),
        None => relation.columns.iter().map(|column| column.name.clone()).collect(),
    };
    if (1..columns.len()).any(|at| columns.get(..at).is_some_and(|before| columns.get(at).is_some_and(|column| before.contains(column)))) {
        return Err("a column is given in parts".to_owned());
    }
    let target = match relation.placement {
        Placement::Sharded { .. } => {
            FeedTarget::ByKey(CopyKey::of(relation, &columns).ok_or_else(|| "its columns do not name the shard key".to_owned())?)
        }
        Placement::Single => FeedTarget::Home,
        Placement::Reference if has_word(sought.whole, "overriding") => return Err("OVERRIDING is used".to_owned()),
        Placement::Reference => FeedTarget::Every,
    };
    let parts = Parts::find(sought.whole).ok_or_else(|| "its parts are not found in the text".to_owned())?;
    Ok(FeedPlan {
        defaults: target == FeedTarget::Every || leaves_defaults(sought) && !has_word(sought.whole, "overriding"),
        alias: insert.alias.clone(),
        target,
        schema: relation.schema.clone(),
        table: relation.name.clone(),
        columns,
        with: parts.with,
        head: parts.head,
        source: parts.source,
        tail: parts.tail,
        returning: !insert.returning.is_empty(),
    })
}

/// Whether a column is left to a default that is another each time.
pub(crate) fn leaves_defaults(sought: &Sought<'_>) -> bool {
    sought.analyzer.facts.differences.iter().any(|what| what.starts_with("the default of"))
}

fn has_word(mut cursor: Cursor<'_>, word: &str) -> bool {
    while !cursor.at_end() {
        if cursor.is_word(word) {
            return true;
        }
        cursor.advance();
    }
    false
}

fn is_table(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::Table | RelationKind::PartitionedTable)
}

/// ON CONFLICT and RETURNING run on each shard for its rows.
fn runs_on_any_shard(sought: &Sought<'_>, insert: &Insert) -> Result<(), String> {
    let mut trouble = None;
    let mut look = |expr: &Expr| {
        walk(expr, &mut |part| match part {
            Expr::Subquery { .. } | Expr::InQuery { .. } => trouble = Some("ON CONFLICT or RETURNING reads tables".to_owned()),
            Expr::Call(call) => {
                let name = call.name.as_str();
                let volatile = sought.analyzer.planner.schema.function(name).is_some_and(|facts| facts.volatility == Volatility::Volatile);
                if CLOCK.contains(&name) || volatile && !FREE.contains(&name) {
                    trouble = Some(format!("ON CONFLICT or RETURNING calls {name}()"));
                }
            }
            _ => {}
        });
    };
    if let Some(conflict) = &insert.conflict {
        conflict.target.iter().chain(&conflict.filter).chain(conflict.sets.iter().map(|set| &set.value)).for_each(&mut look);
    }
    insert.returning.iter().map(|Target { expr, .. }| expr).for_each(&mut look);
    trouble.map_or(Ok(()), Err)
}

/// The statement's tokens in parts.
struct Parts {
    with: Range<usize>,
    head: Range<usize>,
    source: Range<usize>,
    tail: Range<usize>,
}

/// A cursor that knows its token's number.
struct Walk<'a> {
    cursor: Cursor<'a>,
    at: usize,
}

impl Walk<'_> {
    fn step(&mut self) {
        self.cursor.advance();
        self.at += 1;
    }

    /// Over one token, or all that stands in the parentheses that it opens.
    fn step_over(&mut self) -> Option<()> {
        let opens = self.cursor.is_mark(b'(') || self.cursor.is_mark(b'[');
        self.step();
        if opens {
            let mut depth = 1_usize;
            while depth > 0 {
                if self.cursor.at_end() {
                    return None;
                }
                if self.cursor.is_mark(b'(') || self.cursor.is_mark(b'[') {
                    depth += 1;
                } else if self.cursor.is_mark(b')') || self.cursor.is_mark(b']') {
                    depth -= 1;
                }
                self.step();
            }
        }
        Some(())
    }
}

impl Parts {
    fn find(cursor: Cursor<'_>) -> Option<Self> {
        let mut walk = Walk { cursor, at: 0 };
        while !(walk.cursor.is_word("insert") && walk.cursor.is_word_at(1, "into")) {
            if walk.cursor.at_end() {
                return None;
            }
            walk.step_over()?;
        }
        let start = walk.at;
        (0..3).for_each(|_| walk.step());
        while walk.cursor.is_mark(b'.') {
            walk.step();
            walk.step();
        }
        if walk.cursor.is_word("as") {
            walk.step();
            walk.step();
        }
        if walk.cursor.is_mark(b'(') && !begins_query(walk.cursor) {
            walk.step_over()?;
        }
        if walk.cursor.is_word("overriding") {
            (0..3).for_each(|_| walk.step());
        }
        let source = walk.at;
        while !(walk.cursor.at_end() || walk.cursor.is_word("returning") || walk.cursor.is_mark(b';') || conflict_follows(walk.cursor)) {
            walk.step_over()?;
        }
        let tail = walk.at;
        while !(walk.cursor.at_end() || walk.cursor.is_mark(b';')) {
            walk.step_over()?;
        }
        Some(Self { with: 0..start, head: start..source, source: source..tail, tail: tail..walk.at })
    }
}

/// The query of an INSERT.
pub(crate) fn source_of(whole: Cursor<'_>) -> Option<Cursor<'_>> {
    Some(whole.within(Parts::find(whole)?.source))
}

fn begins_query(mut cursor: Cursor<'_>) -> bool {
    while cursor.accept_mark(b'(') {}
    cursor.is_one_of(&["select", "with", "table"]) || (cursor.is_word("values") && cursor.is_mark_at(1, b'('))
}

fn conflict_follows(cursor: Cursor<'_>) -> bool {
    cursor.is_words(&["on", "conflict"]) && (cursor.is_mark_at(2, b'(') || cursor.is_word_at(2, "do") || cursor.is_word_at(2, "on"))
}

impl FeedPlan {
    /// The query that gives the rows, in the client's words.
    #[must_use]
    pub fn source(&self, text: &[u8], tokens: &Tokens<'_>, parameters: &[Replacement]) -> Option<Spliced> {
        let mut source = Spliced::default();
        for part in [&self.with, &self.source] {
            if let Some(span) = Some(part).filter(|part| !part.is_empty()).map(|part| tokens.span(part.clone())) {
                source.keep(text, span?, parameters);
                source.insert(b" ");
            }
        }
        Some(source)
    }

    /// The INSERT of rows that are written as VALUES; `head` is what it says before them, where that is not what the client said.
    #[must_use]
    pub fn insert(
        &self,
        (text, tokens): (&[u8], &Tokens<'_>),
        parameters: &[Replacement],
        (head, rows): (Option<&str>, &[u8]),
    ) -> Option<Spliced> {
        let mut insert = Spliced::default();
        match head {
            Some(head) => insert.insert(head.as_bytes()),
            None => insert.keep(text, tokens.span(self.head.clone())?, parameters),
        }
        insert.insert(b" VALUES ");
        insert.insert(rows);
        if let Some(span) = tokens.span(self.tail.clone()) {
            insert.insert(b" ");
            insert.keep(text, span, parameters);
        }
        Some(insert)
    }
}
