//! `COPY table [(columns)] FROM STDIN | TO STDOUT` with its options in both spellings.

use crate::sql::command::ObjectName;
use crate::sql::cursor::Cursor;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyFormat {
    #[default]
    Text,
    Csv,
    Binary,
}

/// Columns that FORCE_NULL or FORCE_NOT_NULL names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Forced {
    #[default]
    None,
    All,
    Columns(Vec<String>),
}

impl Forced {
    #[must_use]
    pub fn holds(&self, column: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Columns(columns) => columns.iter().any(|name| name == column),
        }
    }
}

/// What decides how the data is read. Options without effect on that are left to PostgreSQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: Option<u8>,
    pub null: Option<Vec<u8>>,
    /// The marker that stands for a column's default.
    pub default: Option<Vec<u8>>,
    pub header: bool,
    pub quote: Option<u8>,
    pub escape: Option<u8>,
    pub force_null: Forced,
    pub force_not_null: Forced,
    pub encoding: Option<String>,
    /// `ON_ERROR ignore`: bad rows are left out, with a count of them in a notice.
    pub skips_errors: bool,
}

impl CopyOptions {
    #[must_use]
    pub fn delimiter(&self) -> u8 {
        self.delimiter.unwrap_or(if self.format == CopyFormat::Csv { b',' } else { b'\t' })
    }

    #[must_use]
    pub fn null(&self) -> &[u8] {
        self.null.as_deref().unwrap_or(if self.format == CopyFormat::Csv { b"" } else { b"\\N" })
    }

    #[must_use]
    pub fn quote(&self) -> u8 {
        self.quote.unwrap_or(b'"')
    }

    #[must_use]
    pub fn escape(&self) -> u8 {
        self.escape.unwrap_or_else(|| self.quote())
    }
}

/// COPY of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyStatement {
    pub table: ObjectName,
    /// `None`: all columns but generated ones, in the table's order.
    pub columns: Option<Vec<String>>,
    pub from: bool,
    pub options: CopyOptions,
}

impl CopyStatement {
    /// Reads what stands behind COPY; `None` for what is not understood.
    #[must_use]
    pub fn parse(mut cursor: Cursor<'_>) -> Option<Self> {
        let mut options = CopyOptions::default();
        if cursor.accept_word("binary") {
            options.format = CopyFormat::Binary;
        }
        let table = name(&mut cursor)?;
        let columns = if cursor.is_mark(b'(') { Some(columns(&mut cursor)?) } else { None };
        let from = cursor.accept_word("from");
        if !from && !cursor.accept_word("to") {
            return None;
        }
        if !cursor.accept_one_of(&["stdin", "stdout"]) {
            return None;
        }
        if cursor.accept_word("using") || cursor.is_word("delimiters") {
            cursor.accept_word("delimiters");
            options.delimiter = byte(&mut cursor)?;
        }
        cursor.accept_word("with");
        if cursor.accept_mark(b'(') {
            listed(&mut cursor, &mut options)?
        } else {
            spelt(&mut cursor, &mut options)?
        }
        let ends = cursor.is_word("where") || cursor.is_mark(b';') || cursor.at_end();
        ends.then_some(Self { table, columns, from, options })
    }
}

fn name(cursor: &mut Cursor<'_>) -> Option<ObjectName> {
    let mut schema = None;
    let mut last = cursor.any_name()?;
    while cursor.accept_mark(b'.') {
        let next = cursor.any_name()?;
        schema = Some(std::mem::replace(&mut last, next));
    }
    Some(ObjectName { schema, name: last })
}

/// `(name, …)`.
fn columns(cursor: &mut Cursor<'_>) -> Option<Vec<String>> {
    let parentheses = cursor.accept_mark(b'(');
    let mut columns = vec![cursor.any_name()?];
    while cursor.accept_mark(b',') {
        columns.push(cursor.any_name()?);
    }
    (!parentheses || cursor.accept_mark(b')')).then_some(columns)
}

