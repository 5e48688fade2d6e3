//! INSERT of a query's rows: the query is run first, wherever it belongs, and its rows are shared out by their keys.

use bytes::{BufMut, Bytes, BytesMut};

use crate::backend::Reply;
use crate::backend::settings::quoted_identifier;
use crate::execute::ask::ask_value;
use crate::execute::part::{Keep, Part};
use crate::merge::key::Kind;
use crate::routing::copy::{CopyKey, RowTarget};
use crate::routing::feed::{FeedPlan, FeedTarget};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::prepared::Prepared;
use crate::session::query::Ready;
use crate::session::spread_write::{Texts, messages, parameter_types};
use crate::sql::copy::KeyField;
use crate::sql::cursor::Tokens;
use crate::sql::lexer::TokenKind;
use crate::sql::splice::{Replacement, Spliced};
use crate::topology::ShardId;
use crate::wire::frame::HEADER_BYTES;
use crate::wire::reader::Reader;
use crate::wire::{PlainError, SqlState, error_body, from_client, to_server};

/// A column's value as text, `None` for null.
pub(super) type Field<'a> = Option<&'a [u8]>;

impl Session {
    /// The texts that insert the rows of the statement's query, one for each shard that has some.
    pub(super) async fn texts_of_feed(
        &mut self,
        (text, plan): (&[u8], &FeedPlan),
        bound: Option<(&Prepared, &Bytes)>,
    ) -> Result<Texts, Failure> {
        let lost = || Failure::plain(SqlState::INTERNAL_ERROR, "the parts of the statement are not where its plan has them");
        let tokens = Tokens::new(text, self.settings.standard_strings).map_err(|_| lost())?;
        let types = bound.map(|(prepared, _)| prepared.statement.types.to_vec()).unwrap_or_default();
        // PostgreSQL judges the statement as a whole before a part of it runs.
        let whole = self.describe_at_home(text, &types).await?;
        let parameters = match bound {
            Some((_, tail)) => self.literals_of(&tokens, &parameter_types(&whole).unwrap_or_default(), tail).await?,
            None => Vec::new(),
        };
        let source = plan.source(text, &tokens, &parameters).ok_or_else(lost)?;
        let (query, head) = self.typed_query(plan, &source).await?;
        let answer = self.answer_of(&query).await?;
        let rows: Vec<BytesMut> = messages(answer);
        let mut shares: Vec<Share> = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            let fields = fields(row.get(HEADER_BYTES..).unwrap_or_default()).unwrap_or_default();
            let shard = match &plan.target {
                FeedTarget::ByKey(key) => self.shard_of_row(key, &fields)?,
                FeedTarget::Home | FeedTarget::Every => self.pools.map.home,
            };
            let share = match shares.iter().position(|share| share.shard == shard) {
                Some(at) => shares.get_mut(at),
                None => {
                    shares.push(Share { shard, places: Vec::new(), rows: Vec::new() });
                    shares.last_mut()
                }
            };
            if let Some(share) = share {
                share.push(place, &fields);
            }
        }
        shares.sort_by_key(|share| share.shard);
        let mut parts = Vec::with_capacity(shares.len());
        for share in &shares {
            let insert = plan.insert((text, &tokens), &parameters, (head.as_deref(), &share.rows)).ok_or_else(lost)?;
            parts.push((share.shard, insert));
        }
        let described = row_description(&whole).freeze();
        if let (FeedTarget::Every, [(home, insert)]) = (&plan.target, parts.as_slice()) {
            let others =
                self.home_first().into_iter().filter(|shard| shard != home).map(|shard| (shard, insert.clone())).collect::<Vec<_>>();
            parts.extend(others);
            return Ok(Texts { parts, order: None, returning: plan.returning, described, first_only: true });
        }
        let order = shares.into_iter().map(|share| share.places).collect();
        Ok(Texts { parts, order: Some(order), returning: plan.returning, described, first_only: false })
    }

    fn shard_of_row(&self, key: &CopyKey, fields: &[Field<'_>]) -> Result<ShardId, Failure> {
        let field = match fields.get(key.place()) {
            Some(Some(value)) => KeyField::Text((*value).into()),
            Some(None) => KeyField::Null,
            None => KeyField::Default,
        };
        match key.target(&field, self.settings.other_encoding, &self.pools.map) {
            RowTarget::Shard(shard) => Ok(shard),
            RowTarget::AnyShard => Ok(self.pools.map.home),
            RowTarget::Refused(refusal) => Err(Failure::report(refusal)),
        }
    }

    /// The home shard's ParameterDescription and RowDescription of a text.
    pub(super) async fn describe_at_home(&mut self, text: &[u8], types: &[u32]) -> Result<BytesMut, Failure> {
        let home = self.pools.map.home;
        let at = self.link_home().await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(BytesMut::new()) };
        let server = &mut *link.server;
        to_server::parse(&mut server.output, b"", text, types);
        server.expect(Reply::Parse(None, 0), false);
        server.unnamed = 0;
        to_server::describe_statement(&mut server.output, b"");
        server.expect(Reply::Describe, true);
        self.sync_quietly(at);
        let part = self.part_of(home, Keep { collect: true, ..Keep::default() }).await?;
        self.told_or(part).map(|part| part.described)
    }

    fn sync_quietly(&mut self, at: usize) {
        let Some(link) = self.links.get_mut(at) else { return };
        to_server::sync(&mut link.server.output);
        link.server.expect(Reply::Sync, false);
    }

    fn told_or(&mut self, part: Part) -> Result<Part, Failure> {
        match part.error {
            Some(error) => {
                self.transaction.fail();
                Err(Failure::Report(error))
            }
            None => Ok(part),
        }
    }

    /// The query with each column of the type it is stored as: what an assignment makes of it, not what its text would be read as.
    /// For a reference table also with the defaults of the columns that are not given, and the INSERT's head that names them all.
    async fn typed_query(&mut self, plan: &FeedPlan, source: &Spliced) -> Result<(Vec<u8>, Option<String>), Failure> {
        let described = self.describe_at_home(&source.text, &[]).await?;
        let given: Vec<u32> = columns_of(&row_description(&described)).unwrap_or_default().into_iter().map(|(_, oid)| oid).collect();
        let names = plan
            .columns
            .get(..given.len())
            .ok_or_else(|| Failure::plain(SqlState::SYNTAX_ERROR, "INSERT has more expressions than target columns"))?;
        let stored = self.stored_types(plan, names).await?;
        let defaults = if plan.defaults { self.defaults(plan, names).await? } else { Vec::new() };
        let mut head = None;
        if !defaults.is_empty() {
            let alias = plan.alias.as_ref().map(|alias| format!(" AS {}", quoted_identifier(alias))).unwrap_or_default();
            let all = names.iter().chain(defaults.iter().map(|(name, _)| name)).map(|name| quoted_identifier(name));
            let columns = all.collect::<Vec<_>>().join(", ");
            let table = format!("{}.{}", quoted_identifier(&plan.schema), quoted_identifier(&plan.table));
            head = Some(format!("INSERT INTO {table}{alias} ({columns}) OVERRIDING SYSTEM VALUE"));
        }
        if defaults.is_empty() && stored.len() == given.len() && stored.iter().zip(&given).all(|((oid, _), given)| oid == given) {
            return Ok((source.text.clone(), head));
        }
        let mut columns: Vec<String> = stored.iter().enumerate().map(|(at, (_, name))| format!("shardyard_rows.c{at}::{name}")).collect();
        columns.extend(defaults.into_iter().map(|(_, default)| default));
        let aliases: Vec<String> = (0..stored.len()).map(|at| format!("c{at}")).collect();
        let mut query = format!("SELECT {} FROM (", columns.join(", ")).into_bytes();
        query.extend_from_slice(&source.text);
        query.extend_from_slice(format!("\n) AS shardyard_rows ({})", aliases.join(", ")).as_bytes());
        Ok((query, head))
    }

    /// The defaults of a table's columns other than these: name and expression.
    async fn defaults(&mut self, plan: &FeedPlan, names: &[String]) -> Result<Vec<(String, String)>, Failure> {
        let names: Vec<String> = names.iter().map(|name| quoted(name.as_bytes())).collect();
        let sql = format!(
            "select pg_catalog.string_agg(a.attname || chr(1) || case when a.attidentity <> '' then 'nextval(' || pg_catalog.quote_literal( \
               pg_catalog.pg_get_serial_sequence(pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(c.relname), a.attname)) || ')' \
               else pg_catalog.replace(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '::regclass', '') end, chr(2) order by a.attnum) \
             from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid \
             join pg_catalog.pg_namespace s on s.oid = c.relnamespace \
             left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
             where c.relname = {} and s.nspname = {} and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' \
               and (a.attidentity <> '' or d.adbin is not null) and a.attname <> all (array[{}]::pg_catalog.text[])",
            quoted(plan.table.as_bytes()),
            quoted(plan.schema.as_bytes()),
            names.join(", "),
        );
        let at = self.link_home().await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(Vec::new()) };
        let answer = ask_value(&mut link.server, &sql).await?.unwrap_or_default();
        let pairs = answer.split('\u{2}').filter_map(|column| column.split_once('\u{1}'));
        Ok(pairs.map(|(name, default)| (name.to_owned(), default.to_owned())).collect())
    }

    /// The types of a table's columns: oid and name.
    async fn stored_types(&mut self, plan: &FeedPlan, names: &[String]) -> Result<Vec<(u32, String)>, Failure> {
        let names: Vec<String> = names.iter().map(|name| quoted(name.as_bytes())).collect();
        let sql = format!(
            "select pg_catalog.string_agg(a.atttypid || ' ' || pg_catalog.format_type(a.atttypid, -1), '|' order by n.place) \
             from unnest(array[{}]::pg_catalog.text[]) with ordinality as n (name, place) \
             join pg_catalog.pg_attribute a on a.attname::pg_catalog.text = n.name \
             join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_namespace s on s.oid = c.relnamespace \
             where c.relname = {} and s.nspname = {} and a.attnum > 0 and not a.attisdropped",
            names.join(", "),
            quoted(plan.table.as_bytes()),
            quoted(plan.schema.as_bytes()),
        );
        let at = self.link_home().await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(Vec::new()) };
        let answer = ask_value(&mut link.server, &sql).await?.unwrap_or_default();
        Ok(answer
            .split('|')
            .filter_map(|entry| entry.split_once(' '))
            .filter_map(|(oid, name)| Some((oid.parse().ok()?, name.to_owned())))
            .collect())
    }

    /// Runs a query of ours as if the client had sent it, and takes its rows back.
    pub(super) async fn answer_of(&mut self, query: &[u8]) -> Result<BytesMut, Failure> {
        let exact = self.has_exact_floats();
        let before = self.client.output.len();
        if self.scan.scan(query, self.settings.standard_strings).is_err() {
            return Err(Failure::plain(SqlState::INTERNAL_ERROR, "the query of the statement has no tokens"));
        }
        let plan = self.plan_scanned(query, 0, &[]).await?;
        let kept = std::mem::replace(&mut self.client.kept_bytes_max, self.shared.options.kept_bytes_max);
        let map_kept = std::mem::replace(&mut self.map_kept, true);
        let result = Box::pin(self.single(query, &plan, Ready::Ours)).await;
        self.client.kept_bytes_max = kept;
        self.map_kept = map_kept;
        let answer = self.client.output.split_off(before);
        let mut rows = BytesMut::with_capacity(answer.len());
        let mut rounded = false;
        for message in messages(answer) {
            match message.first() {
                Some(b'T') => rounded = !exact && !columns_of(&message).is_some_and(|columns| columns.iter().all(has_no_floats)),
                Some(b'D') => rows.extend_from_slice(&message),
                // The place that an error names is one in our query.
                Some(b'E') => to_server::message(&mut self.client.output, b'E', |out| {
                    out.extend_from_slice(&error_body::without_field(message.get(HEADER_BYTES..).unwrap_or_default(), b'P'));
                }),
                Some(b'N' | b'S') => self.client.output.extend_from_slice(&message),
                _ => {}
            }
        }
        result?;
        if rounded {
            return Err(Failure::report(
                PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, "rows cannot be written over several shards as floats are shown now")
                    .detail("They are read and written as text, and extra_float_digits rounds floats, or is not known.")
                    .hint("SET extra_float_digits = 1, in a session without temporary tables or SET LOCAL of it."),
            ));
        }
        Ok(rows)
    }

    /// Each use of a parameter with the literal that stands for it. The home shard reads the values, whatever their format.
    pub(super) async fn literals_of(&mut self, tokens: &Tokens<'_>, types: &[u32], tail: &[u8]) -> Result<Vec<Replacement>, Failure> {
        if types.is_empty() {
            return Ok(Vec::new());
        }
        let columns: Vec<String> =
            types.iter().enumerate().map(|(at, oid)| format!("${}::pg_catalog.text, pg_catalog.format_type({oid}, -1)", at + 1)).collect();
        let home = self.pools.map.home;
        let at = self.link_home().await?;
        if let Some(link) = self.links.get_mut(at) {
            let server = &mut *link.server;
            to_server::parse(&mut server.output, b"", format!("SELECT {}", columns.join(", ")).as_bytes(), types);
            server.expect(Reply::Parse(None, 0), false);
            server.unnamed = 0;
            to_server::bind(&mut server.output, b"", b"", &without_result_formats(tail));
            server.expect(Reply::Bind, false);
            to_server::execute(&mut server.output, b"", 0);
            server.expect(Reply::Execute, true);
        }
        self.sync_quietly(at);
        let part = self.part_of(home, Keep { collect: true, ..Keep::default() }).await?;
        let part = self.told_or(part)?;
        let row = messages(part.rows).into_iter().next().unwrap_or_default();
        let fields = fields(row.get(HEADER_BYTES..).unwrap_or_default()).unwrap_or_default();
        let literals: Vec<String> = fields
            .chunks(2)
            .map(|pair| {
                let value = pair.first().copied().flatten().map_or_else(|| "NULL".to_owned(), quoted);
                let name = String::from_utf8_lossy(pair.get(1).copied().flatten().unwrap_or_default()).into_owned();
                format!("({value}::{name})")
            })
            .collect();
        let mut found = Vec::new();
        let mut cursor = tokens.cursor();
        while let Some(token) = cursor.peek() {
            if token.kind == TokenKind::Parameter
                && let Some(literal) = cursor.parameter().and_then(|number| literals.get(number.checked_sub(1)?))
            {
                found.push(Replacement { place: token.start as usize..token.end as usize, by: literal.clone() });
            }
            cursor.advance();
        }
        Ok(found)
    }
}

