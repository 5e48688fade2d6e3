//! What the protocol's parties know: catalog, two shards, proxies, their clients' statements, workers. One row of one moving bucket.

/// A shard of the move, or where the bucket's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Source,
    Target,
}

pub(crate) const SIDES: [Side; 2] = [Side::Source, Side::Target];

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Source => Self::Target,
            Self::Target => Self::Source,
        }
    }
}

/// As in the catalog. 'copying' to 'verifying' mean to the proxies what 'arming' does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wave {
    Planned,
    Arming,
    /// After the fence was given up.
    CatchingUp,
    Fencing,
    Flipped,
    Released,
    Cleaning,
    Finished,
    Aborted,
}

/// What the catalog says in one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Map {
    pub(crate) version: u8,
    pub(crate) wave: Wave,
    pub(crate) owner: Side,
    /// The version that gave the bucket to its owner.
    pub(crate) owner_since: u8,
    /// The wave goes from target to source.
    pub(crate) reversed: bool,
}

impl Map {
    /// The version from which on writes of the bucket are held.
    pub(crate) fn holds_since(self) -> Option<u8> {
        match self.wave {
            Wave::Fencing => Some(self.version),
            // The flip is the version after the fence.
            Wave::Flipped => Some(self.version - 1),
            _ => None,
        }
    }

    pub(crate) fn conditions(self) -> bool {
        !matches!(self.wave, Wave::Planned | Wave::Finished | Wave::Aborted)
    }
}

/// A proxy's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    /// What comes from now on is routed by this map at least.
    pub(crate) seen: u8,
    /// Moreover nothing runs by an older one.
    pub(crate) acknowledged: u8,
    /// Moreover no transaction is open that began by an older one.
    pub(crate) settled: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// No guard: nobody looks.
    Unguarded,
    Closed,
    Logging,
    Open,
}

/// Sets of writes, one bit each.
pub(crate) type Writes = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shard {
    /// The bucket's row, when it is there: the writes that it has seen.
    pub(crate) row: Option<Writes>,
    /// The touched keys, one entry for each touch: who logged it.
    pub(crate) log: Writes,
    pub(crate) phase: Phase,
    /// The mark of a finished copy.
    pub(crate) copied: bool,
    pub(crate) token: u8,
    /// By proxy: its first incarnation is refused, its connections are ended.
    pub(crate) fenced: [bool; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    /// 0, and after it was fenced or restarted 1.
    pub(crate) incarnation: u8,
    pub(crate) map: Map,
    /// Registered, and not yet read the map.
    pub(crate) blind: bool,
    pub(crate) dead: bool,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// One write of the row.
    Write,
    /// A read by key.
    Read,
    /// A count over both shards.
    Scatter,
    /// BEGIN; a write of another bucket on the source; a write of the row; COMMIT.
    Transaction,
    /// BEGIN; SELECT … FOR UPDATE of the row; a write of the row; COMMIT.
    Locking,
    /// BEGIN ISOLATION LEVEL REPEATABLE READ; a read of another bucket on the target; a read of the row.
    Snapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Acknowledged,
    /// Nothing was done, and the client knows.
    Refused,
    /// The connection or the proxy was lost.
    Unknown,
}

/// By which map and as whom a statement was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    pub(crate) map: Map,
    pub(crate) incarnation: u8,
}

