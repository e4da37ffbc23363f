//! `birdhouse engine`.

use crate::cli::{fault::user, printer::Printer, settings::Settings};

/// Fetch the engine, or say where it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let _ = (args, settings, printer);
    Err(user("`birdhouse engine` is not there yet"))
}
