//! The engine in a process of its own, which is killed again and again.

use super::FRONT;
use crate::{
    cli::{Folder, Server},
    torture,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Client;
use serde_json::Value;
use std::{
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const TABLE: &str = "SCHEMA >\n    `id` UInt64 `json:$.id`,\n    `half` UInt8 `json:$.half`\n\nENGINE \"MergeTree\"\n\
                     ENGINE_SORTING_KEY \"id\"\n";
const COUNTS: &str = "SCHEMA >\n    `half` UInt8,\n    `n` SimpleAggregateFunction(sum, UInt64)\n\nENGINE \
                      \"AggregatingMergeTree\"\nENGINE_SORTING_KEY \"half\"\n";
const VIEW: &str = "NODE n\nSQL >\n    SELECT half, count() AS n FROM rows GROUP BY half\n\nTYPE materialized\nDATASOURCE \
                    counts\n";

/// The process that a server has its engine in.
fn engine_of(server: u32) -> Option<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|it| it.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|it| it == format!("PPid:\t{server}"))
    })
}

/// What has ended may wait for its parent to hear of it.
fn runs(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|it| it.starts_with("State:") && !it.contains('Z'))
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

async fn ask(http: &Client, host: &str, sql: &str) -> (u16, String) {
    let request = http.post(format!("{host}/v0/sql")).bearer_auth(FRONT).form(&[("q", sql)]);
    let reply = request.send().await.expect("the server never goes");
    (reply.status().as_u16(), reply.text().await.unwrap_or_default())
}

/// Every row that was acknowledged is there once, in its table and in a view; the server answers all the time.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_costs_no_row_and_no_server() {
    let kills = if torture() { 50 } else { 8 };
    let folder = Folder::new();
    folder.file("datasources/rows.datasource", TABLE);
    folder.file("datasources/counts.datasource", COUNTS);
    folder.file("pipes/counting.pipe", VIEW);
    let mut command = folder.command(&["serve", "--port", "0", "--engine", "child"]);
    command.env("BIRDHOUSE_ADMIN_TOKEN", FRONT);
    let server = Server::start(command);
    let host = server.host();
    folder.ok(&["push", "--host", &host, "--token", FRONT]);
    let number = server.child.id();
    let http = Client::builder().no_proxy().build().unwrap();
    let (done, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut senders = Vec::new();
    for sender in 0..2_u64 {
        let (http, host, done, acknowledged) = (http.clone(), host.clone(), done.clone(), acknowledged.clone());
        senders.push(tokio::spawn(async move {
            let mut batch = 0;
            while !done.load(Ordering::SeqCst) {
                let ids = (0..50).map(|it| (sender << 40) + batch * 50 + it);
                let rows: Vec<_> = ids.map(|id| format!("{{\"id\":{id},\"half\":{}}}", id % 2)).collect();
                let request = http.post(format!("{host}/v0/events?name=rows")).bearer_auth(FRONT);
                let reply = request.body(rows.join("\n")).send().await.expect("the server never goes");
                if reply.status().is_success() {
                    acknowledged.fetch_add(50, Ordering::SeqCst);
                    batch += 1;
                }
            }
        }));
    }
    let mut random = StdRng::seed_from_u64(7);
    let mut slowest = Duration::ZERO;
    for round in 0..kills {
        let pid = engine_of(number).expect("there is a process");
        // Under way when it dies.
        let (of_long, host_of_long) = (http.clone(), host.clone());
        let long =
            tokio::spawn(async move { ask(&of_long, &host_of_long, "SELECT sum(sleepEachRow(0.01)) FROM rows").await });
        tokio::time::sleep(Duration::from_millis(random.random_range(0..120))).await;
        kill(pid);
        let began = Instant::now();
        loop {
            let (status, text) = ask(&http, &host, "SELECT count() FROM rows FORMAT CSV").await;
            if status == 200 {
                break;
            }
            assert_eq!(status, 503, "{text}");
            assert!(began.elapsed() < Duration::from_secs(60), "round {round}: {text}");
        }
        slowest = slowest.max(began.elapsed());
        assert!(matches!(long.await.unwrap().0, 200 | 400 | 408 | 503));
    }
    // How fast that is, is said where it is looked for.
    if let Some(path) = env::var_os("BIRDHOUSE_KILLS_FILE") {
        fs::write(path, format!("{kills} kills; the next answer came within {slowest:?}\n")).unwrap();
    }
    done.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    let wanted = acknowledged.load(Ordering::SeqCst);
    assert!(wanted > 1000, "{wanted}");
    let began = Instant::now();
    let sql = "SELECT (SELECT count() FROM rows) AS n, (SELECT uniqExact(id) FROM rows) AS u, (SELECT sum(n) FROM counts) \
               AS v FORMAT JSON";
    loop {
        let (status, text) = ask(&http, &host, sql).await;
        assert_eq!(status, 200, "{text}");
        let row = serde_json::from_str::<Value>(&text).unwrap()["data"][0].clone();
        let counts = ["n", "u", "v"].map(|it| row[it].as_u64().unwrap());
        assert!(counts.iter().all(|it| *it <= wanted), "{counts:?} of {wanted}");
        if counts == [wanted; 3] {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{counts:?} of {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It ends with its server, and nobody is left.
    let pid = engine_of(number).unwrap();
    assert_eq!(server.stop(), Some(0));
    assert!(!runs(pid));
}

/// A server that is killed takes its engine with it, so that the next one has the directory.
#[test]
fn an_engine_goes_with_its_server() {
    let folder = Folder::new();
    let serve = || {
        let mut command = folder.command(&["serve", "--port", "0", "--engine", "child"]);
        command.env("BIRDHOUSE_ADMIN_TOKEN", FRONT);
        Server::start(command)
    };
    let mut server = serve();
    let pid = engine_of(server.child.id()).unwrap();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let next = serve();
    assert!(!runs(pid));
    let (status, text) = next.get("/v0/sql?q=SELECT%201%20FORMAT%20CSV", FRONT);
    assert_eq!((status, text.as_str()), (200, "1\n"));
    assert_eq!(next.stop(), Some(0));
}