/// The rows of one shard, as VALUES writes them.
struct Share {
    shard: ShardId,
    places: Vec<usize>,
    rows: Vec<u8>,
}

impl Share {
    fn push(&mut self, place: usize, fields: &[Field<'_>]) {
        self.places.push(place);
        push_row(&mut self.rows, fields);
    }
}

/// One more row of VALUES.
pub(super) fn push_row(rows: &mut Vec<u8>, fields: &[Field<'_>]) {
    rows.extend_from_slice(if rows.is_empty() { b"(" } else { b", (" });
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            rows.push(b',');
        }
        match field {
            Some(value) => quote_into(rows, value),
            None => rows.extend_from_slice(b"NULL"),
        }
    }
    rows.push(b')');
}

/// A value as a literal that means the same whatever `standard_conforming_strings` says.
pub(super) fn quote_into(out: &mut Vec<u8>, value: &[u8]) {
    let escapes = value.contains(&b'\\');
    out.extend_from_slice(if escapes { b" E'" } else { b"'" });
    for byte in value {
        if *byte == b'\'' || *byte == b'\\' {
            out.push(*byte);
        }
        out.push(*byte);
    }
    out.push(b'\'');
}

pub(super) fn quoted(value: &[u8]) -> String {
    let mut out = Vec::new();
    quote_into(&mut out, value);
    String::from_utf8_lossy(&out).into_owned()
}

