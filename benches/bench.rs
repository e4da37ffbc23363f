//! What birdhouse costs over the raw engine, measured in one run: a table on the terminal, and
//! `target/bench.json` with a list of `{name, value, unit, against, ratio}`.
//!
//! `against` is the same work done by the engine alone in this process, through its C interface, with the SQL
//! and the limits that birdhouse runs with; `ratio` is value / against. HTTP clients, server and engine share
//! the machine. `BENCH_EVENTS` and `BENCH_SECONDS` make a longer run.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is read on the terminal and may stop")]

mod broker;
mod check;
mod compile;
mod door;
mod http;
mod process;
mod raw;
mod templates;

use birdhouse::{
    app::{self, App, AppendMode, Caller, DeployOptions, FileFormat, NewConnection, Workspace},
    diagnostic::Source,
    engine::{Engine, EngineSettings, library, prepare_process},
    name::ResourceName,
    observe::Sink,
    query::Request,
    server,
    store::DataDirectory,
};
use broker::Broker;
use http::Figures;
use raw::Raw;
use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    net::TcpStream as TcpConnection,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A line of the table.
#[derive(Debug, serde::Serialize)]
struct Line {
    name: String,
    value: f64,
    unit: &'static str,
    against: Option<f64>,
    ratio: Option<f64>,
}

#[derive(Default)]
struct Table(Vec<Line>);

const CONNECTIONS: [usize; 3] = [1, 4, 16];

const ENDPOINTS: [(&str, &[(&str, &str)]); 4] = [
    ("api_audit_log", &[("company_id", "1")]),
    ("api_totals", &[]),
    ("api_count_per_type", &[]),
    ("api_ui_filters", &[("filter", "events")]),
];

fn main() {
    prepare_process();
    if let Some(folder) = env::var_os("BENCH_RAW_START") {
        return start_raw(Path::new(&folder));
    }
    let mut table = Table::default();
    if env::var_os("BENCH_DOOR").is_some() {
        tokio::runtime::Runtime::new().unwrap().block_on(door_alone(&mut table));
        return table.print();
    }
    if env::var_os("BENCH_PROCESS").is_some() {
        tokio::runtime::Runtime::new().unwrap().block_on(process_alone(&mut table));
        return table.print();
    }
    // Here `against` is the original renderer of templates, on the same inputs.
    for (name, value, against) in templates::figures() {
        table.add(name, value, "µs", against);
    }
    for (name, value) in compile::figures() {
        table.add(name, value, "µs", None);
    }
    if env::var_os("BENCH_TEMPLATES").is_some() {
        return table.print();
    }
    starts(&mut table);
    let (ours, theirs) = check::measure();
    table.add("check --no-engine, 1,000 datafiles, against tb check 6.5.5", ours, "ms", theirs);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(measure(&mut table));
    table.print();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.json");
    fs::write(&file, serde_json::to_string_pretty(&table.0).unwrap()).unwrap();
    println!("\nwritten to {}", file.display());
}

impl Table {
    fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str, against: Option<f64>) {
        let ratio = against.map(|it| value / it);
        let line = Line { name: name.into(), value, unit, against, ratio };
        eprintln_line(&line);
        self.0.push(line);
    }

    fn print(&self) {
        println!("\n{:<58} {:>12} {:>12} {:>7}  unit", "", "birdhouse", "raw engine", "ratio");
        for it in &self.0 {
            let against = it.against.map_or(String::new(), |it| format!("{it:.2}"));
            let ratio = it.ratio.map_or(String::new(), |it| format!("{it:.2}"));
            println!("{:<58} {:>12.2} {against:>12} {ratio:>7}  {}", it.name, it.value, it.unit);
        }
    }
}

/// One line while the rest is still being measured.
fn eprintln_line(line: &Line) {
    println!("{}: {:.2} {} (raw engine: {:?})", line.name, line.value, line.unit, line.against);
}

fn number(name: &str, default: usize) -> usize {
    env::var_os(name).and_then(|it| it.to_str()?.parse().ok()).unwrap_or(default)
}

fn library_path() -> PathBuf {
    if let Some(path) = env::var_os("BIRDHOUSE_LIBCHDB") {
        return path.into();
    }
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    library::installed(
        &cache.unwrap_or_else(|| Path::new(&env::var_os("HOME").unwrap()).join(".cache")).join("birdhouse"),
    )
}

