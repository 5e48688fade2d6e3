//! The faults of the ordeal, and how they are dealt to its cycles.

use std::time::Duration;

use shardyard::rebalance::fault::POINTS;

use crate::differential::generate::random::Random;
use crate::resharding::network::{Passage, Process};
use crate::resharding::stage::{Stage, Victim};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Worker,
    Proxy,
    /// Of the wave that moves at the time.
    Source,
    Target,
    Catalog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    Catalog,
    Shards,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Short,
    /// Long enough to be fenced out, or to lose the lead.
    Long,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Card {
    /// The worker is killed at this point of a move.
    Point(&'static str),
    /// Killed and started again.
    Killed(Who),
    /// SIGSTOP, and later SIGCONT.
    Stopped(Who, Length),
    /// The worker is stopped, another takes the lead, and then the first wakes up.
    Replaced,
    /// Cut off from these servers.
    Cut(Who, Far, Passage, Length),
    /// The server dies for good, and its synchronous replica takes its place.
    FailedOver(Who),
    /// The disk of the added shard's server.
    DiskFull,
}

/// The faults of one cycle, or of as many as it takes.
pub(crate) struct Hand {
    pub(crate) name: &'static str,
    pub(crate) cards: Vec<Card>,
}

const PER_CYCLE: usize = 25;

/// 500 faults in 20 cycles; or the ten of `make test`.
pub(crate) fn deal(all: bool, random: &mut Random) -> Vec<Hand> {
    if !all {
        return vec![Hand { name: "some", cards: some() }];
    }
    let decks = [
        ("workers", workers(2, 20, 20)),
        ("proxies", proxies(10)),
        ("servers", servers()),
        ("catalog", catalog(13, 12)),
        ("lines", lines(3)),
        ("all", mixed()),
    ];
    let mut hands = Vec::new();
    for (name, mut cards) in decks {
        shuffle(&mut cards, random);
        hands.extend(cards.chunks(PER_CYCLE).map(|cards| Hand { name, cards: cards.to_vec() }));
    }
    hands
}

fn some() -> Vec<Card> {
    vec![
        Card::Point("fence.closed"),
        Card::Stopped(Who::Proxy, Length::Long),
        Card::Killed(Who::Source),
        Card::Cut(Who::Proxy, Far::Catalog, Passage::Silent, Length::Long),
        Card::Killed(Who::Worker),
        Card::Killed(Who::Proxy),
        Card::Cut(Who::Worker, Far::Shards, Passage::Closed, Length::Short),
        Card::Point("clean.deleted"),
        Card::Killed(Who::Catalog),
        Card::Cut(Who::Proxy, Far::Shards, Passage::Silent, Length::Short),
    ]
}

/// 100: every point twice.
fn workers(points: usize, killed: usize, replaced: usize) -> Vec<Card> {
    let at_points = POINTS.iter().flat_map(|point| std::iter::repeat_n(Card::Point(point), points));
    at_points.chain(times(killed, Card::Killed(Who::Worker))).chain(times(replaced, Card::Replaced)).collect()
}

/// 50 of 10.
fn proxies(count: usize) -> Vec<Card> {
    let stopped = |length, count| times(count, Card::Stopped(Who::Proxy, length));
    times(count * 2, Card::Killed(Who::Proxy)).chain(stopped(Length::Short, count)).chain(stopped(Length::Long, count * 2)).collect()
}

/// 50.
fn servers() -> Vec<Card> {
    let of = |who| times(13, Card::Killed(who)).chain(stopped(who, 6));
    of(Who::Source).chain(of(Who::Target)).collect()
}

fn catalog(killed: usize, stops: usize) -> Vec<Card> {
    times(killed, Card::Killed(Who::Catalog)).chain(stopped(Who::Catalog, stops / 2)).collect()
}

/// 16 times so many.
fn lines(count: usize) -> Vec<Card> {
    let mut cards = Vec::new();
    for who in [Who::Proxy, Who::Worker] {
        for far in [Far::Catalog, Far::Shards] {
            for passage in [Passage::Silent, Passage::Closed] {
                for length in [Length::Short, Length::Long] {
                    cards.extend(times(count, Card::Cut(who, far, passage, length)));
                }
            }
        }
    }
    cards
}

/// 227: with what is above 500.
fn mixed() -> Vec<Card> {
    let mut cards = workers(1, 15, 5);
    cards.extend(proxies(6));
    cards.extend(servers());
    cards.extend(catalog(13, 12));
    cards.extend(lines(3));
    cards.extend(times(8, Card::FailedOver(Who::Source)).chain(times(8, Card::FailedOver(Who::Target))));
    cards.extend(times(8, Card::DiskFull));
    cards
}

fn stopped(who: Who, each: usize) -> impl Iterator<Item = Card> {
    times(each, Card::Stopped(who, Length::Short)).chain(times(each, Card::Stopped(who, Length::Long)))
}

fn times(count: usize, card: Card) -> impl Iterator<Item = Card> {
    std::iter::repeat_n(card, count)
}

fn shuffle(cards: &mut [Card], random: &mut Random) {
    for at in (1..cards.len()).rev() {
        cards.swap(at, random.below(at + 1));
    }
}

impl Card {
    pub(crate) fn point(&self) -> Option<&'static str> {
        match self {
            Self::Point(point) => Some(point),
            _ => None,
        }
    }

    /// What it is called in the counts.
    pub(crate) fn kind(self) -> String {
        match self {
            Self::Point(point) => format!("worker killed at {point}"),
            Self::Killed(who) => format!("{} killed", who.name()),
            Self::Stopped(who, length) => format!("{} stopped for {}", who.name(), length.name()),
            Self::Replaced => "worker replaced and late".to_owned(),
            Self::Cut(who, far, passage, length) => {
                let (far, how) = (
                    if far == Far::Catalog { "the catalog" } else { "the shards" },
                    if passage == Passage::Silent { "silently" } else { "by resets" },
                );
                format!("{} cut off from {far} {how} for {}", who.name(), length.name())
            }
            Self::FailedOver(who) => format!("{} failed over", who.name()),
            Self::DiskFull => "disk full".to_owned(),
        }
    }
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Proxy => "proxy",
            Self::Source => "source",
            Self::Target => "target",
            Self::Catalog => "catalog",
        }
    }

    /// Source and target of the wave that moves; any shard while none does.
    pub(crate) fn victim(self, stage: &Stage, random: &mut Random) -> Victim {
        match self {
            Self::Worker => Victim::Worker,
            Self::Proxy => Victim::Proxy(random.below(2)),
            Self::Catalog => Victim::Catalog,
            Self::Source | Self::Target => {
                let sides = stage.sides().unwrap_or_default();
                let side = sides.map(|(source, target)| if self == Self::Source { source } else { target });
                Victim::Primary(side.unwrap_or_else(|| random.below(stage.servers().len())))
            }
        }
    }

    pub(crate) fn process(self, random: &mut Random) -> Process {
        if self == Self::Worker { Process::Worker } else { Process::Proxy(random.below(2)) }
    }
}

impl Far {
    pub(crate) fn ports(self, stage: &Stage) -> Vec<u16> {
        let catalog = stage.catalog_port();
        stage.ports().into_iter().filter(|port| (*port == catalog) == (self == Self::Catalog)).collect()
    }
}

impl Length {
    fn name(self) -> &'static str {
        match self {
            Self::Short => "a moment",
            Self::Long => "long",
        }
    }

    pub(crate) fn random(self, random: &mut Random) -> Duration {
        let (from, to) = if self == Self::Short { (50, 700) } else { (1_800, 4_000) };
        Duration::from_millis(u64::try_from(random.between(from, to)).unwrap_or(0))
    }
}
