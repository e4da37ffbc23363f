//! What goes wrong around a server: disks that fill, bodies that are odd, clients that stall, clocks that jump, more
//! events than it can take. Nothing that was acknowledged is lost or doubled, and it goes on by itself.

use crate::{
    cli::Server,
    engine::library_path,
    events::{ADMIN, EVENTS, House, answer, ask, eventually, post, push},
    resident, torture,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long anything may take that is only waited for.
const PATIENCE: Duration = Duration::from_secs(120);

const DISKS: [(&str, u64); 3] = [("events", 24), ("engine", 300), ("files", 24)];

/// Parts of a data directory, each a small disk of its own that only some processes see.
struct Disks {
    holder: Child,
    data: PathBuf,
}

impl Disks {
    /// What is in the directory is on the disks. Nothing where the kernel does not let us make any.
    fn new(data: &Path) -> Option<Disks> {
        let mounts = DISKS.map(|(name, mib)| {
            format!(
                "mkdir -p \"$0/{name}\" && cp -a \"$0/{name}\" \"$0/{name}.kept\" && \
                 mount -t tmpfs -o size={mib}m tmpfs \"$0/{name}\" && cp -a \"$0/{name}.kept/.\" \"$0/{name}/\" && "
            )
        });
        let script = format!("{}echo ready && exec sleep 3600", mounts.concat());
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", &script]).arg(data).stdout(Stdio::piped());
        let mut said = String::new();
        let holder = command.spawn().map(|mut holder| {
            BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
            Disks { holder, data: data.to_owned() }
        });
        if said != "ready\n" {
            let words = "\n*** A FULL DISK IS NOT TESTED HERE: the kernel lets nobody make a small one ***\n\n";
            io::stderr().write_all(words.as_bytes()).unwrap();
            return None;
        }
        holder.ok()
    }

    fn serve(&self, variables: &[(&str, &str)]) -> Server {
        let mut command = Command::new("nsenter");
        let holder = self.holder.id().to_string();
        let folder = self.data.parent().unwrap();
        command
            .args(["-t", &holder, "-U", "-m", "--preserve-credentials", "sh", "-c", "cd \"$0\" && exec \"$@\""])
            .arg(folder)
            .arg(env!("CARGO_BIN_EXE_birdhouse"))
            .args(["serve", "--port", "0"])
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap())
            .env("HOME", folder)
            .env("BIRDHOUSE_LIBCHDB", library_path())
            .env("BIRDHOUSE_ADMIN_TOKEN", ADMIN)
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        Server::start(command)
    }

    /// As those see it who see the disks.
    fn path(&self, disk: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.data.strip_prefix("/").unwrap()).join(disk)
    }

    fn fill(&self, disk: &str) {
        let mut file = fs::File::create(self.path(disk).join("ballast")).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self, disk: &str) {
        fs::remove_file(self.path(disk).join("ballast")).unwrap();
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        _ = self.holder.kill();
        _ = self.holder.wait();
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Sends one event with much around it; the status, and whether it says when to come again.
async fn send(client: &reqwest::Client, host: &str, id: u64, size: usize) -> (u16, bool) {
    let body = format!("{{\"id\":{id},\"kind\":\"k\",\"around\":\"{}\"}}", "x".repeat(size));
    let url = format!("{host}/v0/events?name=events&token={ADMIN}");
    let reply = client.post(url).body(body).send().await.unwrap();
    let (status, retry) = (reply.status().as_u16(), reply.headers().contains_key(RETRY_AFTER));
    let text = reply.text().await.unwrap();
    assert!(status == 202 || serde_json::from_str::<Value>(&text).unwrap()["error"].is_string(), "{status}: {text}");
    (status, retry)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_loses_nothing_and_is_used_again_once_there_is_room() {
    let (house, server) = House::new();
    drop(server);
    let Some(disks) = Disks::new(&house.folder.path().join(".birdhouse")) else { return };
    let variables = [("BIRDHOUSE_EVENTS_HELD", "2M")];
    let mut server = disks.serve(&variables);
    let client = client();
    let (mut next, mut taken) = (0, Vec::new());
    for (disk, refusal) in [("events", 503), ("engine", 429)] {
        disks.fill(disk);
        let deadline = Instant::now() + PATIENCE;
        let mut refused = 0;
        while refused < 3 {
            assert!(Instant::now() < deadline, "{disk} is full and nobody is told");
            match send(&client, &server.host(), next, 200_000).await {
                (202, _) => taken.push(next),
                (status, retry) => {
                    assert_eq!((status, retry), (refusal, true), "{disk}");
                    refused += 1;
                }
            }
            next += 1;
        }
        // What was taken before can be read.
        assert_eq!(ask(&server, "SELECT count() >= 0 AS n FROM events"), json!([{"n": 1}]));
        disks.free(disk);
        while send(&client, &server.host(), next, 10).await.0 != 202 {
            assert!(Instant::now() < deadline, "{disk} has room and nobody is let in");
            tokio::time::sleep(Duration::from_millis(100)).await;
            next += 1;
        }
        taken.push(next);
        next += 1;
        let wanted = json!([{"n": taken.len(), "u": taken.len(), "k": taken.len()}]);
        let found =
            || ask(&server, "SELECT count() AS n, uniqExact(id) AS u, (SELECT sum(n) FROM kinds) AS k FROM events");
        eventually(disk, &wanted, found);
    }
    // A file is refused before a row of it is in.
    disks.fill("files");
    let rows: String = (next..next + 1000).map(|id| format!("{{\"id\":{id},\"kind\":\"file\"}}\n")).collect();
    let path = "/v0/datasources?mode=append&name=events&format=ndjson";
    let file = async || {
        let url = format!("{}{path}", server.host());
        let reply = client.post(url).bearer_auth(ADMIN).body(rows.clone()).send().await.unwrap();
        (reply.status().as_u16(), reply.json::<Value>().await.unwrap())
    };
    let (status, reply) = file().await;
    assert!(status == 507 && reply["error"].as_str().unwrap().contains("disk"), "{status} {reply}");
    let left = || {
        let workspaces = fs::read_dir(disks.path("files")).unwrap().map(|it| it.unwrap().path());
        workspaces.filter(|it| it.is_dir()).map(|it| fs::read_dir(it).unwrap().count()).sum::<usize>()
    };
    assert_eq!(left(), 0);
    disks.free("files");
    assert_eq!(file().await.0, 200);
    assert_eq!(left(), 0);
    // And what was said of all of it holds over a crash.
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = disks.serve(&variables);
    let all = taken.len() + 1000;
    let found = || ask(&server, "SELECT count() AS n, uniqExact(id) AS u, (SELECT sum(n) FROM kinds) AS k FROM events");
    eventually("after a crash", &json!([{"n": all, "u": all, "k": all}]), found);
}

const ODD: &str = "SCHEMA >
    `id` UInt64 `json:$.id`,
    `kind` LowCardinality(String) `json:$.kind`,
    `at` DateTime64(3) `json:$.at`,
    `price` Nullable(Float64) `json:$.price`,
    `tags` Array(String) `json:$.tags[:]`,
    `city` String `json:$.where.city` DEFAULT 'nowhere'

ENGINE \"MergeTree\"
ENGINE_SORTING_KEY \"id\"
";

fn odd_body(random: &mut StdRng, id: u64) -> Vec<u8> {
    let rows = random.random_range(1..5);
    let row = |n: u64| {
        format!(
            "{{\"id\":{},\"kind\":\"a\",\"at\":\"2026-01-0{} 10:00:00.5\",\"price\":1.25,\"tags\":[\"x\",\"y\"],\
             \"where\":{{\"city\":\"Rome\"}}}}\n",
            id * 10 + n,
            n + 1
        )
    };
    let mut body = (0..rows).map(row).collect::<String>().into_bytes();
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..=body.len());
        let piece: Vec<u8> = match random.random_range(0..14) {
            0 => vec![random.random()],
            1 => vec![0xc3, 0x28],
            2 => b"\xed\xa0\x80".to_vec(),
            3 => b"\\ud800".to_vec(),
            4 => b"\"\\udc00\\ud800x\"".to_vec(),
            5 => vec![b'['; random.random_range(1..20_000)],
            6 => b"{\"a\":".repeat(random.random_range(1..5_000)),
            7 => b",\"id\":7,\"id\":null".to_vec(),
            8 => b"1e400".to_vec(),
            9 => b"-18446744073709551616".to_vec(),
            10 => b"\n".to_vec(),
            11 => b"\0".to_vec(),
            12 => format!("\"{}\"", "y".repeat(random.random_range(1..3_000))).into_bytes(),
            _ => [&b"null"[..], b"}", b"]", b",", b":", b"\"", b"tru", b"{}", b"[]"].choose(random).unwrap().to_vec(),
        };
        match random.random_range(0..4) {
            // A piece goes, comes, or takes another's place.
            0 => drop(body.drain(at..(at + random.random_range(1..40)).min(body.len()))),
            1 => body.truncate(at),
            _ => drop(body.splice(at..at, piece)),
        }
    }
    body
}

