//! SQL text: lexing, templates, parsing into facts. Knows nothing of schemas, shards or sockets.

pub mod ast;
pub mod classify;
pub mod clock;
pub mod command;
pub mod copy;
pub mod cursor;
pub mod hint;
pub mod keyword;
pub mod lexer;
pub mod literal;
pub mod outline;
pub mod parse;
pub mod session_state;
pub mod splice;
pub mod tables;
pub mod template;
