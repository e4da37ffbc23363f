//! The command line: arguments become settings, settings and arguments become one command's work.
//!
//! In: arguments, the environment, `.env`, `.tinyb`. Out: what a person reads, and how it ended. Only the
//! commands that serve know the server; all others are clients of a running one.

mod args;
mod asked;
mod client;
mod commands;
pub mod discover;
mod fault;
mod findings;
mod logs;
mod place;
mod port;
mod printer;
mod pushing;
mod serving;
mod settings;
mod tinyb;
mod watch;

pub use fault::report;

use args::Arguments;
use clap::{CommandFactory, FromArgMatches};
use fault::user;
use printer::Printer;
use settings::{Environment, Settings};
use std::ffi::OsString;

/// Runs one command from its arguments to its end.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let environment = Environment::of_process()?;
    let printer = Printer::new(&environment);
    if environment.skipped() > 0 {
        let skipped = environment.skipped();
        printer.warning(format!("lines of `.env` that are not NAME=value: {skipped}; they are not read"));
    }
    let matches = match Arguments::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return answer_instead(&error, &printer),
    };
    let Arguments { global, command } = Arguments::from_arg_matches(&matches)?;
    let settings = Settings::resolve(&global, environment)?;
    command.run(&settings, &printer)
}

/// What clap says instead of running a command: help and version are answers, anything else is the user's mistake.
fn answer_instead(error: &clap::Error, printer: &Printer) -> anyhow::Result<()> {
    let text = error.render();
    if error.use_stderr() {
        let text = text.to_string();
        return Err(user(text.trim_start_matches("error: ").trim_end()));
    }
    printer.styled(&text)?;
    Ok(())
}
