//! The proxy and the shards give every key the same bucket.

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shardyard::catalog::connect;
use shardyard::topology::hash::{bucket, key_hash};
use tokio_postgres::Client;

use crate::fixture::{Fixture, block_on};

/// Two shards: 55,440 is even.
const BUCKETS: u32 = 55_440;
/// Of each type. The million of each is in `tests/cluster`.
const KEYS: usize = 100_000;
const BATCH: usize = 50_000;

/// The table that Python's hashlib computed: key, 8 hex digits, shard with N = 8. Seen by the shard's SQL.
pub(crate) fn vectors(fixture: &Fixture) -> Result<()> {
    let table = include_str!("../vectors/md5_mod_8.txt");
    let lines: Vec<(&str, i64)> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once('\t').and_then(|(key, shard)| Some((key, shard.trim().parse().ok()?))))
        .collect();
    ensure!(lines.len() > 50, "the table of vectors has {} lines", lines.len());
    let keys: Vec<&str> = lines.iter().map(|(key, _)| key.rsplit_once('\t').map_or(*key, |(key, _)| key)).collect();
    block_on(async {
        let client = connect(fixture.primary(0)).await?;
        let query = "select array_agg(shardyard.key_hash(k) % 8 order by o) from unnest($1::text[]) with ordinality as u (k, o)";
        let shards: Vec<i64> = client.query_one(query, &[&keys]).await?.get(0);
        for ((key, expected), found) in lines.iter().zip(shards) {
            ensure!(*expected == found, "key {key}: Python says shard {expected}, SQL {found}");
        }
        Ok(())
    })
}

/// A type's name in SQL, and how its keys are made.
type KeyMaker = (&'static str, fn(&mut StdRng) -> String);

/// Random keys of every type that a shard key may have.
pub(crate) fn random_keys(fixture: &Fixture) -> Result<()> {
    let seed = rand::rng().random();
    let mut random = StdRng::seed_from_u64(seed);
    block_on(async {
        let client = connect(fixture.primary(1)).await?;
        let types: [KeyMaker; 7] = [
            ("smallint", |random| random.random::<i16>().to_string()),
            ("integer", |random| random.random::<i32>().to_string()),
            ("bigint", |random| number(random).to_string()),
            ("text", text),
            ("varchar", text),
            ("char(12)", |random| text(random).chars().take(12).collect::<String>().trim_end_matches(' ').to_owned()),
            ("uuid", uuid),
        ];
        for (name, make) in types {
            for _ in 0..KEYS / BATCH {
                let keys: Vec<String> = (0..BATCH).map(|_| make(&mut random)).collect();
                compare(&client, name, &keys).await.with_context(|| format!("type {name}, seed {seed}"))?;
            }
        }
        Ok(())
    })
}

async fn compare(client: &Client, name: &str, keys: &[String]) -> Result<()> {
    let query = format!(
        "select array_agg(shardyard.bucket(k::{name}) order by o), array_agg(shardyard.key_hash(k::{name}) order by o)
         from unnest($1::text[]) with ordinality as u (k, o)"
    );
    let row = client.query_one(&query, &[&keys]).await?;
    let (buckets, hashes): (Vec<i32>, Vec<i64>) = (row.get(0), row.get(1));
    ensure!(buckets.len() == keys.len(), "{} answers", buckets.len());
    for ((key, found), hash) in keys.iter().zip(buckets).zip(hashes) {
        let expected = bucket(key.as_bytes(), BUCKETS).0;
        ensure!(i64::from(expected) == i64::from(found), "key {key:?}: Rust says bucket {expected}, SQL {found}");
        ensure!(i64::from(key_hash(key.as_bytes())) == hash, "key {key:?}: another hash");
    }
    Ok(())
}

/// Half of them small, as real ids are.
fn number(random: &mut StdRng) -> i64 {
    if random.random() { random.random() } else { random.random_range(-10..1_000_000) }
}

fn text(random: &mut StdRng) -> String {
    let length = random.random_range(0..20);
    (0..length)
        .map(|_| match random.random_range(0..4) {
            0 => random.random_range('\u{1}'..'\u{2ff}'),
            1 => random.random_range('\u{4e00}'..'\u{9fff}'),
            2 => ' ',
            _ => random.random_range('a'..='z'),
        })
        .collect()
}

fn uuid(random: &mut StdRng) -> String {
    let hex = format!("{:032x}", random.random::<u128>());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