/// An open transaction: its first statement's map, where that ran, and what it saw there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Open {
    pub(crate) began: Sent,
    pub(crate) side: Side,
    pub(crate) saw: Option<Writes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Not asked yet, or in the proxy and not routed: held, or after SY001 waiting for a map of at least this version.
    Waiting(u8),
    /// On its way to the server, or there and not begun.
    Sent(Sent),
    /// A scatter: one side has answered with so many rows.
    Half {
        sent: Sent,
        done: Side,
        rows: u8,
        saw: Writes,
    },
    /// Between the first statement of a transaction and the second.
    Between {
        open: Open,
        at_least: u8,
    },
    /// The second statement.
    SentAgain {
        open: Open,
        sent: Sent,
    },
    /// Behind the guard, not committed: holds the row's lock and the wave's.
    Written {
        sent: Sent,
        side: Side,
        logged: bool,
        open: Option<Open>,
    },
    Done(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Statement {
    pub(crate) kind: Kind,
    pub(crate) proxy: u8,
    pub(crate) stage: Stage,
    /// What had been acknowledged when it was asked.
    pub(crate) floor: Writes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Does nothing: a worker that does not lead, or has noticed that it does not.
    Idle,
    /// Leads in the catalog; tells the shards, and then reads where the wave stands.
    TokenTo(Side),
    Resume,
    Arm,
    AwaitArmed,
    CloseReceiver,
    LogGiver,
    Drain,
    ReadForCopy,
    Copy,
    /// A pass, the last one or not: reads the log and the rows of its keys, makes them so on the receiver, forgets what it read of the log.
    Read(Last),
    Apply(Last),
    Forget(Last),
    Fence,
    AwaitHeld,
    Close,
    Flip,
    AwaitFlipped,
    Open,
    Release,
    /// Clean, or turn back.
    Choose,
    /// Reads by the map of before the flip may still be running on the side that has lost the bucket.
    AwaitUnused,
    /// Deletes the rows on the side that has lost them, and takes the guards away; ends with this state.
    Delete(Wave),
    Unguard(Side, Wave),
    End(Wave),
    /// Gives the fence up.
    Reopen,
    Unfence,
}

pub(crate) type Last = bool;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Worker {
    pub(crate) token: u8,
    pub(crate) step: Step,
    /// The version that it waits for.
    pub(crate) since: u8,
    /// Direction and data of the transfer it is in.
    pub(crate) reversed: bool,
    pub(crate) row: Option<Writes>,
    pub(crate) taken: Writes,
}

/// How much may still go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// A second worker takes the lead; the first goes on unaware.
    pub(crate) takeovers: u8,
    /// A proxy is taken for dead, rightly or not.
    pub(crate) fences: u8,
    /// A proxy is killed and not started again.
    pub(crate) deaths: u8,
    /// A proxy is killed and started again at once.
    pub(crate) restarts: u8,
    /// A fence is given up because a transaction lasts too long.
    pub(crate) back_offs: u8,
    /// A held write is sent because it has waited for too long.
    pub(crate) impatient: u8,
    /// The operator changes his mind.
    pub(crate) wishes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wish {
    Run,
    /// Give it up, if it is before the flip.
    Abort,
    /// Bring the bucket back, if it is after the flip and before cleaning.
    RollBack,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) map: Map,
    /// The token of the worker that leads.
    pub(crate) token: u8,
    pub(crate) wish: Wish,
    /// By proxy and incarnation.
    pub(crate) rows: [[Option<Row>; 2]; 2],
    pub(crate) shards: [Shard; 2],
    pub(crate) proxies: [Proxy; 2],
    pub(crate) statements: [Option<Statement>; 3],
    pub(crate) workers: [Worker; 2],
    pub(crate) left: Faults,
    /// Writes whose clients were told so.
    pub(crate) acknowledged: Writes,
}

impl State {
    pub(crate) fn shard(&self, side: Side) -> &Shard {
        &self.shards[side as usize]
    }

    pub(crate) fn shard_mut(&mut self, side: Side) -> &mut Shard {
        &mut self.shards[side as usize]
    }

    pub(crate) fn statements(&self) -> impl Iterator<Item = (usize, Statement)> + '_ {
        self.statements.iter().enumerate().filter_map(|(at, statement)| Some((at, (*statement)?)))
    }

    pub(crate) fn set_stage(&mut self, at: usize, stage: Stage) {
        if let Some(statement) = &mut self.statements[at] {
            statement.stage = stage;
        }
    }

    /// Who has the row's lock there: one that wrote it or asked for it.
    pub(crate) fn row_locked_by(&self, side: Side) -> Option<usize> {
        self.statements().find_map(|(at, statement)| {
            let locks = match statement.stage {
                Stage::Written { side: there, open, .. } => there == side || locked(statement.kind, open) == Some(side),
                Stage::Between { open, .. } | Stage::SentAgain { open, .. } => locked(statement.kind, Some(open)) == Some(side),
                _ => false,
            };
            locks.then_some(at)
        })
    }
}

fn locked(kind: Kind, open: Option<Open>) -> Option<Side> {
    open.filter(|_| kind == Kind::Locking).map(|open| open.side)
}
