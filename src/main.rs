//! The `birdhouse` command: runs it, and turns how it ended into an exit code (0 ok, 1 the user's fault, 2 ours).

use birdhouse::{cli, engine};
use std::process::ExitCode;

fn main() -> ExitCode {
    engine::prepare_process();
    match cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(cli::report(&error)),
    }
}
