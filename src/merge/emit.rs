//! The merging of one execution: takes the shards' messages in, gives the client's rows out.

use std::cmp::Ordering;

use bytes::BytesMut;

use crate::merge::combine::{Groups, TooLarge};
use crate::merge::describe::Shape;
use crate::merge::key::{Direction, Key, Kind};
use crate::merge::plan::{ColumnRef, MergePlan, Unmergeable};
use crate::merge::row::{self, Places};
use crate::wire::frame::HEADER_BYTES;
use crate::wire::{ClientError, DecodeError, SqlState};

/// The answers cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Told before any row has gone out.
    #[error("answer cannot be merged: {0}")]
    Unmergeable(#[from] Unmergeable),
    #[error("a shard's row is malformed")]
    Malformed(#[from] DecodeError),
    #[error("a shard's value is not written as its type's values are")]
    Value,
    #[error("groups of the answer need more than {} MB of memory", crate::merge::combine::GROUP_BYTES_MAX >> 20)]
    TooLarge,
}

impl ClientError for MergeError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Unmergeable(_) => SqlState::FEATURE_NOT_SUPPORTED,
            Self::Malformed(_) | Self::Value => SqlState::INTERNAL_ERROR,
            Self::TooLarge => SqlState(*b"53400"),
        }
    }

    fn hint(&self) -> Option<String> {
        matches!(self, Self::TooLarge).then(|| "Group by the shard key too, or read fewer rows.".to_owned())
    }
}

impl From<TooLarge> for MergeError {
    fn from(_: TooLarge) -> Self {
        Self::TooLarge
    }
}

/// What an execution adds to its plan.
#[derive(Clone, Debug, Default)]
pub struct Execution {
    /// LIMIT, OFFSET.
    pub limit: Option<u64>,
    pub offset: u64,
    /// The numbers of ORDER BY and GROUP BY, by the index of their literals.
    pub positions: Vec<(usize, usize)>,
    /// The servers write dates as ISO.
    pub iso_dates: bool,
    /// The servers write floats with all their digits.
    pub exact_floats: bool,
    /// The client's encoding is not UTF-8, so that its bytes have another order than the text.
    pub other_encoding: bool,
}

/// The merging of one execution.
#[derive(Debug)]
pub struct Merger<'p> {
    plan: &'p MergePlan,
    execution: Execution,
    shape: Option<Shape>,
    order: Vec<(usize, Kind, Direction)>,
    /// How many of a row's first columns ORDER BY looks at.
    columns_read: usize,
    groups: Option<Groups>,
    heads: Heads,
    skipped: u64,
    emitted: u64,
    /// By shard.
    taken: Vec<Taken>,
}

/// What a shard has given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub rows: u64,
    /// Those that OFFSET or LIMIT has counted; the others have come for nothing.
    pub counted: u64,
}

/// The next row of each shard, in order.
#[derive(Debug, Default)]
struct Heads {
    /// Of each shard; not full: it has none yet, or has ended.
    rows: Vec<Head>,
    ended: Vec<bool>,
    /// Shards with a row, the one whose row comes first last.
    queue: Vec<usize>,
}

/// A shard's next row; the memory of one serves the next.
#[derive(Debug, Default)]
struct Head {
    message: Vec<u8>,
    keys: Vec<Key>,
    is_full: bool,
}

impl<'p> Merger<'p> {
    #[must_use]
    pub fn new(plan: &'p MergePlan, execution: Execution, shards: usize) -> Self {
        let heads = Heads { rows: (0..shards).map(|_| Head::default()).collect(), ended: vec![false; shards], queue: Vec::new() };
        Self {
            plan,
            execution,
            shape: None,
            order: Vec::new(),
            columns_read: 0,
            groups: None,
            heads,
            skipped: 0,
            emitted: 0,
            taken: vec![Taken::default(); shards],
        }
    }

    /// A shard's RowDescription. The first one tells what the columns are; the others have to agree.
    ///
    /// # Errors
    /// When the columns are none that the plan can merge.
    pub fn describe(&mut self, body: &[u8]) -> Result<(), MergeError> {
        let shape = Shape::decode(body)?;
        if let Some(first) = &self.shape {
            let agrees = first.agrees(&shape);
            return if agrees { Ok(()) } else { Err(Unmergeable("the shards' columns differ".to_owned()).into()) };
        }
        for item in &self.plan.order {
            let column = self.column(&item.column, &shape)?;
            let kind = self.kind(column, &shape)?;
            if kind.is_collated() && !self.text_by_bytes() {
                return Err(Unmergeable("text is not compared by its bytes".to_owned()).into());
            }
            self.columns_read = self.columns_read.max(column + 1);
            self.order.push((column, kind, Direction { descending: item.descending, nulls_first: item.nulls_first }));
        }
        if let Some(combine) = &self.plan.combine {
            let mut identity = Vec::with_capacity(combine.groups.len());
            for group in &combine.groups {
                let column = self.column(group, &shape)?;
                let kind = self.kind(column, &shape)?;
                if kind.is_collated() && !self.plan.text_is_bytes {
                    return Err(Unmergeable("equal text may differ in its bytes".to_owned()).into());
                }
                identity.push((column, kind));
            }
            if combine.roles.len() != shape.fields.len() {
                return Err(Unmergeable("a column is not known".to_owned()).into());
            }
            self.groups = Some(Groups::new(&combine.roles, identity, &shape, self.text_by_bytes())?);
        }
        self.shape = Some(shape);
        Ok(())
    }

