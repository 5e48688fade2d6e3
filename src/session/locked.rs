//! Writes of rows that a query within them locks: the query first, by the way that locks rows over shards, then the statement with its rows.

use bytes::{Bytes, BytesMut};

use crate::backend::settings::quoted_identifier;
use crate::routing::locked::{LockedPlan, LockedQuery, Stands};
use crate::routing::{Route, Values};
use crate::session::Session;
use crate::session::commands::not_yet;
use crate::session::failure::Failure;
use crate::session::feed::{Field, columns_of, fields, push_row, quote_into, row_description};
use crate::session::prepared::Prepared;
use crate::session::spread_prepared::{is_amount, is_whole};
use crate::session::spread_write::{Texts, messages, parameter_types};
use crate::sql::cursor::Tokens;
use crate::sql::splice::{Replacement, Spliced};
use crate::wire::frame::HEADER_BYTES;
use crate::wire::{PlainError, SqlState};

/// A column of a query's rows: its name, and the type that its values are written as.
struct Column {
    name: String,
    of: String,
}

impl Session {
    /// The texts that change the rows which the statement's queries have locked. The transaction is open.
    pub(super) async fn texts_of_locked(
        &mut self,
        (text, plan): (&[u8], &LockedPlan),
        bound: Option<(&Prepared, &Bytes)>,
    ) -> Result<Texts, Failure> {
        let lost = || Failure::plain(SqlState::INTERNAL_ERROR, "the parts of the statement are not where its plan has them");
        let tokens = Tokens::new(text, self.settings.standard_strings).map_err(|_| lost())?;
        let types = bound.map(|(prepared, _)| prepared.statement.types.to_vec()).unwrap_or_default();
        // PostgreSQL judges the statement as a whole before a part of it runs.
        let whole = self.describe_at_home(text, &types).await?;
        let mut known = match bound {
            Some((_, tail)) => self.literals_of(&tokens, &parameter_types(&whole).unwrap_or_default(), tail).await?,
            None => Vec::new(),
        };
        known.iter_mut().for_each(|replacement| write_amount(replacement, &tokens));
        if plan.clock {
            known.extend(self.clock_replacements(text).await?);
            known.sort_by_key(|replacement| replacement.place.start);
        }
        let mut changed = Spliced::default();
        let mut done = 0;
        for query in &plan.queries {
            let place = tokens.span(query.span.clone()).ok_or_else(lost)?;
            let mut first = Spliced::default();
            first.keep(text, place.clone(), &known);
            let rows = self.locked_rows(&first.text, query).await?;
            changed.keep(text, done..place.start, &known);
            changed.insert(&rows);
            done = place.end;
        }
        changed.keep(text, done..text.len(), &known);
        let mut texts = self.texts_of_changed(changed, plan.returning).await?;
        texts.described = row_description(&whole).freeze();
        Ok(texts)
    }

    /// A statement's texts by its route, which is found now.
    async fn texts_of_changed(&mut self, changed: Spliced, returning: bool) -> Result<Texts, Failure> {
        let scanned = self.scan.scan(&changed.text, self.settings.standard_strings);
        scanned.map_err(|error| Failure::plain(SqlState::INTERNAL_ERROR, error.to_string()))?;
        let plan = self.plan_scanned(&changed.text, 0, &[]).await?;
        let literals = self.scan.literals().to_vec();
        let values = Values { text: &changed.text, literals: &literals, other_encoding: self.settings.other_encoding, ..Values::default() };
        let (route, _) = self.route(&plan, &values)?;
        match (&route, self.shard_of(&route)) {
            (Route::Each { plan, shards }, _) => self.texts_of_each((&changed.text, plan), shards, None).await,
            (_, Some(shard)) => {
                Ok(Texts { parts: vec![(shard, changed)], order: None, returning, described: Bytes::new(), first_only: false })
            }
            _ => Err(not_yet("this write of locked rows", "Lock the rows first, and then change them.")),
        }
    }

