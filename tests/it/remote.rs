//! Two servers: one runs the engine, the other has it for its own.

mod clustered;
mod kills;
mod secure;

use crate::{
    cli::{Folder, Server},
    engine::{
        conformance::{self, all, count, insert, table},
        database_of,
    },
    kafka::Broker,
};
use birdhouse::{
    engine::{
        Deduplication, Engine, EngineAddress, EngineError, EngineErrorKind, EngineLogin, EnginePassword, EnginePlace,
        EngineServer, EngineSettings, EngineWire,
    },
    observe::Sink,
    query::Format,
    sql::{
        Sql,
        access::{self, ReaderLimits},
        statement,
    },
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
    folder: Folder,
    pub(crate) port: u16,
}

impl Back {
    pub(crate) fn start() -> Back {
        let folder = Folder::new();
        let (server, port) = Back::serve(&folder, 0);
        Back { server, folder, port }
    }

    fn serve(folder: &Folder, port: u16) -> (Server, u16) {
        let port = port.to_string();
        let mut command = folder.command(&["serve", "--port", "0", "--clickhouse-port", &port, "--clickhouse-admin"]);
        command.env("BIRDHOUSE_ADMIN_TOKEN", BACK).env("BIRDHOUSE_LOG_LEVEL", "warn");
        let mut server = Server::start(command);
        let line = server.wait_for("ClickHouse's clients reach it at");
        let port = line.split("localhost:").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        (server, port)
    }

    fn kill(&mut self) {
        self.server.child.kill().unwrap();
        self.server.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.server = Back::serve(&self.folder, self.port).0;
    }

    /// An engine over it.
    async fn engine(&self, seconds: u64) -> Engine {
        self.engine_at(self.url(), seconds, EngineWire::Plain, None).await.unwrap()
    }

