//! A bounded pool of connections to one server's database as one user, with a fair queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use crate::backend::PoolOptions;
use crate::backend::connection::ServerConnection;
use crate::backend::health::Quarantine;
use crate::backend::login::{Login, LoginError};
use crate::backend::tenure::Tenure;
use crate::catalog::Stray;
use crate::wire::{ClientError, SqlState};

/// First wait after a failed attempt to connect; doubled up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(25);
/// A server that comes back is found within this.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// No connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    #[error("no server connection became free within {waited_ms} ms")]
    Timeout { waited_ms: u128, size: usize },
    #[error("too many clients wait for a server connection")]
    TooManyWaiters(usize),
    #[error("{0}")]
    Login(#[from] LoginError),
    /// The reason, in sentences.
    #[error("the shard has no primary that may be written to")]
    NoPrimary(String),
}

impl ClientError for AcquireError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Timeout { .. } | Self::TooManyWaiters(_) => SqlState::TOO_MANY_CONNECTIONS,
            Self::Login(error) => error.sqlstate(),
            Self::NoPrimary(_) => SqlState(*b"57P03"),
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::NoPrimary(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Timeout { size, .. } => Some(format!("The pool has {size} connections; raise pool_size or acquire_timeout_ms.")),
            Self::TooManyWaiters(_) => Some("Raise waiters_max, or pool_size.".to_owned()),
            Self::NoPrimary(_) => Some("Promote one of its servers; \"shardyard check\" tells how each stands.".to_owned()),
            Self::Login(_) => None,
        }
    }
}

/// What to do while the server cannot be reached.
#[derive(Clone, Copy, Debug)]
pub enum Patience<'a> {
    /// It is a primary: try again until `failover_hold`, and only while it is shown to be the primary.
    Primary(&'a Tenure),
    /// Tell at once: there is another server to ask.
    Once,
}

/// What a pool is doing right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    pub open: usize,
    pub idle: usize,
    pub waiting: usize,
}

/// Connections to one server's database as one user.
#[derive(Debug)]
pub struct Pool {
    login: Login,
    options: PoolOptions,
    state: Mutex<State>,
    /// Checked out, for choosing the least busy replica without the lock.
    busy: AtomicUsize,
    /// Its server has left the map.
    closed: AtomicBool,
    quarantine: Quarantine,
}

#[derive(Debug)]
struct State {
    /// The most recently used last: it is taken first, so that the others can age and close.
    #[expect(clippy::vec_box, reason = "a connection is large and goes from hand to hand in its box")]
    idle: Vec<Box<ServerConnection>>,
    /// Idle, checked out and being opened.
    open: usize,
    waiters: VecDeque<oneshot::Sender<Grant>>,
    /// The clock of the idle connections, which is not asked for each statement.
    swept_at: Instant,
}

#[derive(Debug)]
enum Grant {
    Connection(Checkout),
    Place(Place),
}

/// The right to one of the pool's places; given back on drop.
#[derive(Debug)]
struct Place {
    pool: Option<Arc<Pool>>,
}

/// A connection taken from a pool. Dropped without [`Checkout::release`] it is closed.
#[derive(Debug)]
pub struct Checkout {
    connection: Option<Box<ServerConnection>>,
    place: Place,
}

impl Pool {
    #[must_use]
    pub fn new(login: Login, options: PoolOptions, quarantine: Quarantine) -> Arc<Self> {
        let closed = AtomicBool::new(false);
        let state = Mutex::new(State { idle: Vec::new(), open: 0, waiters: VecDeque::new(), swept_at: Instant::now() });
        Arc::new(Self { login, options, state, busy: AtomicUsize::new(0), closed, quarantine })
    }

    #[must_use]
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Connections checked out now.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn status(&self) -> PoolStatus {
        let state = self.state.lock();
        PoolStatus { open: state.open, idle: state.idle.len(), waiting: state.waiters.len() }
    }

