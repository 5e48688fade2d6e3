//! The rows in a stream of COPY data, each with the field that is its key.

use std::borrow::Cow;

use bytes::{Buf, BytesMut};

use crate::sql::copy::options::{CopyFormat, CopyOptions};
use crate::sql::copy::{binary, csv, text};

/// What a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// A header or trailer, which belongs to every shard.
    Shared,
    Data,
}

/// One row as it came, with its end of line.
#[derive(Debug)]
pub struct Row<'a> {
    pub kind: RowKind,
    pub bytes: &'a [u8],
    pub key: KeyField<'a>,
    /// How many lines PostgreSQL counts it as.
    pub lines: u32,
    /// The same where it is the first row: how lines end is not known then, and newlines within quotes do not count.
    pub lines_first: u32,
}

/// The field that holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyField<'a> {
    Null,
    Text(Cow<'a, [u8]>),
    Binary(&'a [u8]),
    /// The marker for a column's default.
    Default,
    /// The row has no such field, or is broken: PostgreSQL refuses it.
    Missing,
}

/// Data that PostgreSQL would refuse for reasons that a single shard cannot see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    #[error("literal carriage return found in data")]
    CarriageReturn,
    #[error("literal newline found in data")]
    Newline,
    #[error("unquoted carriage return found in data")]
    UnquotedCarriageReturn,
    #[error("unquoted newline found in data")]
    UnquotedNewline,
    #[error("a row of COPY data is longer than {ROW_BYTES_MAX} bytes")]
    TooLong,
}

/// PostgreSQL's own bound (`MaxAllocSize`).
pub const ROW_BYTES_MAX: usize = 0x3fff_ffff;

/// How lines end, by the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EndOfLine {
    #[default]
    Unknown,
    Newline,
    Return,
    ReturnNewline,
}

/// Where the scan of a row that has not arrived whole stands, so that no byte is looked at twice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) at: usize,
    pub(super) in_quote: bool,
    pub(super) escaped: bool,
    /// Line ends within quotes.
    pub(super) inner_lines: u32,
}

/// What was found at the start of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A row of this many bytes, `content` of them without its end of line.
    Row {
        bytes: usize,
        content: usize,
    },
    More,
}

/// Takes a stream apart. Holds at most the row that has not arrived whole, and what was fed since rows were last taken.
#[derive(Debug)]
pub struct Rows {
    options: CopyOptions,
    /// Which field is the key, and FORCE_NULL and FORCE_NOT_NULL of it.
    key: usize,
    key_forced: (bool, bool),
    data: BytesMut,
    taken: usize,
    progress: Progress,
    end_of_line: EndOfLine,
    header: bool,
    ended: bool,
    finishing: bool,
    /// Of a stream that is not binary COPY data: all of it goes to one shard, which says so.
    opaque: bool,
}

impl Rows {
    /// `key`: the name and the place among the fields of the key's column.
    #[must_use]
    pub fn new(options: &CopyOptions, key: (&str, usize)) -> Self {
        let (name, place) = key;
        Self {
            key: place,
            key_forced: (options.force_null.holds(name), options.force_not_null.holds(name)),
            data: BytesMut::new(),
            taken: 0,
            progress: Progress::default(),
            end_of_line: EndOfLine::Unknown,
            header: options.header || options.format == CopyFormat::Binary,
            ended: false,
            finishing: false,
            opaque: false,
            options: options.clone(),
        }
    }

    /// Adds data; what follows an end marker is ignored, as PostgreSQL does.
    pub fn feed(&mut self, data: &[u8]) {
        self.data.advance(std::mem::take(&mut self.taken));
        if !self.ended {
            self.data.extend_from_slice(data);
        }
    }

    /// No more data will come.
    pub fn finish(&mut self) {
        self.finishing = true;
    }