/// Whatever is sent, each row of it is in, or in the quarantine, or its sender hears that the body is refused.
#[tokio::test(flavor = "multi_thread")]
async fn odd_bodies_are_taken_kept_or_refused_and_never_lost() {
    let bodies = if torture() { 10_000 } else { 400 };
    let (house, server) = House::new();
    house.folder.file("datasources/odd.datasource", ODD);
    push(&house);
    let client = client();
    let url = format!("{}/v0/events?name=odd&token={ADMIN}", server.host());
    let (mut random, mut good, mut bad, mut refused) = (StdRng::seed_from_u64(11), 0, 0, 0);
    for id in 0..bodies {
        let large = |length: usize| format!("{{\"id\":1,\"kind\":\"{}\"}}", "z".repeat(length)).into_bytes();
        let body = match id % 5_000 {
            20 => large((10 << 20) - 200),
            21 => large(10 << 20),
            22 => b"[".repeat((10 << 20) - 1),
            _ => odd_body(&mut random, id),
        };
        let rows = body.split(|it| *it == b'\n').filter(|it| !it.iter().all(u8::is_ascii_whitespace)).count() as u64;
        let json = random.random_bool(0.1);
        let format = if json { "&format=json" } else { "" };
        let reply = client.post(format!("{url}{format}")).body(body.clone()).send().await.unwrap();
        let status = reply.status().as_u16();
        let answer: Value = reply.json().await.unwrap();
        if status == 202 {
            let [taken, kept] = ["successful_rows", "quarantined_rows"].map(|it| answer[it].as_u64().unwrap());
            assert!(json || taken + kept == rows, "{} of {}", taken + kept, String::from_utf8_lossy(&body));
            (good, bad) = (good + taken, bad + kept);
        } else {
            assert!(status == 400 || status == 413, "{status}: {answer}");
            assert!(answer["error"].is_string(), "{answer}");
            refused += 1;
        }
    }
    assert!(good > bodies && bad > bodies / 10 && refused > 0, "{good} good, {bad} bad, {refused} bodies refused");
    let counts = "SELECT (SELECT count() FROM odd) AS good, (SELECT count() FROM odd_quarantine) AS bad";
    eventually("all of it", &json!([{"good": good, "bad": bad}]), || ask(&server, counts));
    assert_eq!(post(&server, &format!("name=events&token={ADMIN}"), &[], "{\"id\":1,\"kind\":\"x\"}").await.0, 202);
}

