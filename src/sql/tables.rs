//! The names in a text that nothing parses: function bodies, statements the parser does not know.

use crate::sql::command::ObjectName;

/// Every identifier of `text`, qualified or not, in order.
#[must_use]
pub fn names_in(_text: &str) -> Vec<ObjectName> {
    Vec::new()
}
