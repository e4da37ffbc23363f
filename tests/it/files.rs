//! Files over HTTP: what is answered, what is in afterwards, and what a crash leaves of them.

use crate::cli::{Folder, Server};
use serde_json::{Value, json};
use std::{
    fs,
    time::{Duration, Instant},
};

const ADMIN: &str = "p.admin";

/// How long anything may take that is only waited for.
const PATIENCE: Duration = Duration::from_secs(120);

const EVENTS: &str = "TOKEN sender APPEND

SCHEMA >
    `id` UInt64 `json:$.id`,
    `kind` LowCardinality(String) `json:$.kind`,
    `month` UInt8 `json:$.month` DEFAULT 0

ENGINE \"MergeTree\"
ENGINE_PARTITION_KEY \"month\"
ENGINE_SORTING_KEY \"id\"
";
const KINDS: &str = "SCHEMA >
    `kind` String,
    `n` UInt64

ENGINE \"SummingMergeTree\"
ENGINE_SORTING_KEY \"kind\"
";
const TO_KINDS: &str = "NODE n\nSQL >\n    SELECT kind, count() AS n FROM events GROUP BY kind\n\n\
    TYPE materialized\nDATASOURCE kinds\n";

/// Enough for two blocks.
const ROWS: u64 = 120_000;
const BAD: u64 = 12;

/// A project with a view of its events, in a folder that servers come and go in.
struct House {
    folder: Folder,
}

impl House {
    fn new() -> (House, Server) {
        House::with(&[])
    }

    fn with(variables: &[(&str, &str)]) -> (House, Server) {
        let folder = Folder::new();
        folder.file("datasources/events.datasource", EVENTS);
        folder.file("datasources/kinds.datasource", KINDS);
        folder.file("pipes/to_kinds.pipe", TO_KINDS);
        let house = House { folder };
        let server = house.try_to_serve("", variables).unwrap();
        house.folder.ok(&["auth", "--host", &server.host(), "--token", ADMIN]);
        house.folder.ok(&["push"]);
        (house, server)
    }

    fn serve(&self, failpoint: &str) -> Server {
        self.try_to_serve(failpoint, &[]).unwrap()
    }

    /// With a failpoint the server may die while it recovers, before it serves.
    fn try_to_serve(&self, failpoint: &str, variables: &[(&str, &str)]) -> Result<Server, String> {
        let mut command = self.folder.command(&["serve", "--port", "0"]);
        command.env("BIRDHOUSE_ADMIN_TOKEN", ADMIN).env("BIRDHOUSE_FAILPOINT", failpoint);
        command.envs(variables.iter().copied());
        Server::begin(command)
    }

    /// Folders of files that are being taken in.
    fn left(&self) -> usize {
        let workspaces = fs::read_dir(self.folder.path().join(".birdhouse/files"));
        let files = workspaces.into_iter().flatten().map(|it| fs::read_dir(it.unwrap().path()).unwrap().count());
        files.sum()
    }
}

/// Rows of JSON, some of them broken.
fn events(rows: std::ops::Range<u64>) -> Vec<u8> {
    let mut res = String::new();
    for id in rows {
        let end = if id % (ROWS / BAD) == 7 { "" } else { "}" };
        res.push_str(&format!("{{\"id\":{id},\"kind\":\"k{}\",\"month\":{}{end}\n", id % 3, id % 2));
    }
    res.into_bytes()
}

async fn post(server: &Server, path: &str, body: impl Into<reqwest::Body>) -> Result<(u16, Value), reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let reply = client.post(format!("{}{path}", server.host())).bearer_auth(ADMIN).body(body).send().await?;
    Ok((reply.status().as_u16(), reply.json().await?))
}

fn get(server: &Server, path: &str) -> (u16, Value) {
    let (status, text) = tokio::task::block_in_place(|| server.get(path, ADMIN));
    (status, serde_json::from_str(&text).unwrap())
}

