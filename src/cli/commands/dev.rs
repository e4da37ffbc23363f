//! `birdhouse dev`.

use crate::cli::{fault::user, printer::Printer, settings::Settings};

/// Serve this folder and push every change.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let _ = (args, settings, printer);
    Err(user("`birdhouse dev` is not there yet"))
}
