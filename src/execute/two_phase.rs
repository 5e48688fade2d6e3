//! Commit over several shards: anchored two-phase commit (DESIGN section 10).
//!
//! The first shard written is the anchor. The others PREPARE; then the anchor's own transaction records the decision and commits:
//! that commit *is* the decision; then the others COMMIT PREPARED. What a crash leaves behind, recovery decides by the anchor's record.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::ServerConnection;
use crate::execute::ask::{AskError, ask};
use crate::execute::fault;
use crate::execute::relay::RelayError;
use crate::topology::ShardId;
use crate::wire::{ClientError, SqlState};

/// Every gid of ours starts with this.
pub const GID_PREFIX: &str = "shardyard:";

/// Makes gids that no other process and no earlier run of this one has made.
#[derive(Debug)]
pub struct GidSource {
    process: u64,
    next: AtomicU64,
}

impl Default for GidSource {
    fn default() -> Self {
        Self { process: rand::random(), next: AtomicU64::new(1) }
    }
}

impl GidSource {
    /// A new gid: `shardyard:ANCHOR:PROCESS:COUNTER`.
    #[must_use]
    pub fn next(&self, anchor: ShardId) -> String {
        format!("{GID_PREFIX}{anchor}:{:016x}:{}", self.process, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// The anchor's shard, as a gid of ours names it.
#[must_use]
pub fn anchor_of(gid: &str) -> Option<ShardId> {
    gid.strip_prefix(GID_PREFIX)?.split(':').next()?.parse().ok().map(ShardId)
}

/// A commit over several shards did not succeed, or it is not known whether it did.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing is committed anywhere.
    #[error("{0}")]
    Aborted(AskError),
    /// The anchor was lost while it committed: recovery finds out and finishes what was decided.
    #[error("the outcome of the transaction is unknown")]
    Unknown(#[source] RelayError),
}

impl ClientError for CommitError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Aborted(error) => error.sqlstate(),
            Self::Unknown(_) => SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Aborted(error) => error.detail(),
            Self::Unknown(_) => {
                Some("The server was lost while it committed. The transaction is either on all shards or on none.".to_owned())
            }
        }
    }

    fn body(&self) -> Option<&[u8]> {
        match self {
            Self::Aborted(error) => error.body(),
            Self::Unknown(_) => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Aborted(error) => error.hint(),
            Self::Unknown(_) => Some("Look whether its changes are there before trying again.".to_owned()),
        }
    }
}

/// Commits the open transactions of `anchor` and `others` as one. Returns the others that were lost on the last step; recovery
/// commits there.
///
/// # Errors
/// See [`CommitError`]. Not cancel safe.
pub async fn commit(gid: &str, anchor: &mut ServerConnection, others: &mut [&mut ServerConnection]) -> Result<(), CommitError> {
    for at in 0..others.len() {
        let Some(server) = others.get_mut(at) else { break };
        fault::point("prepare", at).await;
        if let Err(error) = ask(server, &format!("PREPARE TRANSACTION '{gid}'")).await {
            abort(gid, anchor, others, at).await;
            return Err(CommitError::Aborted(error));
        }
    }
    fault::point("decide", 0).await;
    let decide = format!("INSERT INTO shardyard.commit_decision (gid, decision) VALUES ('{gid}', 'commit')");
    if let Err(error) = ask(anchor, &decide).await {
        abort(gid, anchor, others, others.len()).await;
        return Err(CommitError::Aborted(error));
    }
    fault::point("commit", 0).await;
    match ask(anchor, "COMMIT").await {
        Ok(()) => {}
        // A deferred constraint, say: the anchor has rolled back, and its decision with it.
        Err(error @ AskError::Server(_)) => {
            abort(gid, anchor, others, others.len()).await;
            return Err(CommitError::Aborted(error));
        }
        Err(AskError::Lost(error)) => return Err(CommitError::Unknown(error)),
    }
    for (at, server) in others.iter_mut().enumerate() {
        fault::point("finish", at).await;
        if let Err(error) = ask(server, &format!("COMMIT PREPARED '{gid}'")).await {
            tracing::warn!(gid, server = %server.identity.endpoint, %error, "left to recovery: a prepared transaction is to be committed");
        }
    }
    fault::point("finish", others.len()).await;
    Ok(())
}

/// Rolls back: the first `prepared` of the others are prepared, the rest are in their transactions.
async fn abort(gid: &str, anchor: &mut ServerConnection, others: &mut [&mut ServerConnection], prepared: usize) {
    for (at, server) in others.iter_mut().enumerate() {
        let sql = if at < prepared { format!("ROLLBACK PREPARED '{gid}'") } else { "ROLLBACK".to_owned() };
        if let Err(error) = ask(server, &sql).await {
            tracing::warn!(gid, server = %server.identity.endpoint, %error, "left to recovery: a transaction is to be rolled back");
        }
    }
    if let Err(error) = ask(anchor, "ROLLBACK").await {
        tracing::debug!(gid, %error, "the anchor is gone, and its transaction with it");
    }
}
