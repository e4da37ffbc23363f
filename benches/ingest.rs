//! How fast rows come in, against the engine's own ways, in one run: decoding alone, decoding and inserting,
//! Kafka, events over HTTP. A table on the terminal, and `target/bench-ingest.json`.
//!
//! In: nothing but the machine. Out: rows a second and what they are of the engine's own. `BENCH_ROWS` makes a
//! longer run, `BENCH_ONLY=kafka` (`decode`, `insert`, `views`, `kafka`, `http`) a part of it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is read on the terminal and may stop")]

mod broker;

use birdhouse::{
    app::{self, App, AppendMode, DeployOptions, FileFormat, NewConnection, Workspace},
    ddl,
    diagnostic::Source,
    engine::{Deduplication, Engine, EngineSettings, library, prepare_process},
    ingest::{
        Target,
        batch::Writer,
        decode::{Decoded, Decoder, Message, Schema},
    },
    name::{ColumnName, Physical, ResourceName},
    native::{Block, Buffer},
    observe::Sink,
    server,
    sql::{ColumnType, Sql, statement},
    store::{DataDirectory, Secret},
};
use broker::Broker;
use rand::{SeedableRng, rngs::StdRng};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const BLOCK: usize = 100_000;
const ADMIN: &str = "p.bench";
const CONNECTIONS: usize = 16;

#[derive(Debug, serde::Serialize)]
struct Line {
    name: String,
    value: f64,
    unit: &'static str,
    /// What the same is for something else, and the name of that.
    against: Option<(String, f64)>,
}

