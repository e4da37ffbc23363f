//! Each event once: what the engine promises for it, and a server that is killed again and again.

use crate::{
    cli::{Folder, Server},
    engine::database,
    events::{House, ask, eventually, push},
    ingest::{create, datasource, select},
    kafka::Broker,
    torture,
};
use birdhouse::{
    diagnostic::Span,
    engine::{Deduplication, Engine, EngineError},
    name::{ColumnName, Namespace, Physical, ResourceName},
    native::{Block, Buffer},
    sql::{ColumnType, Sql, UserSql, statement},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

fn table(namespace: &Namespace, name: &str) -> Physical {
    namespace.table(&ResourceName::new(name).unwrap())
}

/// Runs a statement with `$name` in the place of tables.
async fn run(engine: &Engine, namespace: &Namespace, parts: &[&'static str]) -> Result<String, EngineError> {
    let mut sql = Sql::default();
    for part in parts {
        match part.strip_prefix('$') {
            Some(name) => sql.table(&table(namespace, name)),
            None => sql.push(part),
        };
    }
    Ok(String::from_utf8(engine.command(&sql).await?.to_vec()).unwrap())
}

async fn insert(engine: &Engine, table: &Physical, ids: std::ops::Range<u64>, token: &str) -> Result<u64, EngineError> {
    let (name, column_type) = (ColumnName::new("id").unwrap(), ColumnType::parse("UInt64").unwrap());
    let mut buffer = Buffer::new(&column_type);
    ids.for_each(|id| buffer.push(&id.to_le_bytes()));
    let block = Block::encode([(&name, &column_type, buffer)]);
    engine.insert(&statement::insert_native(table, [&name]), block, Deduplication::Token(token.to_owned())).await
}

/// What exactly-once rests on: a repeated insert with the same token is dropped in the table and in every view
/// behind it, and one that failed in a view is completed by its repetition.
#[tokio::test]
async fn the_engine_takes_a_token_once_in_the_table_and_every_view() {
    const LANDING: &str = " (id UInt64, month UInt8 DEFAULT id % 5, v UInt64 DEFAULT id) ENGINE = MergeTree \
        PARTITION BY month ORDER BY id SETTINGS non_replicated_deduplication_window = 1000";
    const GROUPED: &str = " (month UInt8, n SimpleAggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree \
        PARTITION BY month ORDER BY month SETTINGS non_replicated_deduplication_window = 1000";
    const FILTERED: &str =
        " (id UInt64) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000";
    const SECOND: &str = " (k UInt8, n UInt64) ENGINE = SummingMergeTree ORDER BY k \
        SETTINGS non_replicated_deduplication_window = 1000";
    let (engine, namespace) = database().await;
    let namespace = &namespace;
    for parts in [
        &["CREATE TABLE ", "$landing", LANDING][..],
        &["CREATE TABLE ", "$grouped", GROUPED],
        &["CREATE TABLE ", "$filtered", FILTERED],
        &["CREATE TABLE ", "$second", SECOND],
        &["CREATE MATERIALIZED VIEW ", "$v_grouped", " TO ", "$grouped"],
        &["CREATE MATERIALIZED VIEW ", "$v_second", " TO ", "$second"],
        &["CREATE MATERIALIZED VIEW ", "$v_filtered", " TO ", "$filtered"],
    ] {
        let rest: &[&'static str] = match parts.get(1) {
            Some(&"$v_grouped") => {
                &[" AS SELECT month, count() AS n FROM ", "$landing", " GROUP BY month ORDER BY month"]
            }
            Some(&"$v_second") => &[" AS SELECT toUInt8(month % 2) AS k, n FROM ", "$grouped"],
            Some(&"$v_filtered") => &[" AS SELECT id FROM ", "$landing", " WHERE id % 2 = 0"],
            _ => &[],
        };
        let parts = [parts, rest].concat();
        run(engine, namespace, &parts).await.unwrap_or_else(|error| panic!("{parts:?}: {error}"));
    }
    let landing = table(namespace, "landing");
    let counts = async || {
        let landing = run(engine, namespace, &["SELECT count() AS n FROM ", "$landing"]).await.unwrap();
        let grouped = run(engine, namespace, &["SELECT sum(n) AS n FROM ", "$grouped"]).await.unwrap();
        let filtered = run(engine, namespace, &["SELECT count() AS n FROM ", "$filtered"]).await.unwrap();
        let second = run(engine, namespace, &["SELECT sum(n) AS n FROM ", "$second"]).await.unwrap();
        [landing, grouped, filtered, second]
            .map(|it| serde_json::from_str::<Value>(&it).unwrap()["n"].as_u64().unwrap())
    };
    for _ in 0..3 {
        insert(engine, &landing, 0..1000, "k:1").await.unwrap();
    }
    assert_eq!(counts().await, [1000, 1000, 500, 1000]);
    // The same rows under another token are other rows.
    insert(engine, &landing, 0..1000, "k:2").await.unwrap();
    assert_eq!(counts().await, [2000, 2000, 1000, 2000]);
    let change = |rest: &'static str| {
        ["ALTER TABLE ", "$v_filtered", " MODIFY QUERY SELECT id FROM ", "$landing", " WHERE id % 2 = 0", rest]
    };
    run(engine, namespace, &change(" AND NOT throwIf(id = 700)")).await.unwrap();
    let error = insert(engine, &landing, 0..1000, "k:3").await.unwrap_err();
    assert!(error.message.contains("while pushing to view"), "{error}");
    assert!(counts().await[2] < 1500, "the view that throws has nothing");
    run(engine, namespace, &change("")).await.unwrap();
    for _ in 0..2 {
        insert(engine, &landing, 0..1000, "k:3").await.unwrap();
    }
    assert_eq!(counts().await, [3000, 3000, 1500, 3000], "its repetition brings all of them level");
}

/// A view whose query was changed is known to its target by another id, and after a restart by the first again. To be
/// given a name makes that right at once.
#[tokio::test]
async fn a_view_with_another_query_takes_a_token_once_when_it_is_given_its_name_again() {
    const WINDOW: &str =
        " (id UInt64) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000";
    for (is_named, wanted) in [(false, 2000), (true, 1000)] {
        let (engine, namespace) = database().await;
        let run = async |parts: &[&'static str]| run(engine, &namespace, parts).await.unwrap();
        run(&["CREATE TABLE ", "$landing", WINDOW]).await;
        run(&["CREATE TABLE ", "$copy", WINDOW]).await;
        run(&["CREATE MATERIALIZED VIEW ", "$view", " TO ", "$copy", " AS SELECT id FROM ", "$landing"]).await;
        insert(engine, &table(&namespace, "landing"), 0..1000, "k:1").await.unwrap();
        run(&["ALTER TABLE ", "$view", " MODIFY QUERY SELECT id + 0 AS id FROM ", "$landing"]).await;
        if is_named {
            run(&["RENAME TABLE ", "$view", " TO ", "$aside", ", ", "$aside", " TO ", "$view"]).await;
        }
        insert(engine, &table(&namespace, "landing"), 0..1000, "k:1").await.unwrap();
        for (name, wanted) in [("landing", 1000), ("copy", wanted)] {
            let count = select(engine, "count() AS n", &table(&namespace, name), "").await;
            assert_eq!(count, [json!({"n": wanted})], "{name}, named: {is_named}");
        }
    }
}

/// What a table remembers of an insert is the part in each of its partitions: a batch of days of many years is as
/// many entries. So a table with partitions remembers more of them.
#[tokio::test]
async fn a_table_remembers_parts_and_not_inserts() {
    let (engine, namespace) = database().await;
    let made = async |name: &str, settings: Option<&str>| {
        let mut days = datasource(name, &["id UInt64 $.id"], None);
        days.engine.partition_key = Some(UserSql::expression("id", Span::at(0)).unwrap());
        days.engine.settings = settings.map(|it| UserSql::expression(it, Span::at(0)).unwrap());
        create(engine, &namespace, days).await.table
    };
    let short = made("short", Some("non_replicated_deduplication_window = 30")).await;
    let long = made("long", None).await;
    // Both are begun when a crash comes, so both are repeated.
    let more = if torture() { 1200 } else { 35 };
    for table in [&short, &long] {
        for (ids, token) in [(0..10, "k:1"), (10..more, "k:2"), (0..10, "k:1")] {
            insert(engine, table, ids, token).await.unwrap();
        }
    }
    let head = "count() AS rows, uniqExact(id) AS ids";
    assert_eq!(select(engine, head, &short, "").await, [json!({"rows": more + 10, "ids": more})]);
    assert_eq!(select(engine, head, &long, "").await, [json!({"rows": more, "ids": more})]);
}

/// A Kafka topic, a project with views of it and of one another, and a server that does not live long.
struct Run {
    folder: Folder,
    broker: Broker,
    messages: u64,
}

const ADMIN: &str = "p.admin";
const PARTITIONS: i32 = 6;

const EVENTS: &str = "SCHEMA >
    `id` UInt64 `json:$.id`,
    `at` DateTime `json:$.at`,
    `kind` LowCardinality(String) `json:$.kind`,
    `size` UInt32 `json:$.size`

ENGINE \"MergeTree\"
ENGINE_PARTITION_KEY \"toYYYYMM(at)\"
ENGINE_SORTING_KEY \"id\"

KAFKA_CONNECTION_NAME broker
KAFKA_TOPIC t
KAFKA_GROUP_ID kills
KAFKA_AUTO_OFFSET_RESET earliest
";
const BY_KIND: &str = "SCHEMA >
    `month` UInt32,
    `kind` String,
    `n` SimpleAggregateFunction(sum, UInt64),
    `total` SimpleAggregateFunction(sum, UInt64)

ENGINE \"AggregatingMergeTree\"
ENGINE_PARTITION_KEY \"month\"
ENGINE_SORTING_KEY \"month, kind\"
";
const LARGE: &str = "SCHEMA >
    `id` UInt64,
    `at` DateTime,
    `size` UInt32

ENGINE \"MergeTree\"
ENGINE_PARTITION_KEY \"toYYYYMM(at)\"
ENGINE_SORTING_KEY \"id\"
";
const LARGE_TOTALS: &str = "SCHEMA >
    `month` UInt32,
    `n` UInt64,
    `total` UInt64

ENGINE \"SummingMergeTree\"
ENGINE_SORTING_KEY \"month\"
";

fn view(target: &str, select: &str) -> String {
    format!("NODE n\nSQL >\n    {select}\n\nTYPE materialized\nDATASOURCE {target}\n")
}

/// One of a hundred is broken, and says so in its number.
fn message(id: u64) -> String {
    let at = format!("2026-{:02}-{:02} 10:00:00", id % 3 + 1, id % 28 + 1);
    let (kind, size) = (id % 7, id % 1000);
    let end = if id % 100 == 13 { "" } else { "}" };
    format!("{{\"id\":{id},\"at\":\"{at}\",\"kind\":\"kind {kind}\",\"size\":{size}{end}")
}

impl Run {
    async fn new(messages: u64) -> Run {
        let broker = Broker::start().await;
        broker.topic("t", PARTITIONS).await;
        broker.send("t", PARTITIONS, (0..messages).map(message));
        let folder = Folder::new();
        folder.file("datasources/events.datasource", EVENTS);
        folder.file("datasources/by_kind.datasource", BY_KIND);
        folder.file("datasources/large.datasource", LARGE);
        folder.file("datasources/large_totals.datasource", LARGE_TOTALS);
        let select =
            "SELECT toYYYYMM(at) AS month, kind, count() AS n, sum(size) AS total FROM events GROUP BY month, kind";
        folder.file("pipes/to_by_kind.pipe", &view("by_kind", select));
        folder.file("pipes/to_large.pipe", &view("large", "SELECT id, at, size FROM events WHERE size >= 500"));
        let select = "SELECT toYYYYMM(at) AS month, count() AS n, sum(size) AS total FROM large GROUP BY month";
        folder.file("pipes/to_large_totals.pipe", &view("large_totals", select));
        let run = Run { folder, broker, messages };
        let server = run.serve("before-intent");
        run.folder.ok(&["auth", "--host", &server.host(), "--token", ADMIN]);
        let address = run.broker.address();
        let connection = ["--connection-name", "broker", "--bootstrap-servers", &address];
        run.folder
            .ok(&[&["connection", "create", "kafka"][..], &connection, &["--security-protocol", "PLAINTEXT"]].concat());
        // The first messages come in while this server still runs.
        run.folder.ok(&["push"]);
        run
    }

    fn serve(&self, failpoint: &str) -> Server {
        let mut command = self.folder.command(&["serve", "--port", "0"]);
        command.env("BIRDHOUSE_ADMIN_TOKEN", ADMIN).env("BIRDHOUSE_FAILPOINT", failpoint);
        command.env("BIRDHOUSE_KAFKA_BATCH_ROWS", (self.messages / 200).to_string());
        command.env("BIRDHOUSE_KAFKA_BATCH_SECONDS", "0.05");
        Server::start(command)
    }

    /// The one row of an answer.
    fn ask(&self, server: &Server, sql: &str) -> Value {
        let (status, text) = server.get(&format!("/v0/sql?q={}", encoded(&format!("{sql} FORMAT JSON"))), ADMIN);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["data"][0].clone()
    }

    /// Different events that are in, good and bad; how many rows there are of them.
    fn arrived(&self, server: &Server) -> ([u64; 2], [u64; 2]) {
        let count = |sql: &str| {
            let row = self.ask(server, sql);
            ["n", "u"].map(|it| row[it].as_u64().unwrap())
        };
        (
            count("SELECT count() AS n, uniqExact(id) AS u FROM events"),
            count("SELECT count() AS n, uniqExact(c__raw) AS u FROM events_quarantine"),
        )
    }

    /// Lets a last server live until every event is in, and gives the counts and what the views disagree in.
    fn finish(&self, server: &Server) -> ([u64; 2], [u64; 2], String) {
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let (good, bad) = self.arrived(server);
            if good[1] + bad[1] >= self.messages {
                break;
            }
            assert!(Instant::now() < deadline, "{good:?} {bad:?} of {}", self.messages);
            thread::sleep(Duration::from_millis(200));
        }
        // An insert that is under way may be one too many: it is in when the offsets have arrived. Views follow.
        thread::sleep(Duration::from_secs(2));
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let (good, bad) = self.arrived(server);
            let wrong = self.disagreements(server);
            if wrong.is_empty() || Instant::now() > deadline {
                return (good, bad, wrong);
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The views that are not what their queries give.
    fn disagreements(&self, server: &Server) -> String {
        let mut wrong = String::new();
        for (view, kept, again) in [
            (
                "by_kind",
                "SELECT groupArray((month, kind, n, total)) AS it FROM (SELECT month, kind, sum(n) AS n, sum(total) AS \
                 total FROM by_kind GROUP BY month, kind ORDER BY month, kind)",
                "SELECT groupArray((month, kind, n, total)) AS it FROM (SELECT toYYYYMM(at) AS month, kind, count() AS n, \
                 sum(size) AS total FROM events GROUP BY month, kind ORDER BY month, kind)",
            ),
            (
                "large",
                "SELECT (count(), sum(id), uniqExact(id)) AS it FROM large",
                "SELECT (count(), sum(id), uniqExact(id)) AS it FROM events WHERE size >= 500",
            ),
            (
                "large_totals",
                "SELECT groupArray((month, n, total)) AS it FROM (SELECT month, sum(n) AS n, sum(total) AS total FROM \
                 large_totals GROUP BY month ORDER BY month)",
                "SELECT groupArray((month, n, total)) AS it FROM (SELECT toYYYYMM(at) AS month, count() AS n, sum(size) \
                 AS total FROM events WHERE size >= 500 GROUP BY month ORDER BY month)",
            ),
        ] {
            let (kept, again) = (self.ask(server, kept), self.ask(server, again));
            if kept["it"] != again["it"] {
                wrong += &format!("{view}: {kept} is not {again}\n");
            }
        }
        wrong
    }
}

fn encoded(text: &str) -> String {
    let byte = |it: u8| if it.is_ascii_alphanumeric() { char::from(it).to_string() } else { format!("%{it:02X}") };
    text.bytes().map(byte).collect()
}

const FAILPOINTS: [&str; 7] =
    ["after-intent", "mid-insert", "after-insert", "after-quarantine", "before-state", "after-state", "before-commit"];

/// Kills a server `kills` times, at each place where it matters and at random ones. Gives how often it had died
/// at a place that was chosen.
fn kill(run: &Run, kills: usize, random: &mut StdRng, also: &str) -> usize {
    let mut died = 0;
    for kill in 0..kills {
        // Two of three at a place, the others somewhere.
        if kill % 3 == 2 {
            let mut server = run.serve(also);
            thread::sleep(Duration::from_millis(random.random_range(20..400)));
            server.child.kill().unwrap();
            server.child.wait().unwrap();
            continue;
        }
        let place = FAILPOINTS[(kill - kill / 3) % FAILPOINTS.len()];
        let places = [format!("{place}:{}", random.random_range(1..4)), also.to_owned()];
        let mut server = run.serve(&places.join(","));
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                server.child.kill().unwrap();
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        died += usize::from(server.child.wait().unwrap().code().is_none());
    }
    died
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_again_and_again_has_each_event_once() {
    let (messages, kills) = if torture() { (1_000_000, 60) } else { (100_000, 20) };
    let mut random = StdRng::seed_from_u64(*[1, 2, 3, 4].choose(&mut rand::rng()).unwrap());
    let mut run = Run::new(messages).await;
    let rounds = if torture() { 4 } else { 1 };
    tokio::task::block_in_place(|| kill(&run, kills / rounds, &mut random, ""));
    for _ in 1..rounds {
        run.broker.restart().await;
        tokio::task::block_in_place(|| kill(&run, kills / rounds, &mut random, ""));
    }
    tokio::task::block_in_place(|| {
        let server = run.serve("");
        let (good, bad, wrong) = run.finish(&server);
        let poison = messages / 100;
        assert_eq!((good, bad), ([messages - poison; 2], [poison; 2]), "rows and different ones, good and bad");
        assert_eq!(wrong, "", "every view is what its query gives");
    });
}

/// The test above can fail: without the engine's help the same kills leave doubles.
#[tokio::test(flavor = "multi_thread")]
async fn without_deduplication_the_same_kills_leave_doubles() {
    let mut random = StdRng::seed_from_u64(5);
    let run = Run::new(20_000).await;
    tokio::task::block_in_place(|| {
        kill(&run, 7, &mut random, "no-deduplication");
        let server = run.serve("no-deduplication");
        let (good, _, _) = run.finish(&server);
        assert!(good[0] > good[1], "{good:?}");
    });
}

/// A backup is the data directory of a server that is stopped: its tables and its offsets fit each other, so what came
/// after it is read again, and once.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_data_directory_that_is_put_back_reads_on_from_where_it_was() {
    let mut run = Run::new(2_000).await;
    let folder = run.folder.path().to_owned();
    let copy = |from: &str, to: &str| {
        _ = fs::remove_dir_all(folder.join(to));
        let copied = std::process::Command::new("cp").arg("-a").arg(folder.join(from)).arg(folder.join(to)).status();
        assert!(copied.unwrap().success());
    };
    for (messages, put_back) in [(2_000, false), (4_000, false), (4_000, true)] {
        if messages > run.messages {
            copy(".birdhouse", "backup");
            run.broker.send("t", PARTITIONS, (run.messages..messages).map(message));
            run.messages = messages;
        }
        if put_back {
            copy("backup", ".birdhouse");
        }
        tokio::task::block_in_place(|| {
            let server = run.serve("");
            let (good, bad, wrong) = run.finish(&server);
            let poison = messages / 100;
            assert_eq!((good, bad, &*wrong), ([messages - poison; 2], [poison; 2], ""), "put back: {put_back}");
            server.stop();
        });
    }
}

/// The engine says that it knows an insert before the insert's part is there. A crash between the two is made here of
/// one that came later.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_is_remembered_and_not_there_is_made_again() {
    let (house, server) = House::new();
    drop(server);
    let mut server = house.serve("event-inserted");
    // The server dies before it can answer, or after.
    let url = format!("{}/v0/events?name=events&token={ADMIN}", server.host());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    _ = client.post(url).body("{\"id\":1,\"kind\":\"a\"}\n{\"id\":2,\"kind\":\"a\"}\n").send().await;
    tokio::task::block_in_place(|| server.child.wait().unwrap());
    let store = house.folder.path().join(".birdhouse/engine/data/store");
    let below = |path: &Path| fs::read_dir(path).unwrap().map(|it| it.unwrap().path()).collect::<Vec<_>>();
    let mut gone = 0;
    for table in below(&store).iter().flat_map(|it| below(it)) {
        let logs = table.join("deduplication_logs");
        let remembers = logs.is_dir() && below(&logs).iter().any(|it| fs::metadata(it).unwrap().len() > 0);
        let part = table.join("all_1_1_0");
        if remembers && part.is_dir() {
            fs::remove_dir_all(part).unwrap();
            gone += 1;
        }
    }
    assert_eq!(gone, 1, "the table's part; the view's stays");
    let server = house.serve("");
    let counts = "SELECT (SELECT count() FROM events) AS table, (SELECT sum(n) FROM kinds) AS view";
    eventually("once", &json!([{"table": 2, "view": 2}]), || ask(&server, counts));
}

/// A table with partitions that was made when all tables remembered as few inserts does better from the next start on,
/// but for one whose file says how many.
#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_there_remember_as_many_inserts_as_new_ones() {
    let (house, server) = House::new();
    let days = |settings: &str| {
        format!(
            "SCHEMA >\n    `id` UInt64 `json:$.id`\n\nENGINE \"MergeTree\"\nENGINE_PARTITION_KEY \"id\"\n{settings}"
        )
    };
    house.folder.file("datasources/days.datasource", &days(""));
    house
        .folder
        .file("datasources/own.datasource", &days("ENGINE_SETTINGS \"non_replicated_deduplication_window = 1000\"\n"));
    push(&house);
    drop(server);
    // As one that an older birdhouse made.
    let metadata = house.folder.path().join(".birdhouse/engine/data");
    let output =
        std::process::Command::new("grep").args(["-rl", "--include=days.sql", "10000"]).arg(&metadata).output();
    let found = String::from_utf8(output.unwrap().stdout).unwrap();
    let path = found.lines().next().expect("its definition is in the engine's folder");
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.replace("deduplication_window = 10000", "deduplication_window = 1000")).unwrap();
    let definition = |server: &Server, name: &str| {
        assert_eq!(ask(server, &format!("SELECT count() AS n FROM {name}")), json!([{"n": 0}]));
        let mut found = std::process::Command::new("grep");
        let found = found.args(["-rh", &format!("--include={name}.sql"), "window"]).arg(&metadata).output();
        String::from_utf8(found.unwrap().stdout).unwrap()
    };
    let server = house.serve("");
    assert!(definition(&server, "days").contains("window = 10000"), "{}", definition(&server, "days"));
    assert!(!definition(&server, "own").contains("10000"), "{}", definition(&server, "own"));
}
