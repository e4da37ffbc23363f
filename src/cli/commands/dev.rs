//! `birdhouse dev`: a server for this folder's project that follows every change.

use crate::{
    cli::{
        args::ServerArgs,
        client::Client,
        discover::{self, Fixture, ProjectFiles},
        fault::user,
        logs,
        printer::{Colour, Printer},
        pushing::{self, Wish},
        serving::Serving,
        settings::{LogLevel, Settings, Target},
        tinyb::{Host, Tinyb},
        watch::Watch,
    },
    datafile,
    diagnostic::Source,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// Serve this folder's project and push every change
///
/// Starts a server, deploys the project with its fixtures (where a data source has no rows yet), and deploys again
/// whenever a file of it is saved. A mistake shows where it is, and the last good project keeps answering. What would
/// lose or rewrite stored rows is refused, as by `birdhouse push`.
///
/// Host and admin token are written to .tinyb, so that other commands and curl find them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Let .tinyb forget the other server that it is about
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What is known of the project that was sent last.
#[derive(Default)]
struct Last {
    sources: Vec<Source>,
    failed: bool,
    /// When each fixture was saved that has been loaded, or that found rows in its place.
    fixtures: BTreeMap<PathBuf, Option<SystemTime>>,
    /// The server's connections at that time: a new one may be what was missing.
    connections: Vec<String>,
}

/// How often a project that failed looks for a connection that somebody made meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples, the last two in another terminal:
  birdhouse dev
  birdhouse sql 'select count() from events'
  curl -H \"Authorization: Bearer $(jq -r .token .tinyb)\" \\
      http://localhost:7181/v0/pipes/my_endpoint.json";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let server = settings.server(&args.server)?.with_clickhouse();
    logs::begin(&settings.log, LogLevel::Warn);
    let files = discover::project(&settings.folder).map_err(|error| user(format!("the project: {error}")))?;
    if files.sources.is_empty() {
        return Err(user(format!(
            "there is no project in {}: no .datasource or .pipe file",
            settings.folder.display()
        )));
    }
    let context = datafile::Context { environment: files.environment, ..datafile::Context::default() };
    let watch = Watch::new(&settings.folder, &server.data_dir)?;
    let serving = Serving::open(&server, settings, context)?;
    serving.hand_over_token(&server)?;
    let host = Host::local(serving.port());
    let token = serving.admin_token();
    let remembered = remember(&host, &token, args.force, settings, printer)?;
    serving.announce(settings, printer, &[remembered]);
    let client = Client::new(&Target { host, token: Some(token), named: true })?;
    serving.run(follow(watch, &client, settings, printer))
}

/// Makes this server the one of this folder, unless the folder belongs to another one.
fn remember(host: &Host, token: &str, force: bool, settings: &Settings, printer: &Printer) -> anyhow::Result<String> {
    let path = settings.tinyb_path();
    let mut tinyb = Tinyb::read(&path)?;
    if let Some(other) = tinyb.host().filter(|it| it != host && !force) {
        printer.warning(format!(
            ".tinyb is about {other} and stays so: other commands need --host {host}; `birdhouse dev --force` changes it"
        ));
        return Ok(format!("its data is in {}", settings.shown(&settings.data_dir(None))));
    }
    tinyb.set(host, token);
    tinyb.write(&path)?;
    let ignored = fs::read_to_string(settings.folder.join(".gitignore")).unwrap_or_default();
    if settings.folder.join(".git").exists() && !ignored.contains(".tinyb") {
        printer.warning(".tinyb holds a token: add it to .gitignore");
    }
    Ok("its host and admin token are in .tinyb".to_owned())
}

/// Pushes now and after every change, for ever.
async fn follow(mut watch: Watch, client: &Client, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let mut last = Last::default();
    push(&mut last, client, settings, printer).await?;
    loop {
        if last.failed {
            tokio::select! {
                changed = watch.changed() => changed?,
                () = connection_made(client, &last.connections) => last.sources.clear(),
            }
        } else {
            watch.changed().await?;
        }
        push(&mut last, client, settings, printer).await?;
    }
}

/// Waits until the server's connections are others than these.
async fn connection_made(client: &Client, before: &[String]) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        if connections(client).await.is_some_and(|it| it != before) {
            return;
        }
    }
}