/// Half a body is no event, and who is slow keeps nobody else waiting, the end included.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stall_or_vanish_in_the_middle_keep_nobody_waiting() {
    let (house, server) = House::new();
    let begin = |head: &str, body: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let path = format!("/v0/events?name=events&token={ADMIN}");
        write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{body}").unwrap();
        stream
    };
    let mut stalled = Vec::new();
    for id in 0..100 {
        let row = format!("{{\"id\":{id},\"kind\":\"half\"}}\n");
        stalled.push(begin("Content-Length: 1000", &row));
        stalled.push(begin("Transfer-Encoding: chunked", &format!("{:x}\r\n{row}\r\n", row.len())));
        drop(begin("Content-Length: 1000", &row));
        drop(begin("Transfer-Encoding: chunked", &format!("{:x}\r\n{row}\r\n", row.len())));
    }
    let wait = format!("name=events&token={ADMIN}&wait=true");
    for id in 100..110 {
        let row = format!("{{\"id\":{id},\"kind\":\"whole\"}}");
        assert_eq!(post(&server, &wait, &[], row).await, (200, answer(1, 0)));
    }
    // One of them goes on after all.
    let mut last = begin("Content-Length: 24", "{\"id\":110,");
    last.write_all(b"\"kind\":\"late\"}").unwrap();
    let mut status = [0; 12];
    last.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 202");
    assert_eq!(tokio::task::block_in_place(|| server.stop()), Some(0));
    drop(stalled);
    let server = house.serve("");
    assert_eq!(
        ask(&server, "SELECT count() AS n, countIf(kind = 'half') AS h FROM events"),
        json!([{"n": 11, "h": 0}])
    );
}

