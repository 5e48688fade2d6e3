//! What all sessions of a process share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::{CancelRegistry, Notifications, ServerUser, Servers, SettingSet};
use crate::cache::PreparedRegistry;
use crate::catalog::view::View;
use crate::net::{Acceptor, ClientTlsMode};
use crate::session::{Account, SessionOptions};
use crate::telemetry::Counters;

/// What a reload replaces.
#[derive(Debug)]
pub struct Reloadable {
    pub users: HashMap<String, Arc<Account>>,
    pub tls: Option<Acceptor>,
    pub tls_mode: ClientTlsMode,
}

/// What a server says at login to somebody with given settings.
#[derive(Debug)]
pub struct Greeting {
    /// ParameterStatus, by name.
    pub parameters: BTreeMap<String, String>,
    /// `SHOW search_path`.
    pub search_path: String,
    /// `extra_float_digits` is above 0.
    pub exact_floats: bool,
    pub made_at: Instant,
}

/// Greetings are kept for this long: ALTER ROLE and the like change them.
const GREETING_AGE_MAX: Duration = Duration::from_secs(10);
/// Sets of settings kept in one copy; beyond, those that nobody uses are forgotten, and new ones have a copy each.
const SETTINGS_MAX: usize = 10_000;
/// Greetings kept; beyond, all are made anew.
const GREETINGS_MAX: usize = 1024;

/// Shared by all sessions of a process.
#[derive(Debug)]
pub struct Shared {
    pub options: SessionOptions,
    /// The one database that clients name.
    pub database: String,
    pub servers: Servers,
    pub view: Arc<View>,
    pub cancels: Arc<CancelRegistry>,
    pub notifications: Arc<Notifications>,
    pub prepared: PreparedRegistry,
    pub reloadable: ArcSwap<Reloadable>,
    pub counters: Arc<Counters>,
    pub two_phase: crate::execute::two_phase::GidSource,
    /// The process is ending: sessions that are dropped say so to their clients.
    pub ending: AtomicBool,
    settings: Mutex<HashSet<Arc<SettingSet>>>,
    greetings: Mutex<HashMap<(ServerUser, SettingSet), Arc<Greeting>>>,
}

/// What [`Shared::new`] is made of.
#[derive(Debug)]
pub struct SharedParts {
    pub options: SessionOptions,
    pub database: String,
    pub servers: Servers,
    pub view: Arc<View>,
    pub reloadable: Reloadable,
}

impl Shared {
    #[must_use]
    pub fn new(parts: SharedParts) -> Arc<Self> {
        let control = parts.servers.control().clone();
        Arc::new(Self {
            notifications: Notifications::new(Arc::clone(&parts.view), control, parts.options.notification_bytes_max),
            options: parts.options,
            database: parts.database,
            servers: parts.servers,
            view: parts.view,
            cancels: Arc::default(),
            prepared: PreparedRegistry::default(),
            reloadable: ArcSwap::from_pointee(parts.reloadable),
            counters: Arc::default(),
            two_phase: crate::execute::two_phase::GidSource::default(),
            ending: AtomicBool::new(false),
            settings: Mutex::default(),
            greetings: Mutex::default(),
        })
    }

    /// One copy of `settings` for all clients that have the same, so that comparing them is comparing addresses.
    #[must_use]
    pub fn intern(&self, settings: SettingSet) -> Arc<SettingSet> {
        let mut known = self.settings.lock();
        if let Some(same) = known.get(&settings) {
            return Arc::clone(same);
        }
        if known.len() >= SETTINGS_MAX {
            known.retain(|settings| Arc::strong_count(settings) > 1);
        }
        let settings = Arc::new(settings);
        if known.len() < SETTINGS_MAX {
            known.insert(Arc::clone(&settings));
        }
        settings
    }

    /// The greeting for `settings`, if it is known and not old.
    #[must_use]
    pub fn greeting(&self, user: &ServerUser, settings: &SettingSet) -> Option<Arc<Greeting>> {
        let greetings = self.greetings.lock();
        let greeting = greetings.get(&(user.clone(), settings.clone()))?;
        (greeting.made_at.elapsed() < GREETING_AGE_MAX).then(|| Arc::clone(greeting))
    }

    /// Keeps a greeting for the next client with the same settings.
    pub fn keep_greeting(&self, user: &ServerUser, settings: &SettingSet, greeting: Greeting) -> Arc<Greeting> {
        let greeting = Arc::new(greeting);
        let mut greetings = self.greetings.lock();
        if greetings.len() >= GREETINGS_MAX {
            greetings.clear();
        }
        greetings.insert((user.clone(), settings.clone()), Arc::clone(&greeting));
        greeting
    }
}
