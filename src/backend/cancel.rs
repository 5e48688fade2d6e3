//! Cancel requests: from a client's key to the servers that are busy for that client, and only while they are.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::timeout;
use tracing::debug;

use crate::backend::connection::ServerIdentity;
use crate::net;
use crate::wire::to_server;

/// A server that does not take a cancel request in this time is left alone.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Which servers are busy for one client.
#[derive(Debug, Default)]
pub struct CancelSlot {
    state: Mutex<SlotState>,
    settled: Notify,
    /// For a client that waits without a server.
    cancelled: Notify,
}

#[derive(Debug, Default)]
struct SlotState {
    busy: Vec<Arc<ServerIdentity>>,
    /// Cancel requests on their way to servers.
    in_flight: usize,
}

impl CancelSlot {
    /// From now on a cancel of this client reaches `server`.
    pub fn enter(&self, server: &Arc<ServerIdentity>) {
        self.state.lock().busy.push(Arc::clone(server));
    }

    /// From now on no cancel of this client starts towards `server`. True if one is under way: wait for [`CancelSlot::settle`]
    /// before anybody else uses that server's connection.
    #[must_use]
    pub fn leave(&self, server: &Arc<ServerIdentity>) -> bool {
        let mut state = self.state.lock();
        state.busy.retain(|busy| !Arc::ptr_eq(busy, server));
        state.in_flight > 0
    }

    /// Waits until no cancel request is under way.
    pub async fn settle(&self) {
        loop {
            let settled = self.settled.notified();
            if self.state.lock().in_flight == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Returns at the next cancel from now on. Cancel safe.
    pub fn cancelled(&self) -> Notified<'_> {
        self.cancelled.notified()
    }

    /// Cancels whatever servers do for this client.
    pub async fn cancel(&self) {
        self.cancelled.notify_waiters();
        let busy = {
            let mut state = self.state.lock();
            state.in_flight += 1;
            state.busy.clone()
        };
        for server in busy {
            match timeout(CANCEL_TIMEOUT, send_cancel(&server)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(server = %server.endpoint, %error, "cancel request failed"),
                Err(_) => debug!(server = %server.endpoint, "cancel request timed out"),
            }
        }
        self.state.lock().in_flight -= 1;
        self.settled.notify_waiters();
    }
}

/// Sends one cancel request and waits until the server has closed: then the signal has been sent.
async fn send_cancel(server: &ServerIdentity) -> io::Result<()> {
    let mut stream = net::connect(&server.endpoint).await?;
    let mut packet = BytesMut::new();
    to_server::cancel_request(&mut packet, server.process_id, &server.secret);
    stream.send(&packet).await?;
    packet.clear();
    while stream.read_some(&mut packet).await? != 0 {
        packet.clear();
    }
    Ok(())
}

/// A client's secret key, and what it has running.
type Registered = (Vec<u8>, Arc<CancelSlot>);

/// All clients that can be cancelled, by the process id they were told.
#[derive(Debug)]
pub struct CancelRegistry {
    clients: Mutex<HashMap<i32, Registered>>,
    next_id: AtomicI32,
}

/// One client's entry; removed on drop.
#[derive(Debug)]
pub struct CancelKey {
    registry: Arc<CancelRegistry>,
    pub process_id: i32,
    pub secret: Vec<u8>,
    pub slot: Arc<CancelSlot>,
}

impl Default for CancelRegistry {
    fn default() -> Self {
        Self { clients: Mutex::default(), next_id: AtomicI32::new(1) }
    }
}

impl CancelRegistry {
    /// Enters a client. `secret_bytes` is 4 for protocol 3.0, 32 for 3.2.
    pub fn register(self: &Arc<Self>, secret_bytes: usize) -> CancelKey {
        let mut secret = vec![0_u8; secret_bytes];
        rand::fill(&mut secret[..]);
        let slot = Arc::new(CancelSlot::default());
        let mut clients = self.clients.lock();
        let process_id = loop {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
            if id != 0 && !clients.contains_key(&id) {
                break id;
            }
        };
        clients.insert(process_id, (secret.clone(), Arc::clone(&slot)));
        CancelKey { registry: Arc::clone(self), process_id, secret, slot }
    }

    /// Whom a cancel request means; `None` when the key is wrong.
    #[must_use]
    pub fn find(&self, process_id: i32, secret: &[u8]) -> Option<Arc<CancelSlot>> {
        let clients = self.clients.lock();
        let (wanted, slot) = clients.get(&process_id)?;
        constant_time_equal(wanted, secret).then(|| Arc::clone(slot))
    }

    /// Clients entered now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.lock().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn constant_time_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        self.registry.clients.lock().remove(&self.process_id);
    }
}
