//! A server with a table of a million points and an endpoint that finds one, and a server that does nothing.

use birdhouse::{
    app::{self, App, Caller, DeployOptions},
    diagnostic::Source,
    engine::{Engine, EngineSettings, library},
    name::ResourceName,
    observe::Sink,
    query::Request,
    server,
    store::DataDirectory,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const TARGET: &str = "/v0/pipes/point.json?id=654321";

const FILES: [(&str, &str); 2] = [
    (
        "datasources/points.datasource",
        "SCHEMA >\n    `id` UInt32,\n    `name` String,\n    `weight` Float64\n\n\
         ENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"id\"\n",
    ),
    (
        "endpoints/point.pipe",
        "NODE n\nSQL >\n    %\n    SELECT id, name, weight FROM points WHERE id = {{UInt32(id)}}\n\nTYPE endpoint\n",
    ),
];

pub(crate) struct Served {
    pub(crate) port: u16,
    pub(crate) token: String,
    app: App,
    settings: EngineSettings,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Served {
    pub(crate) async fn start(library: &Path) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(&folder.path().join("data")).unwrap();
        let settings = EngineSettings::new(directory.engine_path(), library.to_owned());
        let engine = Engine::open(settings.clone(), Sink::default()).await.unwrap();
        let app_settings = app::Settings {
            data_directory: folder.path().join("data"),
            engine: settings.clone(),
            admin_token: None,
            hold_at_most: std::time::Duration::from_secs(60),
            limits: Default::default(),
            workspace_limits: Default::default(),
            kafka: Default::default(),
            events: birdhouse::ingest::events::Tuning::default(),
            fetch: app::FetchRules { private: false, max_bytes: 1 << 30 },
            context: Default::default(),
        };
        let app = App::start(app_settings, directory, engine, Sink::default()).await.unwrap();
        let files = FILES.iter().map(|(path, text)| Source::new(*path, *text)).collect();
        let report = app.workspace().deploy(files, DeployOptions::default()).await.unwrap();
        assert!(report.changed, "{:?}", report.diagnostics);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let serving = server::serve(
            app.clone(),
            Sink::default(),
            server::Settings::default(),
            vec![listener],
            stop.clone().cancelled_owned(),
        );
        let serving = tokio::spawn(serving);
        let token = app.workspace().admin_token().reveal().to_owned();
        Served { port, token, app, settings, stop, serving, _folder: folder }
    }

    /// The SQL of the endpoint as the engine gets it. The rows come first: a million, by the engine itself.
    pub(crate) async fn compiled(&self) -> String {
        let database = self.app.workspace().namespace().database().to_owned();
        let arguments = self.raw_arguments();
        let library = library_path();
        let fill = move || {
            let mut connection = super::raw::Raw::open(&library).connect(&arguments);
            let rows = "SELECT number, concat('point ', toString(number)), number / 7 FROM numbers(1000000)";
            connection.query(&format!("INSERT INTO `{database}`.`points` {rows}"), "TSV");
        };
        tokio::task::spawn_blocking(fill).await.unwrap();
        let Caller { access, workspace, .. } = self.app.authenticate(&self.token).unwrap();
        let given = [("id".to_owned(), serde_json::json!("654321"))];
        let request = Request::pipe(ResourceName::new("point").unwrap(), given.into_iter().collect());
        let (rows, compiled) = workspace.query(&access, &request, None).await.unwrap();
        drop(rows);
        compiled.sql().as_str().to_owned()
    }

    /// What a raw connection to the same engine is made with, under the same limits.
    pub(crate) fn raw_arguments(&self) -> Vec<String> {
        let settings = &self.settings;
        vec![
            format!("--path={}", settings.directory.join("data").display()),
            format!("--config-file={}", settings.directory.join("config/config.xml").display()),
            format!("--max_threads={}", settings.max_threads),
            format!("--max_memory_usage={}", settings.max_memory_usage),
        ]
    }

    /// Of this process, in megabytes.
    pub(crate) fn memory(&self) -> f64 {
        let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|it| it.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or_default() / 1000.0
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
        self.app.close().await;
    }
}

pub(crate) fn library_path() -> PathBuf {
    if let Some(path) = env::var_os("BIRDHOUSE_LIBCHDB") {
        return path.into();
    }
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    library::installed(
        &cache.unwrap_or_else(|| Path::new(&env::var_os("HOME").unwrap()).join(".cache")).join("birdhouse"),
    )
}

/// A server that answers every request with the same small answer.
pub(crate) async fn nothing() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                _ = stream.set_nodelay(true);
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|it| it > 0) {
                    if line == "\r\n" {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                        if stream.get_mut().write_all(answer).await.is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            });
        }
    });
    port
}
