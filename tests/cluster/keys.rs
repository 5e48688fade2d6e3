//! Rust and the shards' SQL agree on the bucket of every key.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use shardyard::topology::hash;

use crate::fixture::Fixture;

const KEYS: usize = 1_000_000;
const BATCH: usize = 20_000;

/// A type of key: how one is drawn, as canonical text.
type Draw = fn(&mut StdRng) -> String;

pub(crate) fn bigint(fixture: &Fixture) -> Result<()> {
    agree(fixture, "bigint", |random| {
        let bits = random.random_range(0..64);
        let key = random.random::<i64>() >> bits;
        key.to_string()
    })
}

pub(crate) fn text(fixture: &Fixture) -> Result<()> {
    agree(fixture, "text", |random| {
        let length = random.random_range(0..24);
        (0..length).map(|_| character(random)).collect()
    })
}

pub(crate) fn uuid(fixture: &Fixture) -> Result<()> {
    agree(fixture, "uuid", |random| {
        let digits = format!("{:032x}", random.random::<u128>());
        format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
    })
}

/// Any character that PostgreSQL can store, the plain ones more often.
fn character(random: &mut StdRng) -> char {
    if random.random_ratio(3, 4) {
        return char::from(random.random_range(1..127_u8));
    }
    loop {
        if let Some(letter) = char::from_u32(random.random_range(128..=0x10_ffff)) {
            return letter;
        }
    }
}

fn agree(fixture: &Fixture, key_type: &str, draw: Draw) -> Result<()> {
    let mut shard = fixture.cluster()?.primary(0)?;
    let buckets: u32 = shard.value("select shardyard.buckets()")?.parse()?;
    let mut random = StdRng::seed_from_u64(0x5eed);
    for _ in 0..KEYS / BATCH {
        let keys: Vec<String> = (0..BATCH).map(|_| draw(&mut random)).collect();
        let sql = format!(
            "select string_agg(shardyard.bucket(key)::text, ',' order by at) from unnest('{}'::{key_type}[]) with ordinality as k(key, at)",
            array(&keys)
        );
        let answer = shard.value(&sql)?;
        let mut theirs = answer.split(',');
        for key in &keys {
            let ours = hash::bucket(key.as_bytes(), buckets).0;
            let their: u32 = theirs.next().context("fewer buckets than keys")?.parse()?;
            if ours != their {
                bail!("{key_type} {key:?}: bucket {ours} in Rust, {their} in SQL");
            }
        }
    }
    Ok(())
}

/// An array literal inside a string literal.
fn array(keys: &[String]) -> String {
    let mut literal = String::from("{");
    for key in keys {
        let escaped = key.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "''");
        let _ = write!(literal, "{}\"{escaped}\"", if literal.len() > 1 { "," } else { "" });
    }
    literal + "}"
}
