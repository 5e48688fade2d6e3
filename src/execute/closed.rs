//! Writes that a shard refuses because their bucket belongs to another shard by now, or is just about to.

use crate::wire::{ServerError, SqlState, error_body, from_server};

/// What the guards of a move raise.
pub const CLOSED: SqlState = SqlState(*b"SY001");

const SERIALIZATION_FAILURE: &str = "40001";
/// Tells ours from PostgreSQL's own.
const ROUTINE: &str = "shardyard_closed";

/// The error as the client reads it where the statement is not run again.
pub(super) fn told(body: &[u8]) -> Vec<u8> {
    let body = error_body::with_field(body, b'C', |_| Some(SERIALIZATION_FAILURE.to_owned()));
    let body =
        error_body::with_field(&body, b'M', |_| Some("could not serialize access: the rows are being moved to another shard".to_owned()));
    let kept = [b'H', b'D', b'R', b'P', b'W'].into_iter().fold(body, |body, kind| error_body::without_field(&body, kind));
    let mut body = kept;
    body.pop();
    body.extend(error_body::body(&[(b'R', ROUTINE), (b'H', "Repeat the transaction: it will find them there.")]));
    body
}

/// Whether the error is one that [`told`] made.
#[must_use]
pub fn is_told(error: &ServerError) -> bool {
    error.routine.as_deref() == Some(ROUTINE)
}

/// As [`is_told`], of an error's body.
#[must_use]
pub fn is_told_body(body: &[u8]) -> bool {
    from_server::error(body).is_ok_and(|error| is_told(&error))
}

#[cfg(test)]
mod tests {
    use crate::execute::closed::{is_told, told};
    use crate::wire::{ClientError, error_body, from_server};

    #[test]
    fn is_a_serialization_failure() {
        let raised =
            error_body::body(&[(b'S', "ERROR"), (b'V', "ERROR"), (b'C', "SY001"), (b'M', "bucket 7 is closed"), (b'R', "exec_stmt_raise")]);
        assert!(!is_told(&from_server::error(&raised).expect("an error")));
        let error = from_server::error(&told(&raised)).expect("an error");
        assert!(is_told(&error) && error.sqlstate().as_str() == "40001" && error.hint.is_some());
    }
}
