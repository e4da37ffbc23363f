//! What one read may cost: limits of the server and of tokens, the end of what nobody waits for, and how long the
//! worst single block works on.

use crate::{
    engine::engine,
    http::{ADMIN, Reply, Site, reply},
};
use birdhouse::{auth::Limits, engine::Engine, server, sql::Sql};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const SLOW: &str = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))";

impl Site {
    /// A static token that may read everything, within limits.
    async fn limited(&self, name: &str, limits: Value) -> String {
        let form = [("name", name), ("scope", "WORKSPACE:READ_ALL"), ("limits", &*limits.to_string())];
        let made = self.form("/v0/tokens", ADMIN, &form).await;
        assert_eq!(made.status, 200, "{}", made.text);
        made.json()["token"].as_str().unwrap().to_owned()
    }
}

async fn rows(engine: &Engine, sql: String) -> Vec<Value> {
    let bytes = engine.command(&Sql::new(Box::leak(sql.into_boxed_str()))).await.unwrap();
    bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty()).map(|it| serde_json::from_slice(it).unwrap()).collect()
}

/// What the engine runs whose text holds a mark.
async fn running(mark: &str) -> Vec<Value> {
    let half = mark.len() / 2;
    // The mark must not stand in the question itself.
    let sql = format!(
        "SELECT Settings['max_threads'] AS threads FROM system.processes WHERE position(query, concat('{}', '{}')) > 0",
        &mark[..half],
        &mark[half..]
    );
    rows(engine().await, sql).await
}

async fn until_running(mark: &str) -> Vec<Value> {
    let asked = Instant::now();
    loop {
        let found = running(mark).await;
        if !found.is_empty() {
            return found;
        }
        assert!(asked.elapsed() < Duration::from_secs(60), "{mark} never ran");
    }
}

fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), reply.header("x-db-exception-code")), (status, code), "{}", reply.text);
    reply.error();
}

#[tokio::test]
async fn a_token_has_its_own_limits_on_each_read() {
    let site = Site::with_shop().await;
    let small = "SELECT count() FROM sales";
    for (name, limits, query, status, code) in [
        ("time", json!({"max_execution_time": 1}), SLOW, 408, "159"),
        (
            "memory",
            json!({"max_memory_usage": 20_000_000}),
            "SELECT length(groupArray(number)) FROM numbers(10000000)",
            400,
            "241",
        ),
        ("rows", json!({"max_rows_to_read": 1000}), "SELECT sum(number) FROM numbers(100000)", 400, "158"),
        ("bytes", json!({"max_bytes_to_read": 1000}), "SELECT sum(number) FROM numbers(100000)", 400, "307"),
        ("result", json!({"max_result_bytes": 100}), "SELECT number FROM numbers(1000)", 413, "396"),
        ("whole", json!({"max_result_bytes": 100}), "SELECT number FROM numbers(1000) LIMIT 900", 413, "396"),
    ] {
        let token = site.limited(name, limits.clone()).await;
        refused(&site.sql(&token, query).await, status, code);
        assert_eq!(site.sql(&token, small).await.status, 200, "{name}");
        if query != SLOW {
            assert_eq!(site.sql(ADMIN, query).await.status, 200, "{name}");
        }
        // A token that carries its scopes carries its limits too.
        let claims = json!([{"type": "DATASOURCES:READ", "resource": "sales"}]);
        let signed = site.signed(claims, json!({"limits": limits})).await;
        refused(&site.sql(&signed, query).await, status, code);
    }
    let shown = site.get("/v0/tokens/rows", ADMIN).await.json();
    assert_eq!(shown["limits"], json!({"max_rows_to_read": 1000}));
    // A change that says nothing of limits lifts none.
    let put = async |query: &str, token: &str| {
        reply(site.request(Method::PUT, &format!("/v0/tokens/rows?{query}")).bearer_auth(token)).await
    };
    assert_eq!(put("scope=WORKSPACE:READ_ALL", ADMIN).await.json()["limits"], json!({"max_rows_to_read": 1000}));
    let manager = site.token("manager", &["TOKENS", "WORKSPACE:READ_ALL"]).await;
    assert_eq!(put("limits=%7B%7D", &manager).await.status, 403);
    assert_eq!(put("limits=%7B%7D", ADMIN).await.json()["limits"], Value::Null);
    for wrong in ["{\"max_rows\":1}", "{\"max_threads\":0}", "{\"max_threads\":-1}", "7", "[]x"] {
        let form = [("name", "wrong"), ("scope", "PIPES:READ:all_sales"), ("limits", wrong)];
        assert_eq!(site.form("/v0/tokens", ADMIN, &form).await.status, 400, "{wrong}");
    }
    site.stop().await;
}

