//! One client's conversation, from its startup packet to its end. One method per message of the protocol.

mod again;
mod auth;
mod commands;
mod copy_over;
mod ddl;
mod era;
mod explain;
mod express;
mod extended;
mod failure;
mod feed;
mod gather;
mod gather_execute;
mod handshake;
mod hold;
mod index;
mod links;
mod locked;
mod listen;
pub mod options;
mod pick;
mod pipeline;
mod prepared;
mod query;
mod reported;
mod scatter;
mod send_tables;
mod sequence;
mod server;
mod setval;
mod settings;
mod several;
pub mod shared;
mod spread;
mod spread_prepared;
mod spread_write;
mod timed;
mod transaction;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use bytes::Bytes;
use smallvec::SmallVec;
use tracing::debug;

use crate::backend::{CancelKey, ServerUser, UserPools};
use crate::cache::PlanCache;
use crate::catalog::Slot;
use crate::execute::ClientIo;
use crate::net::Stream;
use crate::session::era::Era;
use crate::session::extended::Batch;
use crate::session::failure::{End, Failure};
use crate::session::links::Link;
use crate::session::listen::Listening;
use crate::session::prepared::ClientStatements;
use crate::session::reported::Reported;
use crate::session::settings::ClientSettings;
use crate::session::transaction::Transaction;
use crate::sql::template::Scan;
use crate::topology::ShardId;
use crate::wire::frame::{HEADER_BYTES, peek_client};
use crate::wire::{PlainError, Severity, SqlState, to_client};

pub use auth::Account;
pub use handshake::admit;
pub use options::{AuthMethod, SessionOptions, User};
pub use shared::{Reloadable, Shared, SharedParts};

/// Input is taken in steps of this while a long message arrives, so that a length alone costs no memory.
const LONG_MESSAGE_STEP: usize = 1024 * 1024;

/// A client that has logged in.
pub struct Session {
    shared: Arc<Shared>,
    plans: Arc<PlanCache>,
    client: ClientIo,
    account: Arc<Account>,
    server_user: ServerUser,
    pools: Arc<UserPools>,
    settings: ClientSettings,
    statements: ClientStatements,
    transaction: Transaction,
    /// Server connections held now: by the transaction, the running statement, or for good (pinned).
    links: SmallVec<[Link; 1]>,
    batch: Batch,
    cancel: CancelKey,
    /// When this client's last commit on each shard was acknowledged, on the servers' clock.
    writes: SmallVec<[(ShardId, u64); 4]>,
    /// This client's temporary tables, on its pinned home connection.
    temporary: Vec<String>,
    /// All links are kept until the client leaves: session pooling, or session state on a server.
    pinned: bool,
    scan: Scan,
    reported: Reported,
    /// What it listens to, or will.
    listening: Option<Box<Listening>>,
    /// The last scatter failed because a replica did, not its statement.
    replica_failed: bool,
    /// That transactions over several shards are not of one snapshot.
    told_of_snapshots: bool,
    /// Which map the running statement and the open transaction go by, for those who wait until it is out of use.
    activity: Arc<Slot>,
    /// The proxy's incarnation when the running statement began.
    incarnation: i32,
    /// A statement within a statement goes by the same map.
    map_kept: bool,
    /// The map that the open transaction began by.
    era: Option<Era>,
    /// A pinned connection may have given up the lock by which it is known as this proxy's.
    reenters: bool,
}

impl Session {
    /// Serves the client until it leaves. `idle` is set while it waits for the client between transactions.
    pub async fn run(mut self: Box<Self>, idle: &AtomicBool) {
        if let Err(End::Fatal(error)) = self.serve(idle).await {
            debug!(user = self.account.user.name, %error, "client connection ended");
            to_client::error(&mut self.client.output, Severity::Fatal, &*error);
            // The client may be gone; there is nobody else to tell.
            let _ = self.client.send().await;
        }
        self.client.stream.close().await;
        self.leave().await;
    }

    async fn serve(&mut self, idle: &AtomicBool) -> Result<(), End> {
        loop {
            let short = self.express().await?;
            if !short {
                // On the heap, because the work's future takes kilobytes and an idle client should not.
                Box::pin(self.messages()).await?;
            }
            if self.client.closed {
                return Err(End::Left);
            }
            if !self.batch.is_open() {
                self.client.send().await.map_err(|_| End::Left)?;
            }
            if self.reenters {
                Box::pin(self.enter_again()).await?;
            }
            self.rest();
            if short && !self.client.input.is_empty() {
                // It has come while the reply was relayed.
                continue;
            }
            idle.store(self.links.is_empty() && !self.transaction.is_open() && !self.batch.is_open(), Ordering::Relaxed);
            let more = match self.listening {
                None => self.client.receive().await.map_err(|_| End::Left)?,
                Some(_) => Box::pin(self.receive_or_notify()).await?,
            };
            idle.store(false, Ordering::Relaxed);
            if !more && self.client.input.is_empty() {
                return Err(End::Left);
            }
        }
    }

