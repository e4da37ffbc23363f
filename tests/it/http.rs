//! The HTTP side, asked over real connections, with the real engine behind it.

use birdhouse::{
    app::{App, Settings},
    auth::Limits,
    datafile::Context,
    observe::{Observation, Sink},
    server,
    store::{DataDirectory, Secret},
};
use reqwest::{Client, Method, StatusCode, header, multipart};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

pub(crate) const ADMIN: &str = "p.admin-of-the-tests";

/// A server of one test: its own data directory and database, on a port of its own.
pub(crate) struct Site {
    pub(crate) address: String,
    /// Where ClickHouse's clients are heard.
    pub(crate) clickhouse: String,
    http: Client,
    pub(crate) app: App,
    observed: Arc<Mutex<Vec<Observation>>>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    pub(crate) directory: tempfile::TempDir,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: header::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    /// The words of an error, which every error must have.
    pub(crate) fn error(&self) -> String {
        assert!(self.status.as_u16() >= 400, "{} {}", self.status, self.text);
        let error = self.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(!error.is_empty(), "{}", self.text);
        error
    }
}

impl Site {
    pub(crate) async fn start() -> Site {
        Site::with(server::Settings::default()).await
    }

    pub(crate) async fn with(settings: server::Settings) -> Site {
        Site::held_to(Limits::default(), settings).await
    }

    /// One whose every token is held to these limits.
    pub(crate) async fn held_to(limits: Limits, settings: server::Settings) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let engine = crate::engine::engine().await.clone();
        let sink = Sink::default();
        let observed = Arc::new(Mutex::new(Vec::new()));
        let seen = observed.clone();
        sink.attach(move |it| seen.lock().unwrap().push(it.clone()));
        let app_settings = Settings {
            data_directory: directory.path().join("data"),
            engine: engine.settings().clone(),
            admin_token: Some(Secret::new(ADMIN)),
            kafka: birdhouse::ingest::kafka::Tuning::default(),
            hold_at_most: Duration::from_secs(60),
            limits,
            fetch: birdhouse::app::FetchRules { private: true, max_bytes: 1 << 30 },
            context: Context::default(),
        };
        let data = DataDirectory::open(&app_settings.data_directory).unwrap();
        let app = App::start(app_settings, data, engine, sink.clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clickhouse = door.local_addr().unwrap().to_string();
        let listeners = server::Listeners { api: vec![listener], clickhouse: vec![door] };
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server::serve(app.clone(), sink, settings, listeners, async {
            _ = stopped.await;
        }));
        Site {
            address,
            clickhouse,
            http: Client::builder().no_proxy().build().unwrap(),
            app,
            observed,
            stop: Some(stop),
            serving,
            directory,
        }
    }

    /// One with the project below and its rows.
    pub(crate) async fn with_shop() -> Site {
        let site = Site::start().await;
        let reply = site.deploy(SHOP, "").await;
        assert_eq!(reply.json()["result"], "success", "{}", reply.text);
        let reply = site.append("sales", "append", SALES).await;
        assert_eq!(reply.json()["blocks"][0]["process_return"][0]["lines"], 4, "{}", reply.text);
        site
    }

    /// One with the audit-log project of this repository and its companies.
    pub(crate) async fn with_audit_log() -> Site {
        let site = Site::start().await;
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for folder in ["datasources", "pipes", "endpoints"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
                    files.push((name, std::fs::read_to_string(path).unwrap()));
                }
            }
        }
        let connection = [
            ("name", "demo_audit_log_connection"),
            ("kafka_bootstrap_servers", "127.0.0.1:9"),
            ("kafka_security_protocol", "PLAINTEXT"),
        ];
        let connected = site.form("/v0/connectors", ADMIN, &connection).await;
        assert_eq!(connected.status, 200, "{}", connected.text);
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let deployed = site.deploy(&files, "?hold_consumers=true").await;
        assert_eq!(deployed.json()["result"], "success", "{}", deployed.text);
        let companies = std::fs::read_to_string(root.join("datasources/fixtures/companies.csv")).unwrap();
        assert_eq!(site.append("companies", "replace", &companies).await.status, 200);
        site
    }

    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.serving.await.unwrap();
        self.app.leave().await;
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Reply {
        reply(self.request(Method::GET, path).bearer_auth(token)).await
    }

    pub(crate) async fn form(&self, path: &str, token: &str, form: &[(&str, &str)]) -> Reply {
        reply(self.request(Method::POST, path).bearer_auth(token).form(form)).await
    }

    pub(crate) async fn sql(&self, token: &str, q: &str) -> Reply {
        self.form("/v0/sql", token, &[("q", q)]).await
    }

    pub(crate) async fn deploy(&self, files: &[(&str, &str)], query: &str) -> Reply {
        let mut form = multipart::Form::new().percent_encode_noop();
        for (path, text) in files {
            let part = multipart::Part::text((*text).to_owned()).file_name((*path).to_owned());
            form = form.part("data_project://", part);
        }
        reply(self.request(Method::POST, &format!("/v1/deploy{query}")).bearer_auth(ADMIN).multipart(form)).await
    }

    pub(crate) async fn append(&self, name: &str, mode: &str, csv: &str) -> Reply {
        let part = multipart::Part::text(csv.to_owned()).file_name("rows.csv");
        let path = format!("/v0/datasources?mode={mode}&name={name}&format=csv");
        reply(self.request(Method::POST, &path).bearer_auth(ADMIN).multipart(multipart::Form::new().part("any", part)))
            .await
    }

    /// Makes a token and gives its value.
    pub(crate) async fn token(&self, name: &str, scopes: &[&str]) -> String {
        let mut form = vec![("name", name)];
        form.extend(scopes.iter().map(|it| ("scope", *it)));
        let reply = self.form("/v0/tokens/", ADMIN, &form).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()["token"].as_str().unwrap().to_owned()
    }

    /// Everything that was observed.
    pub(crate) fn seen(&self) -> Vec<Observation> {
        self.observed.lock().unwrap().clone()
    }

    /// Waits until something was observed.
    async fn observed(&self, wanted: impl Fn(&Observation) -> bool) {
        tokio::time::timeout(Duration::from_secs(20), async {
            while !self.observed.lock().unwrap().iter().any(&wanted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("not observed; seen: {:?}", self.observed.lock().unwrap()));
    }
}

pub(crate) async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    assert_eq!(headers["x-request-id"].len(), 16);
    Reply { status, headers, text: response.text().await.unwrap() }
}

