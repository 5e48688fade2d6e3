//! Which replicas may serve reads, and who is the primary: a monitor per shard asks each of its servers for its role, how far the primary
//! has written and each replica replayed.
//!
//! A sample is a moment and the primary's WAL position read *after* it, so the position covers every commit acknowledged
//! before the moment. A replica on the same timeline that has replayed the position is *fresh as of* that moment.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use crate::backend::probe::{Probe, Status};
use crate::backend::roles::{Role, Verdict, judge};
use crate::backend::tenure::Tenure;
use crate::backend::{ControlRole, ReplicaOptions};
use crate::catalog::Attendance;
use crate::topology::{Endpoint, Shard};

/// Samples that replicas have not reached yet: at 50 ms each, ten seconds.
const SAMPLES_MAX: usize = 200;

/// Moments as nanoseconds since the process started, small enough for an atomic.
#[derive(Clone, Copy, Debug)]
pub struct Epoch(Instant);

impl Epoch {
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds until `moment`, never 0.
    #[must_use]
    pub fn nanos(self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.0).as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    #[must_use]
    pub fn now(self) -> u64 {
        self.nanos(Instant::now())
    }
}

/// What is known of one replica.
#[derive(Debug, Default)]
pub struct ReplicaHealth {
    /// See the file's head; 0 when the replica cannot serve.
    fresh_as_of: AtomicU64,
}

impl ReplicaHealth {
    /// Whether the replica shows every commit up to `moment`.
    #[must_use]
    pub fn is_fresh(&self, moment: u64) -> bool {
        self.fresh_as_of.load(Ordering::Relaxed) >= moment
    }
}

/// Set while a server takes writes that is not its shard's primary: nothing of it is used.
pub type Quarantine = Arc<AtomicBool>;

/// What is known of one shard's servers, as long as the map names the same.
#[derive(Debug, Default)]
pub struct ShardHealth {
    pub replicas: Vec<(Endpoint, Arc<ReplicaHealth>)>,
    pub tenure: Arc<Tenure>,
    /// When the primary answered last, if it does not now; else 0.
    silent_since: AtomicU64,
    /// The highest timeline that a primary was seen on, here or by others; 0 for none.
    known_timeline: AtomicU32,
    verdict: Mutex<Option<Verdict>>,
    /// Set by every read; while it is, the monitor samples at `sample_interval`.
    wanted: AtomicBool,
}

impl ShardHealth {
    #[must_use]
    pub fn new(shard: &Shard) -> Arc<Self> {
        let replicas: Vec<_> = shard.replicas.iter().map(|replica| (replica.endpoint.clone(), Arc::default())).collect();
        let tenure = Arc::new(Tenure::new(!replicas.is_empty()));
        Arc::new(Self { replicas, tenure, ..Self::default() })
    }

    /// Tells the monitor that somebody reads.
    pub fn touch(&self) {
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
            self.tenure.look();
        }
    }

    /// What a replica must show that may be `lag` behind `now`. While the primary is silent nothing is committed, so nothing newer than
    /// its last answer is asked for.
    #[must_use]
    pub fn bound(&self, now: u64, lag: u64) -> u64 {
        match self.silent_since.load(Ordering::Relaxed) {
            0 => now.saturating_sub(lag),
            silent_since => silent_since.min(now).saturating_sub(lag),
        }
    }

    /// Who is the primary, as of the last look.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.lock().clone()
    }

    /// Others have seen a primary of this shard on `timeline`.
    pub fn learn_timeline(&self, timeline: u32) {
        self.known_timeline.fetch_max(timeline, Ordering::Relaxed);
    }
}

/// What a monitor needs beside its shard.
pub struct Watch {
    pub control: ControlRole,
    pub options: ReplicaOptions,
    pub epoch: Epoch,
    pub attendance: Arc<Attendance>,
    /// Of the primary, then of each replica.
    pub quarantines: Vec<Quarantine>,
    /// Rung when the verdict has changed.
    pub news: Arc<tokio::sync::Notify>,
}

/// Watches one shard until the health has no other owner.
pub async fn monitor(shard: Shard, health: Arc<ShardHealth>, watch: Watch) {
    let primary = Probe::new(&shard.primary, &watch.control, Some(Arc::clone(&health.tenure)));
    let replicas = health.replicas.iter().map(|(endpoint, _)| Probe::new(endpoint, &watch.control, None));
    let mut monitor = Monitor {
        probes: std::iter::once(primary).chain(replicas).collect(),
        samples: VecDeque::new(),
        timeline: 0,
        served: vec![true; health.replicas.len()],
        answered_at: 0,
        shard: &shard,
        health: &health,
        watch: &watch,
    };
    while Arc::strong_count(&health) > 1 && !health.replicas.is_empty() {
        monitor.round().await;
        pause(&health, &watch.options).await;
    }
}

struct Monitor<'a> {
    /// Of the primary, then of each replica.
    probes: Vec<Probe>,
    /// Moments, and positions on `timeline`.
    samples: VecDeque<(u64, u64)>,
    timeline: u32,
    served: Vec<bool>,
    /// When the primary was asked and has answered.
    answered_at: u64,
    shard: &'a Shard,
    health: &'a ShardHealth,
    watch: &'a Watch,
}

