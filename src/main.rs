//! The `birdhouse` command: runs it, and turns how it ended into an exit code (0 ok, 1 the user's fault, 2 ours).

use birdhouse::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(cli::report(&error)),
    }
}
