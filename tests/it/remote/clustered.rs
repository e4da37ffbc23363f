//! Serving over a cluster, as far as one server can tell: what it is told is written down, and what only a cluster
//! understands is taken off before it runs. `Replicated*` tables have no replicas here, and `Distributed` ones are
//! aliases of their only shard. So names, order, and who writes where are tried; how a cluster takes it is not.

use super::{BACK, Back, FRONT};
use crate::{
    cli::{Folder, Server},
    engine::engine,
};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    response::Response,
};
use birdhouse::engine::Verdict;
use regex::{Captures, Regex};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, task::block_in_place};

/// The cluster `birds`, of which there is one server.
#[derive(Clone)]
struct Birds {
    back: String,
    port: u16,
    shards: Arc<Mutex<u64>>,
    said: Arc<Mutex<Vec<String>>>,
    aliases: Arc<Mutex<BTreeSet<String>>>,
    http: reqwest::Client,
}

impl Birds {
    async fn before(back: &Back, shards: u64) -> Birds {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let birds = Birds {
            back: back.url(),
            port: listener.local_addr().unwrap().port(),
            shards: Arc::new(Mutex::new(shards)),
            said: Arc::default(),
            aliases: Arc::default(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        let router = Router::new().fallback(pass).with_state(birds.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        birds
    }

    /// A server whose engine this cluster is.
    fn front(&self, folder: &Folder, more: &[&str]) -> Result<Server, String> {
        let engine = format!("http://127.0.0.1:{}/?cluster=birds", self.port);
        let mut command = folder.command(&[&["serve", "--port", "0", "--engine", &engine], more].concat());
        command.env("BIRDHOUSE_ENGINE_USER", "engine").env("BIRDHOUSE_ENGINE_PASSWORD", BACK);
        command.env("BIRDHOUSE_ADMIN_TOKEN", FRONT).env("BIRDHOUSE_LOG_LEVEL", "warn");
        Server::begin(command)
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// What a server alone makes of a statement; nothing where it has done so already.
    fn alone(&self, sql: &str) -> Option<String> {
        let sql = sql.replace(" ON CLUSTER `birds`", "");
        let is = |pattern: &str| Regex::new(pattern).unwrap();
        let changed = is("^ALTER TABLE (`[^`]+`\\.`[^`]+`) (ADD|DROP) COLUMN");
        if let Some(found) = changed.captures(&sql)
            && self.aliases.lock().unwrap().contains(&found[1])
        {
            return None;
        }
        let over =
            "(?s)^CREATE TABLE IF NOT EXISTS (\\S+) AS .* ENGINE = Distributed\\('birds', ('[^']+'), ('[^']+'), .*\\)$";
        let sql = is(over).replace(&sql, |found: &Captures<'_>| {
            self.aliases.lock().unwrap().insert(found[1].to_owned());
            format!("CREATE TABLE IF NOT EXISTS {} ENGINE = Alias({}, {})", &found[1], &found[2], &found[3])
        });
        let replicated = "Replicated(\\w+)\\('/clickhouse/tables/\\{uuid\\}/\\{shard\\}', '\\{replica\\}'(, )?";
        let sql = is(replicated).replace(&sql, "$1(");
        let sql = sql.replace(", replicated_deduplication_window_seconds = 604800", "");
        let sql = sql.replace(" replicated_deduplication_window", " non_replicated_deduplication_window");
        let tables = "(SELECT database, name, uuid, if(engine = 'Alias', 'Distributed', engine) AS engine, \
                      if(s.engine = 'Alias', NULL, s.total_rows) AS total_rows, \
                      if(s.engine = 'Alias', NULL, s.total_bytes) AS total_bytes FROM system.tables AS s)";
        Some(sql.replace("cluster('birds', system.tables)", tables))
    }
}

async fn pass(State(birds): State<Birds>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.unwrap();
    let mut fields: Vec<(String, String)> =
        form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let answer = |text: String| Response::new(Body::from(text));
    // Only a cluster knows them, so the server behind is not told.
    let before = fields.len();
    fields.retain(|it| !it.0.starts_with("distributed_"));
    let knows = before - fields.len() == 2;
    match fields.iter().find(|it| it.0 == "query") {
        Some((_, insert)) => {
            birds.said.lock().unwrap().push(insert.clone());
            // Or else a shard may get its part when nobody waits for it any more.
            assert!(knows, "an insert waits for all shards");
        }
        None => {
            let sql = String::from_utf8(body.to_vec()).unwrap();
            birds.said.lock().unwrap().push(sql.clone());
            if sql.contains("FROM system.clusters") {
                let shards = birds.shards.lock().unwrap();
                return answer(format!("{{\"cluster\":\"birds\",\"shards\":\"{shards}\"}}\n"));
            }
            match birds.alone(&sql) {
                Some(sql) => body = Bytes::from(sql),
                None => return answer(String::new()),
            }
        }
    }
    let mut request = birds.http.post(&birds.back).query(&fields).body(body);
    for (name, value) in parts.headers.iter().filter(|it| it.0.as_str().starts_with("x-")) {
        request = request.header(name, value);
    }
    let reply = request.send().await.unwrap();
    let mut response = Response::builder().status(reply.status());
    for (name, value) in reply.headers().iter().filter(|it| it.0.as_str().starts_with("x-")) {
        response = response.header(name, value);
    }
    response.body(Body::from_stream(reply.bytes_stream())).unwrap()
}

const EVENTS: &str = "SCHEMA >\n    `id` UInt64 `json:$.id`,\n    `hour` DateTime `json:$.hour`\n\nENGINE \"MergeTree\"\n\
                      ENGINE_SORTING_KEY \"id\"\n";
const WIDER: &str = "SCHEMA >\n    `id` UInt64 `json:$.id`,\n    `hour` DateTime `json:$.hour`,\n    `note` String \
                     `json:$.note` DEFAULT 'none'\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"id\"\n";
const HOURS: &str = "SCHEMA >\n    `hour` DateTime,\n    `events` UInt64\n\nENGINE \"SummingMergeTree\"\n\
                     ENGINE_SORTING_KEY \"hour\"\n";
const TO_HOURS: &str = "NODE n\nSQL >\n    SELECT hour, count() AS events FROM events GROUP BY hour\n\nTYPE materialized\n\
                        DATASOURCE hours\n";
const COPIES: &str = "SCHEMA >\n    `id` UInt64\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"id\"\n";
const COPYING: &str = "NODE n\nSQL >\n    SELECT id FROM events WHERE id < 5\n\nTYPE copy\nTARGET_DATASOURCE copies\n\
                       COPY_MODE replace\n";

fn project() -> Folder {
    let folder = Folder::new();
    for (path, text) in [
        ("datasources/events.datasource", EVENTS),
        ("datasources/hours.datasource", HOURS),
        ("datasources/copies.datasource", COPIES),
        ("pipes/to_hours.pipe", TO_HOURS),
        ("pipes/copying.pipe", COPYING),
    ] {
        folder.file(path, text);
    }
    folder
}

/// Whoever asks the server.
struct Caller {
    http: reqwest::Client,
    host: String,
}

impl Caller {
    async fn post(&self, path: &str, body: &str) -> Value {
        let request = self.http.post(format!("{}{path}", self.host)).bearer_auth(FRONT);
        let kind = if body.contains('{') { "application/x-ndjson" } else { "application/x-www-form-urlencoded" };
        let reply = request.header("content-type", kind).body(body.to_owned()).send().await.unwrap();
        let (status, text) = (reply.status(), reply.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The same, and waits for the job.
    async fn job(&self, path: &str, body: &str) {
        let begun = self.post(path, body).await;
        let id = [&begun["job_id"], &begun["id"], &begun["job"]["job_id"]].into_iter().find_map(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("{path}: {begun}"));
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let job: Value = serde_json::from_str(&self.get(&format!("/v0/jobs/{id}")).await).unwrap();
            match job["status"].as_str() {
                Some("done") => return,
                Some("waiting" | "working") if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                _ => panic!("{path}: {job}"),
            }
        }
    }

    async fn get(&self, path: &str) -> String {
        let reply = self.http.get(format!("{}{path}", self.host)).bearer_auth(FRONT).send().await.unwrap();
        let (status, text) = (reply.status(), reply.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        text
    }

    async fn says(&self, sql: &str, wanted: &str) {
        let query = form_urlencoded::byte_serialize(format!("{sql} FORMAT CSV").as_bytes()).collect::<String>();
        assert_eq!(self.get(&format!("/v0/sql?q={query}")).await.trim(), wanted, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_lives_on_three_shards() {
    live(3, &["--shard-by", "events=hour"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_lives_on_replicas_of_one_shard() {
    live(1, &[]).await;
}

async fn live(shards: u64, more: &[&str]) {
    let back = block_in_place(Back::start);
    let birds = Birds::before(&back, shards).await;
    let folder = Folder::new();
    let front = block_in_place(|| birds.front(&folder, more)).unwrap();
    let (project, host) = (project(), front.host());
    let push = || block_in_place(|| project.ok(&["push", "--host", &host, "--token", FRONT]));
    push();

    // What was planned is what was said.
    let said = birds.said();
    let made = |it: &&String| it.starts_with("CREATE DATABASE") && it.contains("ON CLUSTER");
    let database = said.iter().find(made).expect("there is a database").split('`').nth(1).unwrap();
    let number = shards.to_string();
    let plan = [&["plan", "--cluster", "birds", "--shards", &number, "--database", database], more].concat();
    let planned = project.ok(&plan);
    let planned: Vec<_> = planned.split(";\n").map(|it| it.lines().filter(|it| !it.starts_with("--"))).collect();
    let planned: Vec<String> =
        planned.into_iter().map(|it| it.collect::<Vec<_>>().join("\n").trim().to_owned()).collect();
    let planned: Vec<_> = planned.into_iter().filter(|it| !it.is_empty()).collect();
    assert_eq!(planned.len(), if shards > 1 { 14 } else { 8 }, "{planned:#?}");
    let mut rest = said.iter();
    for statement in &planned {
        assert!(rest.any(|it| it.trim() == statement), "in its turn: {statement}\n{said:#?}");
    }

    let caller = Caller { http: birds.http.clone(), host: host.clone() };
    let row = |id: u64| format!("{{\"id\":{id},\"hour\":\"2026-01-01 0{}:00:00\",\"note\":\"n\"}}\n", id % 3);
    let rows = |ids: std::ops::Range<u64>| ids.map(row).collect::<String>();
    caller.post("/v0/events?name=events&wait=true", &rows(0..10)).await;
    caller.says("SELECT count(), sum(id) FROM events", "10,45").await;
    caller
        .says(
            "SELECT hour, sum(events) AS n FROM hours GROUP BY hour ORDER BY hour LIMIT 1",
            "\"2026-01-01 00:00:00\",4",
        )
        .await;
    let statistics = caller.get("/v0/datasources/events").await;
    let statistics: Value = serde_json::from_str(&statistics).unwrap();
    assert_eq!(statistics["statistics"]["row_count"], 10, "{statistics}");

    project.file("datasources/events.datasource", WIDER);
    push();
    caller.post("/v0/events?name=events&wait=true", &rows(10..12)).await;
    caller.says("SELECT note, count() FROM events GROUP BY note ORDER BY note LIMIT 1", "\"n\",2").await;
    caller.job("/v0/datasources/events/delete", "delete_condition=id%20%3E%3D%2011").await;
    caller.says("SELECT count(), max(id) FROM events", "11,10").await;
    let part = "/v1/datasources/events/replace?format=ndjson&replace_condition=id%20%3C%203";
    caller.job(part, &format!("{}{}", rows(1..2), rows(2..3))).await;
    caller.says("SELECT count(), sum(id) FROM events", "10,55").await;
    caller.job("/v0/pipes/copying/copy", "").await;
    caller.job("/v0/pipes/copying/copy", "").await;
    caller.says("SELECT count(), sum(id) FROM copies", "4,10").await;
    caller.job("/v0/pipes/to_hours/nodes/n/population?truncate=true", "").await;
    caller.says("SELECT sum(events) FROM hours", "10").await;
    caller.job("/v1/datasources/events/replace?format=ndjson", &rows(0..4)).await;
    caller.says("SELECT count(), sum(id) FROM events", "4,6").await;
    caller.post("/v0/datasources/copies/truncate", "").await;
    caller.says("SELECT count() FROM copies", "0").await;
    block_in_place(|| assert_eq!(front.stop(), Some(0)));

    // All is there for the next one; a cluster of another size is another.
    *birds.shards.lock().unwrap() = shards + 1;
    let words = block_in_place(|| birds.front(&folder, more)).map(drop).unwrap_err();
    assert!(words.contains(&format!("of {shards} shards, and this is `birds` of {}", shards + 1)), "{words}");
    *birds.shards.lock().unwrap() = shards;
    let front = block_in_place(|| birds.front(&folder, more)).unwrap();
    let caller = Caller { host: front.host(), ..caller };
    caller.says("SELECT count(), sum(id) FROM events", "4,6").await;
    block_in_place(|| assert_eq!(front.stop(), Some(0)));

    // Every server hears of every table, but for those that are tried out or hold rows on their way.
    let told = Regex::new("^(CREATE|ALTER|DROP|TRUNCATE|EXCHANGE|RENAME) ").unwrap();
    for sql in birds.said().iter().filter(|it| told.is_match(it)) {
        if sql.contains(&format!("`{database}`")) && !sql.contains("ENGINE = Memory") {
            assert!(sql.contains(" ON CLUSTER `birds`"), "{sql}");
            assert_eq!(engine().await.classify(sql).await, Ok(Verdict::Other), "{sql}");
        }
    }
    for sql in birds.said().iter().filter(|it| it.contains("cluster('birds'")) {
        assert_eq!(engine().await.classify(sql).await, Ok(Verdict::Read), "{sql}");
    }
    block_in_place(|| assert_eq!(back.server.stop(), Some(0)));
}

/// What another workspace shares is shown on every server, and no more on any of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_is_shown_on_every_server() {
    let back = block_in_place(Back::start);
    let birds = Birds::before(&back, 3).await;
    let folder = Folder::new();
    let front = block_in_place(|| birds.front(&folder, &[])).unwrap();
    let (project, host) = (project(), front.host());
    block_in_place(|| project.ok(&["push", "--host", &host, "--token", FRONT]));
    let caller = Caller { http: birds.http.clone(), host };
    caller.post("/v0/events?name=events&wait=true", "{\"id\":7,\"hour\":\"2026-01-01 00:00:00\"}\n").await;
    let farm = caller.post("/v0/workspaces", "name=farm").await;
    let key = farm["token"].as_str().unwrap().to_owned();
    let count = "/v0/sql?q=SELECT%20count()%20FROM%20birdhouse.events%20FORMAT%20CSV";
    let reads = async || birds.http.get(format!("{}{count}", caller.host)).bearer_auth(&key).send().await.unwrap();

    caller.post("/v0/datasources/events/share", "destination_workspace_name=farm").await;
    assert_eq!(reads().await.text().await.unwrap().trim(), "1");
    // A new column is shown too.
    project.file("datasources/events.datasource", WIDER);
    block_in_place(|| project.ok(&["push", "--host", &caller.host, "--token", FRONT]));
    let form = "destination_workspace_name=farm";
    let request = birds.http.delete(format!("{}/v0/datasources/events/share", caller.host)).bearer_auth(FRONT);
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    assert!(request.send().await.unwrap().status().is_success());
    assert!(!reads().await.status().is_success());
    block_in_place(|| assert_eq!(front.stop(), Some(0)));

    let said = birds.said();
    let about = |head: &str| {
        let found = said.iter().filter(|it| it.starts_with(head) && it.contains("`birdhouse.events"));
        found.cloned().collect::<Vec<_>>()
    };
    let (shown, hidden) = (about("CREATE OR REPLACE VIEW"), about("DROP TABLE"));
    assert_eq!((shown.len(), hidden.len()), (2, 2), "{said:#?}");
    assert!(shown[1].contains("`note`"), "{shown:?}");
    for sql in shown.iter().chain(&hidden) {
        assert!(sql.contains(" ON CLUSTER `birds`"), "{sql}");
        assert_eq!(engine().await.classify(sql).await, Ok(Verdict::Other), "{sql}");
    }
    block_in_place(|| assert_eq!(back.server.stop(), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_none_is_refused() {
    let back = block_in_place(Back::start);
    let birds = Birds::before(&back, 3).await;
    let folder = Folder::new();
    let refused = |engine: &str, more: &[&str]| {
        let mut command = folder.command(&[&["serve", "--port", "0", "--engine", engine], more].concat());
        command.env("BIRDHOUSE_ENGINE_USER", "engine").env("BIRDHOUSE_ENGINE_PASSWORD", BACK);
        let output = block_in_place(|| command.output()).unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let engine = format!("http://127.0.0.1:{}/?cluster=fish", birds.port);
    assert!(refused(&engine, &[]).contains("knows no cluster `fish` in its remote_servers; it knows `birds`"));
    let engine = format!("http://127.0.0.1:{}/", birds.port);
    assert!(refused(&engine, &["--shard-by", "a=b"]).contains("--shard-by is for a cluster"));
    let engine = format!("http://127.0.0.1:{}/?cluster=birds", birds.port);
    assert!(refused(&engine, &["--shard-by", "a"]).contains("DATASOURCE=COLUMNS is wanted"));
    // A column that is not there is said by the push that describes the data source.
    let front = block_in_place(|| birds.front(&folder, &["--shard-by", "events=nothing"])).unwrap();
    let project = project();
    let mut command = project.command(&["push", "--host", &front.host(), "--token", FRONT]);
    let output = block_in_place(|| command.output()).unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && words.contains("the data source `events` has no column `nothing`"), "{words}");
}
