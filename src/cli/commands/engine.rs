//! `birdhouse engine`: gets the engine, and says where it is and what it may use.

use crate::{
    cli::{
        fault::user,
        printer::{Printer, Progress, Unit},
        settings::Settings,
    },
    engine::{
        EngineSettings,
        install::{self, InstallError, Installed, Step, Unpinned},
        library,
    },
};

/// Fetch the engine, or say where it is
///
/// The engine is chDB, ClickHouse as a library. It is fetched once, with npm, into your cache folder
/// ($XDG_CACHE_HOME/birdhouse, or ~/.cache/birdhouse), and shared by all projects. What is fetched is checked against a
/// value that is built into birdhouse. BIRDHOUSE_LIBCHDB names another libchdb.so to use instead.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: EngineCommand,
}

#[derive(Debug, clap::Subcommand)]
enum EngineCommand {
    /// Fetch the engine, unless it is there
    Install {
        /// Take a package whose checksum is not built into birdhouse (every machine but Linux on x86-64)
        #[arg(long)]
        allow_unpinned: bool,
    },
    /// Say where the engine is, its version, and the limits that fit this machine
    Info,
}

const EXAMPLES: &str = "\
Examples:
  birdhouse engine install      178 MB to fetch, 566 MB on disk
  birdhouse engine info";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    match args.command {
        EngineCommand::Install { allow_unpinned } => {
            let unpinned = if allow_unpinned { Unpinned::Allow } else { Unpinned::Refuse };
            install(unpinned, settings, printer)
        }
        EngineCommand::Info => info(settings, printer),
    }
}

fn install(unpinned: Unpinned, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let mut shown = Shown::default();
    let installed = install::install(&settings.cache_dir()?, unpinned, |step| shown.show(step, printer));
    shown.finish();
    match installed {
        Ok(Installed::Before(path)) => printer.line(format!("the engine is there: {}", path.display()))?,
        Ok(Installed::Now(path)) => printer.line(format!("installed the engine: {}", path.display()))?,
        Err(error @ InstallError::Io { .. }) => return Err(error.into()),
        Err(error) => return Err(user(error.to_string())),
    }
    Ok(())
}

fn info(settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let named = settings.engine_library();
    let library = match &named {
        Some(path) => path.clone(),
        None => library::installed(&settings.cache_dir()?),
    };
    let defaults = EngineSettings::new("", &library);
    let state = match std::fs::metadata(&library) {
        Ok(data) => format!("{} ({} MB)", library.display(), data.len() / 1_000_000),
        Err(_) if named.is_some() => format!("{} (BIRDHOUSE_LIBCHDB names it, but it is not there)", library.display()),
        Err(_) => format!("{} (not there: run `birdhouse engine install`)", library.display()),
    };
    let version = match &named {
        Some(_) => format!("of BIRDHOUSE_LIBCHDB (made for chDB {})", library::VERSION),
        None => format!("chDB {}", library::VERSION),
    };
    let megabytes = |bytes: u64| format!("{} MB", bytes >> 20);
    let rows = [
        ("library", state),
        ("version", version),
        (
            "memory",
            format!(
                "{} in all, {} a query",
                megabytes(defaults.max_server_memory_usage),
                megabytes(defaults.max_memory_usage)
            ),
        ),
        ("threads", format!("{} a query", defaults.max_threads)),
        ("queries", format!("{} at a time, further ones wait", defaults.readers)),
        ("time", format!("{} s a query", defaults.max_execution_time.as_secs())),
        ("result", format!("{} MB where it is held whole", defaults.max_result_bytes / 1_000_000)),
    ];
    for (name, value) in rows {
        printer.line(format!("{name:<8} {value}"))?;
    }
    Ok(())
}

/// The progress of an installation as it is shown: one bar for each step.
#[derive(Default)]
struct Shown {
    step: Option<std::mem::Discriminant<Step>>,
    bar: Option<Progress>,
}

impl Shown {
    fn show(&mut self, step: Step, printer: &Printer) {
        let kind = std::mem::discriminant(&step);
        if self.step.replace(kind) != Some(kind) {
            self.finish();
            self.bar = match step {
                Step::Waiting => {
                    printer.note("another process installs the engine; waiting for it");
                    None
                }
                Step::Checking => None,
                Step::Fetching { total, .. } => {
                    let (packed, unpacked) = (install::PACKED / 1_000_000, install::UNPACKED / 1_000_000);
                    printer.note(format!(
                        "the engine, chDB {}: {packed} MB to fetch, {unpacked} MB on disk",
                        library::VERSION
                    ));
                    Some(printer.progress("fetching", total, Unit::Bytes))
                }
                Step::Unpacking { total, .. } => Some(printer.progress("unpacking", total, Unit::Bytes)),
            };
        }
        if let (Some(bar), Step::Fetching { done, .. } | Step::Unpacking { done, .. }) = (&self.bar, step) {
            bar.set(done);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }
}
