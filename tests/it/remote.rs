//! Two servers: one runs the engine, the other has it for its own.

use crate::{
    cli::{Folder, Server},
    kafka::Broker,
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

const BACK: &str = "p.admin-of-the-back";
const FRONT: &str = "p.admin-of-the-front";

/// A birdhouse whose ClickHouse port lets its administrator speak to the engine.
pub(crate) struct Back {
    pub(crate) server: Server,
    _folder: Folder,
    pub(crate) port: u16,
}

impl Back {
    pub(crate) fn start() -> Back {
        let folder = Folder::new();
        let mut command = folder.command(&["serve", "--port", "0", "--clickhouse-port", "0", "--clickhouse-admin"]);
        command.env("BIRDHOUSE_ADMIN_TOKEN", BACK).env("BIRDHOUSE_LOG_LEVEL", "warn");
        let mut server = Server::start(command);
        let line = server.wait_for("ClickHouse's clients reach it at");
        let port = line.split("localhost:").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        Back { server, _folder: folder, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A server in a folder whose engine this is.
    pub(crate) fn front(&self, folder: &Folder) -> Server {
        let mut command = folder.command(&["serve", "--port", "0", "--engine", &self.url()]);
        command.env("BIRDHOUSE_ENGINE_USER", "engine").env("BIRDHOUSE_ENGINE_PASSWORD", BACK);
        command.env("BIRDHOUSE_ADMIN_TOKEN", FRONT).env("BIRDHOUSE_LOG_LEVEL", "warn");
        Server::start(command)
    }
}

/// The audit-log project of this repository, as somebody has it in a folder.
fn audit_log() -> Folder {
    let folder = Folder::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["datasources", "datasources/fixtures", "pipes", "endpoints"] {
        for entry in fs::read_dir(root.join(part)).unwrap().flatten().filter(|it| it.path().is_file()) {
            let name = format!("{part}/{}", entry.file_name().to_str().unwrap());
            folder.file(&name, &fs::read_to_string(entry.path()).unwrap());
        }
    }
    folder
}

fn event(id: u64) -> String {
    let (company, minute, kind) = (id % 5 + 1, id / 40 % 60, ["file_created", "login", "logout"][id as usize % 3]);
    format!(
        r#"{{"datetime": "2026-01-31T12:{minute:02}:00.{:03}", "company_id": {company}, "event": "{kind}",
        "payload": {{"entity_id": "{id:032x}", "author": "a{}@b.example"}}, "device": {{"browser": "B", "OS": "L"}}}}"#,
        id % 1000,
        id % 7
    )
}

fn text(server: &Server, path: &str, token: &str) -> String {
    let (status, text) = server.get(path, token);
    assert_eq!(status, 200, "{path}: {text}");
    // What it cost is not what it says.
    text.split("\"statistics\"").next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_gives_the_same_answers_over_two_servers() {
    const EVENTS: u64 = 2_000;
    let (near, far) = tokio::join!(Broker::start(), Broker::start());
    let broker_of = [&near, &far];
    for broker in broker_of {
        broker.topic("audit_log_demo", 2).await;
        broker.send("audit_log_demo", 2, (0..EVENTS).map(event));
    }
    let addresses = broker_of.map(Broker::address);
    let work = tokio::task::spawn_blocking(move || {
        let back = Back::start();
        let folder = Folder::new();
        let front = back.front(&folder);
        let project = audit_log();
        let servers = [(&back.server, BACK), (&front, FRONT)];
        for ((server, token), address) in servers.iter().zip(&addresses) {
            let ok = |arguments: &[&str]| {
                let host = server.host();
                project.ok(&[arguments, &["--host", &host, "--token", token]].concat())
            };
            let name = ["--connection-name", "demo_audit_log_connection"];
            let connection = ["--bootstrap-servers", address, "--security-protocol", "PLAINTEXT"];
            ok(&[&["connection", "create", "kafka"][..], &name, &connection].concat());
            ok(&["push", "--fixtures"]);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        for (server, token) in servers {
            let count = "/v0/sql?q=SELECT%20count()%20FROM%20enriched_events_mv%20FORMAT%20CSV";
            while text(server, count, token).trim() != EVENTS.to_string() {
                assert!(Instant::now() < deadline, "{}", text(server, count, token));
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        for path in [
            "/v0/pipes/api_audit_log.json?page_size=500",
            "/v0/pipes/api_audit_log.csv?company_id=3&page_size=7&page=2",
            "/v0/pipes/api_count_per_type.json?company_id=1",
            "/v0/pipes/api_totals.json",
            "/v0/pipes/api_ui_filters.json?filter=companies",
            "/v0/pipes/events_per_company.json?company_id=2",
            "/v0/sql?q=SELECT%20event,count()%20AS%20n%20FROM%20kafka_audit_log%20GROUP%20BY%20event%20WITH%20TOTALS%20\
             ORDER%20BY%20event%20LIMIT%202%20FORMAT%20JSON",
            "/v0/sql?q=SELECT%20*%20FROM%20enriched_events_mv%20ORDER%20BY%20ALL%20FORMAT%20JSONEachRow",
        ] {
            let [embedded, remote] = servers.map(|(server, token)| text(server, path, token));
            assert_eq!(embedded, remote, "{path}");
            assert!(embedded.len() > 50, "{path}: {embedded}");
        }
        // Each has its own rows, in one engine.
        let rows = [(&back.server, BACK), (&front, FRONT)];
        for (server, token) in rows {
            let (status, error) = server.get("/v0/sql?q=SELECT%20*%20FROM%20enriched_events_mv%20WHERE%20nope", token);
            assert_eq!(status, 400, "{error}");
            assert!(error.contains("nope") && !error.contains("w00_"), "{error}");
        }
        assert_eq!(front.stop(), Some(0));
        // What is acknowledged is there when the front comes again.
        let front = back.front(&folder);
        let count = text(&front, "/v0/sql?q=SELECT%20count()%20FROM%20kafka_audit_log%20FORMAT%20CSV", FRONT);
        assert_eq!(count.trim(), EVENTS.to_string());
        assert_eq!(front.stop(), Some(0));
        assert_eq!(back.server.stop(), Some(0));
    });
    work.await.unwrap();
}
