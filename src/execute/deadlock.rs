//! Deadlocks over shards, which no server sees: a transaction on several shards waits for locks within a bound, and what runs into it is
//! told what a deadlock is told.

use std::time::Duration;

use crate::wire::{SqlState, error_body, from_server};

/// Sets the bound, in transactions that write and are on several shards.
#[must_use]
pub fn bound(wait_max: Duration) -> String {
    format!("SET LOCAL lock_timeout = '{}ms'", wait_max.as_millis())
}

const DEADLOCK: &str = "40P01";

/// The error as a deadlock's, if it is that of `lock_timeout`.
pub(super) fn of_timeout(body: &[u8]) -> Option<Vec<u8>> {
    let error = from_server::error(body).ok()?;
    // NOWAIT has the same code, and is raised elsewhere.
    if error.code != SqlState::LOCK_NOT_AVAILABLE || error.routine.as_deref() != Some("ProcessInterrupts") {
        return None;
    }
    let body = error_body::with_field(body, b'C', |_| Some(DEADLOCK.to_owned()));
    let mut body = error_body::with_field(&body, b'M', |_| Some("deadlock detected".to_owned()));
    body.pop();
    body.extend(error_body::body(&[
        (b'D', "A transaction on several shards has waited for a lock longer than such transactions may (session.lock_wait_max_ms)."),
        (b'H', "Try the transaction again; lock rows in one order to avoid it. SET lock_timeout gives it another bound."),
    ]));
    Some(body)
}

#[cfg(test)]
mod tests {
    use crate::execute::deadlock::of_timeout;
    use crate::wire::{ClientError, error_body, from_server};

    fn error(code: &str, routine: &str) -> Vec<u8> {
        error_body::body(&[(b'S', "ERROR"), (b'V', "ERROR"), (b'C', code), (b'M', "canceling statement"), (b'R', routine)])
    }

    #[test]
    fn only_time_outs_are_deadlocks() {
        let told = from_server::error(&of_timeout(&error("55P03", "ProcessInterrupts")).expect("a time-out")).expect("an error");
        assert_eq!((told.sqlstate().as_str(), told.message.as_str()), ("40P01", "deadlock detected"));
        assert!(told.hint.is_some() && told.detail.is_some());
        assert_eq!(of_timeout(&error("55P03", "heap_lock_tuple")), None);
        assert_eq!(of_timeout(&error("57014", "ProcessInterrupts")), None);
    }
}
