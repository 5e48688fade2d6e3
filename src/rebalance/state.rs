//! Where a move and its waves stand. Written to the catalog before the step it names begins.
//!
//! ```text
//! wave: planned ▶ arming ▶ copying ▶ catching up ⇄ verifying
//!                                    ⇅             │
//!                                    fencing ◀─────┘
//!                                       ▼  the commit point
//!                                    flipped ▶ released ▶ reversible ▶ cleaning ▶ finished
//!                                                             ▼ reversed
//!                                                         catching up …
//! ```

/// Where a wave stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaveState {
    /// Set when the move is planned. Next: `Arming`, `Aborted`.
    Planned,
    /// Proxies add the ownership condition; the shards get the guards. Next: `Copying`, `Aborted`.
    Arming,
    /// Rows go to the target. Next: `CatchingUp`, `Aborted`.
    Copying,
    /// Passes make the target equal. Next: `Verifying`, `Fencing`, `Aborted`.
    CatchingUp,
    /// Both sides are compared. Next: `CatchingUp`, `Fencing`, `Aborted`.
    Verifying,
    /// Proxies hold writes, the source is closed. The source is still the owner. Next: `Flipped`, or back to `CatchingUp`.
    Fencing,
    /// The target is the owner; both are closed until every proxy knows. Next: `Released`.
    Flipped,
    /// The target is open. Next: `Reversible`, `Cleaning`.
    Released,
    /// The source's rows are kept equal to the target's. Next: `Cleaning`; `CatchingUp` with `reversed` set.
    Reversible,
    /// The source's rows are being deleted. Next: `Finished`.
    Cleaning,
    /// Nothing of the wave is left on any shard but the target's rows. Final.
    Finished,
    /// Nothing of the wave is left on any shard but the source's rows. Final.
    Aborted,
}

impl WaveState {
    pub const ALL: [Self; 12] = [
        Self::Planned,
        Self::Arming,
        Self::Copying,
        Self::CatchingUp,
        Self::Verifying,
        Self::Fencing,
        Self::Flipped,
        Self::Released,
        Self::Reversible,
        Self::Cleaning,
        Self::Finished,
        Self::Aborted,
    ];

    /// As the catalog writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Arming => "arming",
            Self::Copying => "copying",
            Self::CatchingUp => "catching up",
            Self::Verifying => "verifying",
            Self::Fencing => "fencing",
            Self::Flipped => "flipped",
            Self::Released => "released",
            Self::Reversible => "reversible",
            Self::Cleaning => "cleaning",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether a wave may go from this state to `next`.
    #[must_use]
    pub fn leads_to(self, next: Self) -> bool {
        match self {
            Self::Planned => matches!(next, Self::Arming | Self::Aborted),
            Self::Arming => matches!(next, Self::Copying | Self::Aborted),
            Self::Copying => matches!(next, Self::CatchingUp | Self::Aborted),
            // Reversed, an aborted way back leads again to where it came from.
            Self::CatchingUp => matches!(next, Self::Verifying | Self::Fencing | Self::Aborted),
            Self::Verifying => matches!(next, Self::CatchingUp | Self::Fencing | Self::Aborted),
            Self::Fencing => matches!(next, Self::CatchingUp | Self::Flipped),
            Self::Flipped => next == Self::Released,
            Self::Released => matches!(next, Self::Reversible | Self::Cleaning),
            Self::Reversible => matches!(next, Self::Cleaning | Self::CatchingUp),
            Self::Cleaning => next == Self::Finished,
            Self::Finished | Self::Aborted => false,
        }
    }

    /// Whether the shards may have objects of a wave in this state.
    #[must_use]
    pub fn is_armed(self) -> bool {
        !matches!(self, Self::Planned | Self::Finished | Self::Aborted)
    }

    /// Before the flip: the source is the owner.
    #[must_use]
    pub fn is_before_flip(self) -> bool {
        matches!(self, Self::Planned | Self::Arming | Self::Copying | Self::CatchingUp | Self::Verifying | Self::Fencing)
    }
}

/// Where a move stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveState {
    /// Set by the command. Next: `Preparing`, `Aborting`.
    Planned,
    /// The new shard gets its tables, or the old one is set to draining. Next: `Moving`, `Aborting`.
    Preparing,
    /// Its waves run. Next: `Reversible`, `Cleaning`, `Aborting`, `RollingBack`.
    Moving,
    /// Every wave is released; the way back is kept. Next: `Cleaning`, `RollingBack`.
    Reversible,
    /// The sources' rows are deleted. Next: `Finished`.
    Cleaning,
    /// Final.
    Finished,
    /// No wave has flipped; every trace goes. Next: `Aborted`.
    Aborting,
    /// Final.
    Aborted,
    /// Waves that have flipped flip back, the others are aborted. Next: `RolledBack`.
    RollingBack,
    /// Final.
    RolledBack,
}

impl MoveState {
    pub const ALL: [Self; 10] = [
        Self::Planned,
        Self::Preparing,
        Self::Moving,
        Self::Reversible,
        Self::Cleaning,
        Self::Finished,
        Self::Aborting,
        Self::Aborted,
        Self::RollingBack,
        Self::RolledBack,
    ];

    /// As the catalog writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Preparing => "preparing",
            Self::Moving => "moving",
            Self::Reversible => "reversible",
            Self::Cleaning => "cleaning",
            Self::Finished => "finished",
            Self::Aborting => "aborting",
            Self::Aborted => "aborted",
            Self::RollingBack => "rolling back",
            Self::RolledBack => "rolled back",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether a move may go from this state to `next`.
    #[must_use]
    pub fn leads_to(self, next: Self) -> bool {
        match self {
            Self::Planned => matches!(next, Self::Preparing | Self::Aborting),
            Self::Preparing => matches!(next, Self::Moving | Self::Aborting),
            Self::Moving => matches!(next, Self::Reversible | Self::Cleaning | Self::Aborting | Self::RollingBack),
            Self::Reversible => matches!(next, Self::Cleaning | Self::RollingBack),
            Self::Cleaning => next == Self::Finished,
            Self::Aborting => next == Self::Aborted,
            Self::RollingBack => next == Self::RolledBack,
            Self::Finished | Self::Aborted | Self::RolledBack => false,
        }
    }

    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Aborted | Self::RolledBack)
    }
}

/// What the operator wants of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Run,
    Pause,
    Abort,
    Rollback,
    Finalize,
}

impl Wish {
    pub const ALL: [Self; 5] = [Self::Run, Self::Pause, Self::Abort, Self::Rollback, Self::Finalize];

    /// As the catalog writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Pause => "pause",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Finalize => "finalize",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wish| wish.name() == name)
    }
}
