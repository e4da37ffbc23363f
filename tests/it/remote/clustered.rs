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
    /// The shard that takes no rows.
    down: Arc<Mutex<Option<u64>>>,
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
            down: Arc::default(),
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
        self.front_with(folder, more, "")
    }

    /// One that dies where it is said.
    fn front_with(&self, folder: &Folder, more: &[&str], failpoint: &str) -> Result<Server, String> {
        let engine = format!("http://127.0.0.1:{}/?cluster=birds", self.port);
        let mut command = folder.command(&[&["serve", "--port", "0", "--engine", &engine], more].concat());
        command.env("BIRDHOUSE_ENGINE_USER", "engine").env("BIRDHOUSE_ENGINE_PASSWORD", BACK);
        command.env("BIRDHOUSE_ADMIN_TOKEN", FRONT).env("BIRDHOUSE_LOG_LEVEL", "warn");
        if !failpoint.is_empty() {
            command.env("BIRDHOUSE_FAILPOINT", failpoint);
        }
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
        // All rows are those of the first shard.
        let one = "cluster\\('birds', '([^']+)', '([^']+)', `:slot`\\) WHERE _shard_num = (\\d+)";
        let sql = is(one).replace(&sql, "`$1`.`$2` WHERE $3 = 1");
        let any = "cluster\\('birds', '([^']+)', '([^']+)'\\)";
        let sql = is(any).replace(&sql, "`$1`.`$2`");
        let chosen = ", insert_shard_id = \\d+(, (force_)?optimize_skip_unused_shards(_nesting)? = \\d)+";
        let sql = is(chosen).replace(&sql, "");
        let sql = sql.replace("getMacro('shard')", "'bird-1'");
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
    fields.retain(|it| !it.0.starts_with("distributed_") && it.0 != "parallel_distributed_insert_select");
    let knows = before - fields.len() == 3;
    match fields.iter().find(|it| it.0 == "query") {
        Some((_, insert)) => {
            birds.said.lock().unwrap().push(insert.clone());
            // Or else a shard may get its part when nobody waits for it any more.
            assert!(knows, "an insert waits for all shards");
        }
        None => {
            let sql = String::from_utf8(body.to_vec()).unwrap();
            birds.said.lock().unwrap().push(sql.clone());
            let shards = *birds.shards.lock().unwrap();
            let each = |row: &dyn Fn(u64) -> String| answer((1..=shards).map(row).collect());
            if sql.contains("shard_weight") {
                return each(&|it| format!("{{\"shard\":{it},\"weight\":{it}}}\n"));
            }
            if sql.contains("system.macros") {
                return each(&|it| format!("{{\"shard\":{it},\"value\":\"bird-{it}\"}}\n"));
            }
            if sql.contains("FROM system.clusters") {
                return answer(format!("{{\"cluster\":\"birds\",\"shards\":\"{shards}\"}}\n"));
            }
            let down = *birds.down.lock().unwrap();
            if down.is_some_and(|it| sql.contains(&format!("insert_shard_id = {it},"))) {
                let words = "Code: 279. DB::Exception: All connection tries failed. (ALL_CONNECTION_TRIES_FAILED)";
                return Response::builder().status(500).body(Body::from(words)).unwrap();
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
        let job = self.ended(path, body).await;
        assert_eq!(job["status"], "done", "{path}: {job}");
    }

    /// The same, and how it ends.
    async fn ended(&self, path: &str, body: &str) -> Value {
        let begun = self.post(path, body).await;
        let id = [&begun["job_id"], &begun["id"], &begun["job"]["job_id"]].into_iter().find_map(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("{path}: {begun}"));
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let job: Value = serde_json::from_str(&self.get(&format!("/v0/jobs/{id}")).await).unwrap();
            match job["status"].as_str() {
                Some("done" | "error") => return job,
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
    for sql in birds.said().iter().filter(|it| it.starts_with("SELECT") && it.contains("cluster('birds'")) {
        assert_eq!(engine().await.classify(sql).await, Ok(Verdict::Read), "{sql}");
    }
    block_in_place(|| assert_eq!(back.server.stop(), Some(0)));
}

/// A populate over shards: the rows of each go in by themselves, and what fails goes on behind those that are in.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_filled_shard_by_shard() {
    let back = block_in_place(Back::start);
    let birds = Birds::before(&back, 3).await;
    let folder = Folder::new();
    let front = block_in_place(|| birds.front(&folder, &[])).unwrap();
    let (project, host) = (project(), front.host());
    block_in_place(|| project.ok(&["push", "--host", &host, "--token", FRONT]));
    let caller = Caller { http: birds.http.clone(), host };
    let row = |id: u64| format!("{{\"id\":{id},\"hour\":\"2026-01-01 0{}:00:00\"}}\n", id % 3);
    caller.post("/v0/events?name=events&wait=true", &(0..10).map(row).collect::<String>()).await;
    let since = |before: usize| {
        let statements = birds.said().split_off(before);
        let is_of_it = |it: &&String| {
            ["INSERT INTO", "TRUNCATE", "ALTER", "CREATE OR", "DROP"]
                .iter()
                .any(|head| it.starts_with(head) && !it.contains("tinybird."))
        };
        statements.iter().filter(is_of_it).cloned().collect::<Vec<_>>()
    };
    let shards_of = |said: &[String]| {
        let shard = Regex::new("insert_shard_id = (\\d).* AND `:slot` = (\\d+)").unwrap();
        let found = said.iter().filter_map(|it| shard.captures(it).map(|it| format!("{}@{}", &it[1], &it[2])));
        found.collect::<Vec<_>>().join(" ")
    };

    // The second shard does not answer: the first is filled, which the job knows after a restart too.
    *birds.down.lock().unwrap() = Some(2);
    let before = birds.said().len();
    let failed = caller.ended("/v0/pipes/to_hours/nodes/n/population?truncate=true", "").await;
    let words = failed["error"].as_str().unwrap_or_default();
    assert!(words.starts_with("shard 2 of 3: All connection tries failed"), "{failed}");
    assert!(words.contains("; filled: shard 1; the job tried again goes on"), "{failed}");
    let said = since(before);
    assert_eq!(shards_of(&said), "1@0 2@1");
    assert!(said[0].starts_with("TRUNCATE TABLE"), "{said:#?}");
    let views =
        |head: &str, said: &[String]| said.iter().filter(|it| it.starts_with(head)).cloned().collect::<Vec<_>>();
    let shown = views("CREATE OR REPLACE VIEW", &said);
    assert_eq!((shown.len(), views("DROP TABLE", &said).len()), (2, 1), "{said:#?}");
    assert!(shown[0].contains(".`local:events`") && !shown[0].contains(".`events`"), "{shown:?}");
    caller.says("SELECT sum(events) FROM hours", "10").await;
    block_in_place(|| assert_eq!(front.stop(), Some(0)));
    let front = block_in_place(|| birds.front(&folder, &[])).unwrap();
    let caller = Caller { host: front.host(), ..caller };
    *birds.down.lock().unwrap() = None;
    let before = birds.said().len();
    let id = failed["id"].as_str().or(failed["job_id"].as_str()).unwrap();
    caller.job(&format!("/v0/jobs/{id}/retry"), "").await;
    let said = since(before);
    assert_eq!(shards_of(&said), "2@1 3@3");
    let cleared: Vec<_> =
        said.iter().filter_map(|it| it.split("DELETE WHERE ").nth(1)?.split(" SETTINGS").next()).collect();
    assert_eq!(cleared, ["getMacro('shard') = 'bird-2'", "getMacro('shard') = 'bird-3'"]);
    assert!(views("TRUNCATE", &said).is_empty(), "{said:#?}");
    caller.says("SELECT sum(events) FROM hours", "10").await;

    // A part of the rows: those that fulfil a condition.
    let before = birds.said().len();
    caller.job("/v0/pipes/to_hours/nodes/n/population?truncate=true&populate_condition=id%20%3C%204", "").await;
    assert_eq!(shards_of(&since(before)), "1@0 2@1 3@3");
    caller.says("SELECT sum(events) FROM hours", "4").await;

    // What was filled by another query is not gone on with.
    *birds.down.lock().unwrap() = Some(3);
    let failed = caller.ended("/v0/pipes/to_hours/nodes/n/population?truncate=true", "").await;
    project.file("pipes/to_hours.pipe", &TO_HOURS.replace("count()", "count() + 1"));
    block_in_place(|| project.ok(&["push", "--host", &caller.host, "--token", FRONT]));
    let id = failed["id"].as_str().or(failed["job_id"].as_str()).unwrap();
    let retry = birds.http.post(format!("{}/v0/jobs/{id}/retry", caller.host)).bearer_auth(FRONT).send().await.unwrap();
    let (status, words) = (retry.status(), retry.text().await.unwrap());
    assert!(status.as_u16() == 400 && words.contains("was changed after this job had filled shards 1, 2"), "{words}");
    block_in_place(|| assert_eq!(front.stop(), Some(0)));

    for sql in since(0).iter().filter(|it| it.contains("populate:") || it.contains("getMacro")) {
        assert_eq!(engine().await.classify(sql).await, Ok(Verdict::Other), "{sql}");
        assert!(sql.contains(" ON CLUSTER `birds`") || sql.starts_with("INSERT"), "{sql}");
    }
    block_in_place(|| assert_eq!(back.server.stop(), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_read_again_on_three_shards() {
    read_again(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_read_again_on_replicas_of_one_shard() {
    read_again(1).await;
}

/// Rows of a quarantine go in when what was wrong is mended: each once, though the server dies in the middle.
async fn read_again(shards: u64) {
    const ROWS: u64 = 5_200;
    let back = block_in_place(Back::start);
    let birds = Birds::before(&back, shards).await;
    let folder = Folder::new();
    let front = block_in_place(|| birds.front(&folder, &[])).unwrap();
    let project = project();
    project.file("datasources/events.datasource", &EVENTS.replace("$.id", "$.identity"));
    let push = |host: &str| block_in_place(|| project.ok(&["push", "--host", host, "--token", FRONT]));
    push(&front.host());
    let caller = Caller { http: birds.http.clone(), host: front.host() };
    let rows: String = (0..ROWS).map(|id| format!("{{\"id\":{id},\"hour\":\"2026-01-01 00:00:00\"}}\n")).collect();
    caller.post("/v0/events?name=events&wait=true", &format!("{rows}{{\"id\":\"nothing\"}}\n")).await;
    caller.says("SELECT count() FROM events_quarantine", &(ROWS + 1).to_string()).await;
    project.file("datasources/events.datasource", EVENTS);
    push(&front.host());
    let some =
        caller.post("/v1/datasources/events/quarantine/replay?where=c__raw%20LIKE%20%27%25%3A7%2C%25%27", "").await;
    assert_eq!((&some["rows"], &some["quarantined"]), (&1.into(), &0.into()), "{some}");
    block_in_place(|| assert_eq!(front.stop(), Some(0)));

    let before = birds.said().len();
    let dying = block_in_place(|| birds.front_with(&folder, &[], "replay-batch")).unwrap();
    let url = format!("{}/v1/datasources/events/quarantine/replay", dying.host());
    assert!(birds.http.post(url).bearer_auth(FRONT).send().await.is_err(), "the server died in the middle");
    drop(dying);
    let front = block_in_place(|| birds.front(&folder, &[])).unwrap();
    let caller = Caller { host: front.host(), ..caller };
    caller.says("SELECT count(), uniqExact(id) FROM events", &format!("{ROWS},{ROWS}")).await;
    caller.says("SELECT sum(events) FROM hours", &ROWS.to_string()).await;
    caller.says("SELECT count(), any(c__raw LIKE '%nothing%') FROM events_quarantine", "1,1").await;
    block_in_place(|| assert_eq!(front.stop(), Some(0)));

    let said = birds.said().split_off(before);
    let of_it = |head: &str, part: &str| {
        let found = said.iter().filter(|it| it.starts_with(head) && it.contains(part));
        found.cloned().collect::<Vec<_>>()
    };
    let gathered = of_it("CREATE TABLE", "`gathering:events`");
    let named = of_it("RENAME TABLE", "`replay:events`");
    // Both starts of what died had them leave, some at a time.
    let left = of_it("ALTER TABLE", "cityHash64(c__source, c__raw)) IN ((");
    assert_eq!((gathered.len(), named.len(), left.len()), (1, 1, 6), "{gathered:?} {named:?}");
    let local = if shards > 1 { "`local:events_quarantine`" } else { "`events_quarantine`" };
    assert!(left.iter().all(|it| it.contains(local) && it.len() < 150_000), "{}", left[0].len());
    let dropped = of_it("DROP TABLE", "`replay:events`");
    assert_eq!(dropped.len(), 1);
    run_on_every_server(gathered.iter().chain(&named).chain(&left).chain(&dropped)).await;
    block_in_place(|| assert_eq!(back.server.stop(), Some(0)));
}

/// The statements are a cluster's, and the engine's parser reads them.
async fn run_on_every_server(statements: impl Iterator<Item = &String>) {
    for sql in statements {
        assert!(sql.contains(" ON CLUSTER `birds`"), "{sql}");
        assert_eq!(engine().await.classify(sql).await, Ok(Verdict::Other), "{sql}");
    }
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
    run_on_every_server(shown.iter().chain(&hidden)).await;
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
    // So is a data source that no project has: by the push that makes tables, and from then on by every start.
    {
        let (folder, project) = (Folder::new(), project());
        let choices = ["--shard-by", "evnts=hour", "--shard-by", "hours=hour"];
        let front = block_in_place(|| birds.front(&folder, &choices)).unwrap();
        let mut command = project.command(&["push", "--host", &front.host(), "--token", FRONT]);
        let output = block_in_place(|| command.output()).unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        let idle = "--shard-by names `evnts`, and no project has a data source of this name";
        assert!(output.status.success() && words.contains(idle) && words.contains("there is `events`"), "{words}");
        assert!(!words.contains("`hours`, and no"), "{words}");
        block_in_place(|| assert_eq!(front.stop(), Some(0)));
        let front = block_in_place(|| birds.front(&folder, &choices)).unwrap();
        assert!(front.said().contains(idle), "{}", front.said());
        block_in_place(|| assert_eq!(front.stop(), Some(0)));
    }
    // A column that is not there is said by the push that describes the data source.
    let front = block_in_place(|| birds.front(&folder, &["--shard-by", "events=nothing"])).unwrap();
    let project = project();
    let mut command = project.command(&["push", "--host", &front.host(), "--token", FRONT]);
    let output = block_in_place(|| command.output()).unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && words.contains("the data source `events` has no column `nothing`"), "{words}");
}
