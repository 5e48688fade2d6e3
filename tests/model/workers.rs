//! The worker that drives the wave, step by step, and a second one that takes the lead while the first goes on unaware.

use crate::protocol::{Action, Broken, Protocol, Steps};
use crate::state::{Last, Map, Phase, Row, Side, Stage, State, Step, Wave, Wish, Worker};

impl Protocol {
    pub(crate) fn worker_steps(&self, state: &State, at: usize, steps: &mut Steps) {
        let worker = state.workers[at];
        if state.left.takeovers > 0 && worker.token == 0 {
            let mut next = state.clone();
            next.left.takeovers -= 1;
            next.token += u8::from(self.broken != Some(Broken::SameToken));
            next.workers[at] =
                Worker { token: next.token, step: Step::TokenTo(Side::Source), since: 0, reversed: false, row: None, taken: 0 };
            steps.fault(Action::TakeLead(at), next);
        }
        if let Some(next) = self.work(state, at) {
            steps.add(Action::Work(at, worker.step), next);
        }
        let may_back_off = matches!(worker.step, Step::AwaitHeld | Step::Close);
        if may_back_off && state.left.back_offs > 0 {
            let mut next = state.clone();
            next.left.back_offs -= 1;
            next.workers[at].step = Step::Reopen;
            steps.fault(Action::BackOff(at), next);
        }
    }

    /// This row keeps the worker waiting.
    pub(crate) fn waits_for(&self, worker: &Worker, row: Row) -> bool {
        let acknowledged = row.acknowledged >= worker.since;
        let settled = row.settled >= worker.since;
        match worker.step {
            Step::AwaitArmed if self.broken == Some(Broken::NoSettlingBeforeCopy) => false,
            Step::AwaitHeld if self.broken == Some(Broken::NoSettlingBeforeFlip) => false,
            Step::AwaitFlipped if self.broken == Some(Broken::NoAcknowledgement) => false,
            Step::AwaitUnused if self.broken == Some(Broken::NoWaitForOldReads) => false,
            Step::AwaitArmed => !acknowledged || !settled,
            Step::AwaitHeld => !settled,
            Step::AwaitFlipped => row.seen < worker.since,
            Step::AwaitUnused => !acknowledged,
            _ => false,
        }
    }

    /// The step's effect, if nothing keeps it from happening.
    fn work(&self, state: &State, at: usize) -> Option<State> {
        let worker = state.workers[at];
        let known = match place(&worker) {
            Place::None => worker.token,
            Place::Catalog => state.token,
            Place::Shard(side) => state.shard(side).token,
        };
        let late = worker.token < known && self.broken != Some(Broken::NoTokens);
        let mut job = Job { next: state.clone(), at };
        if late {
            job.go(Step::Idle);
            return Some(job.next);
        }
        match worker.step {
            Step::Idle => return None,
            Step::TokenTo(side) => {
                job.next.shard_mut(side).token = worker.token;
                job.go(if side == Side::Source { Step::TokenTo(Side::Target) } else { Step::Resume });
            }
            Step::AwaitArmed | Step::AwaitHeld | Step::AwaitFlipped | Step::AwaitUnused => {
                let waits = state.rows.iter().flatten().flatten().any(|row| self.waits_for(&worker, *row));
                if waits {
                    return None;
                }
                job.go(match worker.step {
                    Step::AwaitArmed => Step::CloseReceiver,
                    Step::AwaitHeld => Step::Close,
                    Step::AwaitUnused => Step::Delete(Wave::Finished),
                    _ => Step::Open,
                });
            }
            Step::Drain | Step::Close if self.drains(state, &worker) => return None,
            Step::Resume | Step::Arm | Step::Fence | Step::Flip | Step::Release | Step::Choose | Step::End(_) | Step::Unfence => {
                self.in_catalog(&mut job, state, worker);
            }
            step => self.on_shard(&mut job, step, worker),
        }
        Some(job.next)
    }

    /// Writers on the giving side that must come to their ends first.
    fn drains(&self, state: &State, worker: &Worker) -> bool {
        let from = worker.from();
        state.statements().any(|(_, statement)| match statement.stage {
            Stage::Written { side, logged, .. } if side == from => {
                worker.step == Step::Close || (!logged && self.broken != Some(Broken::NoDraining))
            }
            _ => false,
        })
    }

    fn in_catalog(&self, job: &mut Job, state: &State, worker: Worker) {
        match worker.step {
            Step::Resume => job.resume(state.map),
            Step::Arm => job.publish(Wave::Arming, Step::AwaitArmed),
            Step::Fence => job.publish(Wave::Fencing, Step::AwaitHeld),
            Step::Flip => {
                job.publish(Wave::Flipped, Step::AwaitFlipped);
                job.next.map.owner = worker.from().other();
                job.next.map.owner_since = job.next.map.version;
            }
            Step::Release => job.publish(Wave::Released, Step::Choose),
            Step::Choose if state.wish == Wish::RollBack && !worker.reversed => {
                job.next.map.reversed = true;
                job.next.workers[job.at].reversed = true;
                job.publish(Wave::CatchingUp, Step::Read(false));
            }
            Step::Choose if self.broken == Some(Broken::LiftedBeforeCleaning) => job.publish(Wave::Finished, Step::Delete(Wave::Finished)),
            Step::Choose => job.publish(Wave::Cleaning, Step::AwaitUnused),
            Step::End(wave) => job.publish(wave, Step::Idle),
            _ => job.publish(Wave::CatchingUp, Step::Read(false)),
        }
    }