fn main() {
    prepare_process();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lines = runtime.block_on(measure());
    for it in &lines {
        let ratio = it.against.as_ref().map(|(name, other)| format!("  {:.2} of {name}", it.value / other));
        println!("{:<58} {:>12.2} {:<8}{}", it.name, it.value, it.unit, ratio.unwrap_or_default());
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-ingest.json");
    fs::write(&file, serde_json::to_string_pretty(&lines).unwrap()).unwrap();
}

/// Where the same events go: what the engine must compute and store decides how much decoding can gain.
struct Case {
    words: &'static str,
    target: Target,
    schema: Arc<Schema>,
    /// As Kafka's messages, with the message itself kept, or as objects.
    messages: bool,
}

struct Bench {
    workspace: Arc<Workspace>,
    engine: Engine,
    events: Vec<String>,
    schema: Arc<Schema>,
    target: Target,
    lines: Vec<Line>,
}

async fn measure() -> Vec<Line> {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let directory = DataDirectory::open(&data).unwrap();
    let engine_settings = EngineSettings::new(directory.engine_path(), library_path());
    let engine = Engine::open(engine_settings.clone(), Sink::default()).await.unwrap();
    let settings = app::Settings {
        data_directory: data,
        engine: engine_settings,
        admin_token: Some(Secret::new(ADMIN)),
        hold_at_most: Duration::from_secs(600),
        limits: Default::default(),
        workspace_limits: Default::default(),
        kafka: Default::default(),
        context: Default::default(),
        events: birdhouse::ingest::events::Tuning::default(),
        fetch: app::FetchRules { private: false, max_bytes: 1 << 30 },
    };
    let app = App::start(settings, directory, engine.clone(), Sink::default()).await.unwrap();
    let workspace = app.workspace().clone();
    let broker = Broker::start();
    let connection = NewConnection {
        name: "demo_audit_log_connection".to_owned(),
        bootstrap_servers: broker.as_ref().map_or("127.0.0.1:9".to_owned(), |it| it.address.clone()),
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
    let report =
        workspace.deploy(project(), DeployOptions { hold_consumers: true, ..Default::default() }).await.unwrap();
    assert!(report.changed, "{:?}", report.diagnostics);
    let companies = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("datasources/fixtures/companies.csv")).unwrap();
    let name = ResourceName::new("companies").unwrap();
    workspace.append(&name, FileFormat::Csv, companies.into(), AppendMode::Append).await.unwrap();
    let rows = env::var_os("BENCH_ROWS").and_then(|it| it.to_str()?.parse().ok()).unwrap_or(4 * BLOCK);
    let mut random = StdRng::seed_from_u64(7);
    let landing = target(&workspace, "kafka_audit_log");
    let mut bench = Bench {
        workspace,
        engine: engine.clone(),
        events: (0..rows).map(|it| broker::event(&mut random, it).1).collect(),
        schema: Arc::new(Schema::compile(&landing.datasource).unwrap()),
        target: landing,
        lines: Vec::new(),
    };
    let (schema, plain) = (bench.schema.clone(), target(&bench.workspace, "plain_events"));
    let columns_alone = Arc::new(Schema::compile(&plain.datasource).unwrap());
    let only = env::var_os("BENCH_ONLY");
    let wanted = |part: &str| only.as_ref().is_none_or(|it| it == part);
    if wanted("decode") {
        bench.decoding(&columns_alone, false);
        bench.decoding(&schema, true);
    }
    let mut alone = Case { words: "columns alone", target: plain, schema: columns_alone, messages: false };
    if wanted("insert") {
        bench.inserting(&alone).await;
    }
    if wanted("views") {
        alone.words = "columns alone, two views";
        alone.target = target(&bench.workspace, "viewed_events");
        bench.inserting(&alone).await;
    }
    let mut bare = Case {
        words: "with the message kept",
        target: bench.target.clone(),
        schema: bench.schema.clone(),
        messages: true,
    };
    let landing = bare.target.table.clone();
    bare.target.table = bench.workspace.namespace().table(&ResourceName::new("bare").unwrap());
    engine.command(&ddl::create_side_table(&bare.target.table, &landing)).await.unwrap();
    if wanted("insert") {
        bench.inserting(&bare).await;
    }
    let mut inserted = None;
    if wanted("views") || wanted("kafka") {
        let words = "with the message kept and two views";
        inserted = Some(bench.inserting(&Case { words, target: bench.target.clone(), ..bare }).await);
    }
    if let (Some(broker), Some(inserted), true) = (&broker, inserted, wanted("kafka")) {
        bench.kafka(broker, inserted).await;
    }
    if wanted("http") {
        bench.http(&app).await;
    }
    let lines = bench.lines;
    app.close().await;
    lines
}

impl Bench {
    fn add(&mut self, name: &str, value: f64, unit: &'static str, against: Option<(&str, f64)>) {
        let against = against.map(|(name, value)| (name.to_owned(), value));
        self.lines.push(Line { name: name.to_owned(), value, unit, against });
    }

    fn decode(schema: &Arc<Schema>, messages: bool, events: &[String]) -> Decoded {
        let mut decoder = Decoder::new(schema.clone());
        for (offset, event) in events.iter().enumerate() {
            if !messages {
                decoder.json(event.as_bytes(), String::new);
                continue;
            }
            decoder.message(&Message {
                value: Some(event.as_bytes()),
                key: Some(b"user@example.com"),
                topic: "audit_log_demo",
                partition: 0,
                offset: offset as i64,
                timestamp: 1_772_000_000_000,
                headers: &[],
            });
        }
        decoder.finish()
    }

    fn decoding(&mut self, schema: &Arc<Schema>, messages: bool) {
        let best = best(3, || {
            let start = Instant::now();
            for events in self.events.chunks(BLOCK) {
                assert_eq!(Bench::decode(schema, messages, events).rejected.len(), 0);
            }
            start.elapsed()
        });
        let name = if messages { "decoding one message" } else { "decoding one event" };
        self.add(name, best.as_secs_f64() * 1e6 / self.events.len() as f64, "µs", None);
    }

    /// Gives the rate of ours.
    async fn inserting(&mut self, case: &Case) -> f64 {
        let Case { words, target, schema, messages } = case;
        let messages = *messages;
        let own = self.engines_own(&target.table, messages).await;
        let blocks: Vec<Block> =
            self.events.chunks(BLOCK).flat_map(|it| Bench::decode(schema, messages, it).blocks).collect();
        let head = statement::insert_native(&target.table, blocks[0].columns.iter().map(|(name, _)| name));
        let (mut raw, mut ours) = (0f64, 0f64);
        for _ in 0..3 {
            self.truncate(&target.table).await;
            let start = Instant::now();
            for block in &blocks {
                self.engine.insert(&head, block.clone(), Deduplication::Off).await.unwrap();
            }
            raw = raw.max(self.rate(start));
            self.truncate(&target.table).await;
            let start = Instant::now();
            let writer = Writer::new(&self.engine, target, schema, &Sink::default());
            let (sender, mut decoded) = tokio::sync::mpsc::channel(1);
            let (schema, events) = (schema.clone(), std::mem::take(&mut self.events));
            let decoding = tokio::task::spawn_blocking(move || {
                for events in events.chunks(BLOCK) {
                    sender.blocking_send(Bench::decode(&schema, messages, events)).unwrap();
                }
                events
            });
            while let Some(decoded) = decoded.recv().await {
                writer.append(&decoded, None).await.unwrap();
            }
            self.events = decoding.await.unwrap();
            ours = ours.max(self.rate(start));
        }
        self.add(&format!("the engine's own path, {words}"), own, "rows/s", None);
        self.add(&format!("ready blocks, {words}"), raw, "rows/s", Some(("the engine's own path", own)));
        self.add(&format!("decode and insert, {words}"), ours, "rows/s", Some(("the engine's own path", own)));
        self.add(&format!("decode and insert, {words}"), ours, "rows/s", Some(("ready blocks", raw)));
        ours
    }

    /// JSON as strings into a table that keeps nothing, and a view that takes it apart.
    async fn engines_own(&self, table: &Physical, messages: bool) -> f64 {
        let name = |it: &str| self.workspace.namespace().table(&ResourceName::new(it).unwrap());
        let (raw, view) = (name("raw_json"), name("raw_json_view"));
        let mut sql = Sql::new("CREATE TABLE ");
        sql.table(&raw).push(" (json String) ENGINE = Null");
        self.engine.command(&sql).await.unwrap();
        let mut sql = Sql::new("CREATE MATERIALIZED VIEW ");
        let kept = "json AS value, 'audit_log_demo' AS topic, toInt16(0) AS partition, toInt64(0) AS offset, \
                    toDateTime(1772000000) AS timestamp, '' AS key, ";
        sql.table(&view).push(" TO ").table(table).push(" AS SELECT ").push(if messages { kept } else { "" }).push(
            "e.1 AS company_id, parseDateTime64BestEffort(e.2, 3) AS datetime, e.5.2 AS device_OS, e.5.1 AS device_browser, e.3 AS event, e.4.2 AS payload_author, e.4.1 AS \
             payload_entity_id FROM (SELECT json, JSONExtract(json, 'Tuple(company_id Int8, datetime String, event \
             String, payload Tuple(entity_id String, author String), device Tuple(browser String, OS String))') AS e \
             FROM ",
        );
        sql.table(&raw).push(")");
        self.engine.command(&sql).await.unwrap();
        let (column, text) = (ColumnName::new("json").unwrap(), ColumnType::parse("String").unwrap());
        let blocks: Vec<Block> = self
            .events
            .chunks(BLOCK)
            .map(|events| {
                let mut buffer = Buffer::new(&text);
                events.iter().for_each(|it| buffer.push(it.as_bytes()));
                Block::encode([(&column, &text, buffer)])
            })
            .collect();
        let head = statement::insert_native(&raw, [&column]);
        let mut best = 0f64;
        for _ in 0..3 {
            self.truncate(table).await;
            let start = Instant::now();
            for block in &blocks {
                self.engine.insert(&head, block.clone(), Deduplication::Off).await.unwrap();
            }
            best = best.max(self.rate(start));
        }
        for it in [view, raw] {
            self.engine.command(&ddl::drop_table(&it)).await.unwrap();
        }
        best
    }

    async fn kafka(&mut self, broker: &Broker, inserted: f64) {
        self.truncate(&self.target.table).await;
        let events = self.events.len();
        // The last rows of each partition wait for more to come, and a consumer takes a moment to find its topic:
        // neither says how fast rows come in when there are many.
        let all = 2 * events as u64;
        broker.fill("audit_log_demo", 4, all as usize).await;
        let bare = drain(broker, "audit_log_demo", 4, all as usize);
        self.add("Kafka, a bare client that throws messages away", bare, "rows/s", None);
        broker.rest();
        self.workspace.release_consumers().await.unwrap();
        let mut first = self.count().await;
        while first == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            first = self.count().await;
        }
        let start = Instant::now();
        let mut last = first;
        while last < all - (4 * BLOCK) as u64 {
            // Counting is work too.
            tokio::time::sleep(Duration::from_millis(25)).await;
            last = self.count().await;
        }
        let rate = (last - first) as f64 / start.elapsed().as_secs_f64();
        while self.count().await < all {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.add(
            "Kafka, intents written down, with the two views",
            rate,
            "rows/s",
            Some(("decode and insert", inserted)),
        );
    }

    /// One event a request.
    async fn http(&mut self, app: &App) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
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
        let event = self.events[0].clone();
        let blank = " ".repeat(event.len());
        // Nothing but blanks is no row: the server does all that it does but for the event.
        let bare = load(port, &blank).await;
        let durable = load(port, &event).await;
        let sync = disk();
        // Nobody is answered before a sync that began after they came.
        self.add("one sync of the disk, p50", sync * 1e3, "ms", None);
        self.add("requests of nothing, 16 connections", bare, "1/s", None);
        self.add("requests of one event, durable", durable, "1/s", Some(("requests of nothing", bare)));
        let name = |words: &str| format!("1,000 events/s, with the two views: {words}");
        let workspace = self.workspace.clone();
        let fresh = Source::new("endpoints/fresh.pipe", FRESH);
        let partial = DeployOptions { partial: true, hold_consumers: true, ..Default::default() };
        assert!(workspace.deploy(vec![fresh], partial).await.unwrap().changed);
        let (share, p50, p99) = tokio::task::spawn_blocking(move || steady(port, &event)).await.unwrap();
        self.add(&name("share of one core"), share * 100.0, "%", None);
        self.add(&name("sent to visible in an endpoint, p50"), p50.as_secs_f64(), "s", None);
        self.add(&name("sent to visible in an endpoint, p99"), p99.as_secs_f64(), "s", None);
        stop.cancel();
        serving.await.unwrap();
    }

    async fn truncate(&self, table: &Physical) {
        let mut sql = Sql::new("TRUNCATE TABLE ");
        sql.table(table);
        self.engine.command(&sql).await.unwrap();
    }

    async fn count(&self) -> u64 {
        let mut sql = Sql::new("SELECT count() AS n FROM ");
        sql.table(&self.target.table);
        let bytes = self.engine.command(&sql).await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["n"].as_u64().unwrap()
    }

    fn rate(&self, start: Instant) -> f64 {
        self.events.len() as f64 / start.elapsed().as_secs_f64()
    }
}

