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
        Site::held_to(Limits::default(), Limits::default(), settings).await
    }

    /// One over what another has left.
    pub(crate) async fn again(directory: tempfile::TempDir) -> Site {
        Site::over(directory, Limits::default(), Limits::default(), server::Settings::default()).await
    }

    /// One whose every token, and whose workspace, is held to these limits.
    pub(crate) async fn held_to(limits: Limits, workspace_limits: Limits, settings: server::Settings) -> Site {
        Site::over(tempfile::tempdir().unwrap(), limits, workspace_limits, settings).await
    }

    /// One whose data are in this directory.
    async fn over(
        directory: tempfile::TempDir,
        limits: Limits,
        workspace_limits: Limits,
        settings: server::Settings,
    ) -> Site {
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
            events: birdhouse::ingest::events::Tuning::default(),
            fetch: birdhouse::app::FetchRules { private: true, max_bytes: 1 << 30 },
            workspace_limits,
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

    pub(crate) async fn stop(self) {
        self.left().await;
    }

    /// Stops it and gives its directory, over which another can start.
    pub(crate) async fn left(mut self) -> tempfile::TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        self.serving.await.unwrap();
        self.app.leave().await;
        self.directory
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
        self.deploy_as(ADMIN, files, query).await
    }

    async fn deploy_as(&self, token: &str, files: &[(&str, &str)], query: &str) -> Reply {
        let mut form = multipart::Form::new().percent_encode_noop();
        for (path, text) in files {
            let part = multipart::Part::text((*text).to_owned()).file_name((*path).to_owned());
            form = form.part("data_project://", part);
        }
        reply(self.request(Method::POST, &format!("/v1/deploy{query}")).bearer_auth(token).multipart(form)).await
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
        tokio::time::timeout(Duration::from_secs(60), async {
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

mod answers;
mod api;
mod doors;
mod jobs;
mod kept;
mod load;
mod resources;
mod shares;
mod traps;
