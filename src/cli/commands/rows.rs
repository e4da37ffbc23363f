//! `birdhouse datasource append|replace|truncate|delete|rm|export|analyze`: rows of a data source on a server.

use super::{sql::print, wait};
use crate::{
    cli::{
        args::TargetArgs,
        client::{Client, escape},
        fault::user,
        printer::{Printer, Progress, Unit},
        settings::Settings,
    },
    sql::statement,
};
use anyhow::Context as _;
use futures_util::stream;
use reqwest::{
    Body,
    multipart::{Form, Part},
};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::io::AsyncReadExt;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Add the rows of a file or of a URL
    ///
    /// CSV, NDJSON or Parquet, packed or not. Rows that do not fit go to the quarantine.
    ///   birdhouse datasource append orders orders.csv.gz
    ///   birdhouse datasource append orders https://example.com/orders.parquet
    #[command(verbatim_doc_comment)]
    Append(LoadArgs),
    /// Put the rows of a file or of a URL in the place of those that are there, at once
    ///
    /// With --where only rows that fulfil the condition are replaced, by those of the file
    /// that do. Materialized views keep what they have.
    ///   birdhouse datasource replace orders orders.csv
    ///   birdhouse datasource replace orders may.csv --where "toYYYYMM(at) = 202605"
    #[command(verbatim_doc_comment)]
    Replace {
        #[command(flatten)]
        load: LoadArgs,
        /// Only rows that fulfil this condition
        #[arg(long = "where", alias = "sql-condition", value_name = "CONDITION")]
        condition: Option<String>,
        /// With --where, also for a file without rows: those that are there go
        #[arg(long, requires = "condition")]
        when_empty: bool,
    },
    /// Empty a data source; says what it would do without --yes
    Truncate(ChangeArgs),
    /// Delete the rows that fulfil a condition; says how many there are without --yes
    Delete {
        #[command(flatten)]
        change: ChangeArgs,
        #[arg(long = "where", alias = "sql-condition", value_name = "CONDITION")]
        condition: String,
    },
    /// Drop a data source with its rows; says what needs it without --yes
    Rm {
        #[command(flatten)]
        change: ChangeArgs,
        /// Drop the pipes that need it too
        #[arg(long)]
        force: bool,
    },
    /// Write the rows to a file or to standard output
    ///
    ///   birdhouse datasource export orders --format parquet --output orders.parquet
    #[command(verbatim_doc_comment)]
    Export {
        name: String,
        #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
        format: ExportFormat,
        /// Columns, with commas between them; all of them when nothing is said
        #[arg(long, value_delimiter = ',')]
        columns: Vec<String>,
        /// Only rows that fulfil this condition
        #[arg(long = "where", value_name = "CONDITION")]
        condition: Option<String>,
        #[arg(long)]
        limit: Option<u64>,
        /// The file; it must not be there yet, unless --force
        #[arg(long, short)]
        output: Option<PathBuf>,
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Say what the columns of a file are, as the server's engine tells them
    Analyze {
        file: PathBuf,
        #[command(flatten)]
        target: TargetArgs,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct LoadArgs {
    /// The data source
    name: String,
    /// A file, or a URL that the server fetches
    from: String,
    /// csv, ndjson or parquet [default: what the name says]
    #[arg(long)]
    format: Option<String>,
    /// What stands between the fields of CSV
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<String>,
    /// What stands before a quote inside quotes of CSV
    #[arg(long, value_name = "CHARACTER")]
    escape: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ChangeArgs {
    /// The data source
    name: String,
    /// Do it
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ExportFormat {
    Csv,
    Ndjson,
    Parquet,
}

/// How often a job is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Bytes of a file that are sent at a time.
const PIECE: usize = 256 << 10;

pub(super) fn run(command: Command, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let client = |target: &TargetArgs| Client::new(&settings.target(target)?);
    match command {
        Command::Append(load) => wait(bring(&client(&load.target)?, &load, "append", &[], settings, printer)),
        Command::Replace { load, condition, when_empty } => {
            let mut more = Vec::new();
            if let Some(condition) = &condition {
                more.push(("replace_condition", condition.as_str()));
            }
            if when_empty {
                more.push(("replace_truncate_when_empty", "true"));
            }
            wait(bring(&client(&load.target)?, &load, "replace", &more, settings, printer))
        }
        Command::Truncate(ChangeArgs { name, yes, target }) => wait(truncate(&client(&target)?, &name, yes, printer)),
        Command::Delete { change: ChangeArgs { name, yes, target }, condition } => {
            wait(delete(&client(&target)?, &name, &condition, yes, printer))
        }
        Command::Rm { change: ChangeArgs { name, yes, target }, force } => {
            wait(remove(&client(&target)?, &name, yes, force, printer))
        }
        Command::Export { name, format, columns, condition, limit, output, force, target } => {
            let sql = statement::export(&name, &columns, condition.as_deref(), limit, format.name());
            let output = output.map(|it| settings.folder.join(it));
            wait(export(&client(&target)?, &sql, output.as_deref(), force, printer))
        }
        Command::Analyze { file, target } => {
            let file = settings.folder.join(file);
            let bytes = fs::read(&file).map_err(|error| unreadable(&file, &error))?;
            let found = wait(client(&target)?.post_bytes("/v0/analyze", bytes))?;
            analysis(&found, printer)
        }
    }
}

impl ExportFormat {
    fn name(self) -> &'static str {
        match self {
            ExportFormat::Csv => "CSVWithNames",
            ExportFormat::Ndjson => "JSONEachRow",
            ExportFormat::Parquet => "Parquet",
        }
    }
}

/// Sends a file or a URL, and waits until the rows are in.
async fn bring(
    client: &Client,
    load: &LoadArgs,
    what: &str,
    more: &[(&str, &str)],
    settings: &Settings,
    printer: &Printer,
) -> anyhow::Result<()> {
    let dialect =
        [("format", &load.format), ("dialect_delimiter", &load.delimiter), ("dialect_escapechar", &load.escape)];
    let dialect = dialect.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    let is_url = load.from.starts_with("http://") || load.from.starts_with("https://");
    let url = is_url.then_some(("url", load.from.as_str()));
    let fields: Vec<_> = more
        .iter()
        .copied()
        .chain(dialect)
        .chain(url)
        .map(|(name, value)| format!("{name}={}", escape(value)))
        .collect();
    let path = format!("/v1/datasources/{}/{what}?{}", escape(&load.name), fields.join("&"));
    let begun = match is_url {
        true => client.post(&path).await?,
        false => {
            let file = settings.folder.join(&load.from);
            client.post_files(&path, form(&file, &load.from, printer).await?).await?
        }
    };
    let id = begun["id"].as_str().context("the server's answer names no job")?.to_owned();
    let job = finished(client, &id, &format!("bringing {} in", load.from), printer).await?;
    if job["status"] != "done" {
        let reason = job["error"].as_str().unwrap_or("it was cancelled").to_owned();
        return Err(user(format!("nothing of {} is in: {reason}", load.from)));
    }
    let rows = job["blocks"][0]["process_return"][0]["lines"].as_u64().unwrap_or_default();
    let refused = job["quarantine_rows"].as_u64().unwrap_or_default();
    let verb = if what == "append" { "added to" } else { "put into" };
    printer.line(format!("{} {verb} {}", counted(rows), load.name))?;
    if refused > 0 {
        let name = &load.name;
        printer.warning(format!(
            "{} of {} did not fit and went to {name}_quarantine: `birdhouse quarantine show {name}` says why",
            counted(refused),
            load.from
        ));
    }
    if let Some(warning) = begun["warning"].as_str() {
        printer.note(warning);
    }
    Ok(())
}

/// A form with a file that is read as it is sent.
async fn form(file: &Path, shown: &str, printer: &Printer) -> anyhow::Result<Form> {
    let opened = tokio::fs::File::open(file).await.map_err(|error| unreadable(file, &error))?;
    let length = opened.metadata().await.map_err(|error| unreadable(file, &error))?.len();
    let progress = Sending(Mutex::new(Some(printer.progress(&format!("sending {shown}"), length, Unit::Bytes))));
    let progress = Arc::new(progress);
    let pieces = stream::unfold((opened, 0u64, progress), |(mut file, sent, progress)| async move {
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece).await {
            Ok(0) => {
                progress.end();
                None
            }
            Ok(count) => {
                piece.truncate(count);
                let sent = sent + count as u64;
                progress.set(sent);
                Some((Ok(piece), (file, sent, progress)))
            }
            Err(error) => Some((Err(error), (file, sent, progress))),
        }
    });
    let name = file.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    let part = Part::stream_with_length(Body::wrap_stream(pieces), length).file_name(name);
    Ok(Form::new().part("file", part))
}

/// A progress that is told of from where the body is read.
struct Sending(Mutex<Option<Progress>>);

impl Sending {
    fn set(&self, sent: u64) {
        if let Some(progress) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            progress.set(sent);
        }
    }

    fn end(&self) {
        if let Some(progress) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            progress.finish();
        }
    }
}

