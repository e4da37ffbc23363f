//! A server in this process, from its listeners to its last byte: what `serve` and `dev` share.
//!
//! In: settings. Out: a running server, told to stop by a signal. Routes are the server's, work is the app's.

use super::{
    fault::user,
    port::{Listeners, listen},
    printer::Printer,
    settings::{ClickhousePort, LogFormat, ServerSettings, Settings},
    tinyb::write_secret,
};
use crate::{
    app::{self, App},
    datafile,
    engine::{self, EngineSettings, library},
    ingest::failpoint,
    observe::{Observation, Sink},
    server,
    store::Secret,
};
use anyhow::Context;
use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// A server that is ready to serve.
pub(super) struct Serving {
    runtime: Runtime,
    app: App,
    sink: Sink,
    listeners: Listeners,
    clickhouse: Option<Listeners>,
    signals: Signals,
    server_settings: server::Settings,
}

/// What tells a server to stop. Listened for from the start on: the engine must be closed before the process ends.
struct Signals([Signal; 3]);

/// How long Kafka's rows wait for the fixtures of a push whose client has gone.
const HOLD_AT_MOST: Duration = Duration::from_secs(60);

/// Where a server keeps its admin token for whoever owns the data directory.
pub(super) fn admin_token_file(data_dir: &Path) -> PathBuf {
    data_dir.join("admin_token")
}

impl Serving {
    /// Takes the port, then the data directory, then opens the engine: what fails most often comes first.
    pub(super) fn open(
        server: &ServerSettings,
        settings: &Settings,
        context: datafile::Context,
    ) -> anyhow::Result<Serving> {
        if let Some(places) = &server.failpoint {
            failpoint::arm(places).map_err(|error| user(format!("BIRDHOUSE_FAILPOINT: {error}")))?;
        }
        let listeners = listen(server.port, server.listen, ("--port", "BIRDHOUSE_PORT"))?;
        let of_clients = |port| listen(port, server.listen, ("--clickhouse-port", "BIRDHOUSE_CLICKHOUSE_PORT"));
        let clickhouse = match server.clickhouse {
            ClickhousePort::None => None,
            ClickhousePort::IfFree(port) => of_clients(port).ok(),
            ClickhousePort::Wanted(port) => Some(of_clients(port)?),
        };
        // The engine wants this done while there is one thread.
        engine::prepare_process();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("the runtime does not start")?;
        let signals = runtime.block_on(async { Signals::listen() })?;
        let sink = Sink::logging();
        let defaults = server::Settings::default();
        let max_file = server.max_file.unwrap_or(defaults.max_file);
        let app_settings = app::Settings {
            data_directory: server.data_dir.clone(),
            engine: engine_settings(server, settings)?,
            admin_token: server.admin_token.as_deref().map(Secret::new),
            hold_at_most: HOLD_AT_MOST,
            limits: server.token_limits,
            workspace_limits: server.workspace_limits,
            kafka: server.kafka.clone(),
            events: server.events.clone(),
            fetch: app::FetchRules { private: server.private_urls, max_bytes: max_file },
            context,
        };
        let app = runtime.block_on(App::open(app_settings, sink.clone()))?;
        let clickhouse_admin = server.clickhouse_admin;
        let server_settings = server::Settings { templates: server.templates, max_file, clickhouse_admin, ..defaults };
        Ok(Serving { runtime, app, sink, listeners, clickhouse, signals, server_settings })
    }

    pub(super) fn port(&self) -> u16 {
        self.listeners.port
    }

    pub(super) fn admin_token(&self) -> String {
        self.app.workspace().admin_token().reveal().to_owned()
    }

