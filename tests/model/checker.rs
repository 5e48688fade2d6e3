//! Walks every state that a model can reach, breadth first, and tells the shortest way to a wrong one.
//!
//! Our own and not `stateright`: that one brings a web server along, and does not find everything where ways join, which is what
//! "nobody waits for ever" needs. Here that is exact: from each state a good end must be reachable without any further fault.

use std::fmt::{Debug, Display};
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

pub(crate) trait Model {
    type State: Clone + Eq + Hash + Debug;
    type Action: Display;

    fn start(&self) -> Self::State;

    /// All that can happen next; `Err` says what is wrong with it.
    fn next(&self, state: &Self::State) -> Vec<Next<Self>>;

    /// What is wrong with this state.
    fn wrong(&self, state: &Self::State) -> Option<String>;

    /// Nothing is left to be done.
    fn finished(&self, state: &Self::State) -> bool;
}

pub(crate) struct Next<M: Model + ?Sized> {
    pub(crate) action: M::Action,
    /// It need not happen: a crash, a time-out, a mistake.
    pub(crate) fault: bool,
    pub(crate) outcome: Result<M::State, String>,
}

#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    /// The longest of the shortest ways.
    pub(crate) depth: usize,
    pub(crate) verdict: Result<(), Wrong>,
}

#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    /// What happened, in order.
    pub(crate) way: Vec<String>,
}

/// Where a state was first come from: the state before and the action.
type Origin<M> = Option<(u32, <M as Model>::Action)>;

/// `states_max` is for models that were made too large by mistake.
pub(crate) fn walk<M: Model>(model: &M, states_max: usize) -> Walk {
    let hasher = foldhash::fast::FixedState::default();
    let mut seen: HashTable<u32> = HashTable::new();
    let mut queue: Vec<M::State> = vec![model.start()];
    let mut origins: Vec<Origin<M>> = vec![None];
    let mut depths: Vec<u16> = vec![0];
    // Without the faults.
    let mut edges: Vec<(u32, u32)> = Vec::new();
    let (mut at, mut steps) = (0, 0);
    seen.insert_unique(hasher.hash_one(model.start()), 0, |_| 0);
    let mut wrong = model.wrong(&model.start()).map(|what| (0, None, what));
    while wrong.is_none() && at < queue.len() {
        assert!(queue.len() < states_max, "the model has more than {states_max} states");
        let from = number(at);
        let state = queue[at].clone();
        for Next { action, fault, outcome } in model.next(&state) {
            steps += 1;
            let next = match outcome {
                Ok(next) => next,
                Err(what) => {
                    wrong = Some((from, Some(action), what));
                    break;
                }
            };
            let known = seen.entry(hasher.hash_one(&next), |at| queue[*at as usize] == next, |at| hasher.hash_one(&queue[*at as usize]));
            let known = match known {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(vacant) => {
                    if let Some(what) = model.wrong(&next) {
                        wrong = Some((from, Some(action), what));
                        break;
                    }
                    let new = number(queue.len());
                    vacant.insert(new);
                    queue.push(next);
                    origins.push(Some((from, action)));
                    depths.push(depths[at] + 1);
                    new
                }
            };
            if !fault {
                edges.push((from, known));
            }
        }
        at += 1;
    }
    let verdict = match wrong {
        Some((from, last, what)) => {
            let mut way = way_to::<M>(&origins, from);
            way.extend(last.map(|action| action.to_string()));
            Err(Wrong { what, way })
        }
        None => stuck(model, &queue, &edges).map_or(Ok(()), |at| {
            let what = format!("no good end can be reached any more from {:?}", queue[at as usize]);
            Err(Wrong { what, way: way_to::<M>(&origins, at) })
        }),
    };
    Walk { states: queue.len(), steps, depth: usize::from(depths.last().copied().unwrap_or(0)), verdict }
}

/// The first state from which nothing but faults could lead to a good end.
fn stuck<M: Model>(model: &M, states: &[M::State], edges: &[(u32, u32)]) -> Option<u32> {
    let mut first = vec![0u32; states.len() + 1];
    for (_, to) in edges {
        first[*to as usize + 1] += 1;
    }
    for at in 1..first.len() {
        first[at] += first[at - 1];
    }
    let mut filled = first.clone();
    let mut before = vec![0u32; edges.len()];
    for (from, to) in edges {
        let place = &mut filled[*to as usize];
        before[*place as usize] = *from;
        *place += 1;
    }
    let mut good: Vec<bool> = states.iter().map(|state| model.finished(state)).collect();
    let mut pending: Vec<u32> = (0..number(states.len())).filter(|at| good[*at as usize]).collect();
    while let Some(at) = pending.pop() {
        let range = first[at as usize] as usize..first[at as usize + 1] as usize;
        for from in &before[range] {
            if !std::mem::replace(&mut good[*from as usize], true) {
                pending.push(*from);
            }
        }
    }
    good.iter().position(|good| !good).map(number)
}

fn way_to<M: Model>(origins: &[Origin<M>], mut at: u32) -> Vec<String> {
    let mut way = Vec::new();
    while let Some((before, action)) = &origins[at as usize] {
        way.push(action.to_string());
        at = *before;
    }
    way.reverse();
    way
}

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("fewer states than that")
}