    /// Handles every message that has arrived whole.
    async fn messages(&mut self) -> Result<(), End> {
        while let Some(frame) = peek_client(&self.client.input).map_err(|error| End::Fatal(Box::new(error)))? {
            let missing = frame.bytes.saturating_sub(self.client.input.len());
            if missing > 0 {
                self.client.input.reserve(missing.min(LONG_MESSAGE_STEP));
                break;
            }
            let message = self.client.input.split_to(frame.bytes).freeze();
            self.message(frame.tag, message).await?;
        }
        Ok(())
    }

    async fn message(&mut self, tag: u8, message: Bytes) -> Result<(), End> {
        let body = message.slice(HEADER_BYTES..);
        if self.batch.kept.is_some() || self.pools.map.moving.is_some() {
            Box::pin(self.keep_message(tag, &message)).await?;
        }
        match tag {
            b'S' => self.sync().await,
            b'X' => {
                // What was asked for before it leaves is answered; it may be gone already.
                let _ = self.client.send().await;
                Err(End::Left)
            }
            b'd' | b'c' | b'f' => self.copy_data(message).await,
            _ if self.batch.skips() => Ok(()),
            b'Q' => self.query(message).await,
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => self.extended_result(tag, &body).await,
            b'F' => self.function_call(message).await,
            _ => Err(End::Fatal(Box::new(crate::wire::frame::FrameError::Type(tag)))),
        }
    }

    /// Runs one message of the extended protocol; an error skips all up to Sync.
    async fn extended_result(&mut self, tag: u8, body: &Bytes) -> Result<(), End> {
        let result = match tag {
            b'P' => self.parse(body).await,
            b'B' => self.bind(body).await,
            b'D' => self.describe(body).await,
            b'E' => self.execute(body).await,
            b'C' => self.close(body).await,
            _ => self.flush().await,
        };
        match result {
            Ok(()) => Ok(()),
            Err(Failure::End(end)) => Err(end),
            Err(_) if self.is_refused() => Box::pin(self.repeat_batch()).await,
            Err(failure) => self.fail_batch(failure).await,
        }
    }

    /// ReadyForQuery, behind the ParameterStatus that are due.
    fn ready(&mut self) {
        if self.listening.is_some() {
            // A client that cannot go on is told when it is waited for.
            let _ = self.put_notifications();
        }
        self.reported.flush(&mut self.client.output);
        to_client::ready_for_query(&mut self.client.output, self.transaction.status());
    }

    /// Appends a failure to what the client is sent, and notes it in the transaction.
    fn tell(&mut self, failure: Failure) -> Result<(), End> {
        match failure {
            Failure::End(end) => return Err(end),
            Failure::Relayed => {}
            Failure::Report(error) => to_client::error(&mut self.client.output, Severity::Error, &*error),
        }
        self.transaction.fail();
        Ok(())
    }
}

impl Drop for Session {
    /// A session is dropped in the middle only when the process ends.
    fn drop(&mut self) {
        if self.shared.ending.load(Ordering::Relaxed) && self.client.output.is_empty() {
            let error = PlainError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command");
            to_client::error(&mut self.client.output, Severity::Fatal, &error);
            // What its socket does not take at once a client does not need.
            let _ = self.client.stream.poll_send(&mut Context::from_waker(Waker::noop()), &self.client.output);
        }
    }
}

/// Makes a session of an admitted client.
///
/// # Errors
/// What the client is to be told, when the home shard cannot greet it.
async fn start(
    shared: Arc<Shared>,
    plans: Arc<PlanCache>,
    client: ClientIo,
    account: Arc<Account>,
    startup: handshake::StartupSettings,
) -> Result<Box<Session>, (Failure, ClientIo)> {
    let user = &account.user;
    let server_user = user.server_user();
    let map = shared.view.map();
    let pools = shared.servers.pools(&server_user, &map);
    let cancel = shared.cancels.register(startup.secret_bytes);
    let pinned = user.pool_mode == crate::backend::PoolMode::Session;
    // On the heap, so that the tasks and futures it goes through hold no copy.
    let mut session = Box::new(Session {
        plans,
        client,
        settings: ClientSettings::new(shared.intern(startup.settings)),
        server_user,
        pools,
        statements: ClientStatements::default(),
        transaction: Transaction::default(),
        links: SmallVec::new(),
        batch: Batch::default(),
        cancel,
        writes: SmallVec::new(),
        temporary: Vec::new(),
        pinned,
        scan: Scan::new(),
        reported: Reported::default(),
        listening: None,
        replica_failed: false,
        told_of_snapshots: false,
        activity: shared.view.activity.slot(),
        incarnation: 0,
        map_kept: false,
        era: None,
        reenters: false,
        account: Arc::clone(&account),
        shared,
    });
    match session.greet().await {
        Ok(()) => Ok(session),
        Err(failure) => {
            let client = std::mem::replace(&mut session.client, ClientIo::new(Stream::closed()));
            Err((failure, client))
        }
    }
}

/// The address of a client, for logs; unix sockets have none.
pub type ClientAddress = Option<SocketAddr>;
