//! Five hundred faults over at least twenty shards that come and go, each cycle checked by itself: what it takes, and what may be told to
//! clients meanwhile.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::differential::generate::random::Random;
use crate::fixture::Fixture;
use crate::resharding::cards::{Card, Hand, Length, deal};
use crate::resharding::faults::{PATIENCE, arm, disarm, reached, soak, until_over};
use crate::resharding::load::{Load, Tolerance, elapsed};
use crate::resharding::placement::Placement;
use crate::resharding::stage::{Setting, Stage, Victim, lock};
use crate::resharding::trouble::Trouble;
use crate::resharding::{SMALL, Scale, audit, check_share};
use crate::shardyard::eventually;

/// After so long another worker leads.
const TAKEN_OVER: Duration = Duration::from_millis(2_500);
const POLL: Duration = Duration::from_millis(2);
/// Of a client between two statements: the processors are the faults'.
const THOUGHT: Duration = Duration::from_millis(20);

/// Every sort of fault, by a fixed seed (`SHARDYARD_SEED`: another).
pub(crate) fn everything_happens(_fixture: &Fixture) -> Result<()> {
    let seed = std::env::var("SHARDYARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    let hands = deal(soak(), &mut random);
    let faults: usize = hands.iter().map(|hand| hand.cards.len()).sum();
    println!("moves: {faults} faults in {} cycles or more, seed {seed}", hands.len());
    let stage = Stage::open_with(Setting { shards: 2, replicas: 1, lines: true, ..Setting::default() })?;
    stage.offer("extra0")?;
    let small_disk = stage.give_small_disk()?;
    let load = Load::sized(&stage, Tolerance::Errors, Scale { pauses: (THOUGHT, THOUGHT), ..SMALL })?;
    let mut ordeal = Ordeal { stage: &stage, load: &load, small_disk, cycles: 0, made: BTreeMap::new(), trouble: Trouble::default() };
    let mut left = Vec::new();
    for Hand { name, cards } in hands {
        // What found no occasion is tried again.
        left = ordeal.cycle(name, [left, cards].concat(), &mut random)?;
    }
    while !left.is_empty() {
        left = ordeal.cycle("the rest", left, &mut random)?;
    }
    let Ordeal { cycles, made, trouble, .. } = ordeal;
    for (kind, count) in &made {
        println!("moves: {count} × {kind}");
    }
    println!("moves: {} faults in {cycles} cycles, {} s", made.values().sum::<usize>(), elapsed().as_secs());
    stage.stop();
    trouble.verdict()
}

struct Ordeal<'a> {
    stage: &'a Stage,
    load: &'a Load<'a>,
    /// Whether there is a disk that can be filled.
    small_disk: bool,
    cycles: usize,
    /// Faults by kind.
    made: BTreeMap<String, usize>,
    trouble: Trouble,
}

impl Ordeal<'_> {
    /// A shard comes and goes while these faults happen; those for which there was no occasion.
    fn cycle(&mut self, name: &str, cards: Vec<Card>, random: &mut Random) -> Result<Vec<Card>> {
        let (stage, load, began) = (self.stage, self.load, Instant::now());
        let (shard, before, asked) = (format!("extra{}", self.cycles), Placement::read(stage)?, cards.len());
        let table = Table { stage, small_disk: self.small_disk, over: AtomicBool::new(false), played: Mutex::default() };
        let mut took = [Duration::ZERO; 2];
        let left = load.run(|| {
            std::thread::scope(|scope| {
                let disturbing = scope.spawn(|| table.disturb(cards, random));
                let moved = come_and_go(stage, &shard, &before, &mut took);
                table.over.store(true, Ordering::Relaxed);
                let left = disturbing.join().unwrap_or_else(|_| bail!("the disturber panicked"));
                moved.and(left)
            })
        });
        let left = left.with_context(|| format!("cycle {} ({name}), after {:?}", self.cycles, lock(&table.played)))?;
        let played = table.played.into_inner().unwrap_or_default();
        for (kind, _, _) in &played {
            *self.made.entry(kind.clone()).or_default() += 1;
        }
        let report = audit::check(stage, load).with_context(|| format!("cycle {} ({name}), after {played:?}", self.cycles))?;
        let [add, remove] = took.map(|took| took.as_secs_f64());
        println!(
            "moves: cycle {} ({name}): {} of {asked} faults, added in {add:.1} s, removed in {remove:.1} s, all {:.1} s: {report}",
            self.cycles,
            played.len(),
            began.elapsed().as_secs_f64()
        );
        self.trouble.judge(load, &played);
        ensure!(Placement::read(stage)?.shards() == before.shards(), "other shards than before own buckets");
        load.renew()?;
        stage.drop_shard(&shard)?;
        self.cycles += 1;
        Ok(left)
    }
}