/// The values of a DataRow's body.
pub(super) fn fields(body: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut reader = Reader::new(body);
    let count = reader.i16().ok()?;
    let mut fields = Vec::with_capacity(usize::try_from(count).ok()?);
    for _ in 0..count {
        let length = reader.i32().ok()?;
        fields.push(match usize::try_from(length) {
            Ok(length) => Some(reader.bytes(length).ok()?),
            Err(_) => None,
        });
    }
    Some(fields)
}

/// The RowDescription among a statement's description; empty for none.
pub(super) fn row_description(described: &[u8]) -> BytesMut {
    messages(described.into()).into_iter().find(|message| message.first() == Some(&b'T')).unwrap_or_default()
}

/// Names and types of a RowDescription's columns.
pub(super) fn columns_of(message: &[u8]) -> Option<Vec<(String, u32)>> {
    let mut reader = Reader::new(message.get(HEADER_BYTES..)?);
    let count = reader.i16().ok()?;
    (0..count)
        .map(|_| {
            let name = String::from_utf8_lossy(reader.string().ok()?).into_owned();
            reader.bytes(6).ok()?;
            let oid = reader.i32().ok()?.cast_unsigned();
            reader.bytes(8).ok()?;
            Some((name, oid))
        })
        .collect()
}

/// Whether a column of a RowDescription is of a type whose text does not depend on `extra_float_digits`; of others it may.
fn has_no_floats((_, type_oid): &(String, u32)) -> bool {
    Kind::of(*type_oid).is_some_and(|kind| !kind.is_float())
}

/// Bind's tail with all results as text.
fn without_result_formats(tail: &[u8]) -> BytesMut {
    let mut out = BytesMut::from(tail.get(..from_client::values_end(tail)).unwrap_or_default());
    out.put_i16(0);
    out
}
