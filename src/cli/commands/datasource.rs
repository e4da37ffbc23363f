//! `birdhouse datasource`: data sources from files. What is done to rows on a server is in `rows`.

use super::{
    feed::{self, FeedCommand},
    rows,
};
use crate::{
    cli::{fault::user, printer::Printer, serving, settings::Settings},
    datafile::{Dialect, Kind, Layout},
    engine::{self, Engine, EngineSettings},
    ingest::sample::{self, SampleColumn, SampleFormat},
    name::ResourceName,
    observe::Sink,
    sql::statement,
};
use anyhow::Context as _;
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// Make data sources from files; bring rows in, take them out, delete them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Generate(GenerateArgs),
    #[command(flatten)]
    Feed(FeedCommand),
    #[command(flatten)]
    Rows(rows::Command),
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

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let args = match args.command {
        Command::Generate(args) => args,
        Command::Feed(command) => return feed::run(command, settings, printer),
        Command::Rows(command) => return rows::run(command, settings, printer),
    };
    let file = settings.folder.join(&args.file);
    let stem = args.file.file_stem().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    let name = args.name.clone().unwrap_or_else(|| plain_name(&stem));
    ResourceName::new(&name).map_err(|error| user(error.to_string()))?;
    let extension = args.file.extension().map(|it| it.to_string_lossy().to_lowercase()).unwrap_or_default();
    let format = match extension.as_str() {
        "csv" => SampleFormat::Csv,
        "ndjson" | "jsonl" => SampleFormat::Ndjson,
        "parquet" => SampleFormat::Parquet,
        _ => return Err(user(format!("{} is no .csv, .ndjson or .parquet file", args.file.display()))),
    };
    let no_rows = || user(format!("{} holds no rows to tell columns from", args.file.display()));
    let about =
        fs::metadata(&file).map_err(|error| user(format!("{} cannot be read: {error}", args.file.display())))?;
    if about.is_file() && about.len() == 0 {
        return Err(no_rows());
    }
    let columns = columns(&file, &args.file, format, settings)?;
    if columns.is_empty() {
        return Err(no_rows());
    }
    let text = datasource(&columns, !format.is_csv());
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