fn come_and_go(stage: &Stage, shard: &str, before: &Placement, took: &mut [Duration; 2]) -> Result<()> {
    for (at, took) in took.iter_mut().enumerate() {
        let began = Instant::now();
        let known = eventually(PATIENCE, || stage.moves())?;
        let ask = || if at == 0 { stage.ask_to_add(shard) } else { stage.ask_to_remove(shard) };
        eventually(PATIENCE, || match stage.moves()? {
            // An answer that was lost is not asked for again.
            now if now > known => Ok(()),
            _ => ask(),
        })?;
        until_over(stage, || Ok(()))?;
        *took = began.elapsed();
        if at == 0 {
            check_share(before, &eventually(PATIENCE, || Placement::read(stage))?)?;
        }
    }
    Ok(())
}

/// What it was, when it began and when it was over.
pub(crate) type Played = (String, Duration, Duration);

/// Where the faults of one cycle are made.
struct Table<'a> {
    stage: &'a Stage,
    small_disk: bool,
    /// Nothing moves any more.
    over: AtomicBool,
    played: Mutex<Vec<Played>>,
}

impl Table<'_> {
    fn disturb(&self, cards: Vec<Card>, random: &mut Random) -> Result<Vec<Card>> {
        let (mut points, mut others): (Vec<Card>, Vec<Card>) = cards.into_iter().partition(|card| matches!(card, Card::Point(_)));
        points.iter().try_for_each(|card| card.point().map_or(Ok(()), |point| arm(self.stage, point)))?;
        let mut next = Instant::now();
        while !(self.over.load(Ordering::Relaxed) || points.is_empty() && others.is_empty()) {
            let sprung = points.iter().position(|card| card.point().is_some_and(|point| reached(self.stage, point)));
            let card = match sprung {
                Some(at) => points.remove(at),
                None if !others.is_empty() && Instant::now() >= next => others.remove(0),
                None => {
                    std::thread::sleep(POLL);
                    continue;
                }
            };
            let began = elapsed();
            let made = self.play(card, random).with_context(|| format!("{card:?}"))?;
            if let Some(kind) = made {
                lock(&self.played).push((kind, began, elapsed()));
            }
            next = Instant::now() + Duration::from_millis(u64::try_from(random.between(50, 700))?);
        }
        points.iter().filter_map(Card::point).for_each(|point| disarm(self.stage, point));
        points.extend(others);
        Ok(points)
    }

    /// What was made, if it could be made.
    fn play(&self, card: Card, random: &mut Random) -> Result<Option<String>> {
        let stage = self.stage;
        match card {
            Card::Point(point) => {
                stage.kill(Victim::Worker)?;
                disarm(stage, point);
                stage.revive(Victim::Worker)?;
                return Ok(Some(format!("worker killed at {point}")));
            }
            Card::Killed(who) => {
                let victim = who.victim(stage, random);
                stage.kill(victim)?;
                std::thread::sleep(Length::Short.random(random));
                stage.revive(victim).with_context(|| format!("reviving {victim:?}"))?;
            }
            Card::Replaced => {
                let stopped = stage.stopped(Victim::Worker)?;
                let late = stage.take_worker().context("no worker")?;
                stage.revive(Victim::Worker)?;
                std::thread::sleep(TAKEN_OVER);
                stopped.wake();
                std::thread::sleep(Duration::from_millis(300));
                drop(late);
            }
            Card::Stopped(who, length) => {
                let stopped = stage.stopped(who.victim(stage, random))?;
                std::thread::sleep(length.random(random));
                stopped.wake();
            }
            Card::Cut(who, far, passage, length) => {
                let network = stage.network.as_ref().context("there are no lines")?;
                let cut = network.cut(who.process(random), &far.ports(stage), passage);
                std::thread::sleep(length.random(random));
                drop(cut);
            }
            Card::FailedOver(side) => {
                let Victim::Primary(at) = side.victim(stage, random) else { bail!("{side:?} is no server") };
                // The server of the added shards has none.
                let shards: Vec<usize> = (0..stage.servers().len()).filter(|at| stage.has_standby(*at)).collect();
                stage.fail_over(if stage.has_standby(at) { at } else { *random.pick(&shards) })?;
            }
            Card::DiskFull if !self.small_disk => return Ok(None),
            Card::DiskFull => {
                let full = stage.fill_disk()?;
                std::thread::sleep(Length::Long.random(random));
                stage.empty_disk(full)?;
            }
        }
        Ok(Some(card.kind()))
    }
}
