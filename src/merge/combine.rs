//! Groups whose rows come from several shards: partial aggregates become whole ones.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::merge::describe::Shape;
use crate::merge::key::{Key, Kind};
use crate::merge::number::Numeric;
use crate::merge::plan::{Role, Unmergeable};
use crate::merge::row::Places;

/// The groups of an answer may take this much memory; beyond, the statement fails.
pub const GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Memory that a group takes besides its values, roughly.
const GROUP_BYTES: usize = 96;

const INT8: u32 = 20;
const NUMERIC: u32 = 1700;

/// How one column is combined, with what its type says.
#[derive(Clone, Copy, Debug)]
enum Column {
    First,
    /// bigint, added.
    Integer,
    Numeric,
    Extreme {
        kind: Kind,
        wanted: Ordering,
    },
    And,
    Or,
    Average {
        sum: usize,
        count: usize,
    },
}

/// All groups, by their identities.
#[derive(Debug)]
pub struct Groups {
    columns: Vec<Column>,
    formats: Vec<i16>,
    /// The columns that tell groups apart, with their kinds.
    identity: Vec<(usize, Kind)>,
    places: HashMap<Vec<u8>, usize>,
    rows: Vec<Vec<Cell>>,
    bytes: usize,
}

/// One value of a group.
#[derive(Clone, Debug)]
enum Cell {
    Null,
    Bytes(Vec<u8>),
    Integer(i64),
    Numeric(Numeric),
    Extreme(Key, Vec<u8>),
}