    fn text_by_bytes(&self) -> bool {
        self.plan.text_by_bytes && !self.execution.other_encoding
    }

    /// RowDescription for the client, once the first shard's has come.
    pub fn description(&self, out: &mut BytesMut) {
        if let Some(shape) = &self.shape {
            shape.encode(self.plan.hidden, out);
        }
    }

    #[must_use]
    pub fn is_described(&self) -> bool {
        self.shape.is_some()
    }

    fn column(&self, column: &ColumnRef, shape: &Shape) -> Result<usize, Unmergeable> {
        let shown = shape.fields.len().saturating_sub(self.plan.hidden);
        let found = match column {
            ColumnRef::Output(at) => Some(*at),
            ColumnRef::Hidden(at) => Some(shown + at),
            ColumnRef::Named(name) => shape.fields.iter().take(shown).position(|field| field.name == name.as_bytes()),
            ColumnRef::Position(literal) => {
                let number = self.execution.positions.iter().find(|(index, _)| index == literal).map(|(_, number)| *number);
                number.and_then(|number| number.checked_sub(1)).filter(|at| *at < shown)
            }
        };
        found
            .filter(|at| *at < shape.fields.len())
            .ok_or_else(|| Unmergeable("a column that is ordered or grouped by is not found".to_owned()))
    }

    fn kind(&self, column: usize, shape: &Shape) -> Result<Kind, Unmergeable> {
        let field = shape.fields.get(column).ok_or_else(|| Unmergeable("a column is missing".to_owned()))?;
        let unknown = || Unmergeable(format!("values of type {} are not compared in the proxy", field.type_oid));
        let kind = Kind::of(field.type_oid).ok_or_else(unknown)?;
        if kind.is_dated() && field.format == 0 && !self.execution.iso_dates {
            return Err(Unmergeable("DateStyle is not ISO".to_owned()));
        }
        if kind.is_float() && field.format == 0 && !self.execution.exact_floats {
            return Err(Unmergeable("extra_float_digits is not above 0".to_owned()));
        }
        Ok(kind)
    }

    /// Whether rows go straight to the client, unread: no column is hidden, none is left out.
    #[must_use]
    pub fn passes_on(&self) -> bool {
        self.plan.is_plain() && self.plan.hidden == 0 && self.execution.limit.is_none() && self.execution.offset == 0
    }

    /// Counts rows that were passed on.
    pub fn passed(&mut self, rows: u64) {
        self.emitted += rows;
    }

    /// Whether a row of this shard is needed next. Rows that need no order are always taken.
    #[must_use]
    pub fn wants(&self, shard: usize) -> bool {
        self.plan.order.is_empty() || self.groups.is_some() || self.heads.rows.get(shard).is_none_or(|head| !head.is_full) || self.is_full()
    }

    /// A row: the whole DataRow message.
    ///
    /// # Errors
    /// When it is malformed, or groups have become too large.
    pub fn row(&mut self, shard: usize, message: &[u8], out: &mut BytesMut) -> Result<(), MergeError> {
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        if let Some(groups) = &mut self.groups {
            let places = row::places(body)?;
            return if groups.absorb(body, &places)? { Ok(()) } else { Err(MergeError::Value) };
        }
        if let Some(taken) = self.taken.get_mut(shard) {
            taken.rows += 1;
        }
        if self.is_full() {
            return Ok(());
        }
        if self.order.is_empty() {
            return self.emit(shard, message, out);
        }
        let places = row::first_places(body, self.columns_read)?;
        let mut head = self.heads.rows.get_mut(shard).map(std::mem::take).unwrap_or_default();
        head.is_full = true;
        head.message.clear();
        head.message.extend_from_slice(message);
        head.keys.clear();
        for (column, kind, _) in &self.order {
            head.keys.push(self.key((*column, *kind), body, &places)?);
        }
        if let Some(slot) = self.heads.rows.get_mut(shard) {
            *slot = head;
        }
        self.enqueue(shard);
        self.advance(out)
    }

