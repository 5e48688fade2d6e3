//! Which columns are equal to which, and to which constants, where.
//!
//! A *region* is a part of a statement in which the same conditions hold for every row that can reach the answer: a block's WHERE with the ON of
//! its inner joins is one; the side of an outer join that may be padded with nulls is another, below it, that knows its ON besides. What holds in
//! a region holds in those below it. A *term* is a column of one table's one appearance, or of a subquery's output.

use crate::routing::value::Value;
use crate::topology::key::KeyFamily;

pub(crate) type Term = usize;
pub(crate) type RegionId = usize;

/// One of these values is what the term equals.
pub(crate) type ValueSet = Vec<Value>;

#[derive(Debug, Default)]
struct Region {
    parent: Option<RegionId>,
    /// Conditions: true of no null.
    equalities: Vec<(Term, Term)>,
    /// Two names of one value, which may be null.
    links: Vec<(Term, Term)>,
    sets: Vec<Fact>,
}

#[derive(Debug, Clone)]
struct Fact {
    term: Term,
    set: ValueSet,
    /// Not true of a null, so that it also says that the term is no padding.
    strict: bool,
}

#[derive(Debug)]
struct TermInfo {
    /// `None`: of a type whose equality is none of keys.
    family: Option<KeyFamily>,
    region: RegionId,
}

/// All regions and terms of one statement.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    regions: Vec<Region>,
    terms: Vec<TermInfo>,
}

impl Regions {
    pub(crate) fn region(&mut self, parent: Option<RegionId>) -> RegionId {
        self.regions.push(Region { parent, ..Region::default() });
        self.regions.len() - 1
    }

    /// The id of the region that will be made next.
    pub(crate) fn next(&self) -> RegionId {
        self.regions.len()
    }

    pub(crate) fn term(&mut self, family: Option<KeyFamily>, region: RegionId) -> Term {
        self.terms.push(TermInfo { family, region });
        self.terms.len() - 1
    }

    pub(crate) fn family(&self, term: Term) -> Option<KeyFamily> {
        self.terms.get(term).and_then(|info| info.family)
    }

    /// Both terms are equal wherever `region`'s conditions hold. Types whose equality differs are kept apart.
    pub(crate) fn equate(&mut self, region: RegionId, left: Term, right: Term) {
        let family = self.family(left);
        if family.is_some()
            && family == self.family(right)
            && let Some(region) = self.regions.get_mut(region)
        {
            region.equalities.push((left, right));
        }
    }

    /// `outer` is what `inner` is called outside of its query.
    pub(crate) fn link(&mut self, region: RegionId, outer: Term, inner: Term) {
        let family = self.family(outer);
        if family.is_some()
            && family == self.family(inner)
            && let Some(region) = self.regions.get_mut(region)
        {
            region.links.push((outer, inner));
        }
    }

    /// Whether no row that `region` lets through has a null here.
    pub(crate) fn is_never_null(&self, term: Term, region: RegionId) -> bool {
        self.regions.get(region).is_some_and(|region| {
            region.equalities.iter().any(|(left, right)| *left == term || *right == term)
                || region.sets.iter().any(|fact| fact.strict && fact.term == term)
        })
    }

    /// The term is one of these values. `strict`: for a null the condition is not true.
    pub(crate) fn bind(&mut self, region: RegionId, term: Term, set: ValueSet, strict: bool) {
        if let Some(region) = self.regions.get_mut(region) {
            region.sets.push(Fact { term, set, strict });
        }
    }

    /// The sets that `term` is in, by what holds in `region` and, up to `top` (or all), in those above it.
    pub(crate) fn sets(&self, term: Term, region: RegionId, top: Option<RegionId>) -> Vec<ValueSet> {
        let chain = self.chain(region, top);
        let class = class(&chain, term);
        chain.iter().flat_map(|region| &region.sets).filter(|fact| class.contains(&fact.term)).map(|fact| fact.set.clone()).collect()
    }

