//! `birdhouse sql`: asks a running server, or an engine in this process.

use super::wait;
use crate::{
    cli::{
        args::{ServerArgs, TargetArgs},
        client::{Answer, Client, ClientError, escape},
        fault::user,
        logs,
        printer::Printer,
        serving::Serving,
        settings::{LogLevel, ServerSettings, Settings, Target},
        tinyb::Host,
    },
    datafile,
};
use anyhow::Context;
use std::io::{IsTerminal, Read};

/// Ask something in SQL
///
/// Names are those of the project's data sources and pipes; the token says which rows are seen.
///
/// Before there is any server, --local runs a query on an engine in this very process, where no data source exists.
/// That is also what happens when nobody named a server and none answers at the usual address.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The query; from standard input when absent or `-`
    query: Option<String>,
    /// How rows are printed; a FORMAT at the query's end goes first
    #[arg(long, value_enum, default_value_t = OutputFormat::Pretty)]
    format: OutputFormat,
    /// Run it in this process instead of asking a server
    #[arg(long, conflicts_with_all = ["host", "token", "as_token"])]
    local: bool,
    /// See what another token sees: its name; yours must be one that manages tokens
    #[arg(long = "as", value_name = "TOKEN")]
    as_token: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    Pretty,
    Csv,
    Tsv,
    Json,
    Ndjson,
}

const EXAMPLES: &str = "\
Examples:
  birdhouse sql 'select count() from events'
  birdhouse sql 'select * from my_endpoint limit 5' --format csv > rows.csv
  echo 'select 1' | birdhouse sql
  birdhouse sql --local 'select version()'";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let query = query_text(args.query)?;
    if args.local {
        return local(&query, args.format, settings, printer);
    }
    let target = settings.target(&args.target)?;
    if !target.named && target.token.is_none() {
        // Nobody has set up anything yet: a question deserves an answer all the same.
        printer.note("there is no server yet (`birdhouse serve` starts one); this process runs the query itself");
        return local(&query, args.format, settings, printer);
    }
    let client = match &args.as_token {
        Some(name) => Client::new(&as_token(name, target.clone())?)?,
        None => Client::new(&target)?,
    };
    let asked = wait(ask(&client, &with_format(&query, args.format), printer));
    match asked {
        Err(error) if !target.named && is_absent(&error) => {
            printer.note(format!("no server answers at {}; this process runs the query itself", target.host));
            local(&query, args.format, settings, printer)
        }
        asked => asked,
    }
}

/// The same server with the value of another token.
pub(super) fn as_token(name: &str, target: Target) -> anyhow::Result<Target> {
    let token = wait(Client::new(&target)?.get(&format!("/v0/tokens/{}", escape(name))))?;
    let value = token["token"].as_str().ok_or_else(|| user("the server does not show this token's value to yours"))?;
    Ok(Target { token: Some(value.to_owned()), ..target })
}

async fn ask(client: &Client, query: &str, printer: &Printer) -> anyhow::Result<()> {
    print(client.sql(query).await?, printer).await
}

pub(super) async fn print(mut answer: Answer, printer: &Printer) -> anyhow::Result<()> {
    let mut ends_line = true;
    while let Some(piece) = answer.next().await? {
        ends_line = piece.ends_with(b"\n");
        printer.bytes(&piece)?;
    }
    if !ends_line {
        printer.bytes(b"\n")?;
    }
    Ok(())
}

fn is_absent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<ClientError>(), Some(ClientError::NoServer { .. }))
}

fn query_text(query: Option<String>) -> anyhow::Result<String> {
    let query = match query.as_deref() {
        Some(query) if query != "-" => query.to_owned(),
        _ if query.is_none() && std::io::stdin().is_terminal() => {
            return Err(user("which query? birdhouse sql 'select 1'"));
        }
        _ => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|it| user(format!("standard input: {it}")))?;
            text
        }
    };
    let query = query.trim().trim_end_matches(';').trim_end();
    if query.is_empty() {
        return Err(user("the query is empty"));
    }
    Ok(query.to_owned())
}

impl OutputFormat {
    pub(super) fn name(self) -> &'static str {
        match self {
            OutputFormat::Pretty => "PrettyCompact",
            OutputFormat::Csv => "CSVWithNames",
            OutputFormat::Tsv => "TSVWithNames",
            OutputFormat::Json => "JSON",
            OutputFormat::Ndjson => "JSONEachRow",
        }
    }
}

/// The query with a FORMAT, unless it brings its own. A comment at its end must not swallow ours.
fn with_format(query: &str, format: OutputFormat) -> String {
    let mut words = query.split_whitespace().rev();
    let (last, before) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_name = last.chars().all(|it| it.is_ascii_alphanumeric());
    match before.eq_ignore_ascii_case("format") && is_name {
        true => query.to_owned(),
        false => format!("{query}\nFORMAT {}", format.name()),
    }
}

/// Runs a query on a server of this process's own, over a folder that is thrown away: the answer is the one that
/// any server gives.
fn local(query: &str, format: OutputFormat, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("there is no room for a temporary folder")?;
    let server = ServerSettings {
        port: 0,
        listen: None,
        data_dir: folder.path().join("data"),
        admin_token: None,
        ..settings.server(&ServerArgs::default())?
    };
    logs::begin(&settings.log, LogLevel::Error);
    let serving = Serving::open(&server, settings, datafile::Context::default())?;
    let target = Target { host: Host::local(serving.port()), token: Some(serving.admin_token()), named: true };
    let client = Client::new(&target)?;
    serving.run(ask(&client, &with_format(query, format), printer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_of_the_query_goes_first() {
        let csv = |query| with_format(query, OutputFormat::Csv);
        assert_eq!(csv("select 1"), "select 1\nFORMAT CSVWithNames");
        assert_eq!(csv("select 1 format JSON"), "select 1 format JSON");
        assert_eq!(csv("select 1 -- note"), "select 1 -- note\nFORMAT CSVWithNames");
        assert_eq!(csv("select format"), "select format\nFORMAT CSVWithNames");
    }
}