const SHOP: &[(&str, &str)] = &[
    (
        "datasources/sales.datasource",
        "SCHEMA >\n    `company_id` Int16,\n    `item` String,\n    `amount` UInt64\n\n\
         ENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"company_id, item\"\n",
    ),
    (
        "endpoints/by_item.pipe",
        "NODE totals\nSQL >\n    %\n    SELECT item, sum(amount) AS amount FROM sales\n    \
         WHERE company_id = {{ Int16(company, description=\"Whose sales\") }}\n    GROUP BY item ORDER BY item\n\nTYPE endpoint\n",
    ),
    (
        "endpoints/all_sales.pipe",
        "NODE sold\nSQL >\n    SELECT company_id, item, amount FROM sales ORDER BY company_id, item\n\nTYPE endpoint\n",
    ),
    (
        "endpoints/moods.pipe",
        "NODE chosen\nSQL >\n    %\n    {% if String(mood, 'fine') == 'bad' %}{{ error('no bad moods here') }}\n    \
         {% elif String(mood, 'fine') == 'teapot' %}{{ custom_error({'short': True, 'stout': True}, 418) }}\n    \
         {% else %}SELECT {{ String(mood, 'fine') }} AS mood{% end %}\n\nTYPE endpoint\n",
    ),
];

const SALES: &str = "company_id,item,amount\n1,tea,18446744073709551615\n1,\"mug, blue\",2\n2,tea,5\n2,spoon,7\n";

/// Every route that wants a token, with a method that it takes.
const CLOSED: &[(&str, &str)] = &[
    ("POST", "/v1/deploy"),
    ("POST", "/v0/datafiles"),
    ("POST", "/v1/consumers/release"),
    ("GET", "/v0/datasources"),
    ("POST", "/v0/datasources?mode=append&name=sales"),
    ("GET", "/v0/datasources/sales"),
    ("GET", "/v0/connectors"),
    ("POST", "/v0/connectors"),
    ("GET", "/v0/connectors/x"),
    ("DELETE", "/v0/connectors/x"),
    ("GET", "/v0/connectors/x/preview"),
    ("GET", "/v0/datasources/sales/scheduling/state"),
    ("PUT", "/v0/datasources/sales/scheduling/state"),
    ("POST", "/v0/datasources/sales/scheduling/runs"),
    ("POST", "/v0/datasources/sales/start"),
    ("POST", "/v0/datasources/sales/stop"),
    ("GET", "/v0/pipes"),
    ("GET", "/v0/pipes/by_item"),
    ("GET", "/v0/pipes/by_item.json"),
    ("POST", "/v0/pipes/by_item.csv"),
    ("GET", "/v0/sql?q=select%201"),
    ("POST", "/v0/sql"),
    ("GET", "/v0/tokens"),
    ("POST", "/v0/tokens"),
    ("GET", "/v0/tokens/x"),
    ("PUT", "/v0/tokens/x"),
    ("DELETE", "/v0/tokens/x"),
    ("POST", "/v0/tokens/x/refresh"),
    ("GET", "/v0/tokens/x/audit"),
    ("GET", "/v0/variables"),
    ("POST", "/v0/variables"),
    ("GET", "/v0/variables/x"),
    ("PUT", "/v0/variables/x"),
    ("DELETE", "/v0/variables/x"),
    ("GET", "/v0/workspace"),
    ("GET", "/v1/workspace"),
    ("GET", "/v0/auth"),
    ("GET", "/v0/user/workspaces"),
    ("GET", "/v1/user/workspaces"),
    ("GET", "/v0/workspaces/x"),
    ("GET", "/v0/workspaces/x/releases"),
    ("GET", "/v0/environments"),
    ("GET", "/v1/environments"),
    ("GET", "/v0/environments/x"),
    ("GET", "/v0/jobs"),
    ("GET", "/v0/tags"),
    ("POST", "/v0/tags"),
    ("GET", "/v0/jobs/x"),
    ("POST", "/v0/sql_tables?q=select%201"),
    ("GET", "/v0/sql_format?q=select%201"),
    ("GET", "/v0/dependencies"),
    ("GET", "/v0/pipes/by_item/explain"),
    ("GET", "/examples/query.http?pipe=by_item"),
];