/// What the server holds all to: a token without limits of its own, one with wider ones; not an administrator.
#[tokio::test]
async fn every_token_is_held_to_the_servers_limits() {
    let limits = Limits { max_rows_to_read: Some(1000), rps: Some(3), ..Limits::default() };
    let site = Site::held_to(limits, Limits::default(), server::Settings::default()).await;
    let big = "SELECT sum(number) FROM numbers(100000)";
    let plain = site.token("plain", &["WORKSPACE:READ_ALL"]).await;
    let wide = site.limited("wide", json!({"max_rows_to_read": 1_000_000, "rps": 1000})).await;
    for token in [&plain, &wide] {
        let reply = site.sql(token, big).await;
        refused(&reply, 400, "158");
        assert_eq!(reply.header("x-ratelimit-limit"), "3");
    }
    assert_eq!(site.sql(ADMIN, big).await.status, 200);
    site.stop().await;
}

/// What a workspace is held to: whoever asks, and all that ask at once.
#[tokio::test]
async fn a_workspace_is_held_to_its_limits() {
    let limits = Limits { max_rows_to_read: Some(1000), concurrency: Some(2), ..Limits::default() };
    let slow = Limits { max_rows_to_read: None, max_execution_time: Some(1), max_result_bytes: Some(100), ..limits };
    let site = Site::held_to(Limits::default(), slow, server::Settings::default()).await;
    let wide = site.limited("wide", json!({"max_execution_time": 1000, "concurrency": 30})).await;
    for token in [ADMIN, &*wide] {
        refused(&site.sql(token, SLOW).await, 408, "159");
        refused(&site.sql(token, "SELECT number FROM numbers(1000)").await, 413, "396");
    }
    site.stop().await;
    let site = Site::held_to(Limits::default(), limits, server::Settings::default()).await;
    let token = site.limited("wide", json!({"max_rows_to_read": 1_000_000})).await;
    for token in [ADMIN, &*token] {
        refused(&site.sql(token, "SELECT sum(number) FROM numbers(100000)").await, 400, "158");
    }
    let slow = |mark: &str, token: &str| {
        // Few rows, again and again.
        let query = format!(
            "SELECT count() FROM numbers(150) AS a, numbers(150) AS b, numbers(150) AS c, numbers(150) AS d, \
             numbers(150) AS e WHERE NOT ignore('{mark}', sipHash64(e.number))"
        );
        tokio::spawn(site.request(Method::POST, "/v0/sql").bearer_auth(token).body(query).send())
    };
    let held = [slow("first-of-workspace", ADMIN), slow("second-of-workspace", &token)];
    until_running("first-of-workspace").await;
    until_running("second-of-workspace").await;
    for token in [ADMIN, &*token] {
        let third = site.sql(token, "SELECT 1").await;
        assert_eq!((third.status.as_u16(), third.header("retry-after")), (429, "1"), "{}", third.text);
    }
    held.iter().for_each(tokio::task::JoinHandle::abort);
    let asked = Instant::now();
    while site.sql(&token, "SELECT 1").await.status != 200 {
        assert!(asked.elapsed() < Duration::from_secs(30), "the places do not come back");
    }
    site.stop().await;
}

#[tokio::test]
async fn a_token_asks_no_more_at_once_than_it_may() {
    let site = Site::with_shop().await;
    let token = site.limited("two", json!({"concurrency": 2})).await;
    let slow = |mark: &str| {
        let query = format!("SELECT count() FROM numbers(1000000000000) WHERE NOT ignore('{mark}', sipHash64(number))");
        tokio::spawn(site.request(Method::POST, "/v0/sql").bearer_auth(&token).body(query).send())
    };
    let held = [slow("first-of-two"), slow("second-of-two")];
    until_running("first-of-two").await;
    until_running("second-of-two").await;
    let third = site.sql(&token, "SELECT 1").await;
    assert_eq!((third.status.as_u16(), third.header("retry-after")), (429, "1"), "{}", third.text);
    assert_eq!(site.sql(ADMIN, "SELECT 1").await.status, 200);
    held.iter().for_each(tokio::task::JoinHandle::abort);
    let asked = Instant::now();
    while site.sql(&token, "SELECT 1").await.status != 200 {
        assert!(asked.elapsed() < Duration::from_secs(30), "the places do not come back");
    }
    site.stop().await;
}

