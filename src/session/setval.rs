//! setval of what is computed: the sequence's name is the home shard's to tell, the value is read as any query is.

use bytes::Bytes;

use crate::backend::settings::{quoted_identifier, quoted_literal};
use crate::execute::ask::ask_value;
use crate::routing::sequence::SequenceValue;
use crate::routing::setval::SetvalPlan;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::feed::fields;
use crate::session::prepared::Prepared;
use crate::session::spread_write::{messages, parameter_types};
use crate::sql::cursor::Tokens;
use crate::wire::frame::HEADER_BYTES;
use crate::wire::{PlainError, SqlState};

impl Session {
    /// Sets the sequence; what the home shard is asked for the answer. The transaction is open. `bound`: a portal's statement and Bind's tail.
    pub(super) async fn set_computed(
        &mut self,
        (text, plan): (&[u8], &SetvalPlan),
        bound: Option<(&Prepared, &Bytes)>,
    ) -> Result<String, Failure> {
        let lost = || Failure::plain(SqlState::INTERNAL_ERROR, "the parts of the statement are not where its plan has them");
        let tokens = Tokens::new(text, self.settings.standard_strings).map_err(|_| lost())?;
        let types = bound.map(|(prepared, _)| prepared.statement.types.to_vec()).unwrap_or_default();
        // PostgreSQL judges the statement as a whole before a part of it runs.
        let whole = self.describe_at_home(text, &types).await?;
        let parameters = match bound {
            Some((_, tail)) => self.literals_of(&tokens, &parameter_types(&whole).unwrap_or_default(), tail).await?,
            None => Vec::new(),
        };
        let query = plan.name_query(text, &tokens, &parameters).ok_or_else(lost)?;
        let at = self.link_home().await?;
        let Some(link) = self.links.get_mut(at) else { return Err(lost()) };
        let name = ask_value(&mut link.server, &String::from_utf8_lossy(&query)).await?;
        let query = plan.value_query(text, &tokens, &parameters).ok_or_else(lost)?;
        let rows = messages(self.answer_of(&query).await?);
        let label = quoted_identifier(&plan.label);
        let row = match rows.as_slice() {
            [] => return Ok(format!("SELECT NULL::pg_catalog.int8 AS {label} WHERE false")),
            [row] => fields(row.get(HEADER_BYTES..).unwrap_or_default()).ok_or_else(lost)?,
            _ => return Err(several()),
        };
        let field = |at: usize| row.get(at).copied().flatten().map(|value| String::from_utf8_lossy(value).trim().to_owned());
        let called = if row.len() > 1 { field(1) } else { Some("t".to_owned()) };
        let (Some(name), Some(value), Some(called)) = (name, field(0), called) else {
            // It is strict.
            return Ok(format!("SELECT NULL::pg_catalog.int8 AS {label}"));
        };
        let Ok(value) = value.parse::<i64>() else { return Err(lost()) };
        let value = SequenceValue { name, value, called: called == "t" };
        if self.set_on_shards(&value).await? {
            return Ok(format!("SELECT {}::pg_catalog.int8 AS {label}", value.value));
        }
        Ok(format!("SELECT pg_catalog.setval({}, {}, {}) AS {label}", quoted_literal(&value.name), value.value, value.called))
    }
}

fn several() -> Failure {
    let error = PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, "setval() for several rows is not supported on a sharded database");
    Failure::report(error.hint("Send one SELECT setval(sequence, value) for each."))
}
