//! The HTTP client of a running server.
//!
//! In: a [`Target`], a path, parameters. Out: JSON or a stream of bytes, or a [`ClientError`] that says what the
//! user can do. Commands are not known here.

use super::{fault::user, settings::Target, tinyb::Host};
use anyhow::Context;
use reqwest::{Method, RequestBuilder, Response, StatusCode, multipart};
use serde_json::Value;
use std::{error::Error, io, time::Duration};

pub(super) struct Client {
    http: reqwest::Client,
    host: Host,
    token: String,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("no server answers at {host}{}", start_one(host))]
    NoServer { host: Host },
    /// Somebody is there, but no secure connection comes about: a certificate that nobody trusts, or no TLS at all.
    #[error(
        "no secure connection to {host}: {reason}\n  SSL_CERT_FILE names a file with the certificates to trust, if \
         an authority of your own signed this server's"
    )]
    Insecure { host: Host, reason: String },
    /// 403: who asks is not known, or may not.
    #[error(
        "the server refuses the token: {message}\n  `birdhouse auth` remembers the right one; --token or TB_TOKEN name another"
    )]
    Denied { message: String },
    /// Another 4xx.
    #[error("{message}")]
    Refused { status: u16, message: String },
    /// 5xx, or an answer that makes no sense.
    #[error("the server failed: {message}")]
    Server { message: String },
    /// The answer stopped before its end.
    #[error("the server cut its answer off; its log says why")]
    Cut,
}

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

impl ClientError {
    /// The user can do something about it.
    pub(super) fn is_users(&self) -> bool {
        !matches!(self, ClientError::Server { .. } | ClientError::Cut)
    }
}

fn start_one(host: &Host) -> String {
    match host.is_local() {
        true => "; start one with `birdhouse serve`".to_owned(),
        false => String::new(),
    }
}

impl Client {
    pub(super) fn new(target: &Target) -> anyhow::Result<Client> {
        let token = target.token.clone().ok_or_else(|| {
            user(format!(
                "there is no token for {}; `birdhouse auth` remembers one, --token and TB_TOKEN name one",
                target.host
            ))
        })?;
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT);
        if target.host.is_local() {
            // A proxy has no way to this machine's loopback.
            builder = builder.no_proxy();
        }
        let http = builder.build().context("the HTTP client does not start")?;
        Ok(Client { http, host: target.host.clone(), token })
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::GET, path)).await?).await
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(self.request(Method::DELETE, path)).await?;
        Ok(())
    }

    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::POST, path)).await?).await
    }

    pub(super) async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::POST, path).form(form)).await?).await
    }

    pub(super) async fn post_json(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::POST, path).json(body)).await?).await
    }

    pub(super) async fn put_json(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::PUT, path).json(body)).await?).await
    }

    pub(super) async fn post_files(&self, path: &str, files: multipart::Form) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::POST, path).multipart(files)).await?).await
    }

    pub(super) async fn post_bytes(&self, path: &str, bytes: Vec<u8>) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::POST, path).body(bytes)).await?).await
    }

    /// Asks `/v0/sql`; the answer is read by [`Answer::next`].
    pub(super) async fn sql(&self, query: &str) -> anyhow::Result<Answer> {
        self.ask(&[("q", query)]).await
    }

    /// Asks `/v0/sql` with further fields: an endpoint that the query is over, and its parameters.
    pub(super) async fn ask(&self, form: &[(&str, &str)]) -> anyhow::Result<Answer> {
        Ok(Answer(self.send(self.request(Method::POST, "/v0/sql").form(form)).await?))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.host)).bearer_auth(&self.token)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if self.host.is_secure() && error.is_connect() && refused_by_nobody(&error) => {
                return Err(ClientError::Insecure { host: self.host.clone(), reason: deepest(&error) }.into());
            }
            Err(error) if error.is_connect() || error.is_timeout() => {
                return Err(ClientError::NoServer { host: self.host.clone() }.into());
            }
            Err(error) => {
                return Err(user(format!("{} does not answer as a server would: {}", self.host, deepest(&error))));
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let request_id = response.headers().get("x-request-id").and_then(|it| it.to_str().ok()).map(str::to_owned);
        let text = response.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let mut message = match body.get("error").and_then(Value::as_str) {
            Some(error) => error.to_owned(),
            None => format!("{status} {}", text.trim().chars().take(200).collect::<String>()).trim_end().to_owned(),
        };
        Err(match status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => ClientError::Denied { message },
            status if status.is_client_error() => ClientError::Refused { status: status.as_u16(), message },
            _ => {
                if let Some(id) = request_id {
                    message = format!("{message} (request {id})");
                }
                ClientError::Server { message }
            }
        }
        .into())
    }
}

/// A long answer, piece by piece.
pub(super) struct Answer(Response);

impl Answer {
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<bytes::Bytes>> {
        self.0.chunk().await.map_err(|_| ClientError::Cut.into())
    }
}

/// A name as a segment of a path or a value in a query.
pub(super) fn escape(name: &str) -> String {
    let mut res = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => res.push(byte as char),
            byte => res.push_str(&format!("%{byte:02X}")),
        }
    }
    res
}

async fn json(response: Response) -> anyhow::Result<Value> {
    let bytes = response.bytes().await.map_err(|_| ClientError::Cut)?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map_err(|_| {
        let message = "its answer is not JSON; is it a birdhouse?".to_owned();
        ClientError::Server { message }.into()
    })
}

/// The connection came about and failed after that: none of its causes is the system's.
fn refused_by_nobody(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(it) = cause {
        if it.downcast_ref::<io::Error>().is_some_and(|it| it.raw_os_error().is_some()) {
            return false;
        }
        cause = it.source();
    }
    !error.is_timeout()
}

/// The last cause of an error: `Connection refused`, without the layers that passed it on.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names() {
        assert_eq!(escape("company 1/ü"), "company%201%2F%C3%BC");
    }

    #[test]
    fn an_absent_server_is_told_with_the_way_to_start_one() {
        let error = ClientError::NoServer { host: Host::local(7181) };
        assert_eq!(error.to_string(), "no server answers at http://localhost:7181; start one with `birdhouse serve`");
        let error = ClientError::NoServer { host: Host::new("http://example.com").unwrap() };
        assert_eq!(error.to_string(), "no server answers at http://example.com");
    }
}
