//! `birdhouse push`.

use crate::cli::{fault::user, printer::Printer, settings::Settings};

/// Deploy the project.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let _ = (args, settings, printer);
    Err(user("`birdhouse push` is not there yet"))
}