/// Requests a second, over connections that are kept.
async fn load(port: u16, body: &str) -> f64 {
    let request = format!(
        "POST /v0/events?name=kafka_audit_log HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let start = Instant::now();
    let end = start + Duration::from_secs(4);
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let request = request.clone();
            thread::spawn(move || client(port, &request, end))
        })
        .collect();
    let requests = tokio::task::spawn_blocking(|| clients.into_iter().map(|it| it.join().unwrap()).sum::<u64>());
    requests.await.unwrap() as f64 / start.elapsed().as_secs_f64()
}

/// Seconds that the disk of temporary files takes to make a request's bytes safe.
fn disk() -> f64 {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![0; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    let mut took: Vec<_> = (0..200)
        .map(|index| {
            let start = Instant::now();
            file.write_all_at(&[1; 300], index * 300).unwrap();
            file.sync_data().unwrap();
            start.elapsed().as_secs_f64()
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}

fn client(port: u16, request: &str, end: Instant) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut done, mut buffer) = (0, vec![0; 4096]);
    while Instant::now() < end {
        stream.write_all(request.as_bytes()).unwrap();
        let mut read = 0;
        // An answer of ours ends with its only brace.
        while read == 0 || buffer[read - 1] != b'}' {
            let more = stream.read(&mut buffer[read..]).unwrap();
            assert!(more > 0);
            read += more;
        }
        assert!(buffer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&buffer[..read]));
        done += 1;
    }
    done
}

