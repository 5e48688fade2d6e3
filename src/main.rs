//! The `shardyard` program.

use std::process::ExitCode;

/// Most of a statement's memory is small, short-lived and of one thread: what this allocator is made for. Its version 2, since the third keeps
/// what is freed for a second: of an answer of ten million rows three times as much memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match shardyard::cli::run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // "what: because of what: because of what", on one line.
            eprintln!("shardyard: {error:#}");
            ExitCode::FAILURE
        }
    }
}
