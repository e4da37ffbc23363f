//! `birdhouse completions`: what a shell needs to complete commands and flags.

use crate::cli::{args::Arguments, printer::Printer, settings::Settings};
use clap::CommandFactory;
use clap_complete::Shell;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    shell: Shell,
}

const EXAMPLES: &str = "\
Where each shell looks for them:
  bash   ~/.local/share/bash-completion/completions/birdhouse
  zsh    \"${fpath[1]}/_birdhouse\"
  fish   ~/.config/fish/completions/birdhouse.fish

Example:
  birdhouse completions fish > ~/.config/fish/completions/birdhouse.fish";

pub(super) fn run(args: Args, _: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "birdhouse", &mut text);
    printer.bytes(&text)?;
    Ok(())
}
