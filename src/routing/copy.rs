//! COPY of a whole table whose rows are on several shards.

use std::sync::Arc;

use crate::routing::decide::Decision;
use crate::routing::plan::{Hinted, Plan, Planner};
use crate::routing::refusal::Refusal;
use crate::routing::respell::quoted;
use crate::routing::spread::{Spread, Spreading};
use crate::sql::command::Command;
use crate::sql::copy::{CopyFormat, CopyOptions, CopyStatement, KeyField, Rows};
use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::outline::Span;
use crate::topology::hash::bucket;
use crate::topology::key::{KeyText, KeyValue, integer_text, uuid_text};
use crate::topology::moving::owned;
use crate::topology::schema::{Column, Relation, RelationKind};
use crate::topology::{KeyType, Placement, ShardId, ShardMap};

/// How a COPY runs on several shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyPlan {
    /// The rows are shared out by the field that is the key.
    Split(CopyKey),
    /// Every shard gets all rows: a reference table.
    Same,
    /// The shards' rows one after another, with one header.
    Concatenate { format: CopyFormat, header: bool, source: CopySource },
}

/// What is copied, for the case that not all of its rows count on each shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    /// The tokens of the table's name and columns; `None` in the oldest syntax, in which no query can stand.
    place: Option<Span>,
    /// The query that takes their place, up to its condition.
    select: String,
    key: String,
}

impl CopySource {
    fn of(relation: &Relation, copy: &CopyStatement, place: Option<Span>) -> Self {
        let stored = relation.columns.iter().filter(|column| !column.generated).map(|column| &column.name);
        let columns: Vec<String> = copy
            .columns
            .as_ref()
            .map_or_else(|| stored.map(|name| quoted(name)).collect(), |names| names.iter().map(|name| quoted(name)).collect());
        let select = format!("SELECT {} FROM ONLY {}.{}", columns.join(", "), quoted(&relation.schema), quoted(&relation.name));
        let key = if let Placement::Sharded { key_column, .. } = &relation.placement { quoted(key_column) } else { String::new() };
        Self { place, select, key }
    }

    /// The statement for a shard where these buckets do not count; `None`: it cannot say it.
    #[must_use]
    pub fn text_without(&self, text: &[u8], left_out: &str, standard_strings: bool) -> Option<Vec<u8>> {
        let tokens = Tokens::new(text, standard_strings).ok()?;
        let place = tokens.bounds(self.place.as_ref()?)?;
        let query = format!("({} WHERE {})", self.select, owned(&self.key, left_out));
        Some([text.get(..place.start)?, query.as_bytes(), text.get(place.end..)?].concat())
    }
}

impl CopyPlan {
    #[must_use]
    pub fn writes(&self) -> bool {
        !matches!(self, Self::Concatenate { .. })
    }
}

/// Where the key stands in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyKey {
    pub table: String,
    pub column: String,
    key_type: KeyType,
    place: usize,
    not_null: bool,
    options: CopyOptions,
}

impl Planner<'_> {
    /// COPY of a table as a whole.
    pub(crate) fn copy(&self, rest: Cursor<'_>, home: Plan) -> Plan {
        let parsed = CopyStatement::parse(rest);
        let name = parsed.as_ref().map(|parsed| parsed.table.clone()).or_else(|| name_of(rest));
        let Some(name) = name else { return home };
        let Some(relation) = self.relation(&name) else { return Plan { unknown_relations: true, ..home } };
        let table = &relation.name;
        let into = home.command == Command::CopyFrom;
        let home = Plan { judged: into, ..home };
        let refusal = match (&relation.placement, into) {
            (Placement::Reference | Placement::Single, false) | (Placement::Single, true) => {
                return Plan { hinted: Hinted::ByComment, ..home };
            }
            (Placement::Reference, true) => Refusal::unsupported(
                format!("COPY into reference table \"{table}\" is not supported"),
                "Its rows have to reach every shard alike.".to_owned(),
                "Use INSERT with several rows, or name every column that has a default.".to_owned(),
            ),
            (Placement::Sharded { .. }, _) => Refusal::with_routing_hint(
                format!("COPY of \"{table}\" concerns several shards"),
                format!("Table \"{table}\" is sharded, and the statement is not one whose rows the proxy can tell apart."),
            ),
        };
        let found = parsed.ok_or_else(|| "it is not understood".to_owned()).and_then(|parsed| plan(relation, &parsed, span_of(rest)));
        let spreading = match found {
            Ok(plan) => Spreading { spread: Some(Spread::Copy(Arc::new(plan))), not_provable: Vec::new() },
            Err(reason) => Spreading { spread: None, not_provable: vec![("copy", reason)] },
        };
        let decision = Decision::Refused(refusal);
        match &relation.placement {
            Placement::Sharded { key_type, .. } => Plan { decision, spreading, key_type: *key_type, ..home },
            _ => Plan { decision, spreading, hinted: Hinted::Never, ..home },
        }
    }
}

fn name_of(mut rest: Cursor<'_>) -> Option<crate::sql::command::ObjectName> {
    rest.accept_word("binary");
    let mut schema = None;
    let mut name = rest.any_name()?;
    while rest.accept_mark(b'.') {
        let next = rest.any_name()?;
        schema = Some(std::mem::replace(&mut name, next));
    }
    Some(crate::sql::command::ObjectName { schema, name })
}

/// The tokens of the table's name and columns.
fn span_of(mut rest: Cursor<'_>) -> Option<Span> {
    let start = rest.place();
    if rest.is_word("binary") && !rest.is_word_at(1, "to") {
        return None;
    }
    rest.any_name()?;
    while rest.accept_mark(b'.') {
        rest.any_name()?;
    }
    if rest.accept_mark(b'(') {
        rest.skip_to_close()?;
    }
    Some(start..rest.place())
}

