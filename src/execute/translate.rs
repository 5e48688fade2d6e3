//! Errors that speak of what the proxy has sent, in terms of what the client had sent.

use crate::backend::connection::STATEMENT_PREFIX;
use crate::execute::relay::StatementNames;

/// The error's body as it would be had the server got the client's own text; `None` where that makes no difference.
pub(super) fn translated(body: &[u8], names: &dyn StatementNames) -> Option<Vec<u8>> {
    let renamed = renamed(body, names);
    match names.position_shift() {
        0 => renamed,
        shift => Some(shifted(renamed.as_deref().unwrap_or(body), shift)),
    }
}

fn shifted(body: &[u8], shift: isize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(end) = memchr::memchr(0, rest).filter(|end| *end > 0) {
        let (field, others) = rest.split_at(end + 1);
        let position = std::str::from_utf8(&field[1..end]).ok().filter(|_| field[0] == b'P').and_then(|text| text.parse::<isize>().ok());
        match position {
            Some(position) => {
                out.push(b'P');
                out.extend_from_slice(position.saturating_sub(shift).max(1).to_string().as_bytes());
                out.push(0);
            }
            None => out.extend_from_slice(field),
        }
        rest = others;
    }
    out.extend_from_slice(rest);
    out
}

fn renamed(body: &[u8], names: &dyn StatementNames) -> Option<Vec<u8>> {
    let start = memchr::memmem::find(body, STATEMENT_PREFIX.as_bytes())?;
    let rest = body.get(start + STATEMENT_PREFIX.len()..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let id = std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
    let name = names.client_name(id)?;
    Some([body.get(..start)?, name, rest.get(digits..)?].concat())
}
