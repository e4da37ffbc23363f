//! One request: a statement, its settings, who asks. Sent, and answered with bytes or an error.
//!
//! In: SQL and settings. Out: a response whose head says that all is well so far. What it is for is not known here.

use super::{FIRST_PAUSE, LONGEST_PAUSE, RECONNECT_WITHIN, body::of_server, pack};
use crate::{
    engine::{EngineAddress, EngineError, EngineErrorKind, EngineLogin, EngineServer, EngineWire},
    sql::Sql,
};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use reqwest::{
    Body, Certificate, Client, Response, Url,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap},
    multipart::Form,
    redirect,
};
use std::{
    collections::BTreeSet,
    convert::Infallible,
    error::Error as _,
    fmt,
    time::{Duration, Instant},
};

/// Where requests go.
pub(super) struct Connection {
    http: Client,
    url: Url,
    login: EngineLogin,
    wire: EngineWire,
    shown: String,
}

/// A statement with its settings.
#[derive(Debug, Clone)]
pub(super) struct Request {
    sql: String,
    fields: Vec<(String, String)>,
    /// Instead of the one who may do everything.
    login: Option<EngineLogin>,
    query_id: String,
    asks_cost: bool,
    takes_packed: bool,
}

/// What is behind a statement or is one, as it goes over the wire.
enum Rest {
    /// The statement itself; its parameters, where they are too long for an address.
    Statement {
        sql: Bytes,
        packed: bool,
    },
    Form,
    Rows {
        parts: Vec<Bytes>,
        packed: bool,
    },
    /// The same, with the statement in front of the rows.
    Led {
        parts: Vec<Bytes>,
        packed: bool,
    },
}

/// Servers close connections that nobody uses after some seconds, and a request on such a one is lost.
const IDLE: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(5);

/// Parameters that are longer together go in the body, and so does an insert with many columns: an address has its
/// limits, 64 KB here and 1 MB with ClickHouse.
const LONG: usize = 16 << 10;

/// How much of a statement a server reads if nobody says otherwise.
const READ_OF_STATEMENT: usize = 256 << 10;

/// As much is read of an error.
const MAX_ERROR: usize = 1 << 20;

/// Another birdhouse says at the end of a long answer what it has cost, where this stands.
pub(crate) const ASKS_COST: &str = "x-birdhouse-summary";

impl Connection {
    pub(super) fn new(server: &EngineServer) -> Result<Connection, EngineError> {
        let bad = |words: String| EngineError::own(EngineErrorKind::Query, words);
        let builder = Client::builder().no_proxy().http1_only().redirect(redirect::Policy::none());
        let builder = builder.connect_timeout(CONNECT).tcp_nodelay(true).tcp_keepalive(Duration::from_secs(30));
        let builder = builder.pool_idle_timeout(IDLE).pool_max_idle_per_host(256);
        let (builder, url, shown) = match &server.address {
            EngineAddress::Url(url) => (builder, url.as_str(), url.clone()),
            EngineAddress::Socket(path) => {
                (builder.unix_socket(path.clone()), "http://engine/", path.display().to_string())
            }
        };
        let builder = match &server.authorities {
            None => builder,
            Some(pem) => {
                let certificates = Certificate::from_pem_bundle(pem);
                builder.tls_certs_merge(certificates.map_err(|error| bad(format!("the engine's authority: {error}")))?)
            }
        };
        let url = Url::parse(url).map_err(|error| bad(format!("the engine's address {shown}: {error}")))?;
        let http = builder.build().map_err(|error| bad(error.to_string()))?;
        Ok(Connection { http, url, login: server.login.clone(), wire: server.wire, shown })
    }

