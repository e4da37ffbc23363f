//! `birdhouse engine`: gets the engine, and says where it is and what it may use.

use crate::{
    cli::{
        fault::user,
        printer::{Printer, Progress, Unit},
        settings::Settings,
    },
    engine::{
        Engine, EngineError, EngineErrorKind, EnginePlace, EngineServer, EngineSettings, Examined, PROCESS_SETTINGS,
        install::{self, InstallError, Installed, Step, Unpinned},
        library,
    },
    observe::{Observation, Sink},
    server,
};
use anyhow::Context;
use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

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
    /// Say where the engine is, its version, the limits that fit this machine, and what a server lacks
    Info {
        /// As of `serve` [env: BIRDHOUSE_ENGINE; default: chdb]
        #[arg(long, value_name = "ENGINE")]
        engine: Option<String>,
    },
    /// Run the engine for the server that started this process, on the socket that it was given
    #[command(hide = true)]
    Process,
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
        EngineCommand::Info { engine } => info(engine.as_deref(), settings, printer),
        EngineCommand::Process => process(settings, printer),
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

fn info(engine: Option<&str>, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    if let EnginePlace::Server(server) = settings.engine(engine, &[])? {
        return info_of_server(&server, printer);
    }
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

fn info_of_server(server: &EngineServer, printer: &Printer) -> anyhow::Result<()> {
    let Examined { address, version, readers, missing } = super::wait(async { Ok(Engine::examine(server).await?) })?;
    let limits = EngineSettings::new("", "");
    let mut rows = vec![
        ("server", address),
        ("version", format!("ClickHouse {version}")),
        ("readers", readers),
        ("memory", format!("{} MB a query", limits.max_memory_usage >> 20)),
        ("threads", format!("{} a query", limits.max_threads)),
        ("time", format!("{} s a query", limits.max_execution_time.as_secs())),
        ("files", "CSV and NDJSON; Parquet is read by the embedded engine alone".to_owned()),
    ];
    match missing.is_empty() {
        true => rows.push(("missing", "nothing".to_owned())),
        false => rows.extend(missing.into_iter().map(|it| ("missing", it))),
    }
    for (name, value) in rows {
        printer.line(format!("{name:<8} {value}"))?;
    }
    Ok(())
}

/// How often it is looked whether the server is there still.
const LOOK: Duration = Duration::from_millis(50);

/// How long the process of a server that died may take to leave the directory.
const LOCKED_AT_MOST: Duration = Duration::from_secs(5);

fn process(settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let parent = rustix::process::getppid();
    let text = settings.variable(PROCESS_SETTINGS).ok_or_else(|| user("a server starts this command, nobody else"))?;
    let engine_settings: EngineSettings = serde_json::from_str(text).context("the engine's settings")?;
    // When memory is short, this process goes and the server stays.
    _ = std::fs::write("/proc/self/oom_score_adj", "500");
    let listener = std::io::stdin().as_fd().try_clone_to_owned().context("the engine's socket")?;
    let listener = std::os::unix::net::UnixListener::from(listener);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("the runtime does not start")?;
    let sink = Sink::default();
    let words = printer.clone();
    sink.attach(move |it| {
        if let Observation::Engine { message, .. } = it {
            words.note(message);
        }
    });
    let served = runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let engine = open_patiently(&engine_settings, &sink).await?;
        let orphaned = async {
            while rustix::process::getppid() == parent {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = server::serve_engine(engine.clone(), listener) => (),
            _ = terminate.recv() => (),
            () = orphaned => (),
        }
        engine.close().await;
        anyhow::Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Another that is about to leave may have the directory still.
async fn open_patiently(settings: &EngineSettings, sink: &Sink) -> Result<Engine, EngineError> {
    let began = Instant::now();
    loop {
        match Engine::open(settings.clone(), sink.clone()).await {
            Err(error) if error.kind == EngineErrorKind::Locked && began.elapsed() < LOCKED_AT_MOST => {
                tokio::time::sleep(LOOK).await;
            }
            opened => return opened,
        }
    }
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