const FRESH: &str = "NODE n\nSQL >\n    SELECT count() AS n FROM kafka_audit_log\n\nTYPE endpoint\n";
const STEADY: f64 = 1000.0;
const SENDERS: u32 = 4;

/// The server's share of a core under a steady load, with nobody asking; then how long events are on their way until
/// an endpoint counts them, asked every 10 ms.
fn steady(port: u16, event: &str) -> (f64, Duration, Duration) {
    let seconds = env::var_os("BENCH_SECONDS").and_then(|it| it.to_str()?.parse().ok()).unwrap_or(10);
    let body = format!(
        "POST /v0/events?name=kafka_audit_log HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n\
         Content-Length: {}\r\n\r\n{event}",
        event.len()
    );
    let read = format!("GET /v0/pipes/fresh.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n\r\n");
    let visible = |stream: &mut TcpStream| {
        let answer = ask(stream, &read);
        let count =
            answer.split("\"n\":").filter_map(|it| it.trim_start().split(['}', ',', '\n']).next()?.trim().parse().ok());
        count.last().unwrap_or_else(|| panic!("{answer}"))
    };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    settled(|| visible(&mut stream));
    let before = processor("/proc/self/stat");
    let own: f64 = send_steadily(port, &body, seconds).into_iter().map(|it| it.1).sum();
    let share = (processor("/proc/self/stat") - before - own) / seconds as f64;
    let base: u64 = settled(|| visible(&mut stream));
    let body = body.clone();
    let sending = thread::spawn(move || send_steadily(port, &body, seconds));
    let mut seen = Vec::new();
    let all = base + (STEADY * seconds as f64) as u64;
    let end = Instant::now() + Duration::from_secs(seconds + 60);
    loop {
        let count: u64 = visible(&mut stream);
        seen.push((Instant::now(), count));
        if count >= all || Instant::now() > end {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let mut sent: Vec<_> = sending.join().unwrap().into_iter().flat_map(|it| it.0).collect();
    sent.sort_unstable();
    let mut took: Vec<_> = sent
        .iter()
        .enumerate()
        .filter_map(|(index, at)| {
            let place = seen.partition_point(|(_, count)| *count <= base + index as u64);
            Some(seen.get(place)?.0 - *at)
        })
        .collect();
    assert_eq!(took.len(), sent.len(), "not all became visible");
    took.sort_unstable();
    (share, took[took.len() / 2], took[took.len() * 99 / 100])
}

/// The count once it no longer grows.
fn settled(mut count: impl FnMut() -> u64) -> u64 {
    let mut last = count();
    loop {
        thread::sleep(Duration::from_secs(2));
        let now = count();
        if now == last {
            return now;
        }
        last = now;
    }
}

/// By sender: when each event was begun to be sent, and the processor's seconds that it took.
fn send_steadily(port: u16, request: &str, seconds: u64) -> Vec<(Vec<Instant>, f64)> {
    let each = (STEADY * seconds as f64) as u32 / SENDERS;
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let request = request.to_owned();
            thread::spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.set_nodelay(true).unwrap();
                let begun = Instant::now();
                let sent = (0..each).map(|index| {
                    let due = begun + Duration::from_secs_f64(f64::from(index * SENDERS) / STEADY);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let at = Instant::now();
                    assert!(ask(&mut stream, &request).starts_with("HTTP/1.1 202"));
                    at
                });
                (sent.collect(), processor("/proc/thread-self/stat"))
            })
        })
        .collect();
    senders.into_iter().map(|it| it.join().unwrap()).collect()
}

