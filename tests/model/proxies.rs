//! What the proxies do about the catalog, how they die, and how they are fenced out.

use crate::protocol::{Action, Broken, Protocol, Steps};
use crate::state::{Kind, Outcome, Row, SIDES, Sent, Side, Stage, State, Statement};

impl Protocol {
    pub(crate) fn proxy_steps(&self, state: &State, at: usize, steps: &mut Steps) {
        if !self.used(at) {
            return;
        }
        self.fence(state, at, steps);
        let proxy = &state.proxies[at];
        if proxy.dead {
            return;
        }
        if proxy.blind || proxy.map.version < state.map.version {
            let mut next = state.clone();
            next.proxies[at].map = state.map;
            next.proxies[at].blind = false;
            steps.add(Action::Load(at), next);
        }
        let row = state.rows[at][usize::from(proxy.incarnation)];
        if let Some(row) = row.filter(|_| !proxy.blind) {
            let told = self.told(state, at, row);
            if told != row {
                let mut next = state.clone();
                next.rows[at][usize::from(proxy.incarnation)] = Some(told);
                steps.add(Action::Report(at), next);
            }
        }
        if row.is_none() && proxy.incarnation == 1 {
            let mut next = state.clone();
            next.rows[at][1] = Some(Row { seen: 0, acknowledged: 0, settled: 0 });
            steps.add(Action::Register(at), next);
        }
        let outcast = row.is_none() || SIDES.iter().any(|side| state.shard(*side).fenced[at]);
        if proxy.incarnation == 0 && outcast {
            steps.add(Action::RegisterAnew(at), self.anew(state, at, self.broken == Some(Broken::StaleRoutes)));
        }
        if state.left.deaths > 0 && proxy.incarnation == 0 {
            let mut next = state.clone();
            next.left.deaths -= 1;
            next.proxies[at].dead = true;
            abandon(&mut next, at);
            steps.fault(Action::Die(at), next);
        }
        if state.left.restarts > 0 && proxy.incarnation == 0 {
            let mut next = state.clone();
            abandon(&mut next, at);
            next.left.restarts -= 1;
            next.proxies[at].incarnation = 1;
            next.proxies[at].blind = true;
            next.rows[at][1] = Some(Row { seen: 0, acknowledged: 0, settled: 0 });
            if self.broken == Some(Broken::SameRow) {
                next.rows[at][0] = None;
            }
            steps.fault(Action::Restart(at), next);
        }
    }

    /// A row of its own, then the map, and no connection of before.
    fn anew(&self, state: &State, at: usize, keep: bool) -> State {
        let mut next = state.clone();
        for (number, statement) in state.statements() {
            if usize::from(statement.proxy) != at {
                continue;
            }
            match statement.stage {
                Stage::Sent(sent) if keep => next.set_stage(number, Stage::Sent(Sent { incarnation: 1, ..sent })),
                Stage::Waiting(_) | Stage::Done(_) => {}
                // The servers run to their ends what they have begun.
                Stage::Sent(_) | Stage::Written { open: None, .. } if statement.kind == Kind::Write => {}
                _ => next.set_stage(number, Stage::Done(Outcome::Unknown)),
            }
        }
        let proxy = &mut next.proxies[at];
        proxy.incarnation = 1;
        if self.broken == Some(Broken::MapBeforeRow) {
            proxy.map = state.map;
        } else {
            proxy.blind = true;
            next.rows[at][1] = Some(Row { seen: 0, acknowledged: 0, settled: 0 });
        }
        next
    }

