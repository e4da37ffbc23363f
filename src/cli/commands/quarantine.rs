//! `birdhouse quarantine`: the rows that were refused.

use super::wait;
use crate::{
    app::Reason,
    cli::{args::TargetArgs, client::Client, printer::Printer, settings::Settings},
};
use anyhow::Context;
use clap::Subcommand;

/// See why rows were refused
///
/// Rows that do not fit their data source are not lost: they are in its quarantine
/// for 30 days, with the reason, as NAME_quarantine in any query.
///   birdhouse quarantine show events
///   birdhouse sql 'select * from events_quarantine limit 5'
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The reasons, the most frequent first, each with an example and a type that would take the values
    Show {
        /// The data source
        name: String,
    },
}

#[derive(serde::Deserialize)]
struct Answer {
    reasons: Vec<Reason>,
}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let client = Client::new(&settings.target(&args.target)?)?;
    let Command::Show { name } = args.command;
    let answer = wait(client.get(&format!("/v1/datasources/{name}/quarantine")))?;
    let Answer { reasons } = serde_json::from_value(answer).context("the server's answer makes no sense")?;
    if reasons.is_empty() {
        printer.line(format!("nothing is in the quarantine of {name}"))?;
        return Ok(());
    }
    for Reason { column, reason, rows, first, last, example, source, suggestion } in reasons {
        let period = if first == last { format!("at {first}") } else { format!("from {first} to {last}") };
        let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
        printer.line(format!("{rows} {period}: {reason}"))?;
        printer.line(format!("    {source}: {example}"))?;
        if let Some(suggestion) = suggestion {
            printer.line(format!("    `{column}` {suggestion} would take the values"))?;
        }
    }
    Ok(())
}
