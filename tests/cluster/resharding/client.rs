//! How a client sends its statements and understands what became of them.

use anyhow::Result;

use crate::connection::{Connection, Rows, message};
use crate::reply::ServerError;
use crate::resharding::history::Outcome;

/// Runs `sql` by the extended protocol with text parameters.
pub(crate) fn extended(connection: &mut Connection, sql: &str, parameters: &[&str]) -> Result<Rows> {
    let count = u16::try_from(parameters.len())?.to_be_bytes();
    let parse = [&[0], sql.as_bytes(), &[0, 0, 0]].concat();
    let mut bind = [&[0, 0, 0, 0][..], &count].concat();
    for parameter in parameters {
        bind.extend(u32::try_from(parameter.len())?.to_be_bytes());
        bind.extend(parameter.as_bytes());
    }
    bind.extend([0, 0]);
    let messages = [message(b'P', &parse), message(b'B', &bind), message(b'E', &[0, 0, 0, 0, 0]), message(b'S', &[])];
    connection.send(&messages.concat())?;
    Ok(connection.finish_query()?.0)
}

/// What an error of a statement that commits by itself, or of COMMIT, tells of its effect.
pub(crate) fn judge(error: &anyhow::Error) -> Outcome {
    match error.downcast_ref::<ServerError>() {
        // The connection's loss, a server's end, or "transaction resolution unknown".
        Some(told) if told.sqlstate().starts_with("08") || told.sqlstate().starts_with("57P") => Outcome::Unknown,
        Some(_) => Outcome::Refused,
        None => Outcome::Unknown,
    }
}
