//! `birdhouse explain`: what a code means.

use crate::{
    cli::{fault::user, printer::Printer, settings::Settings},
    diagnostic::nearest,
};

/// Say what the code of a problem means
///
/// Prints a page: what it means, an example that shows it, and one that is right. Without a code: all codes, each with a
/// line.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  birdhouse explain unknown_table")]
pub(crate) struct Args {
    /// The code, as `birdhouse check` shows it in brackets
    code: Option<String>,
}

/// All pages: a heading for each code, prose, and examples as blocks.
const PAGES: &str = include_str!("../../../docs/codes.md");

/// The page of a code, without its heading.
pub(crate) fn page(code: &str) -> Option<&'static str> {
    pages().find(|(it, _)| *it == code).map(|(_, page)| page)
}

/// Codes and their pages, in the order of the book.
pub(crate) fn pages() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGES.split("\n## ").skip(1).filter_map(|it| {
        let (code, page) = it.split_once('\n')?;
        Some((code.trim(), page.trim()))
    })
}

/// What a code means, in a sentence.
pub(crate) fn meaning(code: &str) -> &'static str {
    page(code).and_then(|it| it.split("\n\n").next()).unwrap_or_default()
}

pub(super) fn run(args: Args, _: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let Some(code) = args.code else {
        for (code, _) in pages() {
            let line = meaning(code).split(". ").next().unwrap_or_default().replace('\n', " ");
            printer.line(format!("{code:36} {line}"))?;
        }
        return Ok(());
    };
    match page(&code) {
        Some(page) => {
            printer.line(format!("{code}\n\n{page}"))?;
            Ok(())
        }
        None => {
            let hint = match nearest(&code, pages().map(|(it, _)| it)) {
                Some(meant) => format!("; did you mean {meant}?"),
                None => "; `birdhouse explain` lists all codes".to_owned(),
            };
            Err(user(format!("there is no code `{code}`{hint}")))
        }
    }
}