fn ask(server: &Server, sql: &str) -> Value {
    let query: String = sql.bytes().map(|it| format!("%{it:02X}")).collect();
    let (status, answer) = get(server, &format!("/v0/sql?q={query}%20FORMAT%20JSON"));
    assert_eq!(status, 200, "{answer}");
    answer["data"][0].clone()
}

/// A job when it has ended.
async fn ended(server: &Server, id: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, job) = get(server, &format!("/v0/jobs/{id}"));
        assert_eq!(status, 200, "{job}");
        if ["done", "error", "cancelled"].contains(&job["status"].as_str().unwrap()) {
            return job;
        }
        assert!(Instant::now() < deadline, "{job}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns when every job has ended.
async fn quiet(server: &Server) {
    let (_, jobs) = get(server, "/v0/jobs");
    for job in jobs["jobs"].as_array().unwrap() {
        ended(server, job["id"].as_str().unwrap()).await;
    }
}

const COUNTS: &str = "SELECT count() AS n, uniqExact(id) AS u, (SELECT sum(n) FROM kinds) AS v, \
                      (SELECT count() FROM events_quarantine) AS bad FROM events";

fn counts(n: u64, bad: u64) -> Value {
    json!({"n": n, "u": n, "v": n, "bad": bad})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_in_whole_or_not_at_all_wherever_the_server_dies() {
    let (house, mut server) = House::new();
    let mut refused = 0;
    let file = events(0..ROWS);
    let path = "/v0/datasources?mode=append&name=events&format=ndjson";
    for (failpoint, is_in) in [
        ("file-received", false),
        ("file-spooled", false),
        ("file-intent", true),
        ("mid-insert:1", true),
        ("after-insert:2", true),
        ("after-quarantine:1", true),
        ("file-chunk:1", true),
        ("file-chunk:2", true),
        ("file-forgotten", true),
        // It dies once more while it recovers.
        ("file-intent,file-chunk:1", true),
    ] {
        drop(server);
        let again = failpoint.split_once(',').map(|it| it.1);
        let dying = house.serve(failpoint.split(',').next().unwrap());
        assert!(post(&dying, path, file.clone()).await.is_err(), "{failpoint}");
        drop(dying);
        if let Some(again) = again {
            // Whether it dies before it serves or soon after.
            if let Ok(mut dying) = house.try_to_serve(again, &[]) {
                tokio::task::block_in_place(|| dying.child.wait().unwrap());
            }
        }
        server = house.serve("");
        quiet(&server).await;
        // The quarantine is never emptied.
        refused += if is_in { BAD } else { 0 };
        let wanted = counts(if is_in { ROWS - BAD } else { 0 }, refused);
        assert_eq!(ask(&server, COUNTS), wanted, "{failpoint}");
        assert_eq!(house.left(), 0, "{failpoint}");
        for name in ["events", "kinds"] {
            let (status, answer) = post(&server, &format!("/v0/datasources/{name}/truncate"), "").await.unwrap();
            assert_eq!(status, 200, "{answer}");
        }
    }
    server.stop();
}

/// The test above can fail: without the engine's help a chunk that is repeated is in twice.
#[tokio::test(flavor = "multi_thread")]
async fn without_deduplication_the_same_kill_leaves_doubles() {
    let (house, server) = House::new();
    drop(server);
    let dying = house.serve("no-deduplication,file-chunk:1");
    let path = "/v0/datasources?mode=append&name=events&format=ndjson";
    assert!(post(&dying, path, events(0..1000)).await.is_err());
    drop(dying);
    let server = house.serve("no-deduplication");
    quiet(&server).await;
    let counts = ask(&server, COUNTS);
    assert!(counts["n"].as_u64() > counts["u"].as_u64(), "{counts}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_as_a_job_tells_how_far_it_is() {
    let (house, server) = House::new();
    let (status, begun) = post(&server, "/v1/datasources/events/append?format=ndjson", events(0..ROWS)).await.unwrap();
    assert_eq!(status, 202, "{begun}");
    assert_eq!((&begun["id"], &begun["import_id"]), (&begun["job_id"], &begun["id"]));
    let job = ended(&server, begun["id"].as_str().unwrap()).await;
    assert_eq!((&job["status"], &job["kind"]), (&json!("done"), &json!("import")), "{job}");
    assert_eq!(job["blocks"][0]["process_return"][0]["lines"], json!(ROWS - BAD), "{job}");
    assert_eq!((&job["quarantine_rows"], &job["progress_percentage"]), (&json!(BAD), &json!(100)));
    assert_eq!(job["block_log"][0]["status"], "done");
    assert_eq!(ask(&server, COUNTS), counts(ROWS - BAD, BAD));
    let source = ask(&server, "SELECT c__source AS s, c__import_id AS i FROM events_quarantine ORDER BY s LIMIT 1");
    assert_eq!(source, json!({"s": "events.ndjson:100008", "i": begun["id"]}));
    assert_eq!(house.left(), 0);
    // One that cannot be read says so, and nothing of it is left.
    let (_, begun) = post(&server, "/v1/datasources/events/append", vec![0x1f, 0x8b, 8, 0, 1]).await.unwrap();
    let job = ended(&server, begun["id"].as_str().unwrap()).await;
    assert_eq!(job["status"], "error", "{job}");
    assert!(job["error"].as_str().unwrap().contains("cannot be read"), "{job}");
    assert_eq!(house.left(), 0);
    server.stop();
}

/// A file takes the place of rows at once: whenever the server dies, all of the old ones or all of the new ones are
/// there.
#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_is_whole_wherever_the_server_dies() {
    let (house, mut server) = House::new();
    let path = "/v0/datasources?mode=append&name=events&format=ndjson";
    assert_eq!(
        post(&server, path, "{\"id\":1,\"kind\":\"old\",\"month\":1}\n{\"id\":2,\"kind\":\"old\",\"month\":2}")
            .await
            .unwrap()
            .0,
        200
    );
    let state = "SELECT groupArray(id) AS ids FROM (SELECT id FROM events ORDER BY id)";
    let all = "/v0/datasources?mode=replace&name=events&format=ndjson";
    let some = "/v0/datasources?mode=replace&name=events&format=ndjson&replace_condition=month%3D2";
    let mut before = json!({"ids": [1, 2]});
    let mut next = 10;
    for (failpoint, path, is_done) in [
        ("file-intent", all, true),
        ("file-chunk", all, true),
        ("file-gathered", all, true),
        ("file-exchange", all, true),
        ("file-exchanged", all, true),
        ("file-spooled", all, false),
        ("file-gathered", some, true),
        ("file-changed", some, true),
        ("file-exchange", some, true),
        ("file-exchanged", some, true),
        ("file-received", some, false),
    ] {
        drop(server);
        let dying = house.serve(failpoint);
        let rows = format!(
            "{{\"id\":{next},\"kind\":\"new\",\"month\":1}}\n{{\"id\":{},\"kind\":\"new\",\"month\":2}}",
            next + 1
        );
        assert!(post(&dying, path, rows).await.is_err(), "{failpoint} {path}");
        drop(dying);
        server = house.serve("");
        quiet(&server).await;
        let first = if path == all { json!(next) } else { before["ids"][0].clone() };
        // Of a file's rows those that do not fulfil the condition are left out.
        let wanted = if is_done { json!({"ids": [first, next + 1]}) } else { before };
        let found = ask(&server, state);
        assert_eq!(found, wanted, "{failpoint} {path}");
        assert_eq!(house.left(), 0, "{failpoint}");
        before = found;
        next += 10;
    }
    // Views are not run again, and the answer says so; rows that come afterwards go through them.
    let kinds = "SELECT sum(n) AS n FROM kinds";
    assert_eq!(ask(&server, kinds), json!({"n": 2}));
    let (_, reply) = post(&server, all, "{\"id\":1,\"kind\":\"new\"}").await.unwrap();
    assert!(reply["warning"].as_str().unwrap().contains("materialized views"), "{reply}");
    assert_eq!(
        post(&server, "/v0/datasources?mode=append&name=events&format=ndjson", "{\"id\":2,\"kind\":\"new\"}")
            .await
            .unwrap()
            .0,
        200
    );
    assert_eq!(ask(&server, kinds), json!({"n": 3}));
    // An empty file changes nothing by a condition, unless that is said; a condition that is none is refused.
    let none = "/v0/datasources?mode=replace&name=events&format=ndjson&replace_condition=";
    post(&server, &format!("{none}id%3D1"), "").await.unwrap();
    assert_eq!(ask(&server, state), json!({"ids": [1, 2]}));
    post(&server, &format!("{none}id%3D1&replace_truncate_when_empty=true"), "").await.unwrap();
    assert_eq!(ask(&server, state), json!({"ids": [2]}));
    for condition in ["nothing%3D1", "1%3B%20drop%20table%20events", "id%20in%20(select%20file('/etc/passwd'))"] {
        let (status, reply) = post(&server, &format!("{none}{condition}"), "{\"id\":1}").await.unwrap();
        assert!(status == 400 || status == 403, "{condition}: {reply}");
    }
    assert_eq!(ask(&server, state), json!({"ids": [2]}));
    assert_eq!(house.left(), 0);
    server.stop();
}

/// Rows that a job is bringing while a file replaces others by a condition are not lost with the table that they were
/// begun to be written to.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_runs_during_a_replacement_loses_nothing() {
    let (house, server) = House::new();
    const COPIED: u64 = 3_000_000;
    house.folder.file(
        "pipes/many.pipe",
        &format!(
            "NODE n\nSQL >\n    SELECT number AS id, concat('k', toString(cityHash64(repeat(toString(number), 500)) % 3)) \
             AS kind, toUInt8(1) AS month FROM numbers({COPIED})\n\nTYPE copy\nTARGET_DATASOURCE events\nCOPY_MODE append\n"
        ),
    );
    tokio::task::block_in_place(|| house.folder.ok(&["push"]));
    let (status, job) = post(&server, "/v0/pipes/many/copy", "").await.unwrap();
    assert_eq!(status, 200, "{job}");
    let id = job["job"]["job_id"].as_str().or(job["job"]["id"].as_str()).unwrap().to_owned();
    let deadline = Instant::now() + PATIENCE;
    while ask(&server, "SELECT count() AS n FROM events")["n"] == 0 {
        assert!(Instant::now() < deadline, "nothing is copied");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(get(&server, &format!("/v0/jobs/{id}")).1["status"], "working", "the copy is too fast for this test");
    let some = "/v1/datasources/events/replace?format=ndjson&replace_condition=month%3D2";
    let (status, begun) = post(&server, some, "{\"id\":1,\"kind\":\"new\",\"month\":2}").await.unwrap();
    assert_eq!(status, 202, "{begun}");
    assert_eq!(ended(&server, begun["id"].as_str().unwrap()).await["status"], "done");
    assert_eq!(ended(&server, &id).await["status"], "done");
    assert_eq!(
        ask(&server, "SELECT count() AS n, uniqExact(month, id) AS u FROM events"),
        json!({"n": COPIED + 1, "u": COPIED + 1})
    );
    assert_eq!(house.left(), 0);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_packed_in_other_dialects_and_as_parquet() {
    let (_house, server) = House::new();
    let append = |rest: &str| format!("/v0/datasources?mode=append&name=events{rest}");
    let taken = async |path: &str, body: Vec<u8>| {
        let (status, reply) = post(&server, path, body).await.unwrap();
        assert_eq!(status, 200, "{path}: {reply}");
        let lines = reply["blocks"][0]["process_return"][0]["lines"].as_u64().unwrap();
        (lines, reply["quarantine_rows"].as_u64().unwrap(), reply["errors"].clone())
    };
    let gzip = |text: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packer, text.as_bytes()).unwrap();
        packer.finish().unwrap()
    };
    let none = json!([]);
    assert_eq!(taken(&append("&format=csv"), gzip("id,kind,month\n1,a,1\n")).await, (1, 0, none.clone()));
    // Columns in another order, and one that the data source has not.
    assert_eq!(taken(&append("&format=csv"), b"month,note,id,kind\n1,x,2,b\n".to_vec()).await, (1, 0, none.clone()));
    let dialect = "&format=csv&dialect_delimiter=%7C&dialect_new_line=%3B&dialect_escapechar=%5C";
    assert_eq!(taken(&append(dialect), b"3|\"c\\\"|d\"|1;4|e|x;".to_vec()).await.0, 1);
    let tabs = append("&format=csv&dialect_delimiter=%09");
    assert_eq!(taken(&tabs, b"5\tf,g\t1\n".to_vec()).await, (1, 0, none.clone()));
    assert_eq!(ask(&server, "SELECT kind FROM events WHERE id = 3"), json!({"kind": "c\"|d"}));
    // What is wrong as a whole is refused before a row is in.
    let many: String = (0..150_000).map(|it| format!("{it},z,1\n")).collect();
    let packed = gzip(&many);
    for (path, body) in [
        (append("&format=csv"), packed[..packed.len() - 9].to_vec()),
        (append("&format=csv"), format!("{many}\"{}", "x".repeat(12 << 20)).into_bytes()),
        (append("&format=parquet"), b"PAR1 and nothing else".to_vec()),
        (append("&format=csv&dialect_delimiter=ab"), b"1".to_vec()),
    ] {
        let (status, reply) = post(&server, &path, body).await.unwrap();
        assert_eq!(status, 400, "{path}: {reply}");
    }
    assert_eq!(ask(&server, "SELECT count() AS n FROM events"), json!({"n": 4}));
    // Parquet: one that the engine writes, plain and packed, with a row that does not fit.
    let query = "/v0/sql?q=SELECT%20toInt64(number)%20-%201%20AS%20id,%20'p'%20AS%20kind,%20toUInt8(3)%20AS%20month%20\
                 FROM%20numbers(5)%20FORMAT%20Parquet";
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let file = client.get(format!("{}{query}", server.host())).bearer_auth(ADMIN).send().await.unwrap();
    let file = file.bytes().await.unwrap().to_vec();
    assert!(file.starts_with(b"PAR1"));
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packer, &file).unwrap();
    for body in [file, packer.finish().unwrap()] {
        let (lines, refused, errors) = taken(&append("&format=parquet"), body).await;
        assert_eq!((lines, refused), (4, 1), "{errors}");
        assert!(errors[0].as_str().unwrap().starts_with("events.parquet:1: "), "{errors}");
    }
    assert_eq!(ask(&server, "SELECT count() AS n FROM events WHERE month = 3"), json!({"n": 8}));
    server.stop();
}