#[tokio::test]
async fn threads_are_those_of_the_token_and_the_template() {
    let site = Site::start().await;
    let slow = |mark: &str, head: &str| {
        format!(
            "NODE n\nSQL >\n    %\n    {head}\n    SELECT count() FROM numbers(1000000000000) WHERE NOT ignore('{mark}', \
             sipHash64(number))\n\nTYPE endpoint\n"
        )
    };
    let one = slow("one-thread-of-template", "{{max_threads(1)}}");
    let many = slow("many-threads-of-template", "{{max_threads(100000)}}");
    let nothing = slow("no-threads-of-template", "{{max_threads(-3)}}");
    let files = [
        ("endpoints/one.pipe", one.as_str()),
        ("endpoints/many.pipe", many.as_str()),
        ("endpoints/nothing.pipe", nothing.as_str()),
    ];
    let deployed = site.deploy(&files, "").await;
    assert_eq!(deployed.json()["result"], "success", "{}", deployed.text);
    let server = engine().await.settings().max_threads.to_string();
    let narrow = site.limited("narrow", json!({"max_threads": 1})).await;
    for (pipe, token, mark, threads) in [
        ("one", ADMIN, "one-thread-of-template", "1"),
        ("many", ADMIN, "many-threads-of-template", server.as_str()),
        ("nothing", ADMIN, "no-threads-of-template", server.as_str()),
        ("many", &narrow, "many-threads-of-template", "1"),
    ] {
        let path = format!("/v0/pipes/{pipe}.json");
        let asked = tokio::spawn(site.request(Method::GET, &path).bearer_auth(token).send());
        assert_eq!(until_running(mark).await, [json!({"threads": threads})], "{pipe}");
        asked.abort();
        while !running(mark).await.is_empty() {}
    }
    site.stop().await;
}

/// A run that is told to end before the engine knows of it, or in its first moments, ends too.
#[tokio::test]
async fn a_query_ends_whenever_its_caller_leaves() {
    const CALLERS: u64 = 60;
    let site = Site::with_shop().await;
    let asked = (0..CALLERS).map(|at| {
        let query = format!("SELECT count() FROM numbers(1000000000000) WHERE NOT ignore('left-at-{at}-', number)");
        let asked = tokio::spawn(site.request(Method::POST, "/v0/sql").bearer_auth(ADMIN).body(query).send());
        async move {
            // Each at another moment of its request.
            tokio::time::sleep(Duration::from_micros(300 * at)).await;
            asked.abort();
        }
    });
    futures_util::future::join_all(asked).await;
    let left = Instant::now();
    while site.sql(ADMIN, "SELECT 1").await.status != 200 || !running("left-at-").await.is_empty() {
        assert!(left.elapsed() < Duration::from_secs(30), "some work on");
    }
    site.stop().await;
}

/// One value of a single block is not ended by anything. Its caller hears in time that it is too long, and its
/// token has a place less until the engine is done, so that one token cannot have all that the machine gives.
#[tokio::test]
async fn a_single_block_holds_its_tokens_place_and_not_its_caller() {
    let site = Site::with_shop().await;
    let token = site.limited("monsters", json!({"concurrency": 1, "max_execution_time": 1})).await;
    let monster = "SELECT editDistance(repeat('a', 60000), repeat('b', 60000)) AS one_monster";
    refused(&site.sql(&token, monster).await, 408, "159");
    assert_eq!(running("one_monster").await.len(), 1, "the caller has waited for its end");
    assert_eq!(site.sql(&token, "SELECT 1").await.status, 429);
    assert_eq!(site.sql(ADMIN, "SELECT 1").await.status, 200);
    let asked = Instant::now();
    while site.sql(&token, "SELECT 1").await.status != 200 {
        assert!(asked.elapsed() < Duration::from_secs(120), "the place does not come back");
    }
    assert!(running("one_monster").await.is_empty(), "the place came back too early");
    site.stop().await;
}