/// Those that tell any token something: about itself, about a text of the request, or nothing.
const OPEN: &[&str] = &[
    "/v0/workspace",
    "/v1/workspace",
    "/v0/sql?q=select%201",
    "/v0/sql",
    "/v0/auth",
    "/v0/user/workspaces",
    "/v1/user/workspaces",
    "/v0/environments",
    "/v1/environments",
    "/v0/sql_tables?q=select%201",
    "/v0/sql_format?q=select%201",
    "/v0/dependencies",
];

mod api;

#[tokio::test]
async fn strangers_are_told_the_same_everywhere() {
    let site = Site::start().await;
    let mut told = Vec::new();
    for (method, path) in CLOSED {
        let method: Method = method.parse().unwrap();
        for slash in ["", "/"] {
            let (plain, query) = path.split_once('?').unwrap_or((path, ""));
            let path = format!("{plain}{slash}?{query}");
            let none = reply(site.request(method.clone(), &path)).await;
            let wrong = reply(site.request(method.clone(), &path).bearer_auth("p.wrong")).await;
            let asked = reply(site.request(method.clone(), &format!("{path}&token=p.wrong"))).await;
            for reply in [none, wrong, asked] {
                assert_eq!(reply.status, 403, "{method} {path}");
                reply.error();
                told.push(reply.text);
            }
        }
        // A wrong method tells a stranger no more.
        let patched = reply(site.request(Method::PATCH, path)).await;
        assert_eq!(patched.status, 403, "PATCH {path}");
    }
    told.dedup();
    assert_eq!(told.len(), 1);
    site.stop().await;
}

#[tokio::test]
async fn a_token_without_the_right_is_denied_everywhere() {
    let site = Site::with_shop().await;
    let token = site.token("reads_nothing", &["PIPES:READ:not_there"]).await;
    for (method, path) in CLOSED {
        let reply = reply(site.request(method.parse().unwrap(), path).bearer_auth(&token)).await;
        let open = OPEN.contains(path);
        let lists = ["/v0/datasources", "/v0/pipes"].contains(path);
        match (open, lists) {
            (true, _) => assert!(reply.status != 403, "{method} {path}: {}", reply.text),
            (_, true) => assert!(reply.text.contains(":[]") || reply.text.contains(": []"), "{path}: {}", reply.text),
            _ => assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text),
        }
    }
    // What is there and closed, and what is not there, in the same bytes.
    for path in ["/v0/pipes/{}", "/v0/pipes/{}.json?company=1", "/v0/datasources/{}"] {
        let [there, absent] = ["by_item", "sales_of_nobody"].map(|it| path.replace("{}", it));
        let (there, absent) = (site.get(&there, &token).await, site.get(&absent, &token).await);
        assert_eq!((there.status, &there.text), (absent.status, &absent.text), "{path}");
    }
    site.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_404_for_an_administrator() {
    let site = Site::with_shop().await;
    for path in [
        "/v0/datasources/nothing",
        "/v0/pipes/nothing",
        "/v0/pipes/nothing.json",
        "/v0/tokens/nothing",
        "/v0/connectors/nothing",
        "/nowhere",
    ] {
        let reply = site.get(path, ADMIN).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
        reply.error();
    }
    let reply = reply(site.request(Method::PATCH, "/v0/tokens").bearer_auth(ADMIN)).await;
    assert_eq!(reply.status, 405);
    reply.error();
    site.stop().await;
}

#[tokio::test]
async fn health_needs_no_token() {
    let site = Site::start().await;
    for path in ["/health", "/v0/health", "/v0/health/"] {
        let reply = reply(site.request(Method::GET, path)).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["status"]), (200, &json!("ok")), "{path}");
    }
    let workspace = site.get("/v0/workspace", ADMIN).await.json();
    assert!(workspace["id"].is_string() && workspace["name"].is_string(), "{workspace}");
    site.stop().await;
}

