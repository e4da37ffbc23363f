//! Hours of everything at once: events, files, reads, pushes, copies, replays. What a server holds does not grow.
//! Only where `SOAK_HOURS` says for how long; a part of an hour is one too.
#![cfg(target_os = "linux")]

use crate::{
    cli::Server,
    events::{ADMIN, House, TO_KINDS, ask, eventually, push},
    resident,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    env, fs,
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What a server holds at one moment.
#[derive(Debug, Clone, Copy)]
struct Held {
    hours: f64,
    memory: f64,
    descriptors: usize,
    parts: usize,
}

impl Held {
    fn now(server: &Server, data: &Path, begun: Instant) -> Held {
        let process = format!("/proc/{}", server.child.id());
        Held {
            hours: begun.elapsed().as_secs_f64() / 3600.0,
            memory: resident(server.child.id()) as f64 / f64::from(1 << 20),
            descriptors: fs::read_dir(format!("{process}/fd")).unwrap().count(),
            parts: folders_with(data, "checksums.txt"),
        }
    }
}

/// Folders that hold a file of this name: parts, those included that wait to be removed.
fn folders_with(folder: &Path, name: &str) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let own = usize::from(folder.join(name).exists());
    own + entries
        .filter(|it| it.file_type().is_ok_and(|it| it.is_dir()))
        .map(|it| folders_with(&it.path(), name))
        .sum::<usize>()
}

/// MiB an hour, by least squares.
fn slope(held: &[Held]) -> f64 {
    let n = held.len() as f64;
    let (x, y) = (held.iter().map(|it| it.hours).sum::<f64>() / n, held.iter().map(|it| it.memory).sum::<f64>() / n);
    let covariance: f64 = held.iter().map(|it| (it.hours - x) * (it.memory - y)).sum();
    covariance / held.iter().map(|it| (it.hours - x).powi(2)).sum::<f64>()
}

const FILES: &str =
    "SCHEMA >\n    `id` UInt64,\n    `kind` String\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"id\"\n";
const COPY: &str = "NODE n\nSQL >\n    SELECT id, kind FROM files WHERE id % 2 = 0\n\nTYPE copy\n\
                    TARGET_DATASOURCE copied\nCOPY_MODE replace\n";
const ENDPOINT: &str = "NODE n\nSQL >\n    %\n    SELECT kind, sum(n) AS n FROM kinds WHERE kind != {{String(but, '')}} \
                        GROUP BY kind ORDER BY kind\n\nTYPE endpoint\n";