/// One answer, head and body.
fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let more = stream.read(&mut buffer).unwrap();
        assert!(more > 0);
        answer.extend_from_slice(&buffer[..more]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|it| it.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if length.is_some_and(|it: usize| body.len() >= it) {
            return text.into_owned();
        }
    }
}

/// Seconds of the processor.
fn processor(stat: &str) -> f64 {
    let text = fs::read_to_string(stat).unwrap();
    let fields: Vec<_> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

fn best(times: usize, mut run: impl FnMut() -> Duration) -> Duration {
    (0..times).map(|_| run()).min().unwrap()
}

/// Messages a second that a bare client gets, from the first to the last of so many: it throws them away.
fn drain(broker: &Broker, topic: &str, partitions: i32, events: usize) -> f64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.address).set("group.id", "nobody").set("enable.auto.commit", "false");
    let client: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    (0..partitions).for_each(|it| list.add_partition_offset(topic, it, Offset::Beginning).unwrap());
    client.assign(&list).unwrap();
    // An error of the client is news: it goes on by itself.
    let next = || while client.poll(Duration::from_secs(60)).expect("a message").is_err() {};
    next();
    let start = Instant::now();
    (1..events).for_each(|_| next());
    events as f64 / start.elapsed().as_secs_f64()
}

fn target(workspace: &Workspace, name: &str) -> Target {
    let name = ResourceName::new(name).unwrap();
    Target {
        table: workspace.namespace().table(&name),
        quarantine: workspace.namespace().table(&name.quarantine()),
        datasource: workspace.project().datasource(name.as_str()).unwrap().clone(),
    }
}