#[tokio::test]
async fn an_endpoint_answers_in_each_format() {
    let site = Site::with_shop().await;
    let reply_json = site.get("/v0/pipes/by_item.json?company=1", ADMIN).await;
    let document = reply_json.json();
    // 64-bit numbers are numbers, to the last digit.
    assert!(reply_json.text.contains("18446744073709551615"), "{}", reply_json.text);
    assert_eq!(document["meta"], json!([{"name": "item", "type": "String"}, {"name": "amount", "type": "UInt64"}]));
    assert_eq!(document["data"][0], json!({"item": "mug, blue", "amount": 2}));
    assert_eq!(document["rows"], 2);
    for figure in ["elapsed", "rows_read", "bytes_read"] {
        assert!(document["statistics"][figure].is_number(), "{figure}: {document}");
    }
    assert_eq!(reply_json.header("content-length"), reply_json.text.len().to_string());

    let csv = site.get("/v0/pipes/by_item.csv?company=2", ADMIN).await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert_eq!(csv.text, "\"item\",\"amount\"\n\"spoon\",7\n\"tea\",5\n");
    assert_eq!(site.get("/v0/pipes/by_item.csvwithnames?company=2", ADMIN).await.text, csv.text);
    // The header is there without rows too.
    assert_eq!(site.get("/v0/pipes/by_item.csv?company=9", ADMIN).await.text, "\"item\",\"amount\"\n");

    let lines = site.get("/v0/pipes/by_item.ndjson?company=2", ADMIN).await;
    assert!(lines.header("content-type").contains("ndjson"));
    assert_eq!(lines.text, "{\"item\":\"spoon\",\"amount\":7}\n{\"item\":\"tea\",\"amount\":5}\n");

    let odd = site.get("/v0/pipes/by_item.xml?company=2", ADMIN).await;
    assert_eq!(odd.status, 400);
    assert!(!odd.error().contains("xml") && odd.error().contains(".prometheus"));
    site.stop().await;
}

#[tokio::test]
async fn parameters_come_in_every_way() {
    let site = Site::with_shop().await;
    let spoon = |text: &str| text.contains("spoon");
    let path = "/v0/pipes/by_item.json";
    assert!(spoon(&site.form(path, ADMIN, &[("company", "2")]).await.text));
    let request = site.request(Method::POST, path).bearer_auth(ADMIN).json(&json!({"company": 2}));
    assert!(spoon(&reply(request).await.text));
    let noise = "cli_version=1.0.0&from=ui&debug=true&__tb__semver=1&company=2";
    assert!(spoon(&reply(site.request(Method::GET, &format!("{path}?token={ADMIN}&{noise}"))).await.text));
    // SQL over the result, by query string, form or as the body itself.
    let over = "select count() as n from _";
    let in_url = site.request(Method::GET, path).bearer_auth(ADMIN).query(&[("company", "2"), ("q", over)]);
    let as_body = site.request(Method::POST, &format!("{path}?company=2")).bearer_auth(ADMIN).body(over);
    for request in [in_url, as_body] {
        assert_eq!(reply(request).await.json()["data"], json!([{"n": 2}]));
    }
    let missing = site.get(path, ADMIN).await;
    assert_eq!(missing.status, 400);
    assert!(missing.error().contains("company"), "{}", missing.text);
    let wrong = site.get(&format!("{path}?company=many"), ADMIN).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.error().contains("company"), "{}", wrong.text);
    site.stop().await;
}

#[tokio::test]
async fn an_authors_error_is_sent_as_it_is() {
    let site = Site::with_shop().await;
    assert_eq!(site.get("/v0/pipes/moods.json", ADMIN).await.json()["data"], json!([{"mood": "fine"}]));
    let reply = site.get("/v0/pipes/moods.json?mood=bad", ADMIN).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (400, json!({"error": "no bad moods here"})));
    let reply = site.get("/v0/pipes/moods.json?mood=teapot", ADMIN).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (418, json!({"short": true, "stout": true})));
    site.stop().await;
}

#[tokio::test]
async fn sql_comes_in_every_way() {
    let site = Site::with_shop().await;
    let query = "select count() as n from sales";
    let one = json!([{"n": 4}]);
    assert_eq!(site.sql(ADMIN, query).await.json()["data"], one);
    let post = |kind: Option<&str>, body: String| {
        let request = site.request(Method::POST, "/v0/sql").bearer_auth(ADMIN).body(body);
        match kind {
            Some(kind) => request.header(header::CONTENT_TYPE, kind),
            None => request,
        }
    };
    let form = Some("application/x-www-form-urlencoded");
    for request in [
        site.request(Method::GET, "/v0/sql").bearer_auth(ADMIN).query(&[("q", query)]),
        post(None, query.to_owned()),
        post(Some("text/plain"), query.to_owned()),
        post(form, query.to_owned()),
        post(None, json!({"q": query}).to_string()),
        post(Some("application/json"), json!({"q": query}).to_string()),
    ] {
        assert_eq!(reply(request).await.json()["data"], one);
    }
    for (format, kind, text) in [
        ("CSV", "text/csv; charset=utf-8", "4\n"),
        ("csvwithnames", "text/csv; charset=utf-8", "\"n\"\n4\n"),
        ("TSV", "text/plain", "4\n"),
        ("JSONEachRow", "application/x-ndjson", "{\"n\":4}\n"),
    ] {
        let reply = site.sql(ADMIN, &format!("{query} FORMAT {format}")).await;
        assert_eq!((reply.header("content-type"), reply.text.as_str()), (kind, text), "{format}");
    }
    for (query, words) in [
        ("", "`q`"),
        ("select", ""),
        ("selec 1", ""),
        ("select nothing from sales", "nothing"),
        ("select 1 from nothing", "nothing"),
        ("drop table sales", ""),
        ("select 1; select 2", ""),
        ("select 1 format Nonsense", "Nonsense"),
        ("select * from file('/etc/passwd')", "file"),
    ] {
        let reply = site.sql(ADMIN, query).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text);
        let error = reply.error();
        assert!(error.contains(words), "{query}: {error}");
        assert!(!error.contains(site.app.workspace().namespace().database()), "{query}: {error}");
    }
    site.stop().await;
}