    /// An idle connection, if there is one and nobody waits for it.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>) -> Option<Checkout> {
        loop {
            let mut connection = self.state.lock().idle.pop()?;
            let place = Place::new(self);
            if self.is_present(&connection) && connection.stream.is_quiet() {
                return Some(Checkout { connection: Some(connection), place });
            }
            debug!(server = %self.login.endpoint, "an idle server connection was closed by the server, or is another incarnation's");
        }
    }

    /// A connection: idle, new, or the next that is released. Clients wait in order of arrival. Cancel safe.
    ///
    /// # Errors
    /// After `acquire_timeout`, at once when too many wait, when the server refuses the login for good, or when it cannot be reached for
    /// longer than `patience` has.
    pub async fn acquire(self: &Arc<Self>, patience: Patience<'_>) -> Result<Checkout, AcquireError> {
        match self.try_acquire() {
            Some(checkout) => Ok(checkout),
            None => Box::pin(self.acquire_slowly(patience)).await,
        }
    }

    async fn acquire_slowly(self: &Arc<Self>, patience: Patience<'_>) -> Result<Checkout, AcquireError> {
        let started = Instant::now();
        let deadline = started + self.options.acquire_timeout;
        let receiver = {
            let mut state = self.state.lock();
            if state.open < self.options.size {
                state.open += 1;
                None
            } else if state.waiters.len() >= self.options.waiters_max {
                return Err(AcquireError::TooManyWaiters(state.waiters.len()));
            } else {
                let (sender, receiver) = oneshot::channel();
                state.waiters.push_back(sender);
                Some(receiver)
            }
        };
        let place = match receiver {
            None => Place::new(self),
            Some(receiver) => match timeout_at(deadline, receiver).await {
                Ok(Ok(Grant::Connection(checkout))) => return Ok(checkout),
                Ok(Ok(Grant::Place(place))) => place,
                _ => return Err(AcquireError::Timeout { waited_ms: started.elapsed().as_millis(), size: self.options.size }),
            },
        };
        self.open(place, started + self.options.failover_hold, patience).await
    }

    /// Logs in. To a primary it tries again while it is down or in doubt, up to the deadline.
    async fn open(&self, place: Place, deadline: Instant, patience: Patience<'_>) -> Result<Checkout, AcquireError> {
        let mut backoff = BACKOFF_MIN;
        loop {
            if let Patience::Primary(tenure) = patience {
                tenure.certain(deadline).await.map_err(AcquireError::NoPrimary)?;
            }
            let attempt_deadline = deadline.min(Instant::now() + self.options.connect_timeout);
            let error = match timeout_at(attempt_deadline, self.login.open()).await {
                // Lost and found again meanwhile: whether it is still the same is not certain.
                Ok(Ok(_)) if matches!(patience, Patience::Primary(tenure) if !tenure.is_certain()) => continue,
                Ok(Ok(mut connection)) => {
                    connection.expires_at = connection.opened_at + jittered(self.options.lifetime_max);
                    return Ok(Checkout { connection: Some(Box::new(connection)), place });
                }
                Ok(Err(error)) => error,
                Err(_) => LoginError::Connect {
                    endpoint: self.login.endpoint.clone(),
                    source: std::io::Error::new(std::io::ErrorKind::TimedOut, "connect_timeout_ms passed"),
                },
            };
            let again = error.is_passing() && Instant::now() + backoff < deadline;
            match patience {
                Patience::Primary(tenure) if again => {
                    if error.is_loss() {
                        tenure.doubt();
                    }
                }
                _ => {
                    warn!(server = %self.login.endpoint, user = self.login.user, %error, "no connection to server");
                    return Err(error.into());
                }
            }
            debug!(server = %self.login.endpoint, %error, "server not reachable yet");
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Whether it was opened under the present incarnation, to a server of the map that may be used.
    fn is_present(&self, connection: &ServerConnection) -> bool {
        let barred = self.closed.load(Ordering::Relaxed) || self.quarantine.load(Ordering::Relaxed);
        connection.incarnation == self.login.attendance.incarnation() && !barred
    }

    /// Closes connections that were idle or alive for too long.
    pub fn sweep(&self) {
        let now = Instant::now();
        let mut closed = Vec::new();
        let mut state = self.state.lock();
        state.swept_at = now;
        let mut at = 0;
        while at < state.idle.len() {
            let connection = &state.idle[at];
            let spare = state.open > self.options.min_idle;
            let stale = now >= connection.expires_at || (spare && now - connection.idle_since >= self.options.idle_timeout);
            if stale {
                closed.push(state.idle.remove(at));
                state.open -= 1;
            } else {
                at += 1;
            }
        }
        drop(state);
        // Closed outside the lock.
        drop(closed);
    }

    /// Closes every idle connection, and those that come back: its server has left the map.
    pub fn clear(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let idle = {
            let mut state = self.state.lock();
            state.open -= state.idle.len();
            std::mem::take(&mut state.idle)
        };
        drop(idle);
    }

    /// Hands a clean connection to the first client that still waits, or keeps it.
    fn put_back(self: &Arc<Self>, mut checkout: Checkout) {
        loop {
            let mut state = self.state.lock();
            if checkout.expires_at <= state.swept_at {
                // Its place is freed without the lock.
                drop(state);
                return;
            }
            let Some(waiter) = state.waiters.pop_front() else {
                if let Some(mut connection) = checkout.connection.take() {
                    connection.idle_since = state.swept_at;
                    state.idle.push(connection);
                    drop(state);
                    checkout.place.dissolve();
                }
                return;
            };
            drop(state);
            match waiter.send(Grant::Connection(checkout)) {
                Ok(()) => return,
                Err(Grant::Connection(returned)) => checkout = returned,
                Err(Grant::Place(_)) => return,
            }
        }
    }

    /// Gives a place that became free to the first client that still waits.
    fn place_freed(self: &Arc<Self>) {
        loop {
            let waiter = {
                let mut state = self.state.lock();
                let Some(waiter) = state.waiters.pop_front() else {
                    state.open -= 1;
                    return;
                };
                waiter
            };
            match waiter.send(Grant::Place(Place::new(self))) {
                Ok(()) => return,
                Err(Grant::Place(mut place)) => place.dissolve(),
                Err(Grant::Connection(_)) => return,
            }
        }
    }
}

fn jittered(lifetime: Duration) -> Duration {
    lifetime.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}

impl Place {
    fn new(pool: &Arc<Pool>) -> Self {
        pool.busy.fetch_add(1, Ordering::Relaxed);
        Self { pool: Some(Arc::clone(pool)) }
    }

    /// Ends without freeing the place: somebody else holds it now.
    fn dissolve(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.busy.fetch_sub(1, Ordering::Relaxed);
            pool.place_freed();
        }
    }
}