#[tokio::test(flavor = "multi_thread")]
async fn hours_of_mixed_load_leave_a_server_as_it_was() {
    let Some(hours) = env::var_os("SOAK_HOURS").and_then(|it| it.to_str()?.parse::<f64>().ok()) else { return };
    let (house, server) = House::new();
    for (path, text) in [
        ("datasources/files.datasource", FILES),
        ("datasources/copied.datasource", FILES),
        ("pipes/halves.pipe", COPY),
        ("endpoints/by_kind.pipe", ENDPOINT),
    ] {
        house.folder.file(path, text);
    }
    push(&house);
    let (over, good, bad) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (host, client) = (server.host(), reqwest::Client::builder().no_proxy().build().unwrap());
    let mut work = tokio::task::JoinSet::new();
    for sender in 0..4u64 {
        let (host, client, over, good, bad) = (host.clone(), client.clone(), over.clone(), good.clone(), bad.clone());
        work.spawn(async move {
            let mut random = StdRng::seed_from_u64(sender);
            let mut next = sender;
            while !over.load(Ordering::Relaxed) {
                let mut rows = String::new();
                for _ in 0..random.random_range(1..20) {
                    let end = if random.random_bool(0.01) { "" } else { "}" };
                    rows.push_str(&format!("{{\"id\":{next},\"kind\":\"k{}\"{end}\n", next % 9));
                    next += 4;
                }
                let url = format!("{host}/v0/events?name=events&token={ADMIN}");
                let reply = client.post(url).body(rows).send().await.unwrap();
                assert_eq!(reply.status(), 202);
                let reply: Value = reply.json().await.unwrap();
                good.fetch_add(reply["successful_rows"].as_u64().unwrap(), Ordering::Relaxed);
                bad.fetch_add(reply["quarantined_rows"].as_u64().unwrap(), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(random.random_range(10..80))).await;
            }
        });
    }
    for reader in 0..2u64 {
        let (host, client, over) = (host.clone(), client.clone(), over.clone());
        work.spawn(async move {
            let mut random = StdRng::seed_from_u64(100 + reader);
            while !over.load(Ordering::Relaxed) {
                let path = match random.random_range(0..4) {
                    0 => "/v0/sql?q=SELECT+kind,count()+FROM+events+GROUP+BY+kind+FORMAT+JSON".to_owned(),
                    1 => "/v0/sql?q=SELECT+nothing+FROM+events".to_owned(),
                    2 => "/v0/pipes/by_kind.csv".to_owned(),
                    _ => format!("/v0/pipes/by_kind.json?but=k{}", random.random_range(0..9)),
                };
                let reply = client.get(format!("{host}{path}")).bearer_auth(ADMIN).send().await.unwrap();
                let status = reply.status();
                assert!(status.is_success() != path.contains("nothing"), "{path}: {status}");
                reply.bytes().await.unwrap();
                tokio::time::sleep(Duration::from_millis(random.random_range(20..120))).await;
            }
        });
    }
    {
        let (host, client, over) = (host.clone(), client.clone(), over.clone());
        work.spawn(async move {
            for round in 0u64.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let mode = if round.is_multiple_of(6) { "replace" } else { "append" };
                let rows: String = (0..10_000).map(|id| format!("{},kind {}\n", round * 10_000 + id, id % 5)).collect();
                let url = format!("{host}/v0/datasources?mode={mode}&name=files&format=csv");
                let reply = client.post(url).bearer_auth(ADMIN).body(rows).send().await.unwrap();
                assert_eq!(reply.status(), 200);
                let copied =
                    client.post(format!("{host}/v0/pipes/halves/copy")).bearer_auth(ADMIN).send().await.unwrap();
                assert_eq!(copied.status(), 200);
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
    }
    let (begun, time) = (Instant::now(), Duration::from_secs_f64(hours * 3600.0));
    let data = house.folder.path().join(".birdhouse/engine");
    let (mut held, mut next_push) = (Vec::new(), Duration::from_secs(20));
    let pause = (time / 200).max(Duration::from_secs(1));
    while begun.elapsed() < time {
        tokio::time::sleep(pause).await;
        if let Some(ended) = work.try_join_next() {
            ended.unwrap();
        }
        held.push(Held::now(&server, &data, begun));
        if begun.elapsed() > next_push {
            next_push += Duration::from_secs(60);
            let changed =
                TO_KINDS.replace("NODE n", &format!("NODE n\nDESCRIPTION >\n    of {}\n", next_push.as_secs()));
            house.folder.file("pipes/to_kinds.pipe", &changed);
            push(&house);
            let replay = house.folder.command(&["quarantine", "replay", "events"]).output();
            assert!(tokio::task::block_in_place(|| replay.unwrap()).status.success());
        }
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = work.join_next().await {
        ended.unwrap();
    }
    let (good, bad) = (good.load(Ordering::Relaxed), bad.load(Ordering::Relaxed));
    let counts = "SELECT count() AS n, uniqExact(id) AS u, (SELECT sum(n) FROM kinds) AS k, \
                  (SELECT count() FROM events_quarantine) AS q FROM events";
    eventually("all events", &json!([{"n": good, "u": good, "k": good, "q": bad}]), || ask(&server, counts));
    // The first third warms up.
    let warm = &held[held.len() / 3..];
    let (first, last) = (warm[..warm.len() / 2].iter(), warm[warm.len() / 2..].iter());
    let descriptors = (first.map(|it| it.descriptors).max().unwrap(), last.map(|it| it.descriptors).max().unwrap());
    let parts = held.iter().map(|it| it.parts).max().unwrap();
    let slope = slope(warm);
    let words = format!(
        "\n{hours} h, {good} events, {bad} refused: memory {:.0} to {:.0} MiB ({slope:.2} MiB/h), descriptors {} then \
         {}, parts up to {parts}\n",
        warm[0].memory,
        warm[warm.len() - 1].memory,
        descriptors.0,
        descriptors.1
    );
    io::stderr().write_all(words.as_bytes()).unwrap();
    assert!(descriptors.1 <= descriptors.0 + 20, "{words}");
    assert!(parts < 3000, "{words}");
    // In minutes memory has not settled yet.
    assert!(hours < 1.0 || slope < 1.0, "{words}");
}
