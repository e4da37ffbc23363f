//! `birdhouse datasource`: data sources from files.

use crate::{
    cli::{fault::user, printer::Printer, serving, settings::Settings},
    datafile::{Dialect, Kind, Layout},
    engine::{self, Engine, EngineSettings},
    name::ResourceName,
    observe::Sink,
    sql::statement,
};
use anyhow::Context as _;
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Make data sources from files
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Generate(GenerateArgs),
}

/// Write a .datasource file for the rows of a CSV, NDJSON or Parquet file
///
/// The engine tells the types from the first rows. Look them over: what is a
/// number in the first rows may be a text later.
///   birdhouse datasource generate orders.ndjson
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct GenerateArgs {
    /// The file: its extension tells what it is
    file: PathBuf,
    /// The name of the data source [default: the file's]
    #[arg(long)]
    name: Option<String>,
    /// Print the data source instead of writing it
    #[arg(long)]
    print: bool,
    /// Write over a data source of that name
    #[arg(long)]
    force: bool,
}

/// How much of a text file is looked at.
const SAMPLE_BYTES: u64 = 128 << 10;

#[derive(Debug, serde::Deserialize)]
struct Column {
    name: String,
    r#type: String,
}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let Command::Generate(args) = args.command;
    let file = settings.folder.join(&args.file);
    let stem = args.file.file_stem().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    let name = args.name.clone().unwrap_or_else(|| plain_name(&stem));
    ResourceName::new(&name).map_err(|error| user(error.to_string()))?;
    let extension = args.file.extension().map(|it| it.to_string_lossy().to_lowercase()).unwrap_or_default();
    let format = match extension.as_str() {
        "csv" => "CSVWithNames",
        "ndjson" | "jsonl" => "JSONEachRow",
        "parquet" => "Parquet",
        _ => return Err(user(format!("{} is no .csv, .ndjson or .parquet file", args.file.display()))),
    };
    let columns = columns(&file, format, settings)?;
    if columns.is_empty() {
        return Err(user(format!("{} holds no rows to tell columns from", args.file.display())));
    }
    let text = datasource(&columns, format != "CSVWithNames");
    if args.print {
        printer.bytes(text.as_bytes())?;
        return Ok(());
    }
    let path = Path::new("datasources").join(format!("{name}.datasource"));
    let full = settings.folder.join(&path);
    if full.exists() && !args.force {
        return Err(user(format!("{} is there already: --force writes over it", path.display())));
    }
    fs::create_dir_all(settings.folder.join("datasources")).context("the folder datasources cannot be made")?;
    fs::write(&full, text).with_context(|| format!("{} cannot be written", path.display()))?;
    printer.line(path.display())?;
    Ok(())
}

/// What the engine takes the columns of a file for.
fn columns(file: &Path, format: &'static str, settings: &Settings) -> anyhow::Result<Vec<Column>> {
    let unreadable = |error: std::io::Error| user(format!("{} cannot be read: {error}", file.display()));
    let library = serving::library_path(settings)?;
    engine::prepare_process();
    let folder = tempfile::tempdir().context("there is no place for a throw-away engine")?;
    let engine_folder = folder.path().join("engine");
    let statement = if format == "Parquet" {
        // The engine sees nothing but the folder of its tables.
        let tables = engine_folder.join("data");
        fs::create_dir_all(&tables).context("there is no place for a throw-away engine")?;
        let copy = tables.join("sample.parquet");
        fs::copy(file, &copy).map_err(unreadable)?;
        statement::describe_file(&copy.to_string_lossy(), format)
    } else {
        statement::describe_text(&sample(file).map_err(unreadable)?, format)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the runtime does not start")?;
    let answer = runtime.block_on(async {
        let engine = Engine::open(EngineSettings::new(engine_folder, library), Sink::logging()).await?;
        let answer = engine.command(&statement).await;
        engine.close().await;
        answer.map_err(|error| {
            let words = error.message.split(": While").next().unwrap_or_default().to_owned();
            user(format!("{} is not understood: {words}", file.display()))
        })
    })?;
    let lines = answer.split(|it| *it == b'\n').filter(|it| !it.is_empty());
    lines.map(|it| serde_json::from_slice(it).context("the engine's answer cannot be read")).collect()
}

/// The first lines of a file, whole ones.
fn sample(file: &Path) -> std::io::Result<String> {
    let mut reader = BufReader::new(fs::File::open(file)?.take(SAMPLE_BYTES));
    let mut text = String::new();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.ends_with(b"\n") || text.is_empty() || text.len() + line.len() < SAMPLE_BYTES as usize {
            text.push_str(&String::from_utf8_lossy(&line));
        }
        line.clear();
    }
    Ok(text)
}

fn datasource(columns: &[Column], json: bool) -> String {
    let mut text = "SCHEMA >\n".to_owned();
    let last = columns.len() - 1;
    for (index, column) in columns.iter().enumerate() {
        let name = column.name.replace('`', "");
        text.push_str(&format!("    `{name}` {}", column_type(&column.r#type)));
        if json {
            let is_list = column.r#type.starts_with("Array(");
            let key = match name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                true => format!("$.{name}"),
                false => format!("$.['{name}']"),
            };
            text.push_str(&format!(" `json:{key}{}`", if is_list { "[:]" } else { "" }));
        }
        text.push_str(if index < last { ",\n" } else { "\n" });
    }
    text.push_str("\nENGINE \"MergeTree\"\n");
    let time = columns.iter().find(|it| it.r#type.contains("Date") && !it.r#type.starts_with("Array("));
    if let Some(time) = time {
        text.push_str(&format!("ENGINE_PARTITION_KEY \"toYYYYMM({})\"\n", time.name));
        text.push_str(&format!("ENGINE_SORTING_KEY \"{}\"\n", time.name));
    }
    Layout::read(&text, Kind::Datasource, Dialect::Auto).print()
}

/// Inference makes everything nullable. What has a value in each of the first rows mostly always has one, but only
/// a key must: there the engine refuses NULL.
fn column_type(inferred: &str) -> String {
    let inferred = inferred.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(");
    match inferred.strip_prefix("Nullable(").and_then(|it| it.strip_suffix(')')) {
        Some(inner) if inner.contains("Date") => inner.to_owned(),
        _ => inferred,
    }
}

/// A name for a data source out of a file's.
fn plain_name(stem: &str) -> String {
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_a_schema() {
        let column = |name: &str, r#type: &str| Column { name: name.to_owned(), r#type: r#type.to_owned() };
        let columns = [
            column("id", "Nullable(Int64)"),
            column("at", "Nullable(DateTime64(9))"),
            column("a-b", "Array(Nullable(String))"),
        ];
        let expected = "SCHEMA >\n    `id` Nullable(Int64) `json:$.id`,\n    `at` DateTime64(9) `json:$.at`,\n    `a-b` \
                        Array(Nullable(String)) `json:$.['a-b'][:]`\n\nENGINE \"MergeTree\"\nENGINE_PARTITION_KEY \
                        \"toYYYYMM(at)\"\nENGINE_SORTING_KEY \"at\"\n";
        assert_eq!(datasource(&columns, true), expected);
        assert_eq!(plain_name("2026 orders-eu"), "_2026_orders_eu");
    }
}
