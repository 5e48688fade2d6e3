//! Keeps the sequences of sharded tables apart: each shard takes the numbers congruent to its ordinal.

/// Every shard's increment; ordinals are below it.
pub const STRIDE: i64 = 1024;

/// The statement that sets a shard's sequence to its congruence class, above `highest`, the greatest value on any shard (0 if there is none).
/// Both START and RESTART, so that TRUNCATE … RESTART IDENTITY stays in the class.
#[must_use]
pub fn set_apart(schema: &str, name: &str, ordinal: u16, highest: i64) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let first = first_above(ordinal, 0);
    let next = first_above(ordinal, highest);
    format!(
        "ALTER SEQUENCE {}.{} INCREMENT BY {STRIDE} MINVALUE 1 NO MAXVALUE START WITH {first} RESTART WITH {next} NO CYCLE",
        quoted(schema),
        quoted(name)
    )
}

/// The least number above `highest` that is congruent to the ordinal and positive.
#[must_use]
pub fn first_above(ordinal: u16, highest: i64) -> i64 {
    let above = highest.max(0).saturating_add(1);
    let distance = (i64::from(ordinal) - above).rem_euclid(STRIDE);
    above.saturating_add(distance)
}

#[cfg(test)]
mod tests;
