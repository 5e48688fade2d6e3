//! One connection to a server, with everything the proxy knows of its state.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::backend::prepared::PreparedSet;
use crate::backend::settings::SettingSet;
use crate::net::Stream;
use crate::net::buffer::consume;
use crate::topology::Endpoint;
use crate::wire::TransactionStatus;

/// Who a server process is: enough to cancel what it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    pub endpoint: Endpoint,
    pub process_id: i32,
    pub secret: Vec<u8>,
}

/// What a message sent to the server will be answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// ParseComplete. The name is what the client called the statement, the number its id: both are forgotten again if Parse fails.
    Parse(Option<Box<[u8]>>, u64),
    /// BindComplete.
    Bind,
    /// RowDescription or NoData, behind ParameterDescription for a statement.
    Describe,
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// CloseComplete.
    Close,
    /// Anything up to ReadyForQuery.
    Query,
    /// ReadyForQuery.
    Sync,
    /// Not from the server at all: our own answer, due when the replies before it have gone out.
    Own(Bytes),
}

/// A reply that is still to come, and whether the client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub reply: Reply,
    /// Errors go to the client either way.
    pub forward: bool,
    /// Whether the closing ReadyForQuery is sent on; with `forward`, for `Query` and `Sync`.
    pub forward_ready: bool,
}

/// One connection to a server. Owned by the client's task while checked out.
#[derive(Debug)]
pub struct ServerConnection {
    pub stream: Stream,
    pub identity: Arc<ServerIdentity>,
    /// Arrived and not yet looked at.
    pub input: BytesMut,
    /// To be sent.
    pub output: BytesMut,
    /// Replies still to come, oldest first.
    pub expected: VecDeque<Expected>,
    /// Bytes of a message that was begun to be relayed before all of it had arrived.
    pub relaying_bytes: usize,
    /// As the last ReadyForQuery said.
    pub status: TransactionStatus,
    /// Its transaction waits for locks only so long as one over several shards may: a time-out is a deadlock's.
    pub lock_bound: bool,
    /// What ParameterStatus has told.
    pub parameters: BTreeMap<String, String>,
    /// What the session has applied beyond the defaults.
    pub settings: Arc<SettingSet>,
    /// Ids of the statements prepared under [`statement_name`].
    pub prepared: PreparedSet,
    /// Id of the unnamed statement, 0 for none.
    pub unnamed: u64,
    /// The schema under which its statements were prepared; under another they may have other result types.
    pub schema_version: u64,
    /// The proxy's, when it was opened: under another it is of no use any more.
    pub incarnation: i32,
    pub opened_at: Instant,
    /// When the connection should be replaced.
    pub expires_at: Instant,
    /// To within the pools' sweeps.
    pub idle_since: Instant,
}

/// What our names of statements on servers begin with.
pub const STATEMENT_PREFIX: &str = "shardyard_";

/// The name under which a server connection has prepared statement `id`.
#[must_use]
pub fn statement_name(id: u64) -> String {
    format!("{STATEMENT_PREFIX}{id}")
}

impl ServerConnection {
    /// A connection that has just logged in.
    #[must_use]
    pub fn new(stream: Stream, identity: ServerIdentity, parameters: BTreeMap<String, String>, prepared_max: usize) -> Self {
        let now = Instant::now();
        Self {
            stream,
            identity: Arc::new(identity),
            input: BytesMut::new(),
            output: BytesMut::new(),
            expected: VecDeque::new(),
            relaying_bytes: 0,
            status: TransactionStatus::Idle,
            lock_bound: false,
            parameters,
            settings: Arc::default(),
            prepared: PreparedSet::new(prepared_max),
            unnamed: 0,
            schema_version: 0,
            incarnation: 0,
            opened_at: now,
            expires_at: now,
            idle_since: now,
        }
    }

    /// Notes that a reply is to come.
    pub fn expect(&mut self, reply: Reply, forward: bool) {
        self.expected.push_back(Expected { reply, forward, forward_ready: forward });
    }

    /// Whether nothing is under way: no reply due, nothing unread or unsent, no transaction.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.expected.is_empty()
            && self.input.is_empty()
            && self.output.is_empty()
            && self.relaying_bytes == 0
            && self.status == TransactionStatus::Idle
    }

    /// Sends what the socket takes of `output`; whether it took anything.
    ///
    /// # Errors
    /// As the socket says. The server's last words may still be there to be read.
    pub fn poll_send(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let before = self.output.len();
        while !self.output.is_empty() {
            match self.stream.poll_send(context, &self.output)? {
                Poll::Ready(sent) => consume(&mut self.output, sent),
                Poll::Pending => break,
            }
        }
        self.stream.poll_flush(context)?;
        Ok(self.output.len() < before)
    }

    /// Sends what is in `output`. Cancel safe.
    ///
    /// # Errors
    /// As the socket says.
    pub async fn send(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        self.stream.send_buffer(&mut self.output).await
    }
}
