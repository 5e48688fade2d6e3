//! Sockets: listeners, streams with or without TLS.

pub mod buffer;
pub mod connect;
pub mod control;
pub mod listener;
pub mod options;
pub mod stream;
pub mod tls;

pub use connect::connect;
pub use listener::{BoundListener, Listener};
pub use options::{ClientTls, ClientTlsMode, ListenAddress, ServerTls, SslMode};
pub use stream::Stream;
pub use tls::{Acceptor, Connector};
