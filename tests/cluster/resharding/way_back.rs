//! A shard that was added is written to for a while, and then the move is taken back: nothing written since is lost.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::resharding::faults::soak;
use crate::resharding::placement::Placement;
use crate::resharding::stage::Stage;
use crate::resharding::{MOVE_PATIENCE, check_share, wait_for_move};

/// How long the new shard is written to, in `make test` and in `make soak`.
const WRITES: Duration = Duration::from_secs(2);
const SOAK_WRITES: Duration = Duration::from_secs(600);

/// Under load. What was written is audited with all the rest.
pub(super) fn there_and_back(stage: &Stage, before: &Placement, name: &str) -> Result<()> {
    stage.ask_to_add_for_now(name)?;
    wait_for_move(stage, "reversible", MOVE_PATIENCE)?;
    check_share(before, &Placement::read(stage)?)?;
    std::thread::sleep(if soak() { SOAK_WRITES } else { WRITES });
    stage.command(&["move", "rollback"])?;
    wait_for_move(stage, "rolled back", MOVE_PATIENCE)?;
    let differ = before.differences(&Placement::read(stage)?);
    ensure!(differ == 0, "{differ} buckets are not where they were");
    Ok(())
}