fn plan(relation: &Relation, copy: &CopyStatement, place: Option<Span>) -> Result<CopyPlan, String> {
    if !matches!(relation.kind, RelationKind::Table | RelationKind::PartitionedTable) {
        return Err("it is no table".to_owned());
    }
    if !copy.from {
        let source = CopySource::of(relation, copy, place);
        return Ok(CopyPlan::Concatenate { format: copy.options.format, header: copy.options.header, source });
    }
    if !matches!(relation.placement, Placement::Sharded { .. }) {
        return same(relation, copy);
    }
    let every = || relation.columns.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect();
    let columns: Vec<String> = copy.columns.clone().unwrap_or_else(every);
    let key = CopyKey::of(relation, &columns).ok_or_else(|| "the columns do not name the shard key".to_owned())?;
    let left = |column: &&Column| column.moment_default && (copy.options.default.is_some() || !columns.contains(&column.name));
    if let Some(column) = relation.columns.iter().find(left) {
        return Err(format!("the default of column \"{}\" is one value on one server, and another on each shard", column.name));
    }
    if copy.options.skips_errors {
        return Err("its rows that are left out would be counted apart".to_owned());
    }
    if copy.options.encoding.as_deref().is_some_and(|encoding| !is_utf8(encoding)) {
        return Err("its encoding is not UTF-8".to_owned());
    }
    Ok(CopyPlan::Split(CopyKey { options: copy.options.clone(), ..key }))
}

/// Rows of a reference table have to be the same on every shard: no column is left to a default that is not.
fn same(relation: &Relation, copy: &CopyStatement) -> Result<CopyPlan, String> {
    let given = |name: &String| copy.columns.as_ref().is_none_or(|columns| columns.contains(name));
    if let Some(column) = relation.columns.iter().find(|column| column.volatile_default && !given(&column.name)) {
        return Err(format!("the default of column \"{}\" may differ between shards", column.name));
    }
    if copy.options.default.is_some() {
        return Err("a default may differ between shards".to_owned());
    }
    Ok(CopyPlan::Same)
}

fn is_utf8(encoding: &str) -> bool {
    let name: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect();
    name.eq_ignore_ascii_case("utf8") || name.eq_ignore_ascii_case("unicode")
}

/// Where a row of COPY data goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowTarget {
    Shard(ShardId),
    /// It has no key that could be stored: PostgreSQL refuses it on any shard.
    AnyShard,
    Refused(Refusal),
}

impl CopyKey {
    /// The key of rows that give these columns; `None` if it is not among them.
    pub(crate) fn of(relation: &Relation, columns: &[String]) -> Option<Self> {
        let Placement::Sharded { key_column, key_type } = &relation.placement else { return None };
        Some(Self {
            table: relation.name.clone(),
            column: key_column.clone(),
            key_type: *key_type,
            place: columns.iter().position(|column| column == key_column)?,
            not_null: relation.columns.iter().any(|column| column.name == *key_column && column.not_null),
            options: CopyOptions::default(),
        })
    }

    /// The place of the key among the fields.
    #[must_use]
    pub fn place(&self) -> usize {
        self.place
    }

    /// A reader of the COPY's rows.
    #[must_use]
    pub fn rows(&self) -> Rows {
        Rows::new(&self.options, (&self.column, self.place))
    }

    #[must_use]
    pub fn target(&self, field: &KeyField<'_>, other_encoding: bool, map: &ShardMap) -> RowTarget {
        let key = match field {
            KeyField::Missing => return RowTarget::AnyShard,
            KeyField::Null if self.not_null => return RowTarget::AnyShard,
            KeyField::Null => return RowTarget::Refused(Refusal::null_key(&self.table, &self.column)),
            KeyField::Default => return RowTarget::Refused(Refusal::missing_key(&self.table, &self.column)),
            KeyField::Text(text) => self.key_type.assigned_string(text),
            KeyField::Binary(bytes) => self.binary(bytes),
        };
        match key {
            KeyValue::Key(key) if other_encoding && !key.is_ascii() => {
                self.unproven("the client's encoding is not UTF-8, of which keys are hashed")
            }
            KeyValue::Key(key) => RowTarget::Shard(map.owner(bucket(&key, map.buckets()))),
            KeyValue::Nothing => RowTarget::AnyShard,
            KeyValue::Unproven(reason) => self.unproven(reason),
        }
    }

    fn unproven(&self, reason: &'static str) -> RowTarget {
        RowTarget::Refused(Refusal::unproven(&self.table, &self.column, reason))
    }

    /// A value as the type's send function writes it.
    fn binary(&self, bytes: &[u8]) -> KeyValue {
        let number = match (self.key_type, bytes) {
            (KeyType::SmallInt, [a, b]) => i64::from(i16::from_be_bytes([*a, *b])),
            (KeyType::Integer, [a, b, c, d]) => i64::from(i32::from_be_bytes([*a, *b, *c, *d])),
            (KeyType::BigInt, bytes) => match <[u8; 8]>::try_from(bytes) {
                Ok(bytes) => i64::from_be_bytes(bytes),
                Err(_) => return KeyValue::Nothing,
            },
            (KeyType::Uuid, bytes) => {
                return <[u8; 16]>::try_from(bytes).map_or(KeyValue::Nothing, |uuid| KeyValue::Key(uuid_text(&uuid)));
            }
            (KeyType::Text | KeyType::Varchar | KeyType::Char, bytes) => return self.key_type.assigned_string(bytes),
            (KeyType::SmallInt | KeyType::Integer, _) => return KeyValue::Nothing,
        };
        let key: KeyText = integer_text(number);
        KeyValue::Key(key)
    }
}
