//! `birdhouse check`.

use crate::cli::{fault::user, printer::Printer, settings::Settings};

/// Read the project's files and say what is wrong with them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let _ = (args, settings, printer);
    Err(user("`birdhouse check` is not there yet"))
}
