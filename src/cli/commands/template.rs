//! `birdhouse template`.

use crate::cli::{fault::user, printer::Printer, settings::Settings};

/// Render the template of a node.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let _ = (args, settings, printer);
    Err(user("`birdhouse template` is not there yet"))
}