/// The clock is for the eye alone: rows that are refused when it has jumped back are read once more like others.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_changes_nothing() {
    let (house, server) = House::new();
    house.folder.file("datasources/events.datasource", &EVENTS.replace("$.id", "$.identity"));
    push(&house);
    drop(server);
    let mut server = house.serve("clock-back:2");
    house.folder.ok(&["auth", "--host", &server.host(), "--token", ADMIN]);
    let wait = format!("name=events&token={ADMIN}&wait=true");
    for id in 0..4 {
        let row = format!("{{\"id\":{id},\"kind\":\"k\"}}");
        assert_eq!(post(&server, &wait, &[], row).await, (200, answer(0, 1)));
    }
    let hours = "SELECT dateDiff('hour', min(insertion_date), max(insertion_date)) > 12 AS n FROM events_quarantine";
    assert_eq!(ask(&server, hours), json!([{"n": 1}]), "the clock has jumped");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = house.serve("clock-back:2");
    house.folder.ok(&["auth", "--host", &server.host(), "--token", ADMIN]);
    house.folder.file("datasources/events.datasource", EVENTS);
    push(&house);
    let replay = || house.folder.ok(&["quarantine", "replay", "events"]);
    assert_eq!(tokio::task::block_in_place(replay), "4 rows in, 0 rows refused again\n");
    let counts = "SELECT count() AS n, (SELECT sum(n) FROM kinds) AS k, (SELECT count() FROM events_quarantine) AS q FROM events";
    assert_eq!(ask(&server, counts), json!([{"n": 4, "k": 4, "q": 0}]));
}

/// Who prefers speed still loses nothing when the server dies.
#[tokio::test(flavor = "multi_thread")]
async fn relaxed_events_survive_the_end_of_the_process() {
    let (house, server) = House::new();
    drop(server);
    let relaxed = || {
        let mut command = house.folder.command(&["serve", "--port", "0", "--durability", "relaxed"]);
        // What is not in the table is in the log alone.
        command.env("BIRDHOUSE_ADMIN_TOKEN", ADMIN).env("BIRDHOUSE_EVENTS_BATCH_SECONDS", "3600");
        Server::start(command)
    };
    let client = client();
    for round in 0..3 {
        let mut server = relaxed();
        for id in 0..50 {
            assert_eq!(send(&client, &server.host(), round * 50 + id, 10).await.0, 202);
        }
        server.child.kill().unwrap();
        server.child.wait().unwrap();
    }
    let server = house.serve("");
    let counts = "SELECT count() AS n, uniqExact(id) AS u, (SELECT sum(n) FROM kinds) AS k FROM events";
    eventually("all of them", &json!([{"n": 150, "u": 150, "k": 150}]), || ask(&server, counts));
    let refused = house.folder.command(&["serve", "--durability", "some"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("durable or relaxed"));
}

/// What more events than the engine can take may cost besides those that wait: they are decoded, and the engine has
/// a batch at hand.
const PER_OVERLOAD: u64 = 256 << 20;

/// More events than the engine can take are sent away, and memory does not grow with them.
#[tokio::test(flavor = "multi_thread")]
async fn ten_times_too_many_events_are_sent_away_and_cost_no_memory() {
    let (house, server) = House::new();
    drop(server);
    let mut command = house.folder.command(&["serve", "--port", "0"]);
    command.env("BIRDHOUSE_ADMIN_TOKEN", ADMIN).env("BIRDHOUSE_EVENTS_HELD", "2M");
    command.env("BIRDHOUSE_FAILPOINT", "slow-insert");
    let server = Server::start(command);
    let before = resident(server.child.id());
    let (over, next, sent_away) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let taken = Arc::new(Mutex::new(Vec::new()));
    let senders = (0..8).map(|_| {
        let (host, over, next, sent_away, taken) =
            (server.host(), over.clone(), next.clone(), sent_away.clone(), taken.clone());
        tokio::spawn(async move {
            let client = client();
            while !over.load(Ordering::Relaxed) {
                let id = next.fetch_add(1, Ordering::Relaxed);
                match send(&client, &host, id, 100_000).await {
                    (202, _) => taken.lock().unwrap().push(id),
                    (status, retry) => {
                        assert_eq!((status, retry), (429, true));
                        sent_away.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let (mut most, begun) = (0, Instant::now());
    loop {
        most = most.max(resident(server.child.id()));
        let (away, in_time) = (sent_away.load(Ordering::Relaxed), taken.lock().unwrap().len() as u64);
        if away > 10 * in_time && in_time > 20 || begun.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    over.store(true, Ordering::Relaxed);
    for it in senders {
        it.await.unwrap();
    }
    let (away, taken) = (sent_away.load(Ordering::Relaxed), taken.lock().unwrap().len() as u64);
    assert!(away > 8 * taken, "{away} are sent away and {taken} taken: that is no overload");
    let grown = most.saturating_sub(before);
    assert!(grown < PER_OVERLOAD, "it took {} MiB", grown >> 20);
    let counts = "SELECT count() AS n, uniqExact(id) AS u FROM events";
    eventually("what was taken", &json!([{"n": taken, "u": taken}]), || ask(&server, counts));
}