/// The audit log's endpoints over so many rows that each is still running when its caller leaves.
#[tokio::test]
async fn a_query_ends_when_its_caller_leaves() {
    const ROUNDS: usize = 25;
    let site = Site::with_audit_log().await;
    let database = site.app.workspace().namespace().database().to_owned();
    rows(
        engine().await,
        format!(
            "INSERT INTO {database}.kafka_audit_log (company_id, datetime, timestamp, event, payload_author) SELECT \
             number % 5 + 1, toDateTime64('2026-01-01 00:00:00', 3) + number % 86400, '2026-01-01 00:00:00', 'file_created', \
             concat('a', toString(number % 1000)) FROM numbers(100000)"
        ),
    )
    .await;
    let mut took = Vec::new();
    for endpoint in ["api_audit_log", "api_count_per_type", "api_totals", "events_per_company"] {
        let path = format!("/v0/pipes/{endpoint}.json?company_id=1&limit=100");
        let whole = site.get(&path, ADMIN).await;
        assert_eq!(whole.status, 200, "{endpoint}: {}", whole.text);
        for round in 0..ROUNDS {
            // Its rows again and again, block by block.
            let mark = format!("leaving-{endpoint}-{round}-");
            let q = format!(
                "SELECT count() FROM _, numbers(100000000000) AS x WHERE NOT ignore('{mark}', sipHash64(x.number))"
            );
            let url = site.request(Method::GET, &path).query(&[("q", &q)]).build().unwrap();
            let url = url.url();
            let target = format!("{}?{}", url.path(), url.query().unwrap());
            let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n");
            let mut stream = TcpStream::connect(&site.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            until_running(&mark).await;
            let left = Instant::now();
            drop(stream);
            // By itself it would go on until its time is over, which is a minute.
            while left.elapsed() < Duration::from_secs(15) && !running(&mark).await.is_empty() {}
            took.push(left.elapsed());
            // On a busy machine one in some hundreds does not hear that it is to end, when it is told as it begins.
            let late = took.iter().filter(|it| **it >= Duration::from_secs(15)).count();
            assert!(late <= 2, "{endpoint} works on: {took:?}");
        }
    }
    took.sort();
    let of = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    println!("a query was gone after {:?} (p50), {:?} (p99), {:?} at most, of {}", of(50), of(99), of(100), took.len());
    site.stop().await;
}

/// One value of one block, which no limit of time ends. Sizes at which each takes a second or so: they grow with
/// it, by its square where two lists are compared.
#[tokio::test]
async fn a_single_block_ends_by_itself() {
    let site = Site::start().await;
    let mut worst = (Duration::ZERO, "");
    for query in MONSTERS {
        let asked = Instant::now();
        let answer = site.sql(ADMIN, query).await;
        let took = asked.elapsed();
        println!("{took:?} {} {query}", answer.status);
        if took > worst.0 {
            worst = (took, query);
        }
    }
    println!("the longest: {worst:?}");
    assert!(worst.0 < Duration::from_secs(50), "{worst:?}");
    site.stop().await;
}

const MONSTERS: &[&str] = &[
    "SELECT length(arraySort(x -> sipHash64(x), range(5000000)))",
    "SELECT arraySum(arrayMap(x -> length(SHA512(toString(x))), range(1000000)))",
    "SELECT editDistance(repeat('a', 20000), repeat('b', 20000))",
    "SELECT arrayLevenshteinDistance(range(10000), range(1, 10000))",
    "SELECT arraySimilarity(range(4000), range(4000), range(4000), range(4000))",
    "SELECT arrayCount(x -> has(range(30000), x + 30000), range(30000))",
    "SELECT length(arraySort(x -> -x, range(100000000)))",
    "SELECT length(arrayDistinct(arrayMap(x -> toString(x), range(1000000))))",
    "SELECT length(arrayIntersect(range(20000000), range(10000000, 30000000)))",
    "SELECT arrayFold((a, x) -> a + x, range(30000), toUInt64(0))",
];
