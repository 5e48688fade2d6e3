//! One connection to one shard's primary that listens for all clients of this process.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client};
use tracing::{debug, warn};

use crate::backend::ControlRole;
use crate::backend::inbox::Notification;
use crate::backend::notifications::Notifications;
use crate::backend::probe::control_target;
use crate::backend::settings::quoted_identifier;
use crate::topology::{Endpoint, ShardId};

/// How often the server is asked whether it is still there, and the map looked at.
const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// A server that does not answer for this long counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Give [`Listener::run`] to a task.
pub(crate) struct Listener {
    pub(crate) hub: Arc<Notifications>,
    pub(crate) shard: ShardId,
    pub(crate) endpoint: Endpoint,
    pub(crate) control: ControlRole,
    pub(crate) wake: Arc<Notify>,
    pub(crate) settled: watch::Sender<u64>,
}

/// Why a listener's connection ended.
#[derive(Debug, thiserror::Error)]
enum ListenerError {
    #[error(transparent)]
    Connect(#[from] crate::catalog::ConnectError),
    #[error(transparent)]
    Server(#[from] tokio_postgres::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server does not answer")]
    Silent,
}

impl Listener {
    /// Listens until nobody wants it any more or its server is lost.
    pub(crate) async fn run(self) {
        match self.follow().await {
            Ok(()) => debug!(shard = %self.shard, "nobody listens any more"),
            Err(error) => {
                warn!(shard = %self.shard, %error, "listening connection lost: clients that listen are ended");
                self.hub.lost(self.shard, &self.settled);
            }
        }
    }

    async fn follow(&self) -> Result<(), ListenerError> {
        let target = control_target(&self.endpoint, &self.control).named("shardyard notifications");
        let (client, mut connection) = timeout(ANSWER_TIMEOUT, target.open()).await.map_err(|_| ListenerError::Silent)??;
        // A notification is handed out before the answer that came behind it is looked at.
        let drive = async {
            loop {
                match std::future::poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(notification))) => self.hub.deliver(Notification {
                        shard: self.shard,
                        process_id: notification.process_id(),
                        channel: notification.channel().to_owned(),
                        payload: notification.payload().to_owned(),
                    }),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(ListenerError::Closed),
                }
            }
        };
        tokio::select! {
            ended = drive => ended,
            ended = self.serve(&client) => ended,
        }
    }

    async fn serve(&self, client: &Client) -> Result<(), ListenerError> {
        let mut listened = BTreeSet::new();
        while let Some(due) = self.hub.due(self.shard, &self.settled, &listened) {
            let mut sql = String::new();
            for channel in &due.listen {
                sql.push_str(&format!("LISTEN {};", quoted_identifier(channel)));
            }
            for channel in &due.unlisten {
                sql.push_str(&format!("UNLISTEN {};", quoted_identifier(channel)));
            }
            // An empty query too is answered behind the notifications that were sent before it.
            timeout(ANSWER_TIMEOUT, client.batch_execute(&sql)).await.map_err(|_| ListenerError::Silent)??;
            listened.retain(|channel| !due.unlisten.contains(channel));
            listened.extend(due.listen);
            self.settled.send_replace(due.version);
            // Whichever comes first.
            let _ = timeout(ASK_INTERVAL, self.wake.notified()).await;
        }
        Ok(())
    }
}
