//! `birdhouse quarantine`: the rows that were refused, and another try for them.

use super::wait;
use crate::{
    app::Reason,
    cli::{args::TargetArgs, client::Client, printer::Printer, settings::Settings},
};
use anyhow::Context;
use clap::Subcommand;

/// See why rows were refused, and try them again
///
/// Rows that do not fit their data source are not lost: they are in its quarantine
/// for 30 days, with the reason, as NAME_quarantine in any query.
///   birdhouse quarantine show events
///   birdhouse quarantine replay events --where "c__error_column = ['amount']"
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
    /// Read the rows once more, after what was wrong is mended: each goes in at most once, and those that are
    /// refused again stay
    Replay {
        /// The data source
        name: String,
        /// Only rows that fulfil this condition, on the columns of NAME_quarantine
        #[arg(long = "where", value_name = "CONDITION")]
        condition: Option<String>,
    },
}

#[derive(serde::Deserialize)]
struct Replayed {
    rows: u64,
    quarantined: u64,
}

#[derive(serde::Deserialize)]
struct Answer {
    reasons: Vec<Reason>,
}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let client = Client::new(&settings.target(&args.target)?)?;
    match args.command {
        Command::Show { name } => show(&client, &name, printer),
        Command::Replay { name, condition } => replay(&client, &name, condition.as_deref(), printer),
    }
}

fn replay(client: &Client, name: &str, condition: Option<&str>, printer: &Printer) -> anyhow::Result<()> {
    let form: Vec<_> = condition.iter().map(|it| ("where", *it)).collect();
    let answer = wait(client.post_form(&format!("/v1/datasources/{name}/quarantine/replay"), &form))?;
    let Replayed { rows, quarantined } =
        serde_json::from_value(answer).context("the server's answer makes no sense")?;
    printer.line(format!("{} in, {} refused again", counted(rows), counted(quarantined)))?;
    Ok(())
}

fn show(client: &Client, name: &str, printer: &Printer) -> anyhow::Result<()> {
    let answer = wait(client.get(&format!("/v1/datasources/{name}/quarantine")))?;
    let Answer { reasons } = serde_json::from_value(answer).context("the server's answer makes no sense")?;
    if reasons.is_empty() {
        printer.line(format!("nothing is in the quarantine of {name}"))?;
        return Ok(());
    }
    for Reason { column, reason, rows, first, last, example, source, suggestion } in reasons {
        let period = if first == last { format!("at {first}") } else { format!("from {first} to {last}") };
        printer.line(format!("{} {period}: {reason}", counted(rows)))?;
        printer.line(format!("    {source}: {example}"))?;
        if let Some(suggestion) = suggestion {
            printer.line(format!("    `{column}` {suggestion} would take the values"))?;
        }
    }
    Ok(())
}

fn counted(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}
