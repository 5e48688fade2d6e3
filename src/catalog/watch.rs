//! Follows the catalog: LISTEN, and a poll each second; publishes each version once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};
use tracing::{error, info, warn};

use crate::catalog::TableRules;
use crate::catalog::connect::{ConnectError, Target};
use crate::catalog::loader::Loader;
use crate::catalog::store::{self, CatalogState, StoreError};

/// NOTIFY wakes us; this is for the one that was lost.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A catalog that does not answer for this long counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the catalog could not be read at the start.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Follows one catalog. Give [`Watcher::run`] to a task.
pub struct Watcher {
    target: Target,
    file_rules: TableRules,
    publish: watch::Sender<Arc<CatalogState>>,
}

impl Watcher {
    /// Reads the catalog once. `file_rules` are those of `tables.toml`: the catalog's win, and its key column counts.
    ///
    /// # Errors
    /// When the catalog does not answer or holds no cluster.
    pub async fn start(target: &Target, file_rules: TableRules) -> Result<(Self, watch::Receiver<Arc<CatalogState>>), WatchError> {
        let mut client = target.connect().await?;
        let state = with_file(store::load(&mut client, None).await?, &file_rules);
        let (publish, receive) = watch::channel(Arc::new(state));
        Ok((Self { target: target.clone().named("shardyard watch"), file_rules, publish }, receive))
    }

    /// Follows until nobody receives any more. Without the catalog the last state stays; that is logged once, and once when it is back.
    /// Cancel safe: a state is published whole or not at all.
    pub async fn run(self) {
        let mut lost: Option<Instant> = None;
        loop {
            let ended = tokio::select! {
                ended = self.follow(&mut lost) => ended,
                () = self.publish.closed() => return,
            };
            if lost.is_none() {
                let error: &dyn std::error::Error = &ended;
                warn!(catalog = %self.target, %error, cause = error.source().map(tracing::field::display), "catalog lost, serving by the last map");
                lost = Some(Instant::now());
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// One connection to the catalog, from its opening to its loss.
    async fn follow(&self, lost: &mut Option<Instant>) -> WatchError {
        let (client, mut connection) = match timeout(ANSWER_TIMEOUT, self.target.open()).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return error.into(),
            Err(_) => return StoreError::Silent.into(),
        };
        let woken = tokio::sync::Notify::new();
        // Ends with the connection; `None` when the server closed it in order.
        let drive = async {
            loop {
                match std::future::poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => woken.notify_one(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return StoreError::Database(error).into(),
                    None => return StoreError::Closed.into(),
                }
            }
        };
        tokio::select! {
            ended = drive => ended,
            ended = self.read(&client, &woken, lost) => ended,
        }
    }

    async fn read(&self, client: &Client, woken: &tokio::sync::Notify, lost: &mut Option<Instant>) -> WatchError {
        let mut loader = None;
        let mut complaint = None;
        let mut notified = false;
        loop {
            let step = async {
                if loader.is_none() {
                    client.batch_execute("listen shardyard").await?;
                    loader = Some(Loader::prepare(client).await?);
                }
                match &loader {
                    // A poll asks first whether there is anything new; a notification says so.
                    Some(loader) if notified || self.is_behind(client).await? => self.refresh(client, loader, &mut complaint).await,
                    _ => Ok(()),
                }
            };
            match timeout(ANSWER_TIMEOUT, step).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return StoreError::Silent.into(),
            }
            if let Some(since) = lost.take() {
                info!(catalog = %self.target, seconds = since.elapsed().as_secs(), "catalog is back");
            }
            // Whichever comes first; a timeout is the poll.
            notified = timeout(POLL_INTERVAL, woken.notified()).await.is_ok();
        }
    }

    async fn is_behind(&self, client: &Client) -> Result<bool, StoreError> {
        Ok(store::version(client).await? != self.publish.borrow().map.version.0)
    }

    async fn refresh(&self, client: &Client, loader: &Loader, complaint: &mut Option<String>) -> Result<(), StoreError> {
        let known = Arc::clone(&self.publish.borrow());
        let state = match loader.load(client, Some(&known)).await {
            // The connection is fine, the content is not: a person must look. The last map goes on.
            Err(StoreError::Inconsistent(reason)) => {
                if complaint.as_ref() != Some(&reason) {
                    error!(%reason, "catalog contradicts itself, serving by the last map");
                    *complaint = Some(reason);
                }
                return Ok(());
            }
            loaded => loaded?,
        };
        if state.map.version == known.map.version {
            return Ok(());
        }
        // An older version: the catalog was restored from a backup, and what we know is of no use.
        let state = if state.map.version < known.map.version { loader.load(client, None).await? } else { state };
        let state = with_file(state, &self.file_rules);
        info!(version = state.map.version.0, shards = state.map.shards.len(), "catalog changed");
        self.publish.send_replace(Arc::new(state));
        Ok(())
    }
}

fn with_file(state: CatalogState, file: &TableRules) -> CatalogState {
    let rules = Arc::unwrap_or_clone(state.rules).over(file);
    CatalogState { rules: Arc::new(rules), ..state }
}
