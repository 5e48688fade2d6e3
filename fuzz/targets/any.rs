//! One target of tests/fuzz, chosen by FUZZ_TARGET, for libFuzzer.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

#[path = "../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../tests/fuzz/random.rs"]
mod random;
#[path = "../../tests/fuzz/sql.rs"]
mod sql;
#[path = "../../tests/fuzz/statement.rs"]
mod statement;
#[path = "../../tests/fuzz/targets.rs"]
mod targets;
#[path = "../../tests/fuzz/template.rs"]
mod template;
#[path = "../../tests/fuzz/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static TARGET: OnceLock<&targets::Target> = OnceLock::new();
    (TARGET.get_or_init(chosen).run)(input);
});

/// The target; its seeds are written to the folder `FUZZ_SEEDS`, if that is given.
fn chosen() -> &'static targets::Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|target| target.name == name);
    let target = found.unwrap_or_else(|| panic!("FUZZ_TARGET must be one of {:?}", targets::ALL.each_ref().map(|target| target.name)));
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS").map(PathBuf::from) {
        for (number, seed) in target.seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).expect("a folder to write seeds to");
        }
    }
    target
}