/// From the start of a process to its first answer, and its memory then: `birdhouse serve` against a program
/// that opens the engine and asks `SELECT 1`. The best of three, for the files' pages must be in memory.
fn starts(table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let served: Vec<_> = (0..3).map(|_| start_served(&folder.path().join("served"))).collect();
    let raw: Vec<_> = (0..3)
        .map(|_| {
            let start = Instant::now();
            let output = Command::new(env::current_exe().unwrap())
                .env("BENCH_RAW_START", folder.path().join("raw"))
                .output()
                .unwrap();
            let seconds = start.elapsed().as_secs_f64();
            (seconds, String::from_utf8(output.stdout).unwrap().trim().parse::<f64>().unwrap())
        })
        .collect();
    let least = |it: &[(f64, f64)]| it.iter().map(|it| it.0).fold(f64::MAX, f64::min) * 1000.0;
    table.add("start-up, to the first answer", least(&served), "ms", Some(least(&raw)));
    table.add("memory after the start", served[2].1, "MB", Some(raw[2].1));
}

fn start_served(folder: &Path) -> (f64, f64) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_birdhouse"))
        .args(["serve", "--port", &port.to_string(), "--data-dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let healthy = || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.starts_with("HTTP/1.1 200").then_some(())
    };
    while healthy().is_none() {
        assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "no server");
        thread::sleep(Duration::from_millis(2));
    }
    let seconds = start.elapsed().as_secs_f64();
    let memory = memory_of(child.id(), "VmRSS");
    _ = Command::new("kill").arg(child.id().to_string()).status();
    child.wait().unwrap();
    (seconds, memory)
}

/// The other process of [`starts`].
fn start_raw(folder: &Path) {
    let mut connection = Raw::open(&library_path()).connect(&[format!("--path={}", folder.display())]);
    assert_eq!(connection.query("SELECT 1", "TSV"), b"1\n");
    println!("{}", memory_of(std::process::id(), "VmRSS"));
}