async fn connections(client: &Client) -> Option<Vec<String>> {
    let reply = client.get("/v0/connectors").await.ok()?;
    let connectors = reply["connectors"].as_array()?;
    Some(connectors.iter().map(|it| it["name"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Sends the project if it has changed. What is wrong with it is printed; only the terminal's end is an error.
async fn push(last: &mut Last, client: &Client, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let begin = Instant::now();
    let files = match discover::project(&settings.folder) {
        Ok(files) => files,
        Err(error) => {
            printer.warning(format!("the project cannot be read: {error}"));
            return Ok(());
        }
    };
    let fixtures = changed_fixtures(last, &files);
    // Fixtures of a project that is not there wait until it is.
    if files.sources == last.sources && (last.failed || fixtures.is_empty()) {
        return Ok(());
    }
    let first = last.fixtures.is_empty();
    if files.sources != last.sources {
        last.sources = files.sources.clone();
        last.failed = true;
        if pushing::readable(&files, printer).is_err() {
            keeps_serving(printer);
            return Ok(());
        }
        let wish = Wish { hold_consumers: !fixtures.is_empty(), ..Wish::default() };
        last.connections = connections(client).await.unwrap_or_default();
        let reply = match pushing::deploy(client, &files.sources, wish).await {
            Ok(reply) => reply,
            Err(error) => {
                printer.error(&format!("{error:#}"), &[]);
                keeps_serving(printer);
                return Ok(());
            }
        };
        reply.print_diagnostics(&files.sources, printer);
        reply.print_plan(printer)?;
        if reply.is_failed() {
            keeps_serving(printer);
            return Ok(());
        }
        last.failed = false;
        let took = begin.elapsed().as_millis();
        match reply.is_unchanged() {
            true => {
                printer.line(format!("{} the project is unchanged ({took} ms)", printer.paint(Colour::Green, "ok")))?
            }
            false => printer.line(format!("{} deployed in {took} ms", printer.paint(Colour::Green, "ok")))?,
        }
    }
    load(last, fixtures, first, &files, client, &settings.tinyb_path(), printer).await
}

/// Loads fixtures, and lets the rows go on that waited for them.
async fn load(
    last: &mut Last,
    mut fixtures: Vec<Fixture>,
    first: bool,
    files: &ProjectFiles,
    client: &Client,
    tinyb: &Path,
    printer: &Printer,
) -> anyhow::Result<()> {
    if fixtures.is_empty() {
        return Ok(());
    }
    for fixture in &fixtures {
        last.fixtures.insert(fixture.path.clone(), saved_at(fixture));
    }
    let loaded = async {
        if first {
            // What an earlier run has left is kept; a fixture that is saved from now on takes its place.
            fixtures = pushing::without_rows(client, fixtures).await?;
        } else {
            let foreign = pushing::foreign_rows(client, &fixtures, tinyb).await?;
            let foreign: Vec<String> = foreign.into_iter().map(|it| it.0.datasource.clone()).collect();
            for datasource in &foreign {
                printer.warning(format!(
                    "{datasource} holds rows that no fixture is known to have left there, so its fixture is not loaded; \
                     `birdhouse push --fixtures --force` replaces them"
                ));
            }
            fixtures.retain(|it| !foreign.contains(&it.datasource));
        }
        pushing::load(client, &fixtures, &files.root, tinyb, printer).await?;
        pushing::release_consumers(client).await
    };
    if let Err(error) = loaded.await {
        if error.is::<crate::cli::printer::PrintError>() {
            return Err(error);
        }
        printer.error(&format!("{error:#}"), &[]);
    }
    Ok(())
}

/// Stands behind the diagnostics, on their stream.
fn keeps_serving(printer: &Printer) {
    printer.warning("not deployed; the last good project keeps serving");
}

/// The fixtures that were saved since they were last looked at.
fn changed_fixtures(last: &Last, files: &ProjectFiles) -> Vec<Fixture> {
    let changed = |fixture: &&Fixture| last.fixtures.get(&fixture.path) != Some(&saved_at(fixture));
    files.fixtures.iter().filter(changed).cloned().collect()
}

fn saved_at(fixture: &Fixture) -> Option<SystemTime> {
    fs::metadata(&fixture.path).and_then(|it| it.modified()).ok()
}
