//! Two texts with one template have one plan: the plan of either routes the other's values alike.

use std::sync::OnceLock;

use shardyard::routing::plan::{Plan, Planner};
use shardyard::routing::route::{Hint, ParameterValues, Values};
use shardyard::sql::template::Scan;
use shardyard::topology::{Schema, ShardMap};

use crate::random::Random;
use crate::statement;
use crate::wire::{magnitude, signature};

/// The input as a statement.
pub(crate) fn any_text(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return 0 };
    check(text, &mut Random::new(signature(&[input.len(), usize::from(input.first().copied().unwrap_or(0))])))
}

/// The input as the seed of a statement made by the grammar.
pub(crate) fn made_statement(input: &[u8]) -> u64 {
    let seed = input.iter().fold(0_u64, |seed, byte| seed.wrapping_mul(257).wrapping_add(u64::from(*byte)));
    let mut random = Random::new(seed);
    let text = statement::statement(&mut random);
    check(&text, &mut random)
}

struct World {
    schema: Schema,
    map: ShardMap,
    search_path: Vec<String>,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World {
        schema: statement::schema(),
        map: statement::map(),
        search_path: vec!["pg_catalog".to_owned(), "public".to_owned()],
    })
}

fn check(text: &str, random: &mut Random) -> u64 {
    let mut scan = Scan::new();
    if scan.scan(text.as_bytes(), true).is_err() {
        return 1;
    }
    let plan = plan(text, &scan);
    let first = outcome(&plan, text, &scan);
    assert_eq!(first, outcome(&plan, text, &scan), "one execution, two routes: {text}");
    for _ in 0..3 {
        let other_text = with_other_literals(text, &scan, random);
        let mut other_scan = Scan::new();
        if other_scan.scan(other_text.as_bytes(), true).is_err() || other_scan.template() != scan.template() {
            continue;
        }
        let other_plan = self::plan(&other_text, &other_scan);
        let (by_own, by_first) = (outcome(&other_plan, &other_text, &other_scan), outcome(&plan, &other_text, &other_scan));
        assert_eq!(by_own, by_first, "the same template, another plan:\n  {text}\n  {other_text}");
    }
    signature(&[
        2,
        magnitude(scan.literals().len()),
        scan.statements().len().min(3),
        first.len(),
        usize::from(first.as_bytes().get(1).copied().unwrap_or(0)),
    ])
}

fn plan(text: &str, scan: &Scan) -> Plan {
    let world = world();
    Planner { schema: &world.schema, search_path: &world.search_path, temporary: &[] }.plan(text, scan, &[])
}

/// Everything a session asks of a plan, as text, for one set of parameters in text and one in binary.
fn outcome(plan: &Plan, text: &str, scan: &Scan) -> String {
    let map = &world().map;
    let hint = Hint::default();
    let mut told = String::new();
    let binary: [Option<&[u8]>; 3] = [Some(&[0, 0, 0, 0, 0, 0, 0, 42]), Some(&[0, 0, 0, 7]), None];
    let plain: [Option<&[u8]>; 3] = [Some(b"42"), Some(b"7"), None];
    for (values, formats) in [(&plain, &[][..]), (&binary, &[1_i16][..])] {
        let parameters = ParameterValues { values, formats, types: &[], types_unknown: false };
        let values = Values { text: text.as_bytes(), literals: scan.literals(), parameters, other_encoding: false };
        match plan.route(&values, &hint, map) {
            Ok(route) => told += &format!("{route:?} "),
            Err(refusal) => told += &format!("{refusal:?} "),
        }
        told += &format!("{} ", plan.explain(&values, &hint, map).len());
    }
    told + &format!("{:?} {} {} {:?}", plan.access(&hint), plan.needs_parameters(), plan.unknown_relations(), plan.command)
}

/// The text with each literal replaced by another, mostly of its kind.
fn with_other_literals(text: &str, scan: &Scan, random: &mut Random) -> String {
    let mut out = String::new();
    let mut end = 0;
    for literal in scan.literals() {
        let (from, to) = (literal.start as usize, literal.end as usize);
        let old = text.get(from..to).expect("a literal begins and ends with a character");
        out.push_str(&text[end..from]);
        end = to;
        out.push_str(&replacement(old, random));
    }
    out.push_str(&text[end..]);
    out
}

fn replacement(old: &str, random: &mut Random) -> String {
    let first = old.as_bytes().first().copied();
    for _ in 0..20 {
        let new = statement::literal(random);
        let alike = first.map(|byte| byte.is_ascii_digit()) == new.as_bytes().first().map(u8::is_ascii_digit)
            && old.contains('.') == new.contains('.')
            && (first == new.as_bytes().first().copied() || first.is_some_and(|byte| byte.is_ascii_digit()));
        if alike || random.one_in(12) {
            return new;
        }
    }
    old.to_owned()
}
