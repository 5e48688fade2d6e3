//! The `shardyard` program.

use std::process::ExitCode;

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