/// A tiny web server: what it says to each path.
async fn web(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            _ = stream.write_all(answer(path).as_bytes()).await;
        }
    });
    port
}

fn said(status: &str, more: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_fetched_where_that_is_allowed() {
    let (_house, server) = House::with(&[("BIRDHOUSE_PRIVATE_URLS", "true")]);
    let port = web(|path| match path {
        "/rows.ndjson" => said("200 OK", "", "{\"id\":1,\"kind\":\"a\"}\n{\"id\":-1}\n"),
        "/moved" => said("302 Found", "Location: /rows.ndjson\r\n", ""),
        "/round" => said("302 Found", "Location: /round\r\n", ""),
        "/file" => said("302 Found", "Location: file:///etc/passwd\r\n", ""),
        _ => said("404 Not Found", "", "nothing"),
    })
    .await;
    let import = async |path: &str| {
        let url = format!("http%3A%2F%2F127.0.0.1%3A{port}{path}");
        let path = format!("/v0/datasources?mode=append&name=events&format=ndjson&url={url}");
        let (status, begun) = post(&server, &path, "").await.unwrap();
        assert_eq!(status, 200, "{begun}");
        assert!(begun.get("error").is_none() && begun["job"].is_object() && begun["job_url"].is_string(), "{begun}");
        ended(&server, begun["id"].as_str().unwrap()).await
    };
    for path in ["/rows.ndjson", "/moved"] {
        let job = import(path).await;
        assert_eq!((&job["status"], &job["quarantine_rows"]), (&json!("done"), &json!(1)), "{job}");
    }
    for (path, words) in [("/absent?key=secret", "404"), ("/round", "redirect"), ("/file", "302")] {
        let job = import(path).await;
        assert_eq!(job["status"], "error", "{job}");
        let error = job["error"].as_str().unwrap();
        assert!(error.contains(words) && !error.contains("secret"), "{path}: {error}");
    }
    assert_eq!(ask(&server, "SELECT count() AS n FROM events"), json!({"n": 2}));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_url_leads_into_the_server_s_own_network() {
    let (house, server) = House::new();
    let port = web(|_| said("200 OK", "", "{\"id\":1}\n")).await;
    for host in ["127.0.0.1", "localhost", "%5B%3A%3A1%5D", "169.254.169.254", "0x7f.1"] {
        let path = format!("/v1/datasources/events/append?format=ndjson&url=http%3A%2F%2F{host}%3A{port}%2F");
        let (status, begun) = post(&server, &path, "").await.unwrap();
        let error = match status {
            202 => ended(&server, begun["id"].as_str().unwrap()).await["error"].clone(),
            _ => begun["error"].clone(),
        };
        assert!(error.as_str().unwrap().contains("private"), "{host}: {error}");
    }
    assert_eq!(ask(&server, "SELECT count() AS n FROM events"), json!({"n": 0}));
    assert_eq!(house.left(), 0);
    server.stop();
}

/// The rows of a file wait for a view that is broken, a push that mends it comes through, and then they are in once.
#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_for_a_view_that_throws() {
    let (house, server) = House::new();
    let thrown = TO_KINDS
        .replace("count() AS n FROM", "count() + throwIf(kind = 'bad') AS n FROM")
        .replace("GROUP BY kind", "GROUP BY kind HAVING n > 0");
    house.folder.file("pipes/to_kinds.pipe", &thrown);
    tokio::task::block_in_place(|| house.folder.ok(&["push"]));
    let path = "/v0/datasources?mode=append&name=events&format=ndjson";
    let (status, reply) = post(&server, path, "{\"id\":1,\"kind\":\"bad\"}\n").await.unwrap();
    assert_eq!(status, 422, "{reply}");
    assert!(reply["error"].as_str().unwrap().contains("safe"), "{reply}");
    house.folder.file("pipes/to_kinds.pipe", TO_KINDS);
    tokio::task::block_in_place(|| house.folder.ok(&["push"]));
    quiet(&server).await;
    assert_eq!(ask(&server, COUNTS), counts(1, 0));
    assert_eq!(house.left(), 0);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_vanish_and_files_that_are_too_large_leave_nothing() {
    use tokio::io::AsyncWriteExt;
    let (house, server) = House::with(&[("BIRDHOUSE_MAX_FILE", "1M")]);
    let path = "/v0/datasources?mode=append&name=events&format=ndjson";
    let (status, reply) = post(&server, path, vec![b' '; 2 << 20]).await.unwrap();
    assert_eq!(status, 413, "{reply}");
    // One that does not say how long it is.
    let pieces = futures_util::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 16])));
    let (status, reply) = post(&server, path, reqwest::Body::wrap_stream(pieces)).await.unwrap();
    assert_eq!(status, 413, "{reply}");
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\nContent-Length: 1000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"{\"id\":1,\"kind\":\"a\"}\n").await.unwrap();
    drop(stream);
    let deadline = Instant::now() + PATIENCE;
    while house.left() > 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&server, "SELECT count() AS n FROM events"), json!({"n": 0}));
    server.stop();
}