/// The groups take more memory than they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Groups {
    /// # Errors
    /// When a column's type is none that the proxy combines.
    pub fn new(roles: &[Role], identity: Vec<(usize, Kind)>, shape: &Shape, text_by_bytes: bool) -> Result<Self, Unmergeable> {
        let mut columns = Vec::with_capacity(roles.len());
        for (role, field) in roles.iter().zip(&shape.fields) {
            columns.push(column(*role, field.type_oid, text_by_bytes)?);
        }
        let formats = shape.fields.iter().map(|field| field.format).collect();
        Ok(Self { columns, formats, identity, places: HashMap::new(), rows: Vec::new(), bytes: 0 })
    }

    /// Takes in one row of a shard's.
    ///
    /// # Errors
    /// When the groups have become too large. `Ok(false)`: a value is not written as its type's values are.
    pub fn absorb(&mut self, body: &[u8], places: &Places) -> Result<bool, TooLarge> {
        let value = |at: usize| places.get(at).cloned().flatten().and_then(|place| body.get(place));
        let mut identity = Vec::new();
        for (at, kind) in &self.identity {
            let key = match value(*at) {
                None => Some(Key::Null),
                Some(bytes) => kind.key(self.formats.get(*at).copied().unwrap_or(0), bytes),
            };
            let Some(key) = key else { return Ok(false) };
            key.identify(&mut identity);
        }
        if let Some(place) = self.places.get(&identity).copied() {
            let Some(row) = self.rows.get_mut(place) else { return Ok(false) };
            for (at, cell) in row.iter_mut().enumerate() {
                let column = self.columns.get(at).copied().unwrap_or(Column::First);
                let format = self.formats.get(at).copied().unwrap_or(0);
                if let Some(more) = value(at)
                    && !column.add(cell, format, more)
                {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let mut row = Vec::with_capacity(self.columns.len());
        let mut bytes = identity.len() + GROUP_BYTES;
        for (at, column) in self.columns.iter().enumerate() {
            let format = self.formats.get(at).copied().unwrap_or(0);
            let mut cell = Cell::Null;
            if let Some(first) = value(at) {
                bytes += first.len();
                if !column.begin(&mut cell, format, first) {
                    return Ok(false);
                }
            }
            bytes += std::mem::size_of::<Cell>();
            row.push(cell);
        }
        self.bytes += bytes;
        if self.bytes > GROUP_BYTES_MAX {
            return Err(TooLarge);
        }
        self.places.insert(identity, self.rows.len());
        self.rows.push(row);
        Ok(true)
    }

    /// The whole groups' rows, as values in the columns' formats; in no order.
    pub fn finish(self) -> impl Iterator<Item = Vec<Option<Vec<u8>>>> {
        let Self { columns, formats, rows, .. } = self;
        rows.into_iter().map(move |row| {
            let values = columns.iter().zip(&formats).enumerate().map(|(at, (column, format))| match column {
                Column::Average { sum, count } => average(row.get(*sum), row.get(*count)).map(|value| written(&value, *format)),
                _ => row.get(at).and_then(|cell| cell.written(*format)),
            });
            values.collect()
        })
    }
}

fn column(role: Role, type_oid: u32, text_by_bytes: bool) -> Result<Column, Unmergeable> {
    let unmergeable = |what: &str| Err(Unmergeable(format!("{what} of type {type_oid} is not combined in the proxy")));
    let extreme = |wanted| match Kind::of(type_oid).filter(|kind| text_by_bytes || !kind.is_collated()) {
        Some(kind) => Ok(Column::Extreme { kind, wanted }),
        None => unmergeable("min or max"),
    };
    match role {
        Role::Plain => Ok(Column::First),
        Role::Count if type_oid == INT8 => Ok(Column::Integer),
        Role::Count => unmergeable("count"),
        Role::Sum if type_oid == INT8 => Ok(Column::Integer),
        Role::Sum if type_oid == NUMERIC => Ok(Column::Numeric),
        Role::Sum => unmergeable("sum"),
        Role::Min => extreme(Ordering::Less),
        Role::Max => extreme(Ordering::Greater),
        Role::And => Ok(Column::And),
        Role::Or => Ok(Column::Or),
        Role::Average { sum, count } if type_oid == NUMERIC => Ok(Column::Average { sum, count }),
        Role::Average { .. } => unmergeable("avg"),
    }
}

impl Column {
    /// The group's first value.
    fn begin(self, cell: &mut Cell, format: i16, bytes: &[u8]) -> bool {
        let first = match self {
            Self::First | Self::And | Self::Or => Some(Cell::Bytes(bytes.to_vec())),
            Self::Integer => integer(format, bytes).map(Cell::Integer),
            Self::Numeric => numeric(format, bytes).map(Cell::Numeric),
            Self::Extreme { kind, .. } => kind.key(format, bytes).map(|key| Cell::Extreme(key, bytes.to_vec())),
            Self::Average { .. } => Some(Cell::Null),
        };
        match first {
            Some(first) => {
                *cell = first;
                true
            }
            None => false,
        }
    }

    /// A further value, not NULL; false when it is not written as expected.
    fn add(self, cell: &mut Cell, format: i16, bytes: &[u8]) -> bool {
        match (self, &mut *cell) {
            (Self::First | Self::Average { .. }, _) => true,
            (_, Cell::Null) => self.begin(cell, format, bytes),
            (Self::Integer, Cell::Integer(sum)) => {
                integer(format, bytes).is_some_and(|more| sum.checked_add(more).map(|total| *sum = total).is_some())
            }
            (Self::Numeric, Cell::Numeric(sum)) => numeric(format, bytes).is_some_and(|more| {
                *sum = sum.add(&more);
                true
            }),
            (Self::Extreme { kind, wanted }, Cell::Extreme(key, kept)) => kind.key(format, bytes).is_some_and(|more| {
                if more.order(key) == wanted {
                    *key = more;
                    *kept = bytes.to_vec();
                }
                true
            }),
            (Self::And | Self::Or, Cell::Bytes(kept)) => {
                let truth = |bytes: &[u8]| matches!(bytes, b"t" | [1]);
                if truth(bytes) != matches!(self, Self::And) {
                    *kept = bytes.to_vec();
                }
                true
            }
            _ => false,
        }
    }
}

impl Cell {
    fn written(&self, format: i16) -> Option<Vec<u8>> {
        match self {
            Self::Null => None,
            Self::Bytes(bytes) | Self::Extreme(_, bytes) => Some(bytes.clone()),
            Self::Integer(value) if format == 1 => Some(value.to_be_bytes().to_vec()),
            Self::Integer(value) => Some(value.to_string().into_bytes()),
            Self::Numeric(value) => Some(written(value, format)),
        }
    }
}

fn written(value: &Numeric, format: i16) -> Vec<u8> {
    if format == 1 { value.binary() } else { value.text() }
}

fn average(sum: Option<&Cell>, count: Option<&Cell>) -> Option<Numeric> {
    let Some(Cell::Integer(count @ 1..)) = count else { return None };
    match sum? {
        Cell::Integer(sum) => Some(Numeric::of(*sum).divide(*count)),
        Cell::Numeric(sum) => Some(sum.divide(*count)),
        _ => None,
    }
}

fn integer(format: i16, bytes: &[u8]) -> Option<i64> {
    match Kind::Integer.key(format, bytes)? {
        Key::Integer(value) => Some(value),
        _ => None,
    }
}

fn numeric(format: i16, bytes: &[u8]) -> Option<Numeric> {
    if format == 1 { Numeric::decode(bytes) } else { Numeric::parse(bytes) }
}