/// The audit log, and a data source of the same events that keeps their columns and no more.
fn project() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["datasources", "pipes", "endpoints"] {
        for path in fs::read_dir(root.join(folder)).unwrap().map(|it| it.unwrap().path()).filter(|it| it.is_file()) {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            files.push(Source::new(name, fs::read_to_string(&path).unwrap()));
        }
    }
    let plain = "SCHEMA >\n    `company_id` Int8 `json:$.company_id`,\n    `datetime` DateTime64(3) `json:$.datetime`,\n    \
                 `device_OS` String `json:$.device.OS`,\n    `device_browser` String `json:$.device.browser`,\n    \
                 `event` String `json:$.event`,\n    `payload_author` String `json:$.payload.author`,\n    \
                 `payload_entity_id` String `json:$.payload.entity_id`\n\nENGINE \"MergeTree\"\n\
                 ENGINE_SORTING_KEY \"datetime\"\n";
    files.push(Source::new("datasources/plain_events.datasource", plain));
    files.push(Source::new("datasources/viewed_events.datasource", plain));
    // The project's views, over the same events without their messages.
    let copies: Vec<_> = files
        .iter()
        .filter(|it| ["mv.datasource", "mat_"].iter().any(|part| it.path.contains(part)))
        .map(|it| {
            let own = |text: &str| {
                text.replace("kafka_audit_log", "viewed_events")
                    .replace("enriched_events", "viewed_enriched")
                    .replace("events_per_min", "viewed_per_min")
            };
            Source::new(own(&it.path), own(&it.text))
        })
        .collect();
    assert_eq!(copies.len(), 4, "two data sources and two pipes");
    files.extend(copies);
    files
}

fn library_path() -> PathBuf {
    if let Some(path) = env::var_os("BIRDHOUSE_LIBCHDB") {
        return path.into();
    }
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(&env::var_os("HOME").unwrap()).join(".cache"));
    library::installed(&cache.join("birdhouse"))
}
