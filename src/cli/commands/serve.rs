//! `birdhouse serve`: a server until somebody stops it.

use crate::{
    cli::{
        args::ServerArgs,
        logs,
        printer::Printer,
        serving::Serving,
        settings::{LogLevel, Settings},
    },
    datafile,
};

/// Run a server on this machine
///
/// Tables, tokens and the deployed project are in the data directory, which one server at a time can have. They are
/// there again at the next start.
///
/// The first start makes the admin token and writes it to the file `admin_token` in the data directory, for your eyes
/// only; `birdhouse auth` reads it. BIRDHOUSE_ADMIN_TOKEN sets its value instead, and then no file is written.
///
/// Ctrl-C or SIGTERM stop the server when running requests have their answers and rows on their way have arrived.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  birdhouse serve
  birdhouse serve --port 7182 --data-dir /var/lib/birdhouse --memory 4G
  birdhouse serve --listen 0.0.0.0 --log-format json";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let server = settings.server(&args.server)?;
    logs::begin(&settings.log, LogLevel::Info);
    let serving = Serving::open(&server, settings, datafile::Context::default())?;
    let mut lines = vec![format!("its data is in {}", settings.shown(&server.data_dir))];
    if let Some(file) = serving.hand_over_token(&server)? {
        lines.push(format!("its admin token is in {}; `birdhouse auth` remembers it", settings.shown(&file)));
    }
    serving.announce(settings, printer, &lines);
    serving.run(std::future::pending())
}