#[tokio::test]
async fn tokens_are_made_shown_changed_and_removed() {
    let site = Site::with_shop().await;
    let form = [
        ("name", "shop"),
        ("scope", "PIPES:READ:all_sales"),
        ("scope", "DATASOURCES:READ:sales:company_id = 1"),
        ("scope", "DATASOURCES:READ:sales:company_id = 1"),
    ];
    let made = site.form("/v0/tokens/", ADMIN, &form).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        made.text.replace(&token, "T"),
        r#"{"token":"T","scopes":[{"type":"PIPES:READ","resource":"all_sales","filter":""},{"type":"DATASOURCES:READ","resource":"sales","filter":"company_id = 1"}],"name":"shop"}"#
    );
    let again = site.form("/v0/tokens/", ADMIN, &form).await;
    assert_eq!(again.status, 400);
    assert!(again.error().contains("PUT /v0/tokens/shop"), "{}", again.text);

    let by_name = site.get("/v0/tokens/shop", ADMIN).await.json();
    let id = by_name["id"].as_str().unwrap();
    for key in [id, &token] {
        assert_eq!(site.get(&format!("/v0/tokens/{key}"), ADMIN).await.json(), by_name);
    }
    let listed = site.get("/v0/tokens", ADMIN).await.json();
    assert!(listed["tokens"].as_array().unwrap().contains(&by_name), "{listed}");
    assert_eq!(site.get("/v0/tokens", &token).await.status, 403);

    // The filter holds in the endpoint and in SQL, and the figures do not count what it hides.
    for reply in [
        site.get("/v0/pipes/all_sales.json", &token).await,
        site.sql(&token, "select company_id, item, amount from sales order by item").await,
    ] {
        let document = reply.json();
        assert_eq!(document["rows"], 2, "{document}");
        assert!(document["data"].as_array().unwrap().iter().all(|it| it["company_id"] == 1), "{document}");
        assert_eq!(document["statistics"]["rows_read"], 2, "{document}");
    }
    assert_eq!(site.get("/v0/pipes/by_item.json?company=1", &token).await.status, 403);
    let shown = site.get("/v0/datasources", &token).await.json();
    assert_eq!(shown["datasources"][0]["statistics"]["row_count"], 0, "{shown}");

    // A PUT without the filter lifts nothing.
    let path = "/v0/tokens/shop?scope=PIPES:READ:by_item&scope=DATASOURCES:READ:sales";
    let changed = reply(site.request(Method::PUT, path).bearer_auth(ADMIN)).await.json();
    assert_eq!(
        changed["scopes"],
        json!([
            {"type": "PIPES:READ", "resource": "by_item", "filter": ""},
            {"type": "DATASOURCES:READ", "resource": "sales", "filter": "company_id = 1"},
        ])
    );
    assert_eq!(site.get("/v0/pipes/by_item.json?company=2", &token).await.json()["rows"], 0);
    assert_eq!(site.get("/v0/pipes/all_sales.json", &token).await.status, 403);

    let refreshed = reply(site.request(Method::POST, "/v0/tokens/shop/refresh").bearer_auth(ADMIN)).await.json();
    assert_eq!(site.get("/v0/workspace", &token).await.status, 403);
    let token = refreshed["token"].as_str().unwrap().to_owned();
    assert_eq!(site.get("/v0/workspace", &token).await.status, 200);
    let removed = reply(site.request(Method::DELETE, "/v0/tokens/shop").bearer_auth(ADMIN)).await;
    assert!(removed.status.is_success());
    assert_eq!(site.get("/v0/workspace", &token).await.status, 403);
    assert_eq!(site.get("/v0/tokens/shop", ADMIN).await.status, 404);

    // JSON, and the shapes that make no token.
    let request = site.request(Method::POST, "/v0/tokens").bearer_auth(ADMIN);
    let body = json!({"name": "sdk", "scopes": [{"type": "PIPES:READ", "resource": "by_item"}, "TOKENS"]});
    let made = reply(request.json(&body)).await.json();
    assert_eq!(
        made["scopes"],
        json!([{"type": "PIPES:READ", "resource": "by_item", "filter": ""}, {"type": "TOKENS"}])
    );
    for (form, words) in [
        (vec![("scope", "ADMIN")], "name"),
        (vec![("name", "x"), ("scope", "PIPES:WRITE:y")], "PIPES:WRITE:y"),
        (vec![("name", "x"), ("expiration_time", "1")], "expiration_time"),
    ] {
        let reply = site.form("/v0/tokens", ADMIN, &form).await;
        assert_eq!(reply.status, 400);
        assert!(reply.error().contains(words), "{}", reply.text);
    }
    // No line of the log has seen the token.
    let observed = format!("{:?}", site.observed.lock().unwrap());
    assert!(!observed.contains(&token) && !observed.contains(ADMIN));
    site.stop().await;
}