/// A job when it has ended.
async fn finished(client: &Client, id: &str, what: &str, printer: &Printer) -> anyhow::Result<Value> {
    let mut progress = None;
    let mut told = String::new();
    loop {
        let job = client.get(&format!("/v0/jobs/{id}")).await?;
        let status = job["status"].as_str().unwrap_or_default();
        if ["done", "error", "cancelled"].contains(&status) {
            if let Some(progress) = progress {
                Progress::finish(progress);
            }
            return Ok(job);
        }
        // What is in the way may pass.
        let trouble = job["error"].as_str().unwrap_or_default();
        if !trouble.is_empty() && trouble != told {
            printer.warning(format!("the rows are safe on the server and wait (job {id}): {trouble}"));
            told = trouble.to_owned();
        }
        if let Some(percent) = job["progress_percentage"].as_u64().filter(|it| *it > 0) {
            progress.get_or_insert_with(|| printer.progress(what, 100, Unit::Items)).set(percent);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn truncate(client: &Client, name: &str, yes: bool, printer: &Printer) -> anyhow::Result<()> {
    let path = format!("/v0/datasources/{}", escape(name));
    if !yes {
        let rows = client.get(&path).await?["statistics"]["row_count"].as_u64().unwrap_or_default();
        return Err(user(format!("{name} holds {}: --yes empties it", counted(rows))));
    }
    client.post(&format!("{path}/truncate")).await?;
    printer.line(format!("{name} is empty"))?;
    Ok(())
}

async fn delete(client: &Client, name: &str, condition: &str, yes: bool, printer: &Printer) -> anyhow::Result<()> {
    let path = format!("/v0/datasources/{}/delete", escape(name));
    if !yes {
        let would = client.post_form(&path, &[("delete_condition", condition), ("dry_run", "true")]).await?;
        let rows = would["rows_to_be_deleted"].as_u64().unwrap_or_default();
        return Err(user(format!("{} of {name} fulfil the condition: --yes deletes them", counted(rows))));
    }
    let begun = client.post_form(&path, &[("delete_condition", condition)]).await?;
    let id = begun["id"].as_str().context("the server's answer names no job")?.to_owned();
    let job = finished(client, &id, &format!("deleting from {name}"), printer).await?;
    if job["status"] != "done" {
        return Err(user(job["error"].as_str().unwrap_or("the job was cancelled").to_owned()));
    }
    printer.line(format!("{} of {name} deleted", counted(job["rows_affected"].as_u64().unwrap_or_default())))?;
    Ok(())
}

async fn remove(client: &Client, name: &str, yes: bool, force: bool, printer: &Printer) -> anyhow::Result<()> {
    let path = format!("/v0/datasources/{}", escape(name));
    if !yes {
        let rows = client.get(&path).await?["statistics"]["row_count"].as_u64().unwrap_or_default();
        return Err(user(format!(
            "{name} holds {}: --yes drops it (--force: and the pipes that need it)",
            counted(rows)
        )));
    }
    client.delete(&format!("{path}?force={force}")).await?;
    printer.line(format!("{name} is dropped"))?;
    Ok(())
}

async fn export(
    client: &Client,
    sql: &str,
    output: Option<&Path>,
    force: bool,
    printer: &Printer,
) -> anyhow::Result<()> {
    let mut answer = client.sql(sql).await?;
    let Some(path) = output else { return print(answer, printer).await };
    let unwritten = |error: std::io::Error| user(format!("{} cannot be written: {error}", path.display()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).create_new(!force).truncate(force);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            user(format!("{} is there already: --force writes over it", path.display()))
        }
        _ => unwritten(error),
    })?;
    let mut bytes = 0;
    while let Some(piece) = answer.next().await? {
        bytes += piece.len();
        file.write_all(&piece).map_err(unwritten)?;
    }
    printer.note(format!("{bytes} bytes written to {}", path.display()));
    Ok(())
}

fn analysis(found: &Value, printer: &Printer) -> anyhow::Result<()> {
    let columns = found["analysis"]["columns"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |it: &Value| match it {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let row = |it: &Value| ["name", "recommended_type", "path", "present_pct"].map(|name| text(&it[name])).to_vec();
    let rows: Vec<_> = columns.iter().map(row).collect();
    if !rows.is_empty() {
        printer.table(&["name", "type", "path", "present"], &rows)?;
    }
    if let Some(schema) = found["analysis"]["schema"].as_str() {
        printer.line(format!("SCHEMA >\n    {}", schema.replace(", `", ",\n    `")))?;
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    user(format!("{} cannot be read: {error}", path.display()))
}

fn counted(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}
