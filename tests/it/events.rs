//! Events over HTTP: what is answered, what is in afterwards, and what a crash leaves of it.

use crate::cli::{Folder, Server};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) const ADMIN: &str = "p.admin";
pub(crate) const EVENTS: &str = "TOKEN sender APPEND

SCHEMA >
    `id` UInt64 `json:$.id`,
    `kind` LowCardinality(String) `json:$.kind`

ENGINE \"MergeTree\"
ENGINE_SORTING_KEY \"id\"
";
const KINDS: &str = "SCHEMA >
    `kind` String,
    `n` UInt64

ENGINE \"SummingMergeTree\"
ENGINE_SORTING_KEY \"kind\"
";
pub(crate) const TO_KINDS: &str = "NODE n\nSQL >\n    SELECT kind, count() AS n FROM events GROUP BY kind\n\n\
    TYPE materialized\nDATASOURCE kinds\n";

/// A project with a view of its events, in a folder that servers come and go in.
pub(crate) struct House {
    pub(crate) folder: Folder,
}

impl House {
    pub(crate) fn new() -> (House, Server) {
        let folder = Folder::new();
        folder.file("datasources/events.datasource", EVENTS);
        folder.file("datasources/kinds.datasource", KINDS);
        folder.file("pipes/to_kinds.pipe", TO_KINDS);
        let house = House { folder };
        let server = house.serve("");
        house.folder.ok(&["auth", "--host", &server.host(), "--token", ADMIN]);
        house.folder.ok(&["push"]);
        (house, server)
    }

    pub(crate) fn serve(&self, failpoint: &str) -> Server {
        self.try_to_serve(failpoint).unwrap()
    }

    /// With a failpoint the server may die while it recovers, before it serves.
    fn try_to_serve(&self, failpoint: &str) -> Result<Server, String> {
        let mut command = self.folder.command(&["serve", "--port", "0"]);
        command.env("BIRDHOUSE_ADMIN_TOKEN", ADMIN).env("BIRDHOUSE_FAILPOINT", failpoint);
        Server::begin(command)
    }
}

/// A request's answer: its status and its body, which is always JSON.
pub(crate) async fn post(
    server: &Server,
    query: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(format!("{}/v0/events?{query}", server.host())).body(body.into());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = request.send().await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap())
}

pub(crate) fn ask(server: &Server, sql: &str) -> Value {
    let query: String = sql.bytes().map(|it| format!("%{it:02X}")).collect();
    let (status, text) =
        tokio::task::block_in_place(|| server.get(&format!("/v0/sql?q={query}%20FORMAT%20JSON"), ADMIN));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["data"].clone()
}

/// Rows that were refused for a type go in when it is mended, those of a condition alone, each once whatever
/// happens meanwhile; what is refused again is kept again.
#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_read_once_more_and_count_once() {
    let (house, mut server) = House::new();
    house.folder.file("datasources/events.datasource", &EVENTS.replace("$.id", "$.identity"));
    tokio::task::block_in_place(|| house.folder.ok(&["push"]));
    let sender = format!("name=events&token={ADMIN}&wait=true");
    let rows: String = (0..100).map(|id| format!("{{\"id\":{id},\"kind\":\"k{}\"}}\n", id % 2)).collect();
    assert_eq!(post(&server, &sender, &[], format!("{rows}nothing\n")).await, (200, answer(0, 101)));
    // What was wrong is not mended yet.
    let replay = |rest: &[&str]| {
        let arguments = [&["quarantine", "replay", "events"], rest].concat();
        tokio::task::block_in_place(|| house.folder.ok(&arguments))
    };
    assert_eq!(replay(&[]), "0 rows in, 101 rows refused again\n");
    assert_eq!(ask(&server, "SELECT count() AS n FROM events_quarantine"), json!([{"n": 101}]));
    house.folder.file("datasources/events.datasource", EVENTS);
    tokio::task::block_in_place(|| house.folder.ok(&["push"]));
    assert_eq!(replay(&["--where", "kind = 'k1'"]), "50 rows in, 0 rows refused again\n");
    assert_eq!(replay(&["--where", "kind = 'k1'"]), "0 rows in, 0 rows refused again\n");
    let refused = tokio::task::block_in_place(|| {
        house
            .folder
            .command(&["quarantine", "replay", "events", "--where", "x = file('/etc/passwd')"])
            .output()
            .unwrap()
    });
    assert!(!refused.status.success());
    for failpoint in ["replay-gathered", "after-insert", "after-quarantine", "replay-batch"] {
        drop(server);
        let dying = house.serve(failpoint);
        house.folder.ok(&["auth", "--host", &dying.host(), "--token", ADMIN]);
        let cut =
            tokio::task::block_in_place(|| house.folder.command(&["quarantine", "replay", "events"]).output().unwrap());
        assert!(!cut.status.success(), "{failpoint}: the server died in the middle");
        drop(dying);
        server = house.serve("");
        house.folder.ok(&["auth", "--host", &server.host(), "--token", ADMIN]);
        assert_eq!(ask(&server, "SELECT count() AS n, uniqExact(id) AS u FROM events"), json!([{"n": 100, "u": 100}]));
        assert_eq!(ask(&server, "SELECT sum(n) AS n FROM kinds"), json!([{"n": 100}]));
        assert_eq!(ask(&server, "SELECT c__raw FROM events_quarantine"), json!([{"c__raw": "nothing"}]));
    }
}

