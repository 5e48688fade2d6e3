//! SQL's EXECUTE of a statement on several shards: run as the statement's text with its arguments in it.

use crate::execute::ask::ask_value;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::prepared::Prepared;
use crate::session::query::Ready;
use crate::session::spread_write::parameter_types;
use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::lexer::TokenKind;
use crate::sql::splice::{Replacement, Spliced};
use crate::wire::SqlState;

impl Session {
    /// Runs a prepared statement; `written` are EXECUTE's arguments, which are literals.
    pub(super) async fn spread_prepared(&mut self, prepared: &Prepared, written: &str) -> Result<(), Failure> {
        let result = self.spread_prepared_text(prepared, written).await;
        self.give_back_idle().await?;
        result
    }

    async fn spread_prepared_text(&mut self, prepared: &Prepared, written: &str) -> Result<(), Failure> {
        let statement = &prepared.statement;
        let unreadable = |_| Failure::plain(SqlState::INTERNAL_ERROR, "the statement has no tokens");
        let arguments = Tokens::new(written.as_bytes(), self.settings.standard_strings).map_err(unreadable)?;
        let arguments = listed(arguments.cursor(), written);
        let declared = prepared.sql_types.as_deref().unwrap_or_default();
        let names = Tokens::new(declared.as_bytes(), true).map_err(unreadable)?;
        let mut types: Vec<String> = listed(names.cursor(), declared);
        if types.len() < arguments.len() {
            let described = self.describe_at_home(&statement.text, &statement.types).await?;
            let found = self.names_of_types(&parameter_types(&described).unwrap_or_default()).await?;
            types.extend(found.into_iter().skip(types.len()));
        }
        if types.len() != arguments.len() {
            let message = format!("wrong number of parameters for prepared statement: {} expected, {} given", types.len(), arguments.len());
            return Err(Failure::plain(SqlState::SYNTAX_ERROR, message));
        }
        let tokens = Tokens::new(&statement.text, self.settings.standard_strings).map_err(unreadable)?;
        let mut uses = Vec::new();
        let mut cursor = tokens.cursor();
        while let Some(token) = cursor.peek() {
            let number = cursor.parameter().filter(|_| token.kind == TokenKind::Parameter).and_then(|number| number.checked_sub(1));
            if let Some((argument, name)) = number.and_then(|number| arguments.get(number).zip(types.get(number))) {
                let place = token.start as usize..token.end as usize;
                let plain = is_whole(argument) && is_amount(&tokens, place.start);
                uses.push(Replacement { place, by: if plain { argument.clone() } else { format!("({argument})::{name}") } });
            }
            cursor.advance();
        }
        let mut text = Spliced::default();
        text.keep(&statement.text, 0..statement.text.len(), &uses);
        self.scan
            .scan(&text.text, self.settings.standard_strings)
            .map_err(|error| Failure::plain(SqlState::INTERNAL_ERROR, error.to_string()))?;
        let plan = self.plan_scanned(&text.text, 0, &[]).await?;
        Box::pin(self.single(&text.text, &plan, Ready::Ours)).await.map(drop)
    }

    pub(super) async fn names_of_types(&mut self, oids: &[u32]) -> Result<Vec<String>, Failure> {
        if oids.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = oids.iter().map(|oid| format!("pg_catalog.format_type({oid}, -1)")).collect();
        let at = self.link_home().await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(Vec::new()) };
        let answer =
            ask_value(&mut link.server, &format!("select pg_catalog.concat_ws('|', {})", names.join(", "))).await?.unwrap_or_default();
        Ok(answer.split('|').map(str::to_owned).collect())
    }
}

/// Whether LIMIT or OFFSET stands before this place: there a whole number is read when the statement is planned, but no expression is.
pub(super) fn is_amount(tokens: &Tokens<'_>, place: usize) -> bool {
    let list = tokens.list();
    let at = list.partition_point(|token| (token.start as usize) < place);
    let before = at.checked_sub(1).and_then(|before| list.get(before)).filter(|token| token.kind == TokenKind::Word);
    let word = before.map(|token| tokens.bytes(*token)).unwrap_or_default();
    [b"limit".as_slice(), b"offset", b"first", b"next"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

pub(super) fn is_whole(number: &str) -> bool {
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The items of a list that commas part.
fn listed(mut cursor: Cursor<'_>, text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    while let Some(token) = cursor.peek() {
        match token.kind {
            TokenKind::Mark(b'(' | b'[') => depth += 1,
            TokenKind::Mark(b')' | b']') => depth = depth.saturating_sub(1),
            TokenKind::Mark(b',') if depth == 0 => {
                items.push(text.get(start..token.start as usize).unwrap_or_default().trim().to_owned());
                start = token.end as usize;
            }
            _ => {}
        }
        cursor.advance();
    }
    let last = text.get(start..).unwrap_or_default().trim();
    if !(last.is_empty() && items.is_empty()) {
        items.push(last.to_owned());
    }
    items
}
