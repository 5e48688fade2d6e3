//! What the proxies and the servers do with the clients' statements.

use crate::protocol::{Action, Broken, Protocol, Steps};
use crate::proxies::reach;
use crate::state::{Kind, Open, Outcome, Phase, SIDES, Sent, Shard, Side, Stage, State, Statement, Writes};

impl Protocol {
    pub(crate) fn statement_steps(&self, state: &State, at: usize, steps: &mut Steps) {
        let Some(statement) = state.statements[at] else { return };
        let one = One { state, at, statement };
        match statement.stage {
            Stage::Waiting(at_least) => self.route(&one, at_least, steps),
            Stage::Sent(sent) if one.fenced_out(sent, reach(statement.kind, sent)) => one.lose(steps),
            Stage::SentAgain { sent, .. } if one.fenced_out(sent, Some(sent.map.owner)) => one.lose(steps),
            Stage::Half { sent, done, .. } if one.fenced_out(sent, Some(done.other())) => one.lose(steps),
            Stage::Sent(sent) => self.begin(&one, sent, steps),
            Stage::Half { sent, done, rows, saw } => {
                let (rows, saw) = self.part(&one, sent, done.other(), (rows, saw));
                one.scattered(rows, saw, steps);
            }
            Stage::Between { open, at_least } => self.route_again(&one, open, at_least, steps),
            Stage::SentAgain { open, sent } => one.begin_again(open, sent, steps),
            Stage::Written { sent, side, logged, open } => {
                let logs = logged && !(self.broken == Some(Broken::OneLogEntry) && state.shard(side).log != 0);
                one.commit(sent, side, (logs, open), steps);
            }
            Stage::Done(_) => {}
        }
    }

    /// The first statement, by the proxy's present map.
    fn route(&self, one: &One, at_least: u8, steps: &mut Steps) {
        let proxy = &one.state.proxies[usize::from(one.statement.proxy)];
        if proxy.dead || proxy.blind || proxy.map.version < at_least {
            return;
        }
        let kind = one.statement.kind;
        let sent = Sent { map: proxy.map, incarnation: proxy.incarnation };
        let mut next = one.at_stage(Stage::Sent(sent));
        if let Some(statement) = &mut next.statements[one.at] {
            statement.floor = one.state.acknowledged;
        }
        let held = proxy.map.holds_since().is_some() && matches!(kind, Kind::Write | Kind::Locking);
        if !held {
            steps.add(Action::Route(one.at), next);
        } else if one.state.left.impatient > 0 {
            // A lock has no judge on the server: a shard that is closed to writes still gives it.
            if kind == Kind::Locking && self.broken != Some(Broken::LocksSentByPatience) {
                next = one.at_stage(Stage::Done(Outcome::Refused));
            }
            next.left.impatient -= 1;
            steps.fault(Action::EndOfPatience(one.at), next);
        }
    }

    fn route_again(&self, one: &One, open: Open, at_least: u8, steps: &mut Steps) {
        let proxy = &one.state.proxies[usize::from(one.statement.proxy)];
        if proxy.dead || proxy.blind || proxy.map.version < at_least {
            return;
        }
        let began = open.began.map.version;
        let older_snapshot = one.statement.kind == Kind::Snapshot && proxy.map.owner_since > began;
        if older_snapshot && self.broken != Some(Broken::OldSnapshots) {
            return steps.add(Action::Route(one.at), one.at_stage(Stage::Done(Outcome::Refused)));
        }
        let sent = Sent { map: proxy.map, incarnation: proxy.incarnation };
        let mut next = one.at_stage(Stage::SentAgain { open, sent });
        // What began before the hold may go on: the worker waits for it.
        let held = one.statement.kind != Kind::Snapshot && proxy.map.holds_since().is_some_and(|since| began >= since);
        if !held {
            steps.add(Action::Route(one.at), next);
        } else if one.state.left.impatient > 0 {
            next.left.impatient -= 1;
            steps.fault(Action::EndOfPatience(one.at), next);
        }
    }

    /// The server comes to a statement outside a transaction, or to the first of one.
    fn begin(&self, one: &One, sent: Sent, steps: &mut Steps) {
        let Statement { kind, floor, .. } = one.statement;
        match kind {
            Kind::Write => one.write(sent.map.owner, sent, None, steps),
            Kind::Read => {
                let row = one.state.shard(sent.map.owner).row;
                steps.checked(one.run(), one.at_stage(Stage::Done(Outcome::Acknowledged)), wrong_read(row, floor));
            }
            Kind::Scatter => {
                for side in [Side::Source, Side::Target] {
                    let (rows, saw) = self.part(one, sent, side, (0, 0));
                    steps.add(Action::Part(one.at, side), one.at_stage(Stage::Half { sent, done: side, rows, saw }));
                }
            }
            Kind::Transaction | Kind::Snapshot => {
                let side = if kind == Kind::Snapshot { Side::Target } else { Side::Source };
                let open = Open { began: sent, side, saw: one.state.shard(side).row };
                steps.add(one.run(), one.at_stage(Stage::Between { open, at_least: 0 }));
            }
            Kind::Locking => {
                let side = sent.map.owner;
                if one.state.row_locked_by(side).is_none() {
                    let saw = one.state.shard(side).row;
                    let next = one.at_stage(Stage::Between { open: Open { began: sent, side, saw }, at_least: 0 });
                    steps.checked(one.run(), next, saw.is_none().then(|| "a lock found no row".to_owned()));
                }
            }
        }
    }