/// A batch that the engine did not take as a whole is cut; a crash in the middle of it does not make it whole again.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_cut_counts_once_wherever_the_server_dies() {
    let (house, mut server) = House::new();
    let mut wanted = 0;
    for failpoint in ["refused,replay-cut", "refused,after-unit", "refused,after-insert"] {
        house.folder.file("datasources/events.datasource", &EVENTS.replace("$.id", "$.identity"));
        tokio::task::block_in_place(|| house.folder.ok(&["push"]));
        let rows: String = (0..100).map(|id| format!("{{\"id\":{},\"kind\":\"k\"}}\n", wanted + id)).collect();
        let sender = format!("name=events&token={ADMIN}&wait=true");
        assert_eq!(post(&server, &sender, &[], rows).await, (200, answer(0, 100)));
        wanted += 100;
        house.folder.file("datasources/events.datasource", EVENTS);
        tokio::task::block_in_place(|| house.folder.ok(&["push"]));
        drop(server);
        let dying = house.serve(failpoint);
        house.folder.ok(&["auth", "--host", &dying.host(), "--token", ADMIN]);
        let replay = || house.folder.command(&["quarantine", "replay", "events"]).output().unwrap();
        assert!(!tokio::task::block_in_place(replay).status.success(), "{failpoint}: the server died in the middle");
        drop(dying);
        server = house.serve("");
        house.folder.ok(&["auth", "--host", &server.host(), "--token", ADMIN]);
        let counts = ask(&server, "SELECT count() AS n, uniqExact(id) AS u FROM events");
        assert_eq!(counts, json!([{"n": wanted, "u": wanted}]), "{failpoint}");
        assert_eq!(ask(&server, "SELECT sum(n) AS n FROM kinds"), json!([{"n": wanted}]), "{failpoint}");
        assert_eq!(ask(&server, "SELECT count() AS n FROM events_quarantine"), json!([{"n": 0}]), "{failpoint}");
    }
}

const BAD_KIND: &str = "SELECT kind, count() AS n FROM events WHERE NOT throwIf(kind = 'bad') GROUP BY kind";
const COPIES: &str = "SCHEMA >\n    `id` UInt64\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"id\"\n";
const TO_COPIES: &str = "NODE n\nSQL >\n    SELECT id FROM events\n\nTYPE materialized\nDATASOURCE copies\n";

