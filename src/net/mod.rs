//! Sockets: listeners, streams with or without TLS.

pub mod options;

pub use options::{ClientTls, ClientTlsMode, ListenAddress, ServerTls, SslMode};