    /// Puts the admin token where the owner finds it; a token from the environment is known to them already.
    pub(super) fn hand_over_token(&self, server: &ServerSettings) -> anyhow::Result<Option<PathBuf>> {
        let file = admin_token_file(&server.data_dir);
        if server.admin_token.is_some() {
            return match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(user(format!("{} is out of date and cannot be removed: {error}", file.display())))
                }
                _ => Ok(None),
            };
        }
        write_secret(&file, &format!("{}\n", self.admin_token()))?;
        Ok(Some(file))
    }

    /// Says where the server is, as a log line where machines read the log.
    pub(super) fn announce(&self, settings: &Settings, printer: &Printer, lines: &[String]) {
        let address = format!("http://localhost:{}", self.listeners.port);
        self.sink.observe(Observation::ServerStarted { address: address.clone() });
        if settings.log.format == LogFormat::Text {
            let addresses = self.listeners.addresses.join(" and ");
            printer.note(format!("birdhouse serves at {address} ({addresses}); Ctrl-C stops it"));
            if let Some(clickhouse) = &self.clickhouse {
                let port = clickhouse.port;
                printer.note(format!("ClickHouse's clients reach it at http://localhost:{port}, a token as password"));
            }
            for line in lines {
                printer.note(line);
            }
        }
        for listeners in [Some(&self.listeners), self.clickhouse.as_ref()].into_iter().flatten() {
            if let Some(open) = listeners.open {
                let address = SocketAddr::new(open, listeners.port).to_string();
                self.sink.observe(Observation::ServerOpen { address });
            }
        }
    }

    /// Serves until a signal says stop or `beside` ends, then lets requests and rows on their way arrive.
    pub(super) fn run(self, beside: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        let Serving { runtime, app, sink, listeners, clickhouse, mut signals, server_settings } = self;
        let outcome = runtime.block_on(async {
            let heard = |listeners: Listeners| {
                let listeners = listeners.listeners.into_iter().map(TcpListener::from_std);
                listeners.collect::<Result<Vec<_>, _>>().context("a listener is lost")
            };
            let clickhouse = clickhouse.map(heard).transpose()?.unwrap_or_default();
            let listeners = server::Listeners { api: heard(listeners)?, clickhouse };
            let stop = CancellationToken::new();
            let serving =
                server::serve(app.clone(), sink.clone(), server_settings, listeners, stop.clone().cancelled_owned());
            let serving = tokio::spawn(serving);
            let outcome = tokio::select! {
                () = signals.stop() => Ok(()),
                it = beside => it,
            };
            stop.cancel();
            let served = serving.await.context("the server ended in a panic");
            app.close().await;
            outcome.and(served)
        });
        sink.observe(Observation::ServerStopped);
        // Nothing of ours waits any more; a blocking call that hangs must not keep the process.
        runtime.shutdown_timeout(Duration::from_secs(5));
        outcome
    }
}

impl Signals {
    fn listen() -> anyhow::Result<Signals> {
        let listen = |kind| signal(kind).context("signals cannot be listened for");
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(listen);
        Ok(Signals([interrupt?, terminate?, hangup?]))
    }

    async fn stop(&mut self) {
        let Signals([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hangup.recv() => (),
        }
    }
}

fn engine_settings(server: &ServerSettings, settings: &Settings) -> anyhow::Result<EngineSettings> {
    let library = library_path(settings)?;
    let mut res = EngineSettings::new(server.data_dir.join("engine"), library);
    if let Some(memory) = server.memory {
        res.max_server_memory_usage = memory;
        // One read leaves room for others and for inserts.
        res.max_memory_usage = res.max_memory_usage.min(memory / 2);
    }
    if let Some(threads) = server.threads {
        res.max_threads = threads;
    }
    if let Some(seconds) = server.query_seconds {
        res.max_execution_time = Duration::from_secs(seconds);
    }
    res.require_sandbox = server.require_sandbox;
    res.place = server.engine.clone();
    Ok(res)
}

/// The engine's library: the one that was named, or the installed one.
pub(super) fn library_path(settings: &Settings) -> anyhow::Result<PathBuf> {
    match settings.engine_library() {
        Some(library) => Ok(library),
        None => Ok(library::installed(&settings.cache_dir()?)),
    }
}