/// A view that cannot take an event does not keep anybody from mending it: what is half in is brought level once
/// it is, in tables and views, also where columns or views have changed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_mends_a_view_that_throws_and_everything_is_in_once() {
    let (house, server) = House::new();
    house.folder.file("datasources/copies.datasource", COPIES);
    let throwing = TO_KINDS.replace("SELECT kind, count() AS n FROM events GROUP BY kind", BAD_KIND);
    let wider = EVENTS.replace("    `id`", "    `size` UInt8 `json:$.size` DEFAULT 7,\n    `id`");
    let sender = format!("name=events&token={ADMIN}");
    let files = "/v1/datasources/events/append?format=ndjson";
    let mut sent = 0;
    for (round, columns) in [EVENTS, &wider, &wider].into_iter().enumerate() {
        house.folder.file("pipes/to_kinds.pipe", &throwing);
        house.folder.file("pipes/to_copies.pipe", TO_COPIES);
        push(&house);
        let rows = |ids: std::ops::Range<u64>, kind: &str| -> String {
            ids.map(|id| format!("{{\"id\":{id},\"kind\":\"{kind}\",\"size\":1}}\n")).collect()
        };
        // One waits and hears of the view; a file waits too, with a row that is refused.
        let (status, error) =
            post(&server, &format!("{sender}&wait=true"), &[], rows(sent..sent + 10, "bad") + "none\n").await;
        assert_eq!(status, 422, "{error}");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let file = rows(sent + 10..sent + 20, "bad") + "{\"id\":\"x\",\"kind\":\"file\"}\n";
        let begun =
            client.post(format!("{}{files}", server.host())).bearer_auth(ADMIN).body(file).send().await.unwrap();
        assert_eq!(begun.status(), 202);
        for id in sent + 20..sent + 30 {
            assert_eq!(post(&server, &sender, &[], rows(id..id + 1, "good")).await, (202, answer(1, 0)));
        }
        sent += 30;
        house.folder.file("pipes/to_kinds.pipe", TO_KINDS);
        house.folder.file("datasources/events.datasource", columns);
        if round == 2 {
            // Where the view that took the rows goes and another takes its place, they would be in twice.
            fs::remove_file(house.folder.path().join("pipes/to_copies.pipe")).unwrap();
            house.folder.file("pipes/other_copies.pipe", TO_COPIES);
            let refused = || house.folder.command(&["push"]).output().unwrap();
            let refused = tokio::task::block_in_place(refused);
            let words = String::from_utf8_lossy(&refused.stderr);
            assert!(!refused.status.success() && words.contains("rows are half in `copies`"), "{words}");
            house.folder.file("pipes/to_copies.pipe", TO_COPIES);
            fs::remove_file(house.folder.path().join("pipes/other_copies.pipe")).unwrap();
        }
        push(&house);
        let counts = "SELECT count() AS n, uniqExact(id) AS u, (SELECT sum(n) FROM kinds) AS k, \
            (SELECT count() FROM copies) AS c, (SELECT count() FROM events_quarantine) AS q FROM events";
        let bad = 2 * (round as u64 + 1);
        let wanted = json!([{"n": sent, "u": sent, "k": sent, "c": sent, "q": bad}]);
        eventually(&format!("round {round}"), &wanted, || ask(&server, counts));
        // Once more, for what comes late.
        drop(post(&server, &format!("{sender}&wait=true"), &[], rows(sent..sent + 1, "last")).await);
        sent += 1;
        let wanted = json!([{"n": sent, "u": sent, "k": sent, "c": sent, "q": bad}]);
        assert_eq!(ask(&server, counts), wanted, "round {round}");
        let kept = ask(&server, "SELECT id, kind FROM events_quarantine WHERE c__source LIKE '%.ndjson:%'");
        assert_eq!(kept[round], json!({"id": "x", "kind": "file"}));
    }
    // With nothing half in, it may.
    fs::remove_file(house.folder.path().join("pipes/to_copies.pipe")).unwrap();
    house.folder.file("pipes/other_copies.pipe", TO_COPIES);
    push(&house);
}

/// A push that comes to an end.
pub(crate) fn push(house: &House) {
    tokio::task::block_in_place(|| {
        let mut push = house.folder.command(&["push"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while push.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                push.kill().unwrap();
                panic!("the push waits for what it is to mend");
            }
            thread::sleep(Duration::from_millis(50));
        }
        assert!(push.wait().unwrap().success());
    });
}

/// Waits until it is as wanted.
pub(crate) fn eventually(what: &str, wanted: &Value, mut found: impl FnMut() -> Value) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let found = found();
        if found == *wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {found} is not {wanted}");
        tokio::task::block_in_place(|| thread::sleep(Duration::from_millis(100)));
    }
}