    fn unreachable(&self, error: reqwest::Error) -> EngineError {
        // The address has the statement's settings in it.
        let error = error.without_url();
        let words = cause_of(&error);
        let message = match error.is_connect() && is_about_tls(&words) {
            true => format!(
                "there is no secure connection to the engine at {}: {words}; BIRDHOUSE_ENGINE_CA_FILE names a file with \
                 the certificates to trust",
                self.shown
            ),
            false => format!("the engine at {} gives no answer: {words}", self.shown),
        };
        EngineError::own(EngineErrorKind::Unreachable, message)
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Request {
    pub(super) fn new(sql: &Sql) -> Request {
        let query_id = format!("birdhouse-{:032x}", rand::random::<u128>());
        Request {
            sql: sql.as_str().to_owned(),
            fields: Vec::new(),
            login: None,
            query_id,
            asks_cost: false,
            takes_packed: false,
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Request {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn unless(self, unknown: &BTreeSet<&'static str>, name: &str, value: &str) -> Request {
        if unknown.contains(name) { self } else { self.with(name, value) }
    }

    /// The status says how it ended, not only how it began.
    pub(super) fn whole(self) -> Request {
        self.with("wait_end_of_query", "1")
    }

    pub(super) fn under(mut self, login: &EngineLogin) -> Request {
        self.login = Some(login.clone());
        self
    }

    pub(super) fn asks_cost(mut self) -> Request {
        self.asks_cost = true;
        self
    }

    pub(super) fn query_id(&self) -> &str {
        &self.query_id
    }

    /// A read: where nothing has come of it, it is asked once more.
    pub(super) async fn send_read(self, connection: &Connection) -> Result<Response, EngineError> {
        let mut request = self.with("cancel_http_readonly_queries_on_client_close", "1");
        if connection.wire == EngineWire::Packed {
            request = request.with("enable_http_compression", "1");
            request.takes_packed = true;
        }
        match request.send(connection, None).await {
            Err(error) if error.kind == EngineErrorKind::Unreachable => request.send(connection, None).await,
            sent => sent,
        }
    }

    pub(super) async fn send_whole(self, connection: &Connection) -> Result<Bytes, EngineError> {
        let response = self.send(connection, None).await?;
        response.bytes().await.map_err(|error| connection.unreachable(error))
    }

    /// Rows behind a statement; gives how many were written.
    pub(super) async fn send_rows(self, connection: &Connection, parts: &[Bytes]) -> Result<u64, EngineError> {
        let response = self.send(connection, Some(parts)).await?;
        let written = summary(response.headers()).map(|it| it.written_rows).unwrap_or_default();
        response.bytes().await.map_err(|error| connection.unreachable(error))?;
        Ok(written)
    }

    /// What did not reach the server is sent again for a while: it may be starting.
    async fn send(&self, connection: &Connection, rows: Option<&[Bytes]>) -> Result<Response, EngineError> {
        let rest = self.rest(connection, rows).await;
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let response = loop {
            match self.build(connection, &rest).send().await {
                Ok(response) => break response,
                Err(error)
                    if error.is_connect()
                        && !is_about_tls(&cause_of(&error))
                        && began.elapsed() + pause < RECONNECT_WITHIN =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(connection.unreachable(error)),
            }
        };
        if response.status().is_success() && !response.headers().contains_key("x-clickhouse-exception-code") {
            return Ok(response);
        }
        Err(refused(response, connection).await)
    }

    async fn rest(&self, connection: &Connection, rows: Option<&[Bytes]>) -> Rest {
        let packs = |parts: &[Bytes]| connection.wire == EngineWire::Packed && pack::pays(parts);
        match rows {
            None if self.parameters().map(|it| it.1.len()).sum::<usize>() > LONG => Rest::Form,
            None => {
                let sql = Bytes::from(self.sql.clone());
                match packs(std::slice::from_ref(&sql)) {
                    true => Rest::Statement { sql: pack::packed(vec![sql]).await, packed: true },
                    false => Rest::Statement { sql, packed: false },
                }
            }
            Some(parts) if self.is_led() => {
                let head = Bytes::from(format!("{}\n", self.sql));
                let parts: Vec<_> = [head].into_iter().chain(parts.iter().cloned()).collect();
                match packs(&parts) {
                    true => Rest::Led { parts: vec![pack::packed(parts).await], packed: true },
                    false => Rest::Led { parts, packed: false },
                }
            }
            Some(parts) if packs(parts) => Rest::Rows { parts: vec![pack::packed(parts.to_vec()).await], packed: true },
            Some(parts) => Rest::Rows { parts: parts.to_vec(), packed: false },
        }
    }

    /// Whether the statement is too long to stand in the address beside rows.
    fn is_led(&self) -> bool {
        self.sql.len() > LONG
    }

    /// The values of a statement's own parameters.
    fn parameters(&self) -> impl Iterator<Item = &(String, String)> {
        self.fields.iter().filter(|it| it.0.starts_with("param_"))
    }

    fn build(&self, connection: &Connection, rest: &Rest) -> reqwest::RequestBuilder {
        let mut url = connection.url.clone();
        url.query_pairs_mut().append_pair("query_id", &self.query_id);
        let of_url = |it: &&(String, String)| !matches!(rest, Rest::Form) || !it.0.starts_with("param_");
        url.query_pairs_mut().extend_pairs(self.fields.iter().filter(of_url));
        if let Rest::Rows { .. } = rest {
            url.query_pairs_mut().append_pair("query", &self.sql);
        }
        if let Rest::Led { .. } = rest
            && self.sql.len() >= READ_OF_STATEMENT
        {
            let size = (self.sql.len() + 1024).to_string();
            url.query_pairs_mut().append_pair("max_query_size", &size);
        }
        let login = self.login.as_ref().unwrap_or(&connection.login);
        let mut request = connection.http.post(url).header("x-clickhouse-user", &login.user);
        request = request.header("x-clickhouse-key", login.password.reveal());
        if self.asks_cost {
            request = request.header(ASKS_COST, "1");
        }
        if self.takes_packed {
            request = request.header(ACCEPT_ENCODING, pack::NAME);
        }
        if let Rest::Statement { packed: true, .. } | Rest::Rows { packed: true, .. } | Rest::Led { packed: true, .. } =
            rest
        {
            request = request.header(CONTENT_ENCODING, pack::NAME);
        }
        match rest {
            Rest::Statement { sql, .. } => request.body(sql.clone()),
            Rest::Form => {
                let form = Form::new().text("query", self.sql.clone());
                let with = |form: Form, (name, value): &(String, String)| form.text(name.clone(), value.clone());
                request.multipart(self.parameters().fold(form, with))
            }
            Rest::Rows { parts, .. } | Rest::Led { parts, .. } => {
                let parts: Vec<_> = parts.iter().cloned().map(Ok::<_, Infallible>).collect();
                request.body(Body::wrap_stream(stream::iter(parts)))
            }
        }
    }
}

/// The innermost reason.
fn cause_of(error: &reqwest::Error) -> String {
    let mut words = None;
    let mut cause = error.source();
    while let Some(it) = cause {
        words = Some(it.to_string());
        cause = it.source();
    }
    words.unwrap_or_else(|| error.to_string())
}

/// Whether it will not be otherwise for a while.
fn is_about_tls(words: &str) -> bool {
    words.contains("certificate") || words.contains("SSL routines")
}

/// What a server says in the head of an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Summary {
    pub(super) rows_read: u64,
    pub(super) bytes_read: u64,
    pub(super) written_rows: u64,
    pub(super) result_rows: u64,
}

pub(super) fn summary(headers: &HeaderMap) -> Option<Summary> {
    let text = headers.get("x-clickhouse-summary")?.to_str().ok()?;
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    // Numbers are texts there.
    let number = |name: &str| value.get(name).and_then(|it| it.as_str()?.parse().ok()).unwrap_or_default();
    Some(Summary {
        rows_read: number("read_rows"),
        bytes_read: number("read_bytes"),
        written_rows: number("written_rows"),
        result_rows: number("result_rows"),
    })
}

/// Reads an error, as much of it as there is.
async fn refused(mut response: Response, connection: &Connection) -> EngineError {
    let status = response.status();
    let mut text = BytesMut::new();
    while text.len() < MAX_ERROR {
        match response.chunk().await {
            Ok(Some(bytes)) => text.extend_from_slice(&bytes),
            Ok(None) | Err(_) => break,
        }
    }
    let text = pack::unpacked_whole(response.headers(), text.freeze());
    let text = String::from_utf8_lossy(&text);
    let error = of_server(&text);
    if error.code != 0 {
        return error;
    }
    let words: String = text.trim().chars().take(200).collect();
    let message = format!("the engine at {connection} answers {status}: {words}");
    EngineError::own(EngineErrorKind::Unreachable, message)
}