/// In megabytes.
fn memory_of(process: u32, what: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.and_then(|it| it.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or_default() / 1000.0
}

/// The ClickHouse interface without all the rest: `BENCH_DOOR=1`.
async fn door_alone(table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open(&folder.path().join("data")).unwrap();
    let settings = EngineSettings::new(directory.engine_path(), library_path());
    let engine = Engine::open(settings.clone(), Sink::default()).await.unwrap();
    let app = App::start(app_settings(folder.path(), &settings), directory, engine, Sink::default()).await.unwrap();
    let files = project().into_iter().filter(|it| it.path.ends_with("companies.datasource")).collect();
    let report = app.workspace().deploy(files, DeployOptions::default()).await.unwrap();
    assert!(report.changed, "{:?}", report.diagnostics);
    door::measure(table, &app, Raw::open(&library_path()), &settings).await;
    app.close().await;
}

/// The engine in a process of its own without all the rest: `BENCH_PROCESS=1`.
async fn process_alone(table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let settings = EngineSettings::new(folder.path().join("engine"), library_path());
    let engine = Engine::open(settings, Sink::default()).await.unwrap();
    process::measure(table, &engine, folder.path()).await;
    engine.close().await;
}

fn app_settings(folder: &Path, settings: &EngineSettings) -> app::Settings {
    app::Settings {
        data_directory: folder.join("data"),
        engine: settings.clone(),
        admin_token: None,
        hold_at_most: Duration::from_secs(600),
        limits: Default::default(),
        workspace_limits: Default::default(),
        kafka: Default::default(),
        context: Default::default(),
        events: birdhouse::ingest::events::Tuning::default(),
        fetch: app::FetchRules { private: false, max_bytes: 1 << 30 },
    }
}

async fn measure(table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let events = number("BENCH_EVENTS", 400_000);
    let directory = DataDirectory::open(&folder.path().join("data")).unwrap();
    let settings = EngineSettings::new(directory.engine_path(), library_path());
    let engine = Engine::open(settings.clone(), Sink::default()).await.unwrap();
    let app_settings = app_settings(folder.path(), &settings);
    let app = App::start(app_settings, directory, engine, Sink::default()).await.unwrap();
    let workspace = app.workspace().clone();
    let broker = Broker::start();
    let raw = Raw::open(&library_path());
    let Some(broker) = &broker else {
        println!("no broker in .venv (`make setup` installs it): Kafka and the endpoints over its events are left out");
        return;
    };
    broker.fill("audit_log_demo", 4, events).await;
    broker.rest();
    ingestion(table, &workspace, broker, events, raw, &settings).await;
    endpoints(table, &app, raw, &settings).await;
    door::measure(table, &app, raw, &settings).await;
    process::measure(table, app.engine(), folder.path()).await;
    table.add("memory at most, while measuring", memory_of(std::process::id(), "VmHWM"), "MB", None);
    app.close().await;
}

/// Events from Kafka into the landing table and both views, against blocks that are ready in memory, inserted
/// into the same tables by the engine alone.
async fn ingestion(
    table: &mut Table,
    workspace: &Arc<Workspace>,
    broker: &Broker,
    events: usize,
    raw: Raw,
    settings: &EngineSettings,
) {
    let connection = NewConnection {
        name: "demo_audit_log_connection".to_owned(),
        bootstrap_servers: broker.address.clone(),
        security_protocol: "PLAINTEXT".to_owned(),
        sasl_mechanism: "PLAIN".to_owned(),
        key: None,
        secret: None,
        ssl_ca_pem: None,
        schema_registry_url: None,
        oauth_token_url: None,
        oauth_scope: None,
    };
    workspace.create_connection(connection).await.unwrap();
    let options = DeployOptions { hold_consumers: true, ..DeployOptions::default() };
    let report = workspace.deploy(project(), options).await.unwrap();
    assert!(report.changed, "{:?}", report.diagnostics);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let companies = fs::read(root.join("datasources/fixtures/companies.csv")).unwrap();
    let name = ResourceName::new("companies").unwrap();
    workspace.append(&name, FileFormat::Csv, companies.into(), AppendMode::Replace).await.unwrap();
    let start = Instant::now();
    workspace.release_consumers().await.unwrap();
    let count = async || {
        let statistics = workspace.statistics().await.unwrap();
        statistics.iter().find(|(name, _)| name.as_str() == "enriched_events_mv").map_or(0, |(_, it)| it.rows)
    };
    while count().await < events as u64 {
        assert!(start.elapsed() < Duration::from_secs(300), "{} of {events} events arrived", count().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let kafka = events as f64 / start.elapsed().as_secs_f64();
    let database = workspace.namespace().database().to_owned();
    let arguments = arguments(settings, &[]);
    let insert = move || {
        let mut connection = raw.connect(&arguments);
        let landing = format!("`{database}`.`kafka_audit_log`");
        let block =
            |at: usize| format!("SELECT * FROM {landing} ORDER BY partition, offset LIMIT 65536 OFFSET {}", at * 65536);
        let blocks: Vec<_> = (0..events.div_ceil(65536)).map(|at| connection.query(&block(at), "Native")).collect();
        for table in ["kafka_audit_log", "enriched_events_mv", "events_per_min_mv"] {
            connection.query(&format!("TRUNCATE TABLE `{database}`.`{table}`"), "TSV");
        }
        let start = Instant::now();
        let head = format!("INSERT INTO {landing} SETTINGS async_insert = 0, deduplicate_insert = 'disable'");
        let written: u64 = blocks.iter().map(|it| connection.insert(&head, it)).sum();
        assert!(written >= events as u64);
        events as f64 / start.elapsed().as_secs_f64()
    };
    let inserted = tokio::task::spawn_blocking(insert).await.unwrap();
    table.add(format!("Kafka ingestion with two views, {events} events"), kafka, "rows/s", Some(inserted));
}

/// This repository's own project.
fn project() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    for folder in ["datasources", "pipes", "endpoints"] {
        for entry in fs::read_dir(root.join(folder)).unwrap().flatten().filter(|it| it.path().is_file()) {
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            files.insert(name, fs::read_to_string(entry.path()).unwrap());
        }
    }
    files.into_iter().map(|(path, text)| Source::new(path, text)).collect()
}

/// What a raw connection to the open engine is made with.
fn arguments(settings: &EngineSettings, more: &[String]) -> Vec<String> {
    let mut res = vec![
        format!("--path={}", settings.directory.join("data").display()),
        format!("--config-file={}", settings.directory.join("config/config.xml").display()),
    ];
    res.extend_from_slice(more);
    res
}

/// Each endpoint over HTTP, against its compiled SQL on as many raw connections.
async fn endpoints(table: &mut Table, app: &App, raw: Raw, settings: &EngineSettings) {
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
    let Caller { access, workspace, .. } = app.authenticate(&token).unwrap();
    let seconds = Duration::from_secs(number("BENCH_SECONDS", 3) as u64);
    for (endpoint, parameters) in ENDPOINTS {
        let given = parameters.iter().map(|(name, value)| ((*name).to_owned(), serde_json::json!(value)));
        let request = Request::pipe(ResourceName::new(endpoint).unwrap(), given.collect());
        let (rows, compiled) = workspace.query(&access, &request, None).await.unwrap();
        drop(rows);
        let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let target = format!("/v0/pipes/{endpoint}.json?{}", query.join("&"));
        for connections in CONNECTIONS {
            // A moment of each first, so that nothing is cold.
            http::load(port, &target, &token, connections, seconds / 6).await;
            let served = http::load(port, &target, &token, connections, seconds).await;
            let sql = compiled.sql().as_str().to_owned();
            let limits = [
                format!("--max_threads={}", settings.max_threads),
                format!("--max_memory_usage={}", settings.max_memory_usage),
                "--readonly=1".to_owned(),
            ];
            let arguments = arguments(settings, &limits);
            let run = move || raw_load(raw, &arguments, &sql, connections, seconds);
            let alone = tokio::task::spawn_blocking(run).await.unwrap();
            let name = |what: &str| format!("{endpoint}, {connections} connections: {what}");
            let ms = |it: Duration| it.as_secs_f64() * 1000.0;
            table.add(name("requests"), served.per_second, "1/s", Some(alone.per_second));
            table.add(name("p50"), ms(served.p50), "ms", Some(ms(alone.p50)));
            table.add(name("p99"), ms(served.p99), "ms", Some(ms(alone.p99)));
        }
    }
    let arguments = arguments(settings, &[]);
    let left = tokio::task::spawn_blocking(move || abandoned(raw, &arguments, port, &token)).await.unwrap();
    for (name, time) in [("p50", left.p50), ("p99", left.p99)] {
        table.add(format!("a query's end after its caller has left: {name}"), time.as_secs_f64() * 1000.0, "ms", None);
    }
    stop.cancel();
    serving.await.unwrap();
}

/// How long queries over each endpoint work on when their callers leave, as the engine's list of queries shows it:
/// asking for that list is part of the time.
fn abandoned(raw: Raw, arguments: &[String], port: u16, token: &str) -> Figures {
    const ROUNDS: usize = 50;
    let mut engine = raw.connect(arguments);
    let begun = Instant::now();
    let mut times = Vec::new();
    for (endpoint, parameters) in ENDPOINTS {
        let query: String = parameters.iter().map(|(name, value)| format!("{name}={value}&")).collect();
        for round in 0..ROUNDS {
            let mark = format!("{endpoint}_{round}_left");
            let running = format!(
                "SELECT countIf(position(query, concat('{endpoint}_', '{round}_left')) > 0) FROM system.processes"
            );
            let q = format!(
                "SELECT count() FROM _, numbers(100000000000) AS x WHERE NOT ignore('{mark}', sipHash64(x.number))"
            );
            let q: String = form_urlencoded::byte_serialize(q.as_bytes()).collect();
            let request = format!(
                "GET /v0/pipes/{endpoint}.json?{query}q={q} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            let mut stream = TcpConnection::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let asked = Instant::now();
            while engine.query(&running, "TSV") == b"0\n" {
                assert!(asked.elapsed() < Duration::from_secs(20), "{endpoint} has no rows, or never ran");
            }
            let left = Instant::now();
            drop(stream);
            while engine.query(&running, "TSV") != b"0\n" {}
            times.push(left.elapsed());
        }
    }
    Figures::of(times, begun.elapsed())
}

fn raw_load(raw: Raw, arguments: &[String], sql: &str, connections: usize, time: Duration) -> Figures {
    // Connected and warm first; then the clock runs for all of them.
    let ready = Barrier::new(connections);
    let ran: Vec<(Vec<Duration>, Duration)> = thread::scope(|scope| {
        let one = || {
            let mut connection = raw.connect(arguments);
            connection.query(sql, "JSON");
            ready.wait();
            let begun = Instant::now();
            let mut times = Vec::new();
            while times.is_empty() || begun.elapsed() < time {
                let start = Instant::now();
                connection.query(sql, "JSON");
                times.push(start.elapsed());
            }
            (times, begun.elapsed())
        };
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let elapsed = ran.iter().map(|(_, elapsed)| *elapsed).max().unwrap_or_default();
    Figures::of(ran.into_iter().flat_map(|(times, _)| times).collect(), elapsed)
}