    fn key(&self, (column, kind): (usize, Kind), body: &[u8], places: &Places) -> Result<Key, MergeError> {
        let format = self.shape.as_ref().and_then(|shape| shape.fields.get(column)).map_or(0, |field| field.format);
        match places.get(column).cloned().flatten() {
            None => Ok(Key::Null),
            Some(place) => kind.key(format, body.get(place).unwrap_or_default()).ok_or(MergeError::Value),
        }
    }

    fn enqueue(&mut self, shard: usize) {
        let place = self.heads.queue.partition_point(|other| self.before(shard, *other) == Ordering::Less);
        self.heads.queue.insert(place, shard);
    }

    /// Whether the row of `a` comes before that of `b`.
    fn before(&self, a: usize, b: usize) -> Ordering {
        let head = |shard: usize| self.heads.rows.get(shard).filter(|head| head.is_full);
        match (head(a), head(b)) {
            (Some(a), Some(b)) => compare(&a.keys, &b.keys, &self.order),
            _ => Ordering::Equal,
        }
    }

    /// A shard has no more rows.
    ///
    /// # Errors
    /// As [`Merger::row`].
    pub fn end(&mut self, shard: usize, out: &mut BytesMut) -> Result<(), MergeError> {
        if let Some(ended) = self.heads.ended.get_mut(shard) {
            *ended = true;
        }
        self.advance(out)
    }

    /// Sends rows on while every shard's next row is known.
    fn advance(&mut self, out: &mut BytesMut) -> Result<(), MergeError> {
        while !self.is_full() {
            let waits = self.heads.rows.iter().zip(&self.heads.ended).any(|(head, ended)| !head.is_full && !ended);
            if waits {
                return Ok(());
            }
            let Some(shard) = self.heads.queue.pop() else { return Ok(()) };
            let mut head = self.heads.rows.get_mut(shard).map(std::mem::take).unwrap_or_default();
            self.emit(shard, &head.message, out)?;
            head.is_full = false;
            if let Some(slot) = self.heads.rows.get_mut(shard) {
                *slot = head;
            }
        }
        Ok(())
    }

    /// All shards have ended: groups are whole now. Answers the number of rows that the client has got.
    ///
    /// # Errors
    /// When a value is not written as its type's are.
    pub fn finish(&mut self, out: &mut BytesMut) -> Result<u64, MergeError> {
        if let Some(groups) = self.groups.take() {
            let mut rows = Vec::new();
            for values in groups.finish() {
                let mut keys = Vec::with_capacity(self.order.len());
                for (column, kind, _) in &self.order {
                    let format = self.shape.as_ref().and_then(|shape| shape.fields.get(*column)).map_or(0, |field| field.format);
                    keys.push(match values.get(*column).and_then(Option::as_ref) {
                        None => Key::Null,
                        Some(bytes) => kind.key(format, bytes).ok_or(MergeError::Value)?,
                    });
                }
                rows.push((keys, values));
            }
            rows.sort_by(|(a, _), (b, _)| compare(a, b, &self.order));
            for (_, values) in &rows {
                if self.admits() {
                    let shown = values.len().saturating_sub(self.plan.hidden);
                    row::put_values(out, values.get(..shown).unwrap_or_default().iter().map(Option::as_deref));
                }
            }
        }
        Ok(self.emitted)
    }

    /// What each shard has given so far; rows of groups are not counted.
    #[must_use]
    pub fn taken(&self) -> &[Taken] {
        &self.taken
    }

    /// LIMIT is reached.
    fn is_full(&self) -> bool {
        self.execution.limit.is_some_and(|limit| self.emitted >= limit)
    }

    /// Counts a row by OFFSET and LIMIT; whether it goes out.
    fn admits(&mut self) -> bool {
        if self.skipped < self.execution.offset {
            self.skipped += 1;
            return false;
        }
        if self.is_full() {
            return false;
        }
        self.emitted += 1;
        true
    }

    fn emit(&mut self, shard: usize, message: &[u8], out: &mut BytesMut) -> Result<(), MergeError> {
        if let Some(taken) = self.taken.get_mut(shard) {
            taken.counted += 1;
        }
        if !self.admits() {
            return Ok(());
        }
        if self.plan.hidden == 0 {
            out.extend_from_slice(message);
        } else {
            let body = message.get(HEADER_BYTES..).unwrap_or_default();
            let places = row::places(body)?;
            row::put_first(out, body, &places, places.len().saturating_sub(self.plan.hidden));
        }
        Ok(())
    }
}

fn compare(a: &[Key], b: &[Key], order: &[(usize, Kind, Direction)]) -> Ordering {
    let pairs = a.iter().zip(b).zip(order);
    pairs.map(|((a, b), (_, _, direction))| a.compare(b, *direction)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}