    /// Runs a query of the statement; what stands for it afterwards.
    async fn locked_rows(&mut self, sql: &[u8], query: &LockedQuery) -> Result<Vec<u8>, Failure> {
        let described = self.describe_at_home(sql, &[]).await.map_err(|failure| match failure {
            // As part of the statement it was right.
            Failure::Report(error) if error.sqlstate().0.starts_with(b"42") => Failure::report(
                PlainError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "write of rows that a query in it locks is not supported over several shards",
                )
                .detail(format!("By itself PostgreSQL says of the query: {error}."))
                .hint("Lock the rows first, and then change them, in one transaction."),
            ),
            failure => failure,
        })?;
        let (names, oids): (Vec<String>, Vec<u32>) = columns_of(&row_description(&described)).unwrap_or_default().into_iter().unzip();
        let types = self.names_of_types(&oids).await?;
        let columns: Vec<Column> = names.into_iter().zip(types).map(|(name, of)| Column { name, of }).collect();
        let rows: Vec<BytesMut> = messages(self.answer_of(sql).await?);
        let rows: Vec<Vec<Field<'_>>> =
            rows.iter().map(|row| fields(row.get(HEADER_BYTES..).unwrap_or_default()).unwrap_or_default()).collect();
        Ok(match (query.stands, rows.as_slice()) {
            (Stands::List, [_, ..]) => listed(&columns, &rows),
            (Stands::Value, [row]) => {
                let mut value = Vec::new();
                push_typed(&mut value, &columns, row);
                value
            }
            _ => queried(&columns, &rows),
        })
    }
}

/// The rows as a list of values or rows.
fn listed(columns: &[Column], rows: &[Vec<Field<'_>>]) -> Vec<u8> {
    let mut list = Vec::new();
    for row in rows {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        push_typed(&mut list, columns, row);
    }
    list
}

fn push_typed(out: &mut Vec<u8>, columns: &[Column], row: &[Field<'_>]) {
    out.extend_from_slice(if columns.len() > 1 { b"(" } else { b"" });
    for (at, (column, field)) in columns.iter().zip(row).enumerate() {
        out.extend_from_slice(if at > 0 { b", " } else { b"" });
        match field {
            Some(value) => quote_into(out, value),
            None => out.extend_from_slice(b"NULL"),
        }
        out.extend_from_slice(format!("::{}", column.of).as_bytes());
    }
    out.extend_from_slice(if columns.len() > 1 { b")" } else { b"" });
}

/// The rows as a query.
fn queried(columns: &[Column], rows: &[Vec<Field<'_>>]) -> Vec<u8> {
    let named = |at: usize, column: &Column| {
        let value = if rows.is_empty() { "NULL".to_owned() } else { format!("v.c{at}") };
        format!("{value}::{} AS {}", column.of, quoted_identifier(&column.name))
    };
    let targets: Vec<String> = columns.iter().enumerate().map(|(at, column)| named(at, column)).collect();
    let mut query = format!("SELECT {}", targets.join(", ")).into_bytes();
    if rows.is_empty() {
        query.extend_from_slice(b" WHERE false");
        return query;
    }
    let mut values = Vec::new();
    rows.iter().for_each(|row| push_row(&mut values, row));
    let aliases: Vec<String> = (0..columns.len()).map(|at| format!("c{at}")).collect();
    query.extend_from_slice(b" FROM (VALUES ");
    query.extend_from_slice(&values);
    query.extend_from_slice(format!(") AS v ({})", aliases.join(", ")).as_bytes());
    query
}

/// Behind LIMIT and OFFSET a whole number is written as such.
fn write_amount(replacement: &mut Replacement, tokens: &Tokens<'_>) {
    let number = replacement.by.split('\'').nth(1).filter(|number| is_whole(number));
    if let Some(number) = number.filter(|_| is_amount(tokens, replacement.place.start)) {
        replacement.by = number.to_owned();
    }
}
