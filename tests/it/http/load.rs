//! Long answers, slow clients, full queues, large bodies.

use super::*;

#[tokio::test]
async fn what_is_too_large_is_refused_in_words() {
    let site = Site::start().await;
    let body = vec![b'x'; 20_000_000];
    for (method, path, token) in [
        (Method::POST, "/v0/tokens", ADMIN),
        (Method::POST, "/v0/sql", ADMIN),
        (Method::GET, "/v0/datasources", ADMIN),
        (Method::DELETE, "/v0/tokens/x", ADMIN),
        (Method::POST, "/health", ""),
        (Method::POST, "/nowhere", ""),
    ] {
        let reply = reply(site.request(method, path).bearer_auth(token).body(body.clone())).await;
        assert_eq!(reply.status, 413, "{path}: {}", reply.text);
        reply.error();
    }
    // Strangers do not get so far.
    let reply_stranger = reply(site.request(Method::POST, "/v0/sql").body(body)).await;
    assert_eq!(reply_stranger.status, 403);
    let long = site.get(&format!("/v0/sql?q={}", "x".repeat(40_000)), ADMIN).await;
    assert_eq!(long.status, 414);
    long.error();
    let heavy = site.request(Method::GET, "/v0/sql").header("x-heavy", "x".repeat(40_000));
    let heavy = reply(heavy).await;
    assert_eq!(heavy.status, 431);
    heavy.error();
    site.stop().await;
}

/// Rows of a hundred bytes, more than the server holds back.
fn long_query(rows: u64) -> String {
    format!("select number as n, leftPad('', 80, 'x') as x from numbers({rows})")
}

#[tokio::test]
async fn a_long_answer_is_streamed_whole() {
    let site = Site::start().await;
    let reply = site.sql(ADMIN, &long_query(300_000)).await;
    assert_eq!(reply.header("transfer-encoding"), "chunked");
    let document = reply.json();
    assert_eq!(document["rows"], 300_000);
    let rows = document["data"].as_array().unwrap();
    assert_eq!(rows.len(), 300_000);
    assert!(rows.iter().enumerate().all(|(index, row)| row["n"] == index));
    let csv = site.sql(ADMIN, &format!("{} format CSVWithNames", long_query(300_000))).await;
    assert_eq!(csv.text.lines().count(), 300_001);
    assert_eq!(csv.text.lines().filter(|it| *it == "\"n\",\"x\"").count(), 1);
    site.stop().await;
}

#[tokio::test]
async fn an_answer_that_fails_on_its_way_is_cut() {
    let site = Site::start().await;
    let failing = "select number, throwIf(number = 2000000, 'two millions') as t, leftPad('', 80, 'x') as x from numbers(3000000)";
    let request = site.request(Method::POST, "/v0/sql").bearer_auth(ADMIN).body(failing);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err(), "the answer must not look complete");
    site.observed(|it| matches!(it, Observation::AnswerCut { message, .. } if message.contains("two millions"))).await;
    // What fails at once has its status.
    let early = site.sql(ADMIN, "select throwIf(number = 2, 'two') from numbers(3)").await;
    assert_eq!(early.status, 400);
    assert!(early.error().contains("two"), "{}", early.text);
    site.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_query() {
    let site = Site::start().await;
    let query = "/v0/sql?q=select+number,leftPad('',80,'x')+from+numbers(1000000000)+format+CSV";
    let mut stream = TcpStream::connect(&site.address).await.unwrap();
    let head = format!("GET {query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = vec![0; 4096];
    assert!(stream.read(&mut seen).await.unwrap() > 0);
    drop(stream);
    site.observed(|it| matches!(it, Observation::AnswerCut { message, .. } if message.contains("went away"))).await;
    site.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_given_up() {
    let site = Site::with(server::Settings { client_patience: Duration::from_secs(1), ..Default::default() }).await;
    let _stream = ask_and_do_not_read(&site.address, 1_000_000).await;
    site.observed(|it| matches!(it, Observation::AnswerCut { message, .. } if message.contains("stopped reading")))
        .await;
    site.stop().await;
}

async fn ask_and_do_not_read(address: &str, rows: u64) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let query = format!("/v0/sql?q=select+number,leftPad('',80,'x')+from+numbers({rows})+format+CSV");
    let head = format!("GET {query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn when_every_place_is_taken_a_client_hears_it_at_once() {
    let site = Site::with(server::Settings { max_running: 1, max_waiting: 1, ..Default::default() }).await;
    let slow = "select count() from numbers(100000000000) where sipHash64(number) = 1";
    let mut running = Vec::new();
    for _ in 0..2 {
        let request = site.request(Method::POST, "/v0/sql").bearer_auth(ADMIN).body(slow);
        // Each comes back when it was sent away itself, or ran into its limit.
        running.push(tokio::spawn(async move {
            loop {
                _ = request.try_clone().unwrap().send().await;
            }
        }));
    }
    // The two take the place and the queue in their own time; who comes then is sent away.
    let busy = loop {
        let reply =
            reply(site.request(Method::GET, "/v0/sql?q=select+1").bearer_auth(ADMIN).timeout(Duration::from_secs(9)));
        match tokio::time::timeout(Duration::from_millis(200), reply).await {
            Ok(reply) if reply.status == 503 => break reply,
            Ok(reply) => assert_eq!(reply.status, 200),
            // It waited in the queue, which its going away leaves.
            Err(_) => (),
        }
    };
    assert_eq!(busy.header("retry-after"), "1");
    busy.error();
    for it in running {
        it.abort();
    }
    site.stop().await;
}

#[tokio::test]
async fn a_stop_lets_answers_end() {
    let site = Site::start().await;
    let request = site.request(Method::POST, "/v0/sql").bearer_auth(ADMIN).body(long_query(300_000));
    let response = request.send().await.unwrap();
    let address = site.address.clone();
    let stopping = tokio::spawn(site.stop());
    let text = response.text().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["rows"], 300_000);
    stopping.await.unwrap();
    assert!(TcpStream::connect(&address).await.is_err());
}