    fn on_shard(&self, job: &mut Job, step: Step, worker: Worker) {
        let from = worker.from();
        let may_abort = job.next.wish == Wish::Abort && !worker.reversed;
        let giver = *job.next.shard(from);
        match step {
            Step::CloseReceiver => job.phase(from.other(), Phase::Closed, Step::LogGiver),
            Step::LogGiver => job.phase(from, Phase::Logging, Step::Drain),
            Step::Drain => job.go(Step::ReadForCopy),
            Step::ReadForCopy | Step::Read(false) if may_abort => job.go(Step::Delete(Wave::Aborted)),
            Step::ReadForCopy => {
                job.next.workers[job.at].row = giver.row;
                job.go(if job.next.shard(from.other()).copied { Step::Read(false) } else { Step::Copy });
            }
            Step::Copy => {
                let receiver = job.next.shard_mut(from.other());
                receiver.row = worker.row;
                receiver.copied = true;
                job.go(Step::Read(false));
            }
            Step::Read(last) => {
                job.next.workers[job.at].row = giver.row;
                job.next.workers[job.at].taken = giver.log;
                job.go(if giver.log == 0 { after_pass(last) } else { Step::Apply(last) });
            }
            Step::Apply(last) => {
                job.next.shard_mut(from.other()).row = worker.row;
                job.go(Step::Forget(last));
            }
            Step::Forget(last) => {
                job.next.shard_mut(from).log &= !worker.taken;
                job.go(after_pass(last));
            }
            Step::Close if self.broken == Some(Broken::FlipBeforeLastPass) => job.phase(from, Phase::Closed, Step::Flip),
            Step::Close if self.broken == Some(Broken::NoHardFence) => job.go(Step::Read(true)),
            Step::Close => job.phase(from, Phase::Closed, Step::Read(true)),
            // On the way there the log is kept for the way back.
            Step::Open if worker.reversed => job.phase(from.other(), Phase::Open, Step::Release),
            Step::Open => job.phase(from.other(), Phase::Logging, Step::Release),
            Step::Reopen => job.phase(from, Phase::Logging, Step::Unfence),
            Step::Delete(wave) => {
                let loser = job.next.shard_mut(if wave == Wave::Aborted { from.other() } else { from });
                loser.row = None;
                loser.log = 0;
                job.go(Step::Unguard(Side::Source, wave));
            }
            Step::Unguard(Side::Source, wave) => job.phase(Side::Source, Phase::Unguarded, Step::Unguard(Side::Target, wave)),
            Step::Unguard(Side::Target, Wave::Finished) if self.broken == Some(Broken::LiftedBeforeCleaning) => {
                job.phase(Side::Target, Phase::Unguarded, Step::Idle);
            }
            Step::Unguard(Side::Target, wave) => job.phase(Side::Target, Phase::Unguarded, Step::End(wave)),
            _ => {}
        }
    }
}

fn after_pass(last: Last) -> Step {
    if last { Step::Flip } else { Step::Fence }
}

enum Place {
    None,
    Catalog,
    Shard(Side),
}

/// Where a step happens: there the token is looked at, in the same transaction.
fn place(worker: &Worker) -> Place {
    let from = worker.from();
    match worker.step {
        Step::Idle | Step::TokenTo(_) | Step::AwaitArmed | Step::AwaitHeld | Step::AwaitFlipped | Step::AwaitUnused => Place::None,
        Step::Resume | Step::Arm | Step::Fence | Step::Flip | Step::Release | Step::Choose | Step::End(_) | Step::Unfence => Place::Catalog,
        Step::CloseReceiver | Step::Copy | Step::Apply(_) | Step::Open | Step::Delete(Wave::Aborted) => Place::Shard(from.other()),
        Step::Unguard(side, _) => Place::Shard(side),
        _ => Place::Shard(from),
    }
}

impl Worker {
    fn from(&self) -> Side {
        if self.reversed { Side::Target } else { Side::Source }
    }
}

/// A worker's step that is being made.
struct Job {
    next: State,
    at: usize,
}

impl Job {
    fn go(&mut self, step: Step) {
        let worker = &mut self.next.workers[self.at];
        worker.step = step;
        // What is not needed any more would only make more states.
        if !matches!(step, Step::Copy | Step::Apply(_) | Step::Forget(_)) {
            worker.row = None;
            worker.taken = 0;
        }
        if !matches!(step, Step::AwaitArmed | Step::AwaitHeld | Step::AwaitFlipped | Step::AwaitUnused) {
            worker.since = 0;
        }
    }

    fn phase(&mut self, side: Side, phase: Phase, step: Step) {
        self.next.shard_mut(side).phase = phase;
        self.go(step);
    }

    fn publish(&mut self, wave: Wave, step: Step) {
        self.next.map.version += 1;
        self.next.map.wave = wave;
        self.next.workers[self.at].since = self.next.map.version;
        let since = self.next.map.version;
        self.go(step);
        if matches!(step, Step::AwaitArmed | Step::AwaitHeld | Step::AwaitFlipped | Step::AwaitUnused) {
            self.next.workers[self.at].since = since;
        }
    }

    /// A new leader goes on by what the catalog says, and does the last step again.
    fn resume(&mut self, map: Map) {
        self.next.workers[self.at].reversed = map.reversed;
        self.next.workers[self.at].since = map.version;
        let step = match map.wave {
            Wave::Planned => Step::Arm,
            Wave::Arming => Step::AwaitArmed,
            Wave::CatchingUp => Step::Read(false),
            Wave::Fencing => Step::Reopen,
            Wave::Flipped => Step::AwaitFlipped,
            Wave::Released => Step::Choose,
            Wave::Cleaning => Step::AwaitUnused,
            Wave::Finished | Wave::Aborted => Step::Idle,
        };
        self.go(step);
        if matches!(step, Step::AwaitArmed | Step::AwaitFlipped | Step::AwaitUnused) {
            self.next.workers[self.at].since = map.version;
        }
    }
}
