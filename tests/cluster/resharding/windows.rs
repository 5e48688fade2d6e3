//! When which wave held back writers: told by the catalog itself, on this process's clock.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::resharding::load::elapsed;
use crate::resharding::stage::Stage;

const WATCH: &str = "create table public.wave_times (wave int, state text, at double precision);
    create function public.note_wave() returns trigger language plpgsql as $$
    begin
        insert into public.wave_times values (new.id, new.state, extract(epoch from clock_timestamp()));
        return null;
    end $$;
    create trigger note_wave after update of state on shardyard.wave for each row execute function public.note_wave()";

/// From the publication of a fence to its end, after the load's beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) wave: i32,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    /// The wave has its new owner; else the fence was given up.
    pub(crate) flipped: bool,
}

/// Has the catalog note each change of a wave's state.
pub(crate) fn watch(stage: &Stage) -> Result<()> {
    stage.catalog()?.query(WATCH).map(drop)
}

/// All fences so far, in order.
pub(crate) fn read(stage: &Stage) -> Result<Vec<Window>> {
    let mut catalog = stage.catalog()?;
    let now: f64 = catalog.value("select extract(epoch from clock_timestamp())::double precision")?.parse()?;
    let zero = now - elapsed().as_secs_f64();
    let mut windows = Vec::new();
    let mut open: BTreeMap<i32, (f64, bool)> = BTreeMap::new();
    for row in catalog.query("select wave, state, at from public.wave_times order by at")? {
        let [wave, state, at] = <[Option<String>; 3]>::try_from(row).ok().context("a row of another length")?;
        let (wave, at): (i32, f64) = (wave.context("no wave")?.parse()?, at.context("no time")?.parse()?);
        match state.as_deref() {
            Some("fencing") => drop(open.insert(wave, (at, false))),
            Some("flipped") => open.entry(wave).and_modify(|begun| begun.1 = true).or_insert((at, true)).1 = true,
            _ => {
                let Some((from, flipped)) = open.remove(&wave) else { continue };
                let time = |at: f64| Duration::from_secs_f64((at - zero).max(0.0));
                windows.push(Window { wave, from: time(from), to: time(at), flipped });
            }
        }
    }
    Ok(windows)
}
