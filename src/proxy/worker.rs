//! One thread with its own runtime: accepts clients and serves them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::warn;

use crate::cache::PlanCache;
use crate::net::{BoundListener, Listener};
use crate::session::{Shared, admit};
use crate::telemetry::task;

/// When the process is out of file descriptors, accepting is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a worker is made of.
pub(super) struct WorkerParts<'a> {
    pub(super) number: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) listeners: &'a [BoundListener],
}

/// A running worker.
pub(super) struct Worker {
    accepting: watch::Sender<bool>,
    clients: Arc<Mutex<Vec<Client>>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

struct Client {
    task: AbortHandle,
    /// Between transactions, waiting for the client.
    idle: Arc<AtomicBool>,
}

impl Worker {
    pub(super) fn start(parts: WorkerParts<'_>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (accepting, _) = watch::channel(true);
        let clients: Arc<Mutex<Vec<Client>>> = Arc::default();
        let options = &parts.shared.options;
        let plans = Arc::new(PlanCache::new(options.templates_max, options.cached_statement_bytes_max));
        for bound in parts.listeners {
            let listener = {
                let _inside = runtime.enter();
                bound.attach()?
            };
            let acceptor = Acceptor {
                listener,
                shared: Arc::clone(&parts.shared),
                plans: Arc::clone(&plans),
                clients: Arc::clone(&clients),
                accepting: accepting.subscribe(),
            };
            task::spawn_on(runtime.handle(), "accept", acceptor.run());
        }
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("worker {}", parts.number)).spawn(move || {
            // Dropped or sent: either way it is over.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { accepting, clients, stop, thread })
    }

    pub(super) fn stop_accepting(&self) {
        self.accepting.send_replace(false);
    }

    pub(super) fn clients(&self) -> usize {
        let mut clients = self.clients.lock();
        clients.retain(|client| !client.task.is_finished());
        clients.len()
    }

    pub(super) fn close_idle(&self) {
        for client in self.clients.lock().iter().filter(|client| client.idle.load(Ordering::Relaxed)) {
            client.task.abort();
        }
    }

    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            warn!("a worker had panicked");
        }
    }
}

struct Acceptor {
    listener: Listener,
    shared: Arc<Shared>,
    plans: Arc<PlanCache>,
    clients: Arc<Mutex<Vec<Client>>>,
    accepting: watch::Receiver<bool>,
}

impl Acceptor {
    async fn run(mut self) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = self.accepting.changed() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    let (shared, plans) = (Arc::clone(&self.shared), Arc::clone(&self.plans));
                    let idle = Arc::new(AtomicBool::new(false));
                    let seen = Arc::clone(&idle);
                    let serve = async move {
                        // The login's future is larger than the session's: it is gone before the session runs.
                        let admitted = Box::pin(admit(&shared, &plans, stream, address)).await;
                        drop((shared, plans));
                        if let Some(session) = admitted {
                            session.run(&seen).await;
                        }
                    };
                    let task = task::spawn("client", serve).abort_handle();
                    self.remember(Client { task, idle });
                }
                Err(error) => {
                    warn!(%error, "cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn remember(&self, client: Client) {
        let mut clients = self.clients.lock();
        if clients.len() == clients.capacity() {
            clients.retain(|client| !client.task.is_finished());
        }
        clients.push(client);
    }
}