impl Monitor<'_> {
    async fn round(&mut self) {
        let doubts = self.health.tenure.doubts();
        let moment = self.watch.epoch.now();
        // All at once: one that does not answer keeps nobody waiting but us.
        let statuses = join_all(self.probes.iter_mut().map(Probe::status)).await;
        let verdict = self.judge(&statuses);
        self.sample(moment, statuses.first().copied().flatten());
        self.freshen(statuses.get(1..).unwrap_or_default());
        self.quarantine(&statuses, &verdict).await;
        self.publish(doubts, verdict);
    }

    fn judge(&self, statuses: &[Option<Status>]) -> Verdict {
        let endpoints = std::iter::once(&self.shard.primary).chain(self.health.replicas.iter().map(|(endpoint, _)| endpoint));
        let answers: Vec<_> = endpoints.zip(statuses.iter().map(|status| status.map(|status| status.role))).collect();
        judge(&self.shard.primary, self.health.known_timeline.load(Ordering::Relaxed), &answers)
    }

    fn sample(&mut self, moment: u64, primary: Option<Status>) {
        let Some(Status { role: Role::Primary { timeline }, position }) = primary else {
            self.health.silent_since.store(self.answered_at, Ordering::Relaxed);
            return;
        };
        self.answered_at = moment;
        self.health.silent_since.store(0, Ordering::Relaxed);
        if timeline != self.timeline {
            // Positions on different timelines do not compare.
            self.samples.clear();
            self.timeline = timeline;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((moment, position));
    }

    fn freshen(&mut self, replicas: &[Option<Status>]) {
        let mut slowest = u64::MAX;
        for ((status, (endpoint, replica)), served) in replicas.iter().zip(&self.health.replicas).zip(&mut self.served) {
            let replayed = status.and_then(|status| match status.role {
                Role::Standby { timeline } if timeline == self.timeline => Some(status.position),
                _ => None,
            });
            let fresh = replayed.and_then(|position| self.samples.iter().rev().find(|(_, sample)| *sample <= position));
            // A probe that found no sample reached keeps the older moment: what has been replayed stays replayed.
            let known = replica.fresh_as_of.load(Ordering::Relaxed);
            let fresh = if replayed.is_some() { fresh.map_or(0, |(at, _)| *at).max(known) } else { 0 };
            replica.fresh_as_of.store(fresh, Ordering::Relaxed);
            slowest = slowest.min(fresh);
            let serves = replayed.is_some();
            if serves != *served {
                info!(shard = %self.shard.id, server = %endpoint, "replica {} rotation", if serves { "joined" } else { "left" });
                *served = serves;
            }
        }
        while self.samples.len() > 1 && self.samples.get(1).is_some_and(|(at, _)| *at <= slowest) {
            self.samples.pop_front();
        }
    }

    /// Who takes writes but is not the primary is not used, whatever it is asked; what we have there is ended.
    async fn quarantine(&self, statuses: &[Option<Status>], verdict: &Verdict) {
        let endpoints = std::iter::once(&self.shard.primary).chain(self.health.replicas.iter().map(|(endpoint, _)| endpoint));
        for (((status, endpoint), flag), probe) in statuses.iter().zip(endpoints).zip(&self.watch.quarantines).zip(&self.probes) {
            let out = match (status.map(|status| status.role), verdict) {
                (Some(Role::Primary { .. }), Verdict::Stands { .. }) => *endpoint != self.shard.primary,
                (Some(Role::Primary { .. }), Verdict::Promoted { primary, .. }) => endpoint != primary,
                (Some(Role::Primary { .. }), Verdict::Unclear(_)) => true,
                (Some(_), _) => false,
                (None, _) => continue,
            };
            if out && !flag.swap(true, Ordering::Relaxed) {
                warn!(shard = %self.shard.id, server = %endpoint, "a server takes writes but is not the shard's primary: it is not used");
                let incarnation = self.watch.attendance.incarnation();
                if incarnation != 0 {
                    probe.end_own_connections(incarnation).await;
                }
            } else if !out && flag.swap(false, Ordering::Relaxed) {
                info!(shard = %self.shard.id, server = %endpoint, "the server is used again");
            }
        }
    }

    fn publish(&self, doubts: u64, verdict: Verdict) {
        let (tenure, primary) = (&self.health.tenure, &self.shard.primary);
        match &verdict {
            Verdict::Stands { timeline } => {
                self.health.learn_timeline(*timeline);
                tenure.settle(doubts);
            }
            // It may still serve those whom it lets in: only new doubts need an answer.
            Verdict::Absent => tenure.explain(format!("{primary} is not there, and no other server has been promoted.")),
            Verdict::Promoted { primary: promoted, .. } => {
                tenure.refuse(format!("{promoted} has been promoted in the place of {primary}."))
            }
            Verdict::Unclear(reason) => tenure.refuse(format!("It cannot be told who is the primary: {reason}.")),
        }
        let mut told = self.health.verdict.lock();
        if told.as_ref() != Some(&verdict) {
            match &verdict {
                Verdict::Stands { .. } if told.is_none() => {}
                Verdict::Stands { .. } => info!(shard = %self.shard.id, %primary, "the primary is there"),
                Verdict::Absent => warn!(shard = %self.shard.id, %primary, "the shard has no primary"),
                Verdict::Promoted { primary, timeline, .. } => warn!(shard = %self.shard.id, %primary, timeline, "a replica was promoted"),
                Verdict::Unclear(reason) => {
                    error!(shard = %self.shard.id, reason, "it cannot be told who is the primary: writes are refused")
                }
            }
            *told = Some(verdict);
            drop(told);
            self.watch.news.notify_one();
        }
    }
}

/// Until the next sample is due: soon while there is traffic or doubt, else at the probe interval or when either comes.
async fn pause(health: &ShardHealth, options: &ReplicaOptions) {
    sleep(options.sample_interval).await;
    if !health.wanted.swap(false, Ordering::Relaxed) && health.tenure.is_certain() {
        let _ = timeout(options.probe_interval.saturating_sub(options.sample_interval), health.tenure.looked_for()).await;
    }
}