impl Checkout {
    /// Gives the connection back: to the pool if it is clean and not too old, else it is closed.
    pub fn release(self) {
        let Some(pool) = self.place.pool.clone() else { return };
        if self.connection.as_ref().is_some_and(|connection| connection.is_clean() && pool.is_present(connection)) {
            pool.put_back(self);
        }
    }

    /// To be told before the session rests, of a connection that it will not use any more and that is dropped later.
    pub fn leave_behind(&self) {
        let (Some(connection), Some(pool)) = (&self.connection, &self.place.pool) else { return };
        pool.login.attendance.leave_behind(Stray {
            endpoint: connection.identity.endpoint.clone(),
            user: pool.login.user.clone(),
            process_id: connection.identity.process_id,
            incarnation: connection.incarnation,
        });
    }

    /// The pool it came from.
    #[must_use]
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        self.place.pool.as_ref()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_clean()) {
            self.leave_behind();
        }
    }
}

impl std::ops::Deref for Checkout {
    type Target = ServerConnection;

    fn deref(&self) -> &ServerConnection {
        self.connection.as_ref().expect("a checkout holds its connection until it is released")
    }
}

impl std::ops::DerefMut for Checkout {
    fn deref_mut(&mut self) -> &mut ServerConnection {
        self.connection.as_mut().expect("a checkout holds its connection until it is released")
    }
}