pub(crate) fn answer(good: u64, bad: u64) -> Value {
    json!({"successful_rows": good, "quarantined_rows": bad})
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_answered_in_numbers_and_are_in() {
    let (house, server) = House::new();
    let sender = format!("name=events&token={ADMIN}");
    let wait = format!("{sender}&wait=true");
    // Lines, whatever the type says; the last needs no end; blank ones are none.
    for kind in
        ["application/json", "application/x-ndjson", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded"]
    {
        let body = "{\"id\":1,\"kind\":\"a\"}\n\n{\"id\":2,\"kind\":\"a\"}";
        assert_eq!(post(&server, &wait, &[("content-type", kind)], body).await, (200, answer(2, 0)), "{kind}");
    }
    // Equal events are as many rows as they are.
    assert_eq!(ask(&server, "SELECT count() AS n FROM events"), json!([{"n": 8}]));
    assert_eq!(ask(&server, "SELECT sum(n) AS n FROM kinds"), json!([{"n": 8}]));
    let bad = "{\"id\":3,\"kind\":\"b\"}\nnothing\n{\"id\":-1,\"kind\":\"b\"}\n";
    assert_eq!(post(&server, &wait, &[], bad).await, (200, answer(1, 2)));
    let kept = ask(&server, "SELECT c__raw, c__source FROM events_quarantine ORDER BY c__raw DESC");
    assert_eq!(kept[1]["c__raw"], "nothing");
    assert!(kept[1]["c__source"].as_str().unwrap().ends_with(":2"), "the line: {kept}");
    let shown = tokio::task::block_in_place(|| house.folder.ok(&["quarantine", "show", "events"]));
    assert!(shown.contains("1 row at ") && shown.contains(": a value on column 'id' is not UInt64"), "{shown}");
    assert!(shown.contains("{\"id\":-1,\"kind\":\"b\"}\n    `id` Int8 would take the values"), "{shown}");
    let json = format!("{wait}&format=json");
    assert_eq!(
        post(&server, &json, &[], "[\n{\"id\":4,\n\"kind\":\"c\"},\n{\"id\":5,\"kind\":\"c\"}]").await,
        (200, answer(2, 0))
    );
    assert_eq!(post(&server, &json, &[], "{\"id\":4,\n").await.0, 400);
    // Who does not wait hears that they are safe, and they come.
    assert_eq!(post(&server, &sender, &[], "{\"id\":6,\"kind\":\"d\"}").await, (202, answer(1, 0)));
    let sixth = "SELECT count() AS n FROM events WHERE id = 6";
    eventually("the event", &json!([{"n": 1}]), || ask(&server, sixth));
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(b"{\"id\":7,\"kind\":\"e\"}").unwrap();
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(post(&server, &wait, &gzip, packer.finish().unwrap()).await, (200, answer(1, 0)));
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&vec![b' '; 11 << 20]).unwrap();
    assert_eq!(post(&server, &wait, &gzip, packer.finish().unwrap()).await.0, 413, "a bomb");
    // Errors say what is wrong.
    let (status, error) = post(&server, &format!("name=nothing&token={ADMIN}"), &[], "{}").await;
    assert_eq!((status, &error["error"]), (404, &json!("there is no data source `nothing` in this workspace")));
    assert_eq!(post(&server, &format!("token={ADMIN}"), &[], "{}").await.0, 400);
    assert_eq!(post(&server, "name=events", &[], "{}").await.0, 403);
    assert_eq!(post(&server, &wait, &[], vec![b'x'; 11 << 20]).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_puts_in_what_was_acknowledged() {
    let (house, server) = House::new();
    let sender = format!("name=events&token={ADMIN}");
    for id in 0..50 {
        let body = format!("{{\"id\":{id},\"kind\":\"a\"}}");
        assert_eq!(post(&server, &sender, &[], body).await, (202, answer(1, 0)));
    }
    assert_eq!(tokio::task::block_in_place(|| server.stop()), Some(0));
    let server = house.serve("");
    assert_eq!(ask(&server, "SELECT count() AS n, uniqExact(id) AS u FROM events"), json!([{"n": 50, "u": 50}]));
}

/// Senders send to whichever server lives, and note what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_once_through_any_crash() {
    let (house, first) = House::new();
    let (port, over, next) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let acknowledged = Arc::new(Mutex::new(Vec::<u64>::new()));
    port.store(u64::from(first.port), Ordering::SeqCst);
    let mut senders = Vec::new();
    for _ in 0..8 {
        let (port, over, next, acknowledged) = (port.clone(), over.clone(), next.clone(), acknowledged.clone());
        senders.push(tokio::spawn(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            while !over.load(Ordering::SeqCst) {
                let id = next.fetch_add(1, Ordering::SeqCst);
                let url =
                    format!("http://localhost:{}/v0/events?name=events&token={ADMIN}", port.load(Ordering::SeqCst));
                let body = format!("{{\"id\":{id},\"kind\":\"kind {}\"}}", id % 5);
                match client.post(url).body(body).send().await {
                    Ok(reply) if reply.status().is_success() => acknowledged.lock().unwrap().push(id),
                    Ok(reply) => panic!("{}", reply.status()),
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        }));
    }
    let mut random = StdRng::seed_from_u64(9);
    tokio::task::block_in_place(|| {
        let kill = |mut server: Server, after: Duration| {
            let deadline = Instant::now() + after;
            while server.child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(2));
            }
            _ = server.child.kill();
            server.child.wait().unwrap();
        };
        kill(first, Duration::from_millis(300));
        for place in ["event-logged:20", "event-intent:2", "mid-insert:2", "after-insert:2", "event-inserted:2", ""] {
            let Ok(server) = house.try_to_serve(place) else { continue };
            port.store(u64::from(server.port), Ordering::SeqCst);
            let after = if place.is_empty() { random.random_range(300..900) } else { 5000 };
            kill(server, Duration::from_millis(after));
        }
    });
    let server = house.serve("");
    port.store(u64::from(server.port), Ordering::SeqCst);
    over.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(tokio::task::block_in_place(|| server.stop()), Some(0));
    let server = house.serve("");
    let rows = ask(&server, "SELECT id, count() AS n FROM events GROUP BY id ORDER BY id");
    let rows: BTreeMap<u64, u64> =
        rows.as_array().unwrap().iter().map(|it| (it["id"].as_u64().unwrap(), it["n"].as_u64().unwrap())).collect();
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() > 200, "{} are few", acknowledged.len());
    let lost: Vec<_> = acknowledged.iter().filter(|it| !rows.contains_key(it)).collect();
    assert!(lost.is_empty(), "{lost:?} of {} were acknowledged and are not in", acknowledged.len());
    let doubled: Vec<_> = rows.iter().filter(|(_, n)| **n > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    let kept = ask(&server, "SELECT kind, sum(n) AS n FROM kinds GROUP BY kind ORDER BY kind");
    assert_eq!(kept, ask(&server, "SELECT kind, count() AS n FROM events GROUP BY kind ORDER BY kind"));
}

/// What a push changes about the reading of rows is for those that come after it. What is half in, because a view did
/// not take it, is read to its end as it was begun, over a crash too.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_in_is_read_as_it_was_begun_whatever_is_pushed() {
    // The second is none before the push, the first none after it, and the third is another one.
    const ROWS: &str =
        "{\"id\":1,\"kind\":\"a\"}\n{\"id\":2,\"sort\":\"b\"}\n{\"id\":3,\"kind\":\"a\",\"sort\":\"c\"}\n";
    for (way, failpoint) in [("events", "after-unit"), ("file", "refused,after-unit"), ("replay", "after-unit")] {
        let (house, server) = House::new();
        let sender = format!("name=events&token={ADMIN}");
        let own = |server: &Server| house.folder.ok(&["auth", "--host", &server.host(), "--token", ADMIN]);
        if way == "replay" {
            house.folder.file("datasources/events.datasource", &EVENTS.replace("$.kind", "$.none"));
            push(&house);
            assert_eq!(post(&server, &format!("{sender}&wait=true"), &[], ROWS).await, (200, answer(0, 3)));
            house.folder.file("datasources/events.datasource", EVENTS);
        }
        let throwing = TO_KINDS.replace("FROM events", "FROM events WHERE NOT throwIf(id > 0)");
        house.folder.file("pipes/to_kinds.pipe", &throwing);
        push(&house);
        drop(server);
        let mut server = house.serve(failpoint);
        own(&server);
        match way {
            "events" => assert_eq!(post(&server, &sender, &[], ROWS).await.0, 202),
            "file" => {
                let url = format!("{}/v0/datasources?mode=append&name=events&format=ndjson", server.host());
                let client = reqwest::Client::builder().no_proxy().build().unwrap();
                tokio::spawn(client.post(url).bearer_auth(ADMIN).body(ROWS).send());
            }
            _ => {
                let mut replay = house.folder.command(&["quarantine", "replay", "events"]);
                drop(tokio::task::spawn_blocking(move || replay.output()));
            }
        }
        let counts = "SELECT (SELECT count() > 0 FROM events) AS table, (SELECT count() FROM kinds) AS view";
        eventually(way, &json!([{"table": 1, "view": 0}]), || ask(&server, counts));
        house.folder.file("datasources/events.datasource", &EVENTS.replace("$.kind", "$.sort"));
        house.folder.file("pipes/to_kinds.pipe", TO_KINDS);
        // The server dies as soon as the view takes a part, and so does not always answer.
        tokio::task::block_in_place(|| {
            house.folder.command(&["push"]).output().unwrap();
            server.child.wait().unwrap();
        });
        let server = house.serve("");
        own(&server);
        let all = "SELECT (SELECT groupArray((id, kind)) FROM (SELECT * FROM events ORDER BY id)) AS good, \
                   (SELECT groupArray(c__raw) FROM events_quarantine) AS bad, (SELECT sum(n) FROM kinds) AS view";
        let wanted = json!([{"good": [[1, "a"], [3, "a"]], "bad": ["{\"id\":2,\"sort\":\"b\"}"], "view": 2}]);
        eventually(way, &wanted, || ask(&server, all));
        assert_eq!(post(&server, &format!("{sender}&wait=true"), &[], ROWS).await, (200, answer(2, 1)), "{way}");
    }
}

