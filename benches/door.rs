//! The ClickHouse interface: a point query, a million rows out as Native, a million rows in; each against the engine
//! alone.

use crate::{Table, arguments, http, number, raw::Raw, raw_load};
use birdhouse::{
    app::App,
    engine::EngineSettings,
    observe::Sink,
    query::Format,
    server::{self, Listeners},
    sql::Sql,
};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const ROWS: u64 = 1_000_000;

/// The best of so many runs.
const RUNS: usize = 5;

const POINT: &str = "SELECT name, size, plan FROM companies WHERE company_id = 1";

const LONG: &str = "SELECT number, toString(number) AS text, number % 97 AS part FROM numbers(1000000)";

pub(crate) async fn measure(table: &mut Table, app: &App, raw: Raw, settings: &EngineSettings) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let listeners = Listeners { api: Vec::new(), clickhouse: vec![listener] };
    let shutdown = stop.clone().cancelled_owned();
    let serving = server::serve(app.clone(), Sink::default(), server::Settings::default(), listeners, shutdown);
    let serving = tokio::spawn(serving);
    let token = app.workspace().admin_token().reveal().to_owned();
    let database = app.workspace().namespace().database().to_owned();

    let seconds = Duration::from_secs(number("BENCH_SECONDS", 3) as u64);
    let target = format!("/?query={}%20FORMAT%20JSON", POINT.replace(' ', "%20"));
    http::load(port, &target, &token, 1, seconds / 6).await;
    let served = http::load(port, &target, &token, 1, seconds).await;
    let physical = POINT.replace("FROM ", &format!("FROM `{database}`."));
    let limits = [format!("--max_threads={}", settings.max_threads), "--readonly=1".to_owned()];
    let connected = arguments(settings, &limits);
    let alone = tokio::task::spawn_blocking(move || raw_load(raw, &connected, &physical, 1, seconds)).await.unwrap();
    let ms = |it: Duration| it.as_secs_f64() * 1000.0;
    table.add("ClickHouse interface, a point query: p50", ms(served.p50), "ms", Some(ms(alone.p50)));

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post =
        |query: &str| client.post(format!("http://127.0.0.1:{port}/")).bearer_auth(&token).query(&[("query", query)]);
    let mut fastest = 0.0f64;
    for _ in 0..RUNS {
        let start = Instant::now();
        let mut response = post(&format!("{LONG} FORMAT Native")).send().await.unwrap();
        let mut size = 0;
        while let Some(chunk) = response.chunk().await.unwrap() {
            size += chunk.len();
        }
        assert!(size > 10_000_000, "{size}");
        fastest = fastest.max(ROWS as f64 / start.elapsed().as_secs_f64());
    }
    let connected = arguments(settings, &limits);
    let alone = tokio::task::spawn_blocking(move || {
        let mut connection = raw.connect(&connected);
        let run = |connection: &mut crate::raw::Connection| {
            let start = Instant::now();
            assert!(connection.query(LONG, "Native").len() > 10_000_000);
            ROWS as f64 / start.elapsed().as_secs_f64()
        };
        (0..RUNS).map(|_| run(&mut connection)).fold(0.0, f64::max)
    });
    let alone = alone.await.unwrap();
    table.add("ClickHouse interface, 1,000,000 rows of Native out", fastest, "rows/s", Some(alone));
    // As all else here has them: the raw engine gives them in one piece, which is not to be had from a server.
    let streamed = async || {
        let start = Instant::now();
        let mut rows = app.engine().read_as_user(&Sql::new(LONG), Format::parse_wire("Native").unwrap()).await.unwrap();
        while let Some(chunk) = rows.next().await {
            chunk.unwrap();
        }
        ROWS as f64 / start.elapsed().as_secs_f64()
    };
    let mut alone = 0.0f64;
    for _ in 0..RUNS {
        alone = alone.max(streamed().await);
    }
    table.add("the same, against the embedded engine's stream", fastest, "rows/s", Some(alone));

    // The same block goes in both ways.
    let connected = arguments(settings, &[]);
    let made = "SELECT toInt8(number % 5 + 1) AS company_id, concat('n', toString(number % 100)) AS name, \
                toUInt32(number) AS size, 'free' AS plan FROM numbers(1000000) SETTINGS max_block_size = 1000000";
    let block = tokio::task::spawn_blocking(move || raw.connect(&connected).query(made, "Native")).await.unwrap();
    let mut fastest = 0.0f64;
    for _ in 0..RUNS {
        let start = Instant::now();
        let response = post("INSERT INTO companies FORMAT Native").body(block.clone()).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
        fastest = fastest.max(ROWS as f64 / start.elapsed().as_secs_f64());
    }
    let connected = arguments(settings, &[]);
    let alone = tokio::task::spawn_blocking(move || {
        let mut connection = raw.connect(&connected);
        let head = format!(
            "INSERT INTO `{database}`.`companies` SETTINGS async_insert = 0, deduplicate_insert = 'disable', \
             max_insert_block_size = 1000000000"
        );
        let run = |connection: &mut crate::raw::Connection| {
            let start = Instant::now();
            assert!(connection.insert(&head, &block) >= ROWS);
            ROWS as f64 / start.elapsed().as_secs_f64()
        };
        (0..RUNS).map(|_| run(&mut connection)).fold(0.0, f64::max)
    });
    let alone = alone.await.unwrap();
    table.add("ClickHouse interface, 1,000,000 rows of Native in", fastest, "rows/s", Some(alone));
    stop.cancel();
    serving.await.unwrap();
}