    /// What the proxy can truly say of its present map.
    fn told(&self, state: &State, at: usize, row: Row) -> Row {
        let proxy = &state.proxies[at];
        let own = |statement: &Statement| usize::from(statement.proxy) == at;
        let older = |sent: Sent| sent.incarnation == proxy.incarnation && sent.map.version < proxy.map.version;
        let running = |statement: Statement| {
            own(&statement)
                && match statement.stage {
                    Stage::Sent(sent) | Stage::Half { sent, .. } | Stage::SentAgain { sent, .. } | Stage::Written { sent, .. } => {
                        older(sent)
                    }
                    Stage::Waiting(_) => self.broken == Some(Broken::HeldCountsAsRunning) && proxy.map.holds_since().is_some(),
                    Stage::Between { .. } | Stage::Done(_) => false,
                }
        };
        let runs = state.statements().any(|(_, statement)| running(statement));
        // A switch waits for no read that stands alone.
        let writes = state.statements().any(|(_, statement)| running(statement) && !matches!(statement.kind, Kind::Read | Kind::Scatter));
        let open = state.statements().any(|(_, statement)| {
            own(&statement)
                && match statement.stage {
                    Stage::Between { open, .. } | Stage::SentAgain { open, .. } | Stage::Written { open: Some(open), .. } => {
                        older(open.began)
                    }
                    _ => false,
                }
        });
        let acknowledged = if runs { row.acknowledged } else { proxy.map.version };
        let settled = if writes || open { row.settled } else { proxy.map.version };
        Row { seen: proxy.map.version, acknowledged, settled }
    }

    /// The leading worker takes the proxy's first incarnation for dead.
    fn fence(&self, state: &State, at: usize, steps: &mut Steps) {
        let Some(row) = state.rows[at][0] else { return };
        let waits = state.workers.iter().any(|worker| worker.token == state.token && self.waits_for(worker, row));
        let begun = SIDES.iter().any(|side| state.shard(*side).fenced[at]);
        let gone = state.proxies[at].dead || state.proxies[at].incarnation == 1;
        if !waits || !(begun || gone || state.left.fences > 0) {
            return;
        }
        let suspected = !begun && !gone;
        let spend = |next: &mut State| next.left.fences -= u8::from(suspected);
        if self.broken == Some(Broken::NoFencing) {
            let mut next = state.clone();
            spend(&mut next);
            next.rows[at][0] = None;
            return steps.add_as(suspected, Action::Forget(at), next);
        }
        let open: Vec<Side> = SIDES.into_iter().filter(|side| !state.shard(*side).fenced[at]).collect();
        for side in &open {
            let mut next = state.clone();
            spend(&mut next);
            next.shard_mut(*side).fenced[at] = true;
            end_connections(&mut next, at, *side);
            steps.add_as(suspected, Action::FenceOut(at, *side), next);
        }
        if open.is_empty() {
            let mut next = state.clone();
            next.rows[at][0] = None;
            steps.add(Action::Forget(at), next);
        }
    }
}

/// The process is gone: its clients too, and its transactions. Only a statement that needs nobody any more runs on.
fn abandon(state: &mut State, at: usize) {
    for (number, statement) in state.clone().statements() {
        let runs_on = statement.kind == Kind::Write && !matches!(statement.stage, Stage::Waiting(_));
        let stays = runs_on || matches!(statement.stage, Stage::Waiting(_) | Stage::Done(_));
        if usize::from(statement.proxy) == at && !stays {
            state.set_stage(number, Stage::Done(Outcome::Unknown));
        }
    }
}

/// Ends the first incarnation's connections to one shard, and with each what it was doing.
fn end_connections(state: &mut State, at: usize, side: Side) {
    for (number, statement) in state.clone().statements() {
        if usize::from(statement.proxy) == at && uses(&statement, side) {
            state.set_stage(number, Stage::Done(Outcome::Unknown));
        }
    }
}

/// The first incarnation's statement is on that shard, or on its way to it.
fn uses(statement: &Statement, side: Side) -> bool {
    let first = |sent: Sent| sent.incarnation == 0;
    match statement.stage {
        Stage::Waiting(_) | Stage::Done(_) => false,
        Stage::Sent(sent) => first(sent) && reach(statement.kind, sent).is_none_or(|there| there == side),
        Stage::Half { sent, .. } => first(sent),
        Stage::Between { open, .. } => first(open.began) && open.side == side,
        Stage::SentAgain { open, sent } => first(open.began) && (open.side == side || sent.map.owner == side),
        Stage::Written { sent, side: there, open, .. } => first(sent) && (there == side || open.is_some_and(|open| open.side == side)),
    }
}

/// Where a first statement goes; `None` is to both.
pub(crate) fn reach(kind: Kind, sent: Sent) -> Option<Side> {
    match kind {
        Kind::Write | Kind::Read | Kind::Locking => Some(sent.map.owner),
        Kind::Transaction => Some(Side::Source),
        Kind::Snapshot => Some(Side::Target),
        Kind::Scatter => None,
    }
}