/// Memory does not suffice for a view: events wait, and each is in once when it does.
#[tokio::test(flavor = "multi_thread")]
async fn what_exceeds_the_memory_limit_is_waited_for() {
    let (house, server) = House::new();
    // Terabytes, which the engine refuses before it takes any.
    let wants = "FROM events WHERE NOT arrayExists(it -> empty(toFixedString(toString(it), 16777215)), \
                 range(toUInt32(id % 2 + 1000000)))";
    house.folder.file("pipes/to_kinds.pipe", &TO_KINDS.replace("FROM events", wants));
    push(&house);
    let rows: String = (0..100).map(|id| format!("{{\"id\":{id},\"kind\":\"a\"}}\n")).collect();
    assert_eq!(post(&server, &format!("name=events&token={ADMIN}"), &[], rows + "none\n").await.0, 202);
    let failed = "SELECT count() > 2 AS n FROM tinybird.datasources_ops_log WHERE result = 'error' AND \
                  position(error, 'memory limit exceeded') > 0";
    eventually("it fails", &json!([{"n": 1}]), || ask(&server, failed));
    let counts = "SELECT count() AS n, uniqExact(id) AS u, (SELECT sum(n) FROM kinds) AS k, \
                  (SELECT count() FROM events_quarantine) AS q FROM events";
    house.folder.file("pipes/to_kinds.pipe", TO_KINDS);
    push(&house);
    eventually("all", &json!([{"n": 100, "u": 100, "k": 100, "q": 1}]), || ask(&server, counts));
}