/// What the engine takes the columns of a file for. `shown` is its path as it was asked for.
fn columns(file: &Path, shown: &Path, format: SampleFormat, settings: &Settings) -> anyhow::Result<Vec<SampleColumn>> {
    let unreadable = |error: std::io::Error| user(format!("{} cannot be read: {error}", shown.display()));
    let library = serving::library_path(settings)?;
    engine::prepare_process();
    let folder = tempfile::tempdir().context("there is no place for a throw-away engine")?;
    let engine_folder = folder.path().join("engine");
    let statement = if format == SampleFormat::Parquet {
        // The engine sees nothing but the folder of its tables.
        let tables = engine_folder.join("data");
        fs::create_dir_all(&tables).context("there is no place for a throw-away engine")?;
        let copy = tables.join("sample.parquet");
        fs::copy(file, &copy).map_err(unreadable)?;
        statement::describe_file(&copy.to_string_lossy(), format.name())
    } else {
        statement::describe_text(&first_lines(file).map_err(unreadable)?, format.name())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the runtime does not start")?;
    runtime.block_on(async {
        let engine = Engine::open(EngineSettings::new(engine_folder, library), Sink::logging()).await?;
        let columns = sample::columns(&engine, &statement).await;
        engine.close().await;
        columns.map_err(|error| user(format!("{} is not understood: {}", shown.display(), reason(&error.message))))
    })
}

/// Why the engine does not understand a file, without what it says around that.
fn reason(message: &str) -> String {
    let message = message.split("Error:\n").last().unwrap_or(message);
    let message = message.split("\nYou can specify").next().unwrap_or(message).trim();
    let message = message.split_once("DB::Exception: ").map_or(message, |(_, it)| it).trim_end_matches('.');
    let is_name = |it: &str| it.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    match message.strip_suffix(')').and_then(|it| it.rsplit_once(" (")) {
        Some((words, name)) if is_name(name) => words.trim_end_matches('.').to_owned(),
        _ => message.to_owned(),
    }
}

/// The first lines of a file, whole ones.
fn first_lines(file: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    // One line more than a sample, should the first be a long one.
    fs::File::open(file)?.take(sample::SAMPLE_BYTES as u64 * 2).read_to_end(&mut bytes)?;
    Ok(sample::first_lines(&bytes))
}

fn datasource(columns: &[SampleColumn], json: bool) -> String {
    let fields = sample::fields(columns);
    let lines: Vec<_> = match json {
        true => fields.iter().map(|it| format!("    `{}` {} `json:{}`", it.name, it.kind, it.path)).collect(),
        false => columns.iter().map(|it| format!("    {}", sample::definition(it, false))).collect(),
    };
    let mut text = format!("SCHEMA >\n{}\n\nENGINE \"MergeTree\"\n", lines.join(",\n"));
    if let Some(time) = fields.iter().find(|it| it.kind.starts_with("Date")) {
        text.push_str(&format!("ENGINE_PARTITION_KEY \"toYYYYMM({})\"\n", time.name));
        text.push_str(&format!("ENGINE_SORTING_KEY \"{}\"\n", time.name));
    }
    Layout::read(&text, Kind::Datasource, Dialect::Auto).print()
}

/// A name for a data source out of a file's.
fn plain_name(stem: &str) -> String {
    ResourceName::near(stem).map_or_else(|| stem.to_owned(), |it| it.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_a_schema() {
        let column = |name: &str, kind: &str| SampleColumn { name: name.to_owned(), kind: kind.to_owned() };
        let columns =
            [column("id", "Nullable(Int64)"), column("at", "DateTime64(9)"), column("a-b", "Array(Nullable(String))")];
        let expected = "SCHEMA >\n    `id` Nullable(Int64) `json:$.id`,\n    `at` DateTime64(9) `json:$.at`,\n    `a-b` \
                        Array(Nullable(String)) `json:$.['a-b'][:]`\n\nENGINE \"MergeTree\"\nENGINE_PARTITION_KEY \
                        \"toYYYYMM(at)\"\nENGINE_SORTING_KEY \"at\"\n";
        assert_eq!(datasource(&columns, true), expected);
        assert_eq!(plain_name("2026 orders-eu"), "_2026_orders_eu");
        let nested = "Tuple(when DateTime, `x-y` Array(Int64), d Tuple(e String))";
        let list = "Array(Tuple(k Nullable(Int64), l Array(String)))";
        let columns = [column("o", nested), column("list", list), column("p", "Tuple(Int8, Int8)")];
        let expected = "SCHEMA >\n    `o_when` DateTime `json:$.o.when`,\n    `o_x_y` Array(Int64) \
                        `json:$.o.['x-y'][:]`,\n    `o_d_e` String `json:$.o.d.e`,\n    `list_k` Array(Nullable(Int64)) \
                        `json:$.list[:].k`,\n    `p` Tuple(Int8, Int8) `json:$.p`\n\nENGINE \
                        \"MergeTree\"\nENGINE_PARTITION_KEY \"toYYYYMM(o_when)\"\nENGINE_SORTING_KEY \"o_when\"\n";
        assert_eq!(datasource(&columns, true), expected);
    }

    #[test]
    fn the_engines_reasons_are_told_alone() {
        let around = |it: &str| {
            format!(
                "The table structure cannot be extracted from a JSONEachRow format file. Error:\n{it}\nYou can specify the \
                 structure manually. (CANNOT_EXTRACT_TABLE_STRUCTURE)"
            )
        };
        let inner = "Code: 26. DB::Exception: Cannot parse JSON string: expected opening quote. (CANNOT_PARSE).";
        assert_eq!(reason(&around(inner)), "Cannot parse JSON string: expected opening quote");
        assert_eq!(reason("No such thing. (CODE)"), "No such thing");
    }
}
