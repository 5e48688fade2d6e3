//! The protocol of a wave as a model: who can do what next, what must never be, and how it can be broken on purpose.

use std::fmt;

use crate::checker::{Model, Next};
use crate::state::{Faults, Kind, Map, Outcome, Phase, Proxy, Row, Shard, Side, Stage, State, Statement, Step, Wave, Wish, Worker};

pub(crate) struct Protocol {
    /// Each client's one wish, by proxy.
    pub(crate) clients: &'static [(u8, Kind)],
    pub(crate) faults: Faults,
    pub(crate) broken: Option<Broken>,
}

/// What makes the protocol wrong when it is left out or done otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The source is not closed: proxies that do not hold are not stopped by anybody.
    NoHardFence,
    FlipBeforeLastPass,
    /// The target opens although a proxy may still route by the old map.
    NoAcknowledgement,
    /// The source's rows are deleted although a statement by the old map may still be running.
    NoWaitForOldReads,
    /// Arming does not wait for what runs by the map of before.
    NoSettlingBeforeCopy,
    /// The fence does not wait for open transactions.
    NoSettlingBeforeFlip,
    NoOwnershipCondition,
    /// A dead proxy is forgotten, and not fenced.
    NoFencing,
    NoTokens,
    /// Writers from before the guard are not waited for.
    NoDraining,
    /// The condition is lifted before the source's rows are deleted.
    LiftedBeforeCleaning,
    /// Held locking reads are sent when they have waited for too long.
    LocksSentByPatience,
    /// A transaction goes on although its snapshot is older than the flip.
    OldSnapshots,
    /// What was routed before a proxy registered anew is sent afterwards.
    StaleRoutes,
    /// A proxy reads the map before its row is there.
    MapBeforeRow,
    /// A proxy that starts again takes over its predecessor's row.
    SameRow,
    /// A held write keeps its proxy from acknowledging.
    HeldCountsAsRunning,
    /// The log has one entry for a key, and a writer that finds it there adds none.
    OneLogEntry,
    /// A worker that has lost its connections goes on as the same leader: what it sent before may still be done.
    SameToken,
}

/// Proxies, statements and workers by number.
pub(crate) enum Action {
    Load(usize),
    Report(usize),
    Register(usize),
    RegisterAnew(usize),
    Die(usize),
    Restart(usize),
    FenceOut(usize, Side),
    Forget(usize),
    Route(usize),
    EndOfPatience(usize),
    Run(usize),
    Part(usize, Side),
    Commit(usize),
    Work(usize, Step),
    BackOff(usize),
    TakeLead(usize),
    Wish(Wish),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(proxy) => write!(f, "proxy {proxy} loads the map"),
            Self::Report(proxy) => write!(f, "proxy {proxy} tells what it has seen, acknowledged and settled"),
            Self::Register(proxy) => write!(f, "proxy {proxy} writes its row"),
            Self::RegisterAnew(proxy) => write!(f, "proxy {proxy} notices that it is fenced out and registers anew"),
            Self::Die(proxy) => write!(f, "proxy {proxy} dies"),
            Self::Restart(proxy) => write!(f, "proxy {proxy} is killed and started again"),
            Self::FenceOut(proxy, side) => write!(f, "proxy {proxy} is fenced out of the {side:?}"),
            Self::Forget(proxy) => write!(f, "proxy {proxy} is not waited for any more"),
            Self::Route(statement) => write!(f, "statement {statement} is routed and sent"),
            Self::EndOfPatience(statement) => write!(f, "statement {statement} has been held for too long"),
            Self::Run(statement) => write!(f, "statement {statement} runs on its server"),
            Self::Part(statement, side) => write!(f, "statement {statement} runs on the {side:?}"),
            Self::Commit(statement) => write!(f, "statement {statement} commits"),
            Self::Work(worker, step) => write!(f, "worker {worker}: {step:?}"),
            Self::BackOff(worker) => write!(f, "worker {worker} gives the fence up"),
            Self::TakeLead(worker) => write!(f, "worker {worker} takes the lead"),
            Self::Wish(wish) => write!(f, "the operator wishes: {wish:?}"),
        }
    }
}