#[tokio::test]
async fn connections_never_show_their_secret() {
    let site = Site::start().await;
    let body = json!({
        "service": "kafka", "name": "broker", "kafka_bootstrap_servers": "127.0.0.1:9", "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "PLAIN", "kafka_sasl_plain_username": "me", "kafka_sasl_plain_password": "hush-hush",
    });
    let made = reply(site.request(Method::POST, "/v0/connectors").bearer_auth(ADMIN).json(&body)).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let listed = site.get("/v0/connectors?service=kafka", ADMIN).await;
    let shown = site.get("/v0/connectors/broker", ADMIN).await;
    assert_eq!(listed.json()["connectors"], json!([made.json()]));
    assert_eq!(shown.json(), made.json());
    assert_eq!(made.json()["linkers"], json!([]));
    assert_eq!(made.json()["settings"]["kafka_bootstrap_servers"], "127.0.0.1:9");
    for reply in [&made, &listed, &shown] {
        assert!(!reply.text.contains("hush-hush"));
    }
    assert_eq!(site.get("/v0/connectors?service=s3", ADMIN).await.json()["connectors"], json!([]));
    let request = site.request(Method::POST, "/v0/connectors").bearer_auth(ADMIN);
    let odd = reply(request.json(&json!({"service": "carrier_pigeon", "name": "x"}))).await;
    assert!(odd.status == 400 && odd.error().contains("carrier_pigeon"));
    let removed = reply(site.request(Method::DELETE, "/v0/connectors/broker").bearer_auth(ADMIN)).await;
    assert!(removed.status.is_success());
    assert_eq!(site.get("/v0/connectors/broker", ADMIN).await.status, 404);
    site.stop().await;
}

#[tokio::test]
async fn a_project_is_deployed_checked_and_left_alone() {
    let site = Site::start().await;
    let checked = site.deploy(SHOP, "?check=true").await.json();
    assert_eq!(checked["result"], "success", "{checked}");
    assert!(checked["plan"].as_array().unwrap().len() >= 4, "{checked}");
    assert!(checked["plan"][0]["text"].as_str().unwrap().contains("sales"), "{checked}");
    assert_eq!(site.get("/v0/datasources/sales", ADMIN).await.status, 404);

    let done = site.deploy(SHOP, "").await.json();
    assert_eq!(done["deployment"]["new_datasource_names"], json!(["sales"]), "{done}");
    assert_eq!(done["deployment"]["new_pipe_names"], json!(["all_sales", "by_item", "moods"]), "{done}");
    assert_eq!((&done["deployment"]["live"], &done["deployment"]["errors"]), (&json!(true), &json!([])));
    let again = site.deploy(SHOP, "").await.json();
    assert_eq!((&again["result"], &again["plan"]), (&json!("no_changes"), &json!([])), "{again}");

    let broken = [("endpoints/broken.pipe", "NODE n\nSQL >\n    SELECT itme FROM sales\n\nTYPE endpoint\n")];
    let failed = site.deploy(&broken, "?partial=true").await;
    assert_eq!(failed.status, 200);
    let failed = failed.json();
    assert_eq!((&failed["result"], failed.get("error")), (&json!("failed"), None), "{failed}");
    let diagnostic = &failed["diagnostics"][0];
    assert_eq!((&diagnostic["severity"], &diagnostic["path"]), (&json!("error"), &json!("endpoints/broken.pipe")));
    assert_eq!(diagnostic["line"], 3, "{failed}");
    assert_eq!(failed["deployment"]["errors"][0]["filename"], "endpoints/broken.pipe");
    assert_eq!(site.get("/v0/pipes/broken", ADMIN).await.status, 404);
    assert_eq!(site.get("/v0/pipes/moods.json", ADMIN).await.status, 200);

    let outside = site.deploy(&[("../x.pipe", "NODE n\n")], "").await;
    assert!(outside.status == 400 && outside.error().contains("../x.pipe"));
    let no_multipart = reply(site.request(Method::POST, "/v1/deploy").bearer_auth(ADMIN).body("NODE n")).await;
    assert_eq!(no_multipart.status, 400);
    no_multipart.error();
    site.stop().await;
}