    /// What one shard adds to a scatter.
    fn part(&self, one: &One, sent: Sent, side: Side, (rows, saw): (u8, Writes)) -> (u8, Writes) {
        let excluded = sent.map.conditions() && sent.map.owner != side && self.broken != Some(Broken::NoOwnershipCondition);
        match one.state.shard(side).row {
            Some(row) if !excluded => (rows + 1, saw | row),
            _ => (rows, saw),
        }
    }
}

/// A statement and the state it is in.
struct One<'a> {
    state: &'a State,
    at: usize,
    statement: Statement,
}

impl One<'_> {
    fn at_stage(&self, stage: Stage) -> State {
        let mut next = self.state.clone();
        next.set_stage(self.at, stage);
        next
    }

    fn run(&self) -> Action {
        Action::Run(self.at)
    }

    /// The server refuses this incarnation; `None` is either server.
    fn fenced_out(&self, sent: Sent, side: Option<Side>) -> bool {
        let refuses = |side: Side| self.state.shard(side).fenced[usize::from(self.statement.proxy)];
        sent.incarnation == 0 && side.map_or_else(|| SIDES.into_iter().any(refuses), refuses)
    }

    fn lose(&self, steps: &mut Steps) {
        steps.add(self.run(), self.at_stage(Stage::Done(Outcome::Unknown)));
    }

    fn bit(&self) -> Writes {
        1 << self.at
    }

    /// The process that sent it is still there to hear the answer.
    fn heard(&self, sent: Sent) -> bool {
        let proxy = &self.state.proxies[usize::from(self.statement.proxy)];
        !proxy.dead && proxy.incarnation == sent.incarnation
    }

    fn scattered(&self, rows: u8, saw: Writes, steps: &mut Steps) {
        let wrong =
            if rows == 1 { wrong_read(Some(saw), self.statement.floor) } else { Some(format!("a scatter counted {rows} rows, not 1")) };
        steps.checked(self.run(), self.at_stage(Stage::Done(Outcome::Acknowledged)), wrong);
    }

    fn begin_again(&self, open: Open, sent: Sent, steps: &mut Steps) {
        if self.statement.kind != Kind::Snapshot {
            return self.write(sent.map.owner, sent, Some(open), steps);
        }
        let side = sent.map.owner;
        // On the shard that it has read from it sees what was there then.
        let row = if side == open.side { open.saw } else { self.state.shard(side).row };
        let wrong = wrong_read(row, self.statement.floor);
        steps.checked(self.run(), self.at_stage(Stage::Done(Outcome::Acknowledged)), wrong);
    }

    /// The row's lock, then the guard.
    fn write(&self, side: Side, sent: Sent, open: Option<Open>, steps: &mut Steps) {
        if self.state.row_locked_by(side).is_some_and(|by| by != self.at) {
            return;
        }
        let Shard { row, phase, .. } = *self.state.shard(side);
        if row.is_none() {
            // A trigger for each row does not see an UPDATE of none: the client is told 0 rows.
            let harmless = !self.heard(sent) && phase == Phase::Closed;
            let wrong = (!harmless).then(|| format!("a write found no row on the {side:?}"));
            return steps.checked(self.run(), self.at_stage(Stage::Done(Outcome::Unknown)), wrong);
        }
        let stage = match phase {
            Phase::Closed if !self.heard(sent) => Stage::Done(Outcome::Unknown),
            Phase::Closed if open.is_some() => Stage::Done(Outcome::Refused),
            Phase::Closed => Stage::Waiting(sent.map.version + 1),
            _ => Stage::Written { sent, side, logged: phase == Phase::Logging, open },
        };
        steps.add(self.run(), self.at_stage(stage));
    }

    fn commit(&self, sent: Sent, side: Side, (logged, open): (bool, Option<Open>), steps: &mut Steps) {
        let mut next = self.state.clone();
        let shard = next.shard_mut(side);
        let before = shard.row;
        shard.row = Some(before.unwrap_or(0) | self.bit());
        if logged {
            shard.log |= self.bit();
        }
        let heard = self.heard(sent);
        if heard {
            next.acknowledged |= self.bit();
        }
        next.set_stage(self.at, Stage::Done(if heard { Outcome::Acknowledged } else { Outcome::Unknown }));
        let owner = self.state.map.owner;
        let locked = open.filter(|_| self.statement.kind == Kind::Locking);
        let wrong = if side != owner {
            Some(format!("a write was committed on the {side:?}, and the {owner:?} owns the bucket"))
        } else if locked.is_some_and(|open| open.saw != before) {
            Some("a row was changed by another while it was locked".to_owned())
        } else {
            None
        };
        steps.checked(Action::Commit(self.at), next, wrong);
    }
}

fn wrong_read(row: Option<Writes>, floor: Writes) -> Option<String> {
    match row {
        None => Some("a read found no row".to_owned()),
        Some(row) if row & floor != floor => Some(format!("a read saw writes {row:03b}, and {floor:03b} had been acknowledged before it")),
        Some(_) => None,
    }
}