    /// The same at another address, which leads there.
    async fn engine_at(
        &self,
        url: String,
        seconds: u64,
        wire: EngineWire,
        authorities: Option<Vec<u8>>,
    ) -> Result<Engine, EngineError> {
        let login = EngineLogin { user: "engine".to_owned(), password: EnginePassword::new(BACK) };
        let server =
            EngineServer { address: EngineAddress::Url(url), login, reader: None, cluster: None, authorities, wire };
        let settings = EngineSettings {
            place: EnginePlace::Server(server),
            max_execution_time: Duration::from_secs(seconds),
            ..EngineSettings::new("/nonexistent", "/nonexistent")
        };
        Engine::open(settings, Sink::default()).await
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

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_an_engine_like_the_embedded_one() {
    let back = tokio::task::spawn_blocking(Back::start).await.unwrap();
    let engine = back.engine(5).await;
    conformance::everything(&engine).await;
    // In every format, the same bytes.
    let embedded = crate::engine::engine().await;
    let sql = Sql::new(
        "SELECT number AS n, 'a\n\"b' AS s, [toNullable(number), NULL] AS l, toDateTime64(number, 3) AS t, \
         (1, 'x')::Tuple(a UInt8, b String) AS u FROM numbers(3)",
    );
    let names = "JSON JSONEachRow CSV CSVWithNames CSVWithNamesAndTypes TSV TSVWithNames TSVWithNamesAndTypes TSVRaw \
                 Native RowBinary RowBinaryWithNames RowBinaryWithNamesAndTypes JSONCompact JSONCompactEachRow \
                 JSONCompactEachRowWithNamesAndTypes JSONStrings JSONColumns JSONObjectEachRow MsgPack BSONEachRow Values \
                 SQLInsert Vertical Markdown XML Pretty PrettyCompact PrettySpace PrettyJSONEachRow ArrowStream Parquet \
                 Null";
    for name in names.split_whitespace() {
        let format = Format::parse_wire(name).unwrap();
        let bytes = async |engine: &Engine| {
            let mut rows = engine.read_as_user(&sql, format).await.unwrap();
            let mut bytes = Vec::new();
            while let Some(chunk) = rows.next().await {
                bytes.extend_from_slice(&chunk.unwrap());
            }
            bytes
        };
        let (near, far) = (bytes(embedded).await, bytes(&engine).await);
        assert_eq!(String::from_utf8_lossy(&near), String::from_utf8_lossy(&far), "{name}");
    }
    engine.close().await;
    assert_eq!(engine.ping().await.unwrap_err().kind, EngineErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_costs_what_is_under_way_and_no_row() {
    let mut back = tokio::task::spawn_blocking(Back::start).await.unwrap();
    let engine = back.engine(2).await;
    let namespace = database_of(&engine).await;
    let rest = "ENGINE = MergeTree ORDER BY k SETTINGS non_replicated_deduplication_window = 1000";
    let table = table(&engine, &namespace, rest).await;
    for round in 0..3_u64 {
        // An answer that is cut is no answer, in any format.
        let mut cut = Vec::new();
        for format in [Format::Json, Format::Csv, Format::JsonEachRow] {
            let sql = Sql::new("SELECT number FROM system.numbers");
            cut.push(engine.read_as_user(&sql, format).await.unwrap());
        }
        let token = Deduplication::Token(format!("t{round}"));
        let values: Vec<u64> = (0..400_000).collect();
        let (own, into) = (engine.clone(), table.clone());
        let inserting = tokio::spawn(async move { insert(&own, &into, "k", &values, token).await });
        let back = &mut back;
        // In the middle of an insert, or near one.
        tokio::time::sleep(Duration::from_millis(3 * round)).await;
        tokio::task::block_in_place(|| back.kill());
        for rows in cut {
            assert_eq!(all(rows).await.map(drop).unwrap_err().kind, EngineErrorKind::Unreachable);
        }
        tokio::task::block_in_place(|| back.restart());
        inserting.await.unwrap().unwrap();
        let (n, sum) = ((round + 1) * 400_000, (round + 1) * 79_999_800_000);
        assert_eq!(count(&engine, &table).await, format!("{{\"n\":{n},\"s\":{sum}}}\n"));
    }
    tokio::task::block_in_place(|| back.kill());
    let gone = engine.read_as_user(&Sql::new("SELECT 1"), Format::Csv).await.map(drop).unwrap_err();
    assert_eq!(gone.kind, EngineErrorKind::Timeout, "{gone}");
    let gone = engine.command(&Sql::new("SELECT 1")).await.unwrap_err();
    assert_eq!(gone.kind, EngineErrorKind::Unreachable);
    assert!(gone.message.contains("gives no answer") && !gone.message.contains(BACK), "{gone}");
}

#[test]
fn info_tells_of_a_server() {
    let back = Back::start();
    let folder = Folder::new();
    let info = |user: &str| {
        let mut command = folder.command(&["engine", "info", "--engine", &back.url()]);
        command.env("BIRDHOUSE_ENGINE_USER", user).env("BIRDHOUSE_ENGINE_PASSWORD", BACK);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said, _) = info("engine");
    assert_eq!(code, Some(0));
    assert!(said.contains(&format!("server   {}", back.url())), "{said}");
    assert!(said.contains("version  ClickHouse 26.") && said.contains("under the roles w00 to w31"), "{said}");
    assert!(said.contains("missing  nothing"), "{said}");
    // Under another name it is one of ClickHouse's clients, who may not do what an engine must.
    let (code, _, said) = info("default");
    assert_eq!(code, Some(1));
    assert!(said.contains("--clickhouse-admin") && !said.contains(BACK), "{said}");
    let refused = folder.command(&["serve", "--engine", "http://a:secret-word@localhost:1"]).output().unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(words.contains("BIRDHOUSE_ENGINE_PASSWORD") && !words.contains("secret-word"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_speaks_to_the_engine() {
    let back = tokio::task::spawn_blocking(Back::start).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |user: &str, password: &str, query: &str| {
        let request = http.post(back.url()).header("x-clickhouse-user", user).header("x-clickhouse-key", password);
        let reply = request.body(query.to_owned()).send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    };
    assert_eq!(ask("engine", BACK, "SELECT currentDatabase()").await, (200, "nowhere\n".to_owned()));
    assert_eq!(ask("engine", "p.wrong", "SELECT 1").await.0, 403);
    // Under another name an administrator is one of ClickHouse's clients.
    assert!(ask("default", BACK, "CREATE DATABASE x").await.1.contains("ACCESS_DENIED"));
    for (query, code) in
        [("SELECT 1; DROP DATABASE nowhere", "62"), ("SELECT 1 FORMAT Nope", "73"), ("SELECT 1 +", "62")]
    {
        let (status, text) = ask("engine", BACK, query).await;
        assert!(status >= 400 && text.starts_with(&format!("Code: {code}. DB::Exception: ")), "{query}: {text}");
    }
}

/// The statements that make users' reads safe on a server are read by the engine's own parser; none is run here.
#[tokio::test]
async fn what_a_server_is_told_of_users_is_clickhouse() {
    let engine = crate::engine::engine().await;
    let birds = Some("bi`rds");
    let limits = ReaderLimits { memory: 1 << 30, seconds: 600, reads: 64 };
    for sql in [
        access::create_reader("birdhouse_`1_w00", "00ff", None),
        access::alter_reader("birdhouse_1_w00", "00ff", limits, None),
        access::revoke_all("birdhouse_1_w00", None),
        access::create_quota("birdhouse_1_w00", None),
        access::grant_read("w00_x", "birdhouse_1_w00", None),
        access::create_reader("birdhouse_1_w00", "00ff", birds),
        access::alter_reader("birdhouse_1_w00", "00ff", limits, birds),
        access::revoke_all("birdhouse_1_w00", birds),
        access::create_quota("birdhouse_1_w00", birds),
        access::grant_read("w00_x", "birdhouse_1_w00", birds),
        statement::clusters(),
        access::check_grant("w00_x"),
        access::check_access_management(),
        statement::kill_request("it's"),
        statement::create_probe("check_x"),
        statement::drop_database("check_x"),
    ] {
        let printed = engine.command(&statement::format_query(sql.as_str())).await.unwrap();
        assert!(!printed.ends_with(b"null}\n"), "{}", sql.as_str());
    }
    let wrong = engine.command(&statement::format_query("CREATE USER x IDENTIFIED BY")).await.unwrap();
    assert!(wrong.ends_with(b"null}\n"));
}
