//! SQL text: lexing, templates, parsing into facts. Knows nothing of schemas, shards or sockets.

pub mod command;
pub mod lexer;
pub mod literal;
pub mod tables;
pub mod template;