    /// The region that a term stands in.
    pub(crate) fn region_of(&self, term: Term) -> Option<RegionId> {
        self.terms.get(term).map(|info| info.region)
    }

    /// Whether both have one value wherever the conditions of `region` hold.
    pub(crate) fn are_equal(&self, region: RegionId, left: Term, right: Term) -> bool {
        class(&self.chain(region, None), left).contains(&right)
    }

    fn chain(&self, region: RegionId, top: Option<RegionId>) -> Vec<&Region> {
        let mut chain = Vec::new();
        let mut next = Some(region);
        while let Some((id, region)) = next.and_then(|id| Some((id, self.regions.get(id)?))) {
            chain.push(region);
            next = if Some(id) == top { None } else { region.parent };
        }
        chain
    }

    /// What is known of `term` without the regions around `top`.
    pub(crate) fn own_sets(&self, term: Term, top: RegionId) -> Vec<ValueSet> {
        let Some(region) = self.terms.get(term).map(|info| info.region) else { return Vec::new() };
        // A column of a block around this one is read at `top`.
        if self.is_within(region, top) { self.sets(term, region, Some(top)) } else { self.sets(term, top, Some(top)) }
    }

    /// An outer join whose padded side has a strict condition above it pads nothing: it is an inner join, and its ON holds above too.
    pub(crate) fn reduce(&mut self, padded: &[RegionId]) {
        loop {
            let reducible = padded.iter().copied().find(|region| !self.is_reduced(*region) && self.has_strict_fact_above(*region));
            let Some(region) = reducible else { return };
            self.merge_up(region);
        }
    }

    fn has_strict_fact_above(&self, region: RegionId) -> bool {
        let mut next = self.regions.get(region).and_then(|region| region.parent);
        while let Some(above) = next {
            if self.has_strict_fact(above, region) {
                return true;
            }
            next = self.regions.get(above).and_then(|region| region.parent);
        }
        false
    }

    /// Whether a strict condition of `above` is about a term of `below` or of a region within it.
    fn has_strict_fact(&self, above: RegionId, below: RegionId) -> bool {
        let Some(region) = self.regions.get(above) else { return false };
        let inside = |term: Term| self.terms.get(term).is_some_and(|info| self.is_within(info.region, below));
        region.equalities.iter().any(|(left, right)| inside(*left) || inside(*right))
            || region.sets.iter().any(|fact| fact.strict && inside(fact.term))
    }

    fn is_within(&self, region: RegionId, below: RegionId) -> bool {
        let mut next = Some(region);
        while let Some(id) = next {
            if id == below {
                return true;
            }
            next = self.regions.get(id).and_then(|region| region.parent);
        }
        false
    }

    fn is_reduced(&self, region: RegionId) -> bool {
        self.regions.get(region).is_none_or(|region| region.equalities.is_empty() && region.sets.is_empty())
    }

    /// Moves a region's conditions to the one above, which those below see as well.
    fn merge_up(&mut self, region: RegionId) {
        let Some(below) = self.regions.get_mut(region) else { return };
        let equalities = std::mem::take(&mut below.equalities);
        let sets = std::mem::take(&mut below.sets);
        if let Some(above) = below.parent.and_then(|parent| self.regions.get_mut(parent)) {
            above.equalities.extend(equalities);
            above.sets.extend(sets);
        }
    }
}

/// All terms that equal `term` by what holds in the regions of `chain`.
fn class(chain: &[&Region], term: Term) -> Vec<Term> {
    let mut class = vec![term];
    let mut seen = 0;
    while let Some(&next) = class.get(seen) {
        seen += 1;
        for (left, right) in chain.iter().flat_map(|region| region.equalities.iter().chain(&region.links)) {
            let other = if *left == next {
                *right
            } else if *right == next {
                *left
            } else {
                continue;
            };
            if !class.contains(&other) {
                class.push(other);
            }
        }
    }
    class
}