#[tokio::test]
async fn data_sources_are_shown_and_filled() {
    let site = Site::with_shop().await;
    let shown = site.get("/v0/datasources/sales", ADMIN).await.json();
    assert_eq!(shown["statistics"]["row_count"], 4, "{shown}");
    assert_eq!(shown["engine"]["engine_sorting_key"], "company_id, item");
    assert_eq!(shown["schema"]["sql_schema"], "`company_id` Int16, `item` String, `amount` UInt64");
    let id = shown["id"].as_str().unwrap();
    assert_eq!(site.get(&format!("/v0/datasources/{id}"), ADMIN).await.json(), shown);
    let listed = site.get("/v0/datasources?attrs=id,name,description,columns", ADMIN).await.json();
    let mut fields: Vec<_> = listed["datasources"][0].as_object().unwrap().keys().cloned().collect();
    fields.sort();
    let mut wanted =
        ["id", "name", "description", "columns", "engine", "indexes", "new_columns_detected", "quarantine_rows"];
    wanted.sort();
    assert_eq!(fields, wanted);

    for path in ["/v0/datasources/sales.datasource", "/v0/datasources/sales?format=datasource"] {
        let file = site.get(path, ADMIN).await;
        assert_eq!((file.header("content-type"), file.text.as_str()), ("text/plain", SHOP[0].1), "{path}");
    }
    for path in ["/v0/pipes/moods.pipe", "/v1/pipes/moods.pipe"] {
        let file = site.get(path, ADMIN).await;
        assert_eq!((file.header("content-type"), file.text.as_str()), ("text/plain", SHOP[3].1), "{path}");
    }

    let replaced = site.append("sales", "replace", "company_id,item,amount\n3,cup,1\n").await.json();
    assert_eq!(replaced["datasource"]["name"], "sales");
    assert_eq!((&replaced["quarantine_rows"], &replaced["error"]), (&json!(0), &json!(null)));
    assert_eq!(site.sql(ADMIN, "select item from sales").await.json()["data"], json!([{"item": "cup"}]));

    // A row that does not fit goes to the quarantine, and the good one arrives.
    let half = site.append("sales", "append", "company_id,item,amount\nmany,cup,1\n4,pot,1\n").await.json();
    assert_eq!((&half["quarantine_rows"], &half["blocks"][0]["process_return"][0]["lines"]), (&json!(1), &json!(1)));
    let raw = site.request(Method::POST, "/v0/datasources?mode=append&name=sales&format=csv").bearer_auth(ADMIN);
    assert_eq!(reply(raw.body("company_id,item,amount\n5,jar,1\n")).await.status, 200);
    assert_eq!(site.sql(ADMIN, "select count() as n from sales").await.json()["data"], json!([{"n": 3}]));
    for (path, words) in [
        ("mode=append", "name"),
        ("mode=upsert&name=sales", "upsert"),
        ("mode=append&name=sales&format=xls", "xls"),
        ("mode=append&name=sales&url=ftp://x", "ftp"),
        ("name=sales", "schema"),
    ] {
        let request = site.request(Method::POST, &format!("/v0/datasources?{path}")).bearer_auth(ADMIN);
        let reply = reply(request.body("x")).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text);
        assert!(reply.error().contains(words), "{path}: {}", reply.text);
    }
    let appends = site.token("appends", &["DATASOURCES:APPEND:sales"]).await;
    for (mode, status) in [("append", 200), ("replace", 403)] {
        let path = format!("/v0/datasources?mode={mode}&name=sales&format=csv");
        let request = site.request(Method::POST, &path).bearer_auth(&appends);
        assert_eq!(reply(request.body("company_id,item,amount\n6,lid,1\n")).await.status.as_u16(), status, "{mode}");
    }
    site.stop().await;
}

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