fn forced(cursor: &mut Cursor<'_>) -> Option<Forced> {
    if cursor.accept_operator(b"*") { Some(Forced::All) } else { columns(cursor).map(Forced::Columns) }
}

/// A string of one byte. PostgreSQL refuses others, so that `Some(None)` is as good as any.
fn byte(cursor: &mut Cursor<'_>) -> Option<Option<u8>> {
    let value = text(cursor)?;
    Some(value.first().copied())
}

fn text(cursor: &mut Cursor<'_>) -> Option<Vec<u8>> {
    let value = cursor.literal_value().or_else(|| cursor.word())?;
    cursor.advance();
    Some(value.into_bytes())
}

/// `WITH (name value, …)`.
fn listed(cursor: &mut Cursor<'_>, options: &mut CopyOptions) -> Option<()> {
    loop {
        let option = cursor.any_name()?;
        match option.as_str() {
            "format" => options.format = format(&text(cursor)?)?,
            "delimiter" => options.delimiter = byte(cursor)?,
            "null" => options.null = Some(text(cursor)?),
            "default" => options.default = Some(text(cursor)?),
            "header" => options.header = is_true(cursor)?,
            "quote" => options.quote = byte(cursor)?,
            "escape" => options.escape = byte(cursor)?,
            "force_null" => options.force_null = forced(cursor)?,
            "force_not_null" => options.force_not_null = forced(cursor)?,
            "encoding" => options.encoding = Some(String::from_utf8_lossy(&text(cursor)?).into_owned()),
            "on_error" => options.skips_errors = text(cursor)? != b"stop",
            _ => skip_value(cursor)?,
        }
        if !cursor.accept_mark(b',') {
            return cursor.accept_mark(b')').then_some(());
        }
    }
}

fn format(name: &[u8]) -> Option<CopyFormat> {
    match name {
        b"text" => Some(CopyFormat::Text),
        b"csv" => Some(CopyFormat::Csv),
        b"binary" => Some(CopyFormat::Binary),
        _ => None,
    }
}

fn is_true(cursor: &mut Cursor<'_>) -> Option<bool> {
    if cursor.is_mark(b',') || cursor.is_mark(b')') {
        return Some(true);
    }
    let value = text(cursor)?.to_ascii_lowercase();
    Some(!matches!(value.as_slice(), b"false" | b"off" | b"0"))
}

fn skip_value(cursor: &mut Cursor<'_>) -> Option<()> {
    if cursor.is_mark(b',') || cursor.is_mark(b')') {
        return Some(());
    }
    if cursor.accept_mark(b'(') {
        return cursor.skip_to_close();
    }
    cursor.advance();
    Some(())
}

/// The spelling from before PostgreSQL 9.0.
fn spelt(cursor: &mut Cursor<'_>, options: &mut CopyOptions) -> Option<()> {
    loop {
        let word = match cursor.word() {
            Some(word) if word != "where" => word,
            _ => return Some(()),
        };
        cursor.advance();
        let value = matches!(word.as_str(), "delimiter" | "null" | "quote" | "escape");
        if value {
            cursor.accept_word("as");
        }
        match word.as_str() {
            "binary" => options.format = CopyFormat::Binary,
            "csv" => options.format = CopyFormat::Csv,
            "header" => options.header = true,
            "freeze" => {}
            "delimiter" => options.delimiter = byte(cursor)?,
            "null" => options.null = Some(text(cursor)?),
            "quote" => options.quote = byte(cursor)?,
            "escape" => options.escape = byte(cursor)?,
            "encoding" => options.encoding = Some(String::from_utf8_lossy(&text(cursor)?).into_owned()),
            "force" if cursor.accept_word("quote") => drop(forced(cursor)?),
            "force" if cursor.accept_word("not") => {
                cursor.accept_word("null");
                options.force_not_null = forced(cursor)?;
            }
            "force" if cursor.accept_word("null") => options.force_null = forced(cursor)?,
            _ => return None,
        }
    }
}