/// What can happen next.
#[derive(Default)]
pub(crate) struct Steps(Vec<Next<Protocol>>);

impl Steps {
    pub(crate) fn add(&mut self, action: Action, next: State) {
        self.add_as(false, action, next);
    }

    pub(crate) fn fault(&mut self, action: Action, next: State) {
        self.add_as(true, action, next);
    }

    pub(crate) fn add_as(&mut self, fault: bool, action: Action, next: State) {
        self.0.push(Next { action, fault, outcome: Ok(next) });
    }

    /// Unless it is wrong.
    pub(crate) fn checked(&mut self, action: Action, next: State, wrong: Option<String>) {
        self.0.push(Next { action, fault: false, outcome: wrong.map_or(Ok(next), Err) });
    }
}

impl Protocol {
    pub(crate) fn used(&self, proxy: usize) -> bool {
        self.clients.iter().any(|(by, _)| usize::from(*by) == proxy)
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        let map = Map { version: 1, wave: Wave::Planned, owner: Side::Source, owner_since: 0, reversed: false };
        let row = |proxy| self.used(proxy).then_some(Row { seen: 1, acknowledged: 1, settled: 1 });
        let shard = Shard { row: None, log: 0, phase: Phase::Unguarded, copied: false, token: 1, fenced: [false; 2] };
        let proxy = Proxy { incarnation: 0, map, blind: false, dead: false };
        let worker = Worker { token: 0, step: Step::Idle, since: 0, reversed: false, row: None, taken: 0 };
        let mut statements = [None; 3];
        for (place, (proxy, kind)) in statements.iter_mut().zip(self.clients) {
            *place = Some(Statement { kind: *kind, proxy: *proxy, stage: Stage::Waiting(0), floor: 0 });
        }
        State {
            map,
            token: 1,
            wish: Wish::Run,
            rows: [[row(0), None], [row(1), None]],
            shards: [Shard { row: Some(0), ..shard }, shard],
            proxies: [proxy; 2],
            statements,
            workers: [Worker { token: 1, step: Step::Arm, ..worker }, worker],
            left: self.faults,
            acknowledged: 0,
        }
    }

    fn next(&self, state: &State) -> Vec<Next<Self>> {
        let mut steps = Steps::default();
        for worker in 0..state.workers.len() {
            self.worker_steps(state, worker, &mut steps);
        }
        for proxy in 0..state.proxies.len() {
            self.proxy_steps(state, proxy, &mut steps);
        }
        for statement in 0..state.statements.len() {
            self.statement_steps(state, statement, &mut steps);
        }
        if state.left.wishes > 0 {
            for wish in [Wish::Abort, Wish::RollBack] {
                let mut next = state.clone();
                next.left.wishes -= 1;
                next.wish = wish;
                steps.fault(Action::Wish(wish), next);
            }
        }
        steps.0
    }

    fn wrong(&self, state: &State) -> Option<String> {
        let Map { owner, wave, .. } = state.map;
        let row = state.shard(owner).row;
        let acknowledged = state.acknowledged;
        if row.is_none_or(|row| row & acknowledged != acknowledged) {
            return Some(format!("writes {acknowledged:03b} are acknowledged, and the {owner:?}, which owns the bucket, has {row:?}"));
        }
        let over = matches!(wave, Wave::Finished | Wave::Aborted);
        (over && state.shard(owner.other()).row.is_some()).then(|| format!("the row is left on the {:?}", owner.other()))
    }

    fn finished(&self, state: &State) -> bool {
        let answered = |statement: Statement| {
            matches!(statement.stage, Stage::Done(Outcome::Acknowledged | Outcome::Refused | Outcome::Unknown))
                || state.proxies[usize::from(statement.proxy)].dead && matches!(statement.stage, Stage::Waiting(_))
        };
        matches!(state.map.wave, Wave::Finished | Wave::Aborted) && state.statements().all(|(_, statement)| answered(statement))
    }
}