/// Who tries an insert again and again waits longer and longer. After a push it is tried at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_mends_a_view_is_heard_by_what_waits_for_it() {
    let (house, server) = House::new();
    let throwing = TO_KINDS.replace("FROM events", "FROM events WHERE NOT throwIf(id > 0)");
    let sender = format!("name=events&token={ADMIN}");
    let attempts = || {
        let failed = "SELECT count() AS n FROM tinybird.datasources_ops_log WHERE result = 'error' AND \
                      datasource_name = 'events'";
        ask(&server, failed)[0]["n"].as_u64().unwrap()
    };
    // Whoever sleeps on does so each time; a busy machine is not slow each time.
    let mut waited = Vec::new();
    let early = |waited: &[Duration]| waited.iter().any(|it| *it < Duration::from_secs(5));
    while waited.len() < 4 && !early(&waited) {
        house.folder.file("pipes/to_kinds.pipe", &throwing);
        push(&house);
        let before = attempts();
        assert_eq!(post(&server, &sender, &[], "{\"id\":1,\"kind\":\"a\"}").await.0, 202);
        // The seventh is followed by a pause of 6.4 seconds.
        eventually("seven attempts", &json!(true), || json!(attempts() >= before + 7));
        let failed = Instant::now();
        house.folder.file("pipes/to_kinds.pipe", TO_KINDS);
        push(&house);
        let wanted = json!([{"n": waited.len() + 1}]);
        eventually("it is in", &wanted, || ask(&server, "SELECT sum(n) AS n FROM kinds"));
        waited.push(failed.elapsed());
    }
    assert!(early(&waited), "{waited:?}");
}
