//! What a move would do, or will: buckets, rows, bytes and time of each wave, and what was checked.

use anyhow::Result;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::rebalance::MoveOptions;
use crate::rebalance::plan::Transfer;
use crate::rebalance::precheck::Check;
use crate::rebalance::start::{Planned, Sizes};
use crate::topology::ShardId;

/// Bytes a second where nothing was measured: what two small servers on one disk do.
const ASSUMED_BYTES_PER_S: u64 = 20_000_000;
/// Of the time of the copy, all that a wave takes with passes, verification and cleaning.
const WHOLE_OF_COPY: f64 = 2.0;
/// Arming, the switch and the waiting for proxies, whatever the size of the wave.
const SECONDS_OF_WAVE: f64 = 1.5;

/// How fast rows will go, and where that is known from.
pub(crate) struct Rate {
    bytes_per_s: u64,
    rows_per_s: Option<u64>,
    source: String,
}

impl Rate {
    /// From what the newest waves' copies were measured to do, bounded by the options.
    pub(crate) async fn read(catalog: &Client, options: &MoveOptions) -> Result<Self> {
        let select = "select percentile_disc(0.5) within group (order by bytes), max(move_id), count(*)
                      from (select (p.detail #>> '{copying,bytes_per_s}')::double precision::bigint as bytes, w.move_id
                            from shardyard.wave_progress p join shardyard.wave w on w.id = p.wave_id
                            where (p.detail #>> '{copying,bytes_per_s}')::double precision > 0 order by w.id desc limit 20) newest";
        let row = catalog.query_one(select, &[]).await?;
        let (mut bytes_per_s, mut source) = match row.get::<_, Option<i64>>(0).and_then(|bytes| u64::try_from(bytes).ok()) {
            Some(bytes) => {
                (bytes.max(1), format!("the median of the last {} copies, up to move {}", row.get::<_, i64>(2), row.get::<_, i64>(1)))
            }
            None => (ASSUMED_BYTES_PER_S, "an assumption: nothing has been moved here yet".to_owned()),
        };
        if options.bytes_per_second > 0 && options.bytes_per_second < bytes_per_s {
            (bytes_per_s, source) = (options.bytes_per_second, "--bytes-per-second".to_owned());
        }
        Ok(Self { bytes_per_s, rows_per_s: (options.rows_per_second > 0).then_some(options.rows_per_second), source })
    }

    #[expect(clippy::cast_precision_loss, reason = "an expectation")]
    fn seconds(&self, (rows, bytes): (u64, u64)) -> u64 {
        let by_bytes = bytes as f64 / self.bytes_per_s as f64 * WHOLE_OF_COPY;
        // Copied and deleted at this rate.
        let by_rows = self.rows_per_s.map_or(0.0, |rate| rows as f64 / rate as f64 * WHOLE_OF_COPY);
        (SECONDS_OF_WAVE + by_bytes.max(by_rows)).ceil().clamp(0.0, 1e12) as u64
    }
}

/// Prints the plan and, of a rehearsal, the checks.
pub(crate) fn tell(planned: &Planned, sizes: &Sizes, rate: &Rate, checks: &[Check], as_json: bool) {
    let expected: u64 = planned.waves.iter().map(|wave| rate.seconds(amount(planned, sizes, wave))).sum();
    if as_json {
        let wave = |wave: &Transfer| -> Value {
            let (rows, bytes) = amount(planned, sizes, wave);
            json!({"source": name(planned, wave.source), "target": name(planned, wave.target), "buckets": wave.buckets.len(), "rows": rows,
                   "bytes": bytes, "expected_s": rate.seconds((rows, bytes))})
        };
        let waves: Vec<Value> = planned.waves.iter().map(wave).collect();
        let check = |check: &Check| json!({"name": check.name, "fault": check.fault});
        let checks: Vec<Value> = checks.iter().map(check).collect();
        let plan = json!({"move": planned.id, "kind": planned.kind.name(), "waves": waves, "checks": checks, "expected_s": expected,
                          "bytes_per_s": rate.bytes_per_s, "rate_from": rate.source});
        println!("{plan}");
        return;
    }
    let buckets: usize = planned.waves.iter().map(|wave| wave.buckets.len()).sum();
    let all: u64 = planned.shards.iter().map(|row| u64::from(row.buckets)).sum();
    match planned.id {
        Some(id) => println!("move {id}: {buckets} of {all} buckets in {} waves", planned.waves.len()),
        None if planned.waves.is_empty() => println!("the shares are as they should be: nothing moves"),
        None => println!("would move {buckets} of {all} buckets in {} waves", planned.waves.len()),
    }
    for wave in &planned.waves {
        let (rows, bytes) = amount(planned, sizes, wave);
        println!(
            "  {} to {}: {} buckets, about {rows} rows, {} MB, {} s",
            name(planned, wave.source),
            name(planned, wave.target),
            wave.buckets.len(),
            bytes / 1_000_000,
            rate.seconds((rows, bytes))
        );
    }
    if !planned.waves.is_empty() {
        println!("  expected time: {expected} s, with {:.1} MB/s copied ({})", megabytes(rate.bytes_per_s), rate.source);
    }
    for Check { name, fault, .. } in checks.iter().filter(|_| planned.id.is_none()) {
        println!("  check {name}: {}", fault.as_deref().unwrap_or("fine"));
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Rows and bytes of a wave, about.
fn amount(planned: &Planned, sizes: &Sizes, wave: &Transfer) -> (u64, u64) {
    let owned = planned.shards.iter().find(|row| row.shard.id == wave.source).map_or(1, |row| u64::from(row.buckets.max(1)));
    let (rows, bytes) = sizes.get(&wave.source).copied().unwrap_or_default();
    let count = wave.buckets.len() as u64;
    (rows.saturating_mul(count) / owned, bytes.saturating_mul(count) / owned)
}

fn name(planned: &Planned, id: ShardId) -> String {
    let own = planned.shard.iter().find(|shard| shard.id == id).map(|shard| shard.name.clone());
    let listed = || planned.shards.iter().find(|row| row.shard.id == id).map(|row| row.shard.name.clone());
    own.or_else(listed).unwrap_or_default()
}