/// `/v1/datasources/{name}/replace` is a job: all rows, or those of a condition, and views are not run again.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_replaces_rows_as_a_job() {
    let (house, server) = House::new();
    let path = "/v0/datasources?mode=append&name=events&format=ndjson";
    assert_eq!(post(&server, path, events(0..1000)).await.unwrap().0, 200);
    let replaced = async |rest: &str, rows: &str| {
        let path = format!("/v1/datasources/events/replace?format=ndjson{rest}");
        let (status, begun) = post(&server, &path, rows.to_owned()).await.unwrap();
        assert_eq!(status, 202, "{begun}");
        ended(&server, begun["id"].as_str().unwrap()).await
    };
    let state = "SELECT count() AS n, sum(id) AS s, (SELECT sum(n) FROM kinds) AS k FROM events";
    let before = ask(&server, "SELECT sum(n) AS k FROM kinds")["k"].clone();
    let job =
        replaced("", "{\"id\":1,\"kind\":\"a\",\"month\":1}\n{\"id\":2,\"kind\":\"a\",\"month\":2}\nnone\n").await;
    assert_eq!((&job["status"], &job["quarantine_rows"]), (&json!("done"), &json!(1)), "{job}");
    assert_eq!(ask(&server, state), json!({"n": 2, "s": 3, "k": before}));
    let job = replaced("&replace_condition=month%3D2", "{\"id\":5,\"kind\":\"a\",\"month\":2}\n").await;
    assert_eq!(job["status"], "done", "{job}");
    assert_eq!(ask(&server, state), json!({"n": 2, "s": 6, "k": before}));
    let job = replaced("&replace_condition=absent%3D2", "{\"id\":5}\n").await;
    assert_eq!(job["status"], "error", "{job}");
    assert_eq!(ask(&server, state), json!({"n": 2, "s": 6, "k": before}));
    assert_eq!(house.left(), 0);
    server.stop();
}