#[tokio::test]
async fn browsers_may_ask_endpoints() {
    let site = Site::with_shop().await;
    let preflight = reply(site.request(Method::OPTIONS, "/v0/pipes/by_item.json")).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert!(preflight.header("access-control-allow-headers").contains("Authorization"));
    assert_eq!(site.get("/v0/pipes/moods.json", ADMIN).await.header("access-control-allow-origin"), "*");
    assert_eq!(site.get("/v0/tokens", ADMIN).await.header("access-control-allow-origin"), "");
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

/// The project of this repository, over the wire as its users have it: two tokens made by the calls of the
/// README, and one company's rows for the second.
#[tokio::test]
async fn one_company_sees_its_own_audit_log() {
    let site = Site::with_audit_log().await;
    let event = |company: u32, number: u32| {
        json!({
            "datetime": format!("2026-01-31T12:00:{number:02}.000000"), "company_id": company, "event": "file_created",
            "payload": {"entity_id": format!("{number:032x}"), "author": format!("a{company}@example.com")},
            "device": {"browser": "Firefox", "OS": "Linux"},
        })
        .to_string()
    };
    let events: Vec<_> = (0..12).map(|it| event(it % 3 + 1, it)).collect();
    let append = site.request(Method::POST, "/v0/datasources?mode=append&name=kafka_audit_log&format=ndjson");
    let appended = reply(append.bearer_auth(ADMIN).body(events.join("\n"))).await;
    assert_eq!(appended.json()["quarantine_rows"], 0, "{}", appended.text);

    // As `curl -d` sends it: nothing is escaped.
    let curl = async |scopes: &[&str]| {
        let body = scopes.join("&");
        let kind = "application/x-www-form-urlencoded";
        let request = site.request(Method::POST, "/v0/tokens/").bearer_auth(ADMIN);
        reply(request.header(header::CONTENT_TYPE, kind).body(body)).await
    };
    let pipes = [
        "scope=PIPES:READ:api_audit_log",
        "scope=PIPES:READ:api_totals",
        "scope=PIPES:READ:api_ui_filters",
        "scope=PIPES:READ:api_count_per_type",
    ];
    let made = curl(&[&["name=endpoints_token"], &pipes[..]].concat()).await;
    let everyone = made.json()["token"].as_str().unwrap().to_owned();
    let scope = |kind: &str, resource: &str, filter: &str| {
        format!(r#"{{"type":"{kind}","resource":"{resource}","filter":"{filter}"}}"#)
    };
    let pipe_scopes = ["api_audit_log", "api_totals", "api_ui_filters", "api_count_per_type"]
        .map(|it| scope("PIPES:READ", it, ""))
        .join(",");
    assert_eq!(made.text, format!(r#"{{"token":"{everyone}","scopes":[{pipe_scopes}],"name":"endpoints_token"}}"#));
    let filters = [
        "scope=DATASOURCES:READ:kafka_audit_log:company_id=1",
        "scope=DATASOURCES:READ:companies:company_id=1",
        "scope=DATASOURCES:READ:enriched_events_mv:name in (select name from companies where company_id = 1)",
        "scope=DATASOURCES:READ:enriched_events_mv:name in (select name from companies where company_id = 1)",
        "scope=DATASOURCES:READ:events_per_min_mv:company_id=1",
    ];
    let made = curl(&[&["name=company_1_token"], &pipes[..], &filters[..]].concat()).await;
    let company_1 = made.json()["token"].as_str().unwrap().to_owned();
    let filter_scopes = [
        ("kafka_audit_log", "company_id=1"),
        ("companies", "company_id=1"),
        ("enriched_events_mv", "name in (select name from companies where company_id = 1)"),
        ("events_per_min_mv", "company_id=1"),
    ]
    .map(|(resource, filter)| scope("DATASOURCES:READ", resource, filter))
    .join(",");
    assert_eq!(
        made.text,
        format!(r#"{{"token":"{company_1}","scopes":[{pipe_scopes},{filter_scopes}],"name":"company_1_token"}}"#)
    );

    let data = async |path: &str, token: &str| {
        let reply = site.get(&format!("/v0/pipes/{path}"), token).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.json()["data"].as_array().unwrap().clone()
    };
    for (token, events, companies) in [(&everyone, 12, 6), (&company_1, 4, 2)] {
        assert_eq!(data("api_totals.json", token).await[0]["total_events"], events);
        let messages = data("api_audit_log.json", token).await;
        assert_eq!(messages.len(), events);
        let own = messages.iter().filter(|it| it["message"].as_str().unwrap().starts_with("a1@")).count();
        assert_eq!(own, 4);
        assert_eq!(data("api_ui_filters.json?filter=companies", token).await.len(), companies);
        assert_eq!(data("api_count_per_type.json", token).await[0]["file_created"], events);
        // A column of numbers compared with a String parameter.
        assert_eq!(data("api_totals.json?company_id=1", token).await[0]["total_events"], 4);
        assert_eq!(
            data("api_totals.json?company_id=2", token).await[0]["total_events"],
            if events == 4 { 0 } else { 4 }
        );
        assert_eq!(site.get("/v0/pipes/events_per_company.json", token).await.status, 403);
    }
    let wrong = site.get("/v0/pipes/api_ui_filters.json?filter=colours", &everyone).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.json()),
        (400, json!({"error": "filter must be 'companies' or 'events'"}))
    );
    for (query, rows) in [
        ("select count() as n from kafka_audit_log", 4),
        ("select count() as n from enriched_events_mv", 4),
        ("select sum(total_events) as n from events_per_min_mv", 4),
        ("select count() as n from companies", 1),
        ("select count() as n from api_audit_log", 4),
    ] {
        assert_eq!(site.sql(&company_1, query).await.json()["data"][0]["n"], rows, "{query}");
    }
    assert_eq!(site.sql(&company_1, "select 1 from events_per_company").await.status, 403);
    assert_eq!(site.sql(&everyone, "select 1 from companies").await.status, 403);
    site.stop().await;
}
