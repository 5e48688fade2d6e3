//! Writes on every shard that read rows of others: those are sent along as tables of WITH, which hide the tables of their names.

use crate::backend::settings::quoted_identifier;
use crate::execute::ask::ask_value;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::feed::{fields, push_row, quoted};
use crate::session::spread_write::messages;
use crate::sql::cursor::Tokens;
use crate::wire::frame::HEADER_BYTES;
use crate::wire::{PlainError, SqlState};

/// Rows sent along with one statement, to each shard.
const SENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What parts a column's name, type and collation in the home shard's answer: no name has it.
const PART: char = '\u{1}';

impl Session {
    /// The tables of WITH that hold all rows of these relations, and where in the text they belong.
    pub(super) async fn sent_tables(&mut self, text: &[u8], relations: &[(String, String)]) -> Result<(usize, Vec<u8>), Failure> {
        let lost = |_| Failure::plain(SqlState::INTERNAL_ERROR, "the statement has no tokens");
        let tokens = Tokens::new(text, self.settings.standard_strings).map_err(lost)?;
        let mut cursor = tokens.cursor();
        let has_with = cursor.accept_word("with");
        cursor.accept_word("recursive");
        let place = cursor.offset();
        let mut sent = Vec::new();
        if !has_with {
            sent.extend_from_slice(b"WITH ");
        }
        for (at, (schema, name)) in relations.iter().enumerate() {
            if at > 0 {
                sent.extend_from_slice(b", ");
            }
            self.send_table(schema, name, &mut sent).await?;
            if sent.len() > SENT_BYTES_MAX {
                let message = format!("rows that the statement reads of other shards are more than {SENT_BYTES_MAX} bytes");
                let error = PlainError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message);
                return Err(Failure::report(error.hint("Join the tables by their shard keys, or read them first.")));
            }
        }
        sent.extend_from_slice(if has_with { b", " } else { b" " });
        Ok((place, sent))
    }

    async fn send_table(&mut self, schema: &str, name: &str, sent: &mut Vec<u8>) -> Result<(), Failure> {
        let columns = self.columns_of(schema, name).await?;
        let query = format!("SELECT * FROM {}.{}", quoted_identifier(schema), quoted_identifier(name));
        let answer = self.answer_of(query.as_bytes()).await?;
        let mut rows = Vec::with_capacity(answer.len());
        for row in messages(answer) {
            push_row(&mut rows, &fields(row.get(HEADER_BYTES..).unwrap_or_default()).unwrap_or_default());
        }
        let names: Vec<String> = columns.iter().map(|(name, _)| quoted_identifier(name)).collect();
        sent.extend_from_slice(format!("{} ({}) AS MATERIALIZED (SELECT ", quoted_identifier(name), names.join(", ")).as_bytes());
        if rows.is_empty() {
            let nulls: Vec<String> = columns.iter().map(|(_, of)| format!("NULL::{of}")).collect();
            sent.extend_from_slice(format!("{} WHERE false)", nulls.join(", ")).as_bytes());
            return Ok(());
        }
        let typed: Vec<String> = columns.iter().enumerate().map(|(at, (_, of))| format!("v.c{at}::{of}")).collect();
        let aliases: Vec<String> = (0..columns.len()).map(|at| format!("c{at}")).collect();
        sent.extend_from_slice(format!("{} FROM (VALUES ", typed.join(", ")).as_bytes());
        sent.extend_from_slice(&rows);
        sent.extend_from_slice(format!(") AS v ({}))", aliases.join(", ")).as_bytes());
        Ok(())
    }

    /// Names of a relation's columns, and what they are cast to.
    async fn columns_of(&mut self, schema: &str, name: &str) -> Result<Vec<(String, String)>, Failure> {
        let sql = format!(
            "select pg_catalog.string_agg(a.attname || chr(1) || pg_catalog.format_type(a.atttypid, a.atttypmod) \
               || case when a.attcollation <> t.typcollation then ' COLLATE ' || pg_catalog.quote_ident(n.nspname) || '.' || \
                  pg_catalog.quote_ident(l.collname) else '' end, chr(2) order by a.attnum) \
             from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid \
             join pg_catalog.pg_namespace s on s.oid = c.relnamespace join pg_catalog.pg_type t on t.oid = a.atttypid \
             left join pg_catalog.pg_collation l on l.oid = a.attcollation left join pg_catalog.pg_namespace n on n.oid = l.collnamespace \
             where c.relname = {} and s.nspname = {} and a.attnum > 0 and not a.attisdropped",
            quoted(name.as_bytes()),
            quoted(schema.as_bytes()),
        );
        let at = self.link_home().await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(Vec::new()) };
        let answer = ask_value(&mut link.server, &sql).await?.unwrap_or_default();
        let columns = answer.split('\u{2}').filter_map(|column| column.split_once(PART));
        Ok(columns.map(|(name, of)| (name.to_owned(), of.to_owned())).collect())
    }
}
