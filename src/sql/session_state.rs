//! Whether code leaves something behind in its server's session when its transaction has ended: for the bodies of functions and DO blocks.

use crate::sql::cursor::{Cursor, Tokens};

/// Strings within strings: EXECUTE of text that holds EXECUTE.
const DEPTH_MAX: u32 = 4;

/// Whether `text`, or SQL in its strings, sets for the session, takes session locks, or makes what lives as long as the session. In doubt
/// it does; text that is put together at run time of smaller pieces is not seen.
#[must_use]
pub fn leaves_session_state(text: &str) -> bool {
    leaves(text, 0)
}

/// The same of a statement that has been taken apart, such as DO.
#[must_use]
pub fn statement_leaves_state(statement: Cursor<'_>) -> bool {
    leaves_from(statement, 0)
}

/// Session locks. `pg_advisory_unlock_all` gives up the one by which the proxy's connections are known, too.
#[must_use]
pub fn locks_for_the_session(function: &str) -> bool {
    matches!(
        function,
        "pg_advisory_lock" | "pg_advisory_lock_shared" | "pg_try_advisory_lock" | "pg_try_advisory_lock_shared" | "pg_advisory_unlock_all"
    )
}

fn leaves(text: &str, depth: u32) -> bool {
    depth > DEPTH_MAX || Tokens::new(text.as_bytes(), true).map_or(true, |tokens| leaves_from(tokens.cursor(), depth))
}

fn leaves_from(mut cursor: Cursor<'_>, depth: u32) -> bool {
    let mut starts = true;
    while !cursor.at_end() {
        if let Some(value) = cursor.literal_value() {
            // One word is no statement.
            if value.contains(char::is_whitespace) && leaves(&value, depth + 1) {
                return true;
            }
        } else if starts && starts_state(cursor) || makes_temporary(cursor) || calls_for_state(cursor) {
            return true;
        }
        starts = cursor.is_mark(b';') || cursor.is_one_of(&["begin", "then", "else", "loop", "execute"]);
        cursor.advance();
    }
    false
}

/// A statement that holds beyond its transaction. `SET LOCAL` does not; `SET TRANSACTION` and `SET CONSTRAINTS` neither.
fn starts_state(cursor: Cursor<'_>) -> bool {
    if cursor.is_word("set") {
        let followed = |word: &str| cursor.is_word_at(1, word);
        return cursor.word_at(1).is_some() && !["local", "transaction", "constraints"].into_iter().any(followed);
    }
    cursor.is_one_of(&["listen", "load", "reset"]) && cursor.word_at(1).is_some() || cursor.is_word("load") && cursor.is_literal_at(1)
}

fn makes_temporary(cursor: Cursor<'_>) -> bool {
    cursor.is_one_of(&["create", "local", "global", "into"]) && (cursor.is_word_at(1, "temp") || cursor.is_word_at(1, "temporary"))
}

/// A session lock, or `set_config` whose last argument is not the word `true`.
fn calls_for_state(mut cursor: Cursor<'_>) -> bool {
    let Some(name) = cursor.any_name() else { return false };
    if !cursor.is_mark(b'(') || !locks_for_the_session(&name) && name != "set_config" {
        return false;
    }
    if name != "set_config" {
        return true;
    }
    let mut local = false;
    let mut depth = 0_u32;
    while !cursor.at_end() {
        if cursor.is_mark(b'(') {
            depth += 1;
        } else if cursor.is_mark(b')') {
            depth -= 1;
            if depth == 0 {
                break;
            }
        } else if depth == 1 {
            local = cursor.is_word("true");
        }
        cursor.advance();
    }
    !local
}

#[cfg(test)]
mod tests {
    use crate::sql::session_state::leaves_session_state;

    #[test]
    fn tells_what_stays() {
        let stays = [
            "begin perform set_config('search_path', x, false); end",
            "begin perform pg_catalog.set_config('a.b', f(true), is_local); end",
            "begin set search_path = other; update t set x = 1; end",
            "begin if x then set time zone 'UTC'; end if; end",
            "begin perform pg_advisory_lock(1); end",
            "begin execute 'set search_path to ' || quote_ident(x); end",
            "begin execute format('create temp table %I (x int)', n); end",
            "begin create temporary table mine (x int) on commit drop; end",
            "select 1; listen here",
            "begin load 'auto_explain'; end",
            "begin raise notice 'it''s; $$ half a text; end",
        ];
        for text in stays {
            assert!(leaves_session_state(text), "{text}");
        }
        let goes = [
            "begin perform set_config('app.user', new.user_id::text, true); return new; end",
            "begin update t set search_path = 1; insert into t values (1) on conflict (a) do update set b = 2; end",
            "begin set local search_path = other; perform pg_advisory_xact_lock(1); end",
            "select current_setting('app.user'), loaded from temp where set_config is null",
            "begin set transaction isolation level serializable; raise notice 'setting %', x; end",
        ];
        for text in goes {
            assert!(!leaves_session_state(text), "{text}");
        }
    }
}
