//! `birdhouse completions`: what a shell needs to complete commands and flags.

use crate::cli::{args::Arguments, printer::Printer, settings::Settings};
use clap::CommandFactory;
use clap_complete::Shell;

/// Print completions for a shell
///
/// Where each shell looks for them:
///   birdhouse completions bash > ~/.local/share/bash-completion/completions/birdhouse
///   birdhouse completions zsh > "${fpath[1]}/_birdhouse"
///   birdhouse completions fish > ~/.config/fish/completions/birdhouse.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    shell: Shell,
}

pub(super) fn run(args: Args, _: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "birdhouse", &mut text);
    printer.bytes(&text)?;
    Ok(())
}
