//! The `shardyard` program.
fn main() {}