    /// The next row; `None` when more data is needed, or after [`Rows::finish`] when there is none.
    ///
    /// # Errors
    /// See [`DataError`].
    pub fn take_row(&mut self) -> Result<Option<Row<'_>>, DataError> {
        if self.options.format == CopyFormat::Binary {
            return self.take_tuple();
        }
        let rest = self.data.get(self.taken..).unwrap_or_default();
        if self.ended || rest.is_empty() {
            return Ok(None);
        }
        let csv = self.options.format == CopyFormat::Csv;
        let found = if csv {
            csv::find_end(rest, &mut self.progress, (&mut self.end_of_line, self.finishing), &self.options)?
        } else {
            text::find_end(rest, &mut self.progress, (&mut self.end_of_line, self.finishing))?
        };
        let Found::Row { bytes, content } = found else {
            return if rest.len() > ROW_BYTES_MAX { Err(DataError::TooLong) } else { Ok(None) };
        };
        let lines = 1 + std::mem::take(&mut self.progress).inner_lines;
        let lines_first = if self.end_of_line == EndOfLine::Newline { 1 } else { lines };
        let start = self.taken;
        self.taken += bytes;
        let row = self.data.get(start..self.taken).unwrap_or_default();
        let fields = row.get(..content).unwrap_or_default();
        if fields == END_MARKER {
            self.ended = true;
            return Ok(None);
        }
        self.ended = !csv && text::ends_with_marker(fields);
        if std::mem::take(&mut self.header) {
            return Ok(Some(Row { kind: RowKind::Shared, bytes: row, key: KeyField::Missing, lines, lines_first }));
        }
        let key =
            if csv { csv::field(fields, self.key, &self.options, self.key_forced) } else { text::field(fields, self.key, &self.options) };
        Ok(Some(Row { kind: RowKind::Data, bytes: row, key, lines, lines_first }))
    }

    fn take_tuple(&mut self) -> Result<Option<Row<'_>>, DataError> {
        let start = self.taken;
        let rest = self.data.get(start..).unwrap_or_default();
        if rest.is_empty() || self.ended {
            return Ok(None);
        }
        let found = if self.opaque {
            binary::Found::Opaque
        } else if self.header {
            binary::header(rest)
        } else {
            binary::tuple(rest, self.key)
        };
        let (kind, bytes, key, lines) = match found {
            binary::Found::More if !self.finishing => {
                return if rest.len() > ROW_BYTES_MAX { Err(DataError::TooLong) } else { Ok(None) };
            }
            binary::Found::More | binary::Found::Opaque => {
                self.opaque = true;
                (RowKind::Data, rest.len(), None, 1)
            }
            binary::Found::Header { bytes } => {
                self.header = false;
                (RowKind::Shared, bytes, None, 0)
            }
            binary::Found::Trailer { bytes } => {
                self.ended = true;
                (RowKind::Shared, bytes, None, 0)
            }
            binary::Found::Tuple { bytes, key } => (RowKind::Data, bytes, Some(key), 1),
        };
        self.taken += bytes;
        let row = self.data.get(start..self.taken).unwrap_or_default();
        let key = key.map_or(KeyField::Missing, |key| match key {
            None => KeyField::Null,
            Some(range) => row.get(range).map_or(KeyField::Missing, KeyField::Binary),
        });
        Ok(Some(Row { kind, bytes: row, key, lines, lines_first: lines }))
    }
}

/// A line that ends the data.
const END_MARKER: &[u8] = b"\\.";

impl EndOfLine {
    /// The row's end, if the line that seems to end at `at` does.
    pub(super) fn found(&mut self, data: &[u8], (progress, at): (&mut Progress, usize), finishing: bool) -> Result<Found, Mixed> {
        Ok(match self.judge(data, at, finishing)? {
            Some(bytes) => Found::Row { bytes: at + bytes, content: at },
            None => {
                progress.at = at;
                Found::More
            }
        })
    }

    /// A line end outside of quotes at `at`: how many bytes it has, `None` if the next byte must be seen first.
    fn judge(&mut self, data: &[u8], at: usize, finishing: bool) -> Result<Option<usize>, Mixed> {
        match (data.get(at), &self) {
            (Some(b'\n'), Self::Return | Self::ReturnNewline) => Err(Mixed::Newline),
            (Some(b'\n'), _) => {
                *self = Self::Newline;
                Ok(Some(1))
            }
            (_, Self::Newline) => Err(Mixed::Return),
            (_, Self::Return) => Ok(Some(1)),
            (_, Self::Unknown | Self::ReturnNewline) => match data.get(at + 1) {
                Some(b'\n') => {
                    *self = Self::ReturnNewline;
                    Ok(Some(2))
                }
                None if !finishing => Ok(None),
                _ if *self == Self::ReturnNewline => Err(Mixed::Return),
                _ => {
                    *self = Self::Return;
                    Ok(Some(1))
                }
            },
        }
    }
}

/// A line end of another kind than the first one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mixed {
    Return,
    Newline,
}