/// Rows that only the engine finds wrong are in the quarantine with its words, and the rest is in, once, though the
/// server dies in the middle and what lies around of files is swept away.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_engine_refuses_are_kept_and_the_rest_is_in() {
    let (house, mut server) = House::new();
    let numbers = EVENTS.replace("DEFAULT 0", "DEFAULT toUInt8(kind)").replace("LowCardinality(String)", "String");
    house.folder.file("datasources/numbers.datasource", &numbers);
    tokio::task::block_in_place(|| house.folder.ok(&["push"]));
    let rows = |from: u64| -> String {
        let kind = |id: u64| if id % 100 == 7 { "none".to_owned() } else { (id % 3).to_string() };
        (from..from + 300).map(|id| format!("{{\"id\":{id},\"kind\":\"{}\"}}\n", kind(id))).collect()
    };
    let path = "/v0/datasources?mode=append&name=numbers&format=ndjson";
    let (status, reply) = post(&server, path, rows(0)).await.unwrap();
    assert_eq!((status, &reply["quarantine_rows"]), (200, &json!(3)), "{reply}");
    let counts =
        "SELECT count() AS n, uniqExact(id) AS u, (SELECT count() FROM numbers_quarantine) AS bad FROM numbers";
    assert_eq!(ask(&server, counts), json!({"n": 297, "u": 297, "bad": 3}));
    let kept =
        "SELECT c__raw AS r, c__source AS s, c__error[1] LIKE '%none%' AS e FROM numbers_quarantine ORDER BY s LIMIT 1";
    assert_eq!(ask(&server, kept), json!({"r": "{\"id\":107,\"kind\":\"none\"}", "s": "numbers.ndjson:108", "e": 1}));
    for (round, failpoint) in ["after-unit:4", "after-insert", "after-quarantine"].into_iter().enumerate() {
        let round = round as u64 + 1;
        drop(server);
        let dying = house.serve(failpoint);
        assert!(post(&dying, path, rows(round * 300)).await.is_err(), "{failpoint}");
        drop(dying);
        // Something that nobody knows of lies around.
        let folder =
            fs::read_dir(house.folder.path().join(".birdhouse/files")).unwrap().next().unwrap().unwrap().path();
        fs::create_dir(folder.join("unknown")).unwrap();
        fs::write(folder.join("unknown/upload"), "x").unwrap();
        server = house.serve("");
        quiet(&server).await;
        let (n, bad) = (297 * (round + 1), 3 * (round + 1));
        assert_eq!(ask(&server, counts), json!({"n": n, "u": n, "bad": bad}), "{failpoint}");
        assert_eq!(house.left(), 0, "{failpoint}");
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_in_and_out_by_the_command_line() {
    let (house, server) = House::new();
    let run = |arguments: &[&str]| {
        let all = [&["datasource"], arguments].concat();
        let output = tokio::task::block_in_place(|| house.folder.command(&all).output().unwrap());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    house.folder.file("a.csv", "id,kind,month\n1,a,1\n2,b,2\nx,c,3\n");
    let (code, out, error) = run(&["append", "events", "a.csv"]);
    assert_eq!((code, out.as_str()), (0, "2 rows added to events\n"), "{error}");
    assert!(error.contains("1 row of a.csv did not fit"), "{error}");
    house.folder.file("b.ndjson", "{\"id\":3,\"kind\":\"c\",\"month\":2}\n");
    let (code, out, error) = run(&["replace", "events", "b.ndjson", "--where", "month = 2"]);
    assert_eq!((code, out.as_str()), (0, "1 row put into events\n"), "{error}");
    assert!(error.contains("materialized views"), "{error}");
    let (_, out, _) = run(&["export", "events", "--format", "csv", "--columns", "id,kind"]);
    let mut lines: Vec<_> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["\"id\",\"kind\"", "1,\"a\"", "3,\"c\""]);
    let (code, _, error) = run(&["export", "events", "--format", "parquet", "--output", "out.parquet"]);
    assert_eq!(code, 0, "{error}");
    assert!(fs::read(house.folder.path().join("out.parquet")).unwrap().starts_with(b"PAR1"));
    assert_eq!(run(&["append", "events", "out.parquet"]).1, "2 rows added to events\n");
    let (code, _, error) = run(&["delete", "events", "--where", "id = 3"]);
    assert!(code == 1 && error.contains("2 rows of events fulfil the condition: --yes"), "{error}");
    assert_eq!(run(&["delete", "events", "--where", "id = 3", "--yes"]).1, "2 rows of events deleted\n");
    let (code, out, error) = run(&["analyze", "b.ndjson"]);
    assert!(code == 0 && out.contains("SCHEMA >") && out.contains("`kind`"), "{out}{error}");
    let (code, _, error) = run(&["truncate", "events"]);
    assert!(code == 1 && error.contains("--yes empties it"), "{error}");
    assert_eq!(run(&["truncate", "events", "--yes"]).1, "events is empty\n");
    for (arguments, words) in [
        (&["append", "events", "absent.csv"][..], "absent.csv cannot be read"),
        (&["append", "nothing", "a.csv"], "there is no data source `nothing`"),
        (&["append", "events", "a.csv", "--format", "xls"], "xls"),
        (&["rm", "events", "--yes"], "is used by"),
    ] {
        let (code, _, error) = run(arguments);
        assert!(code == 1 && error.contains(words), "{arguments:?}: {error}");
    }
    assert_eq!(run(&["rm", "events", "--yes", "--force"]).1, "events is dropped\n");
    server.stop();
}
