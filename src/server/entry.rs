//! What every request passes through: a request id, the log, the token, the body within its limit.
//!
//! In: a request as it came. Out: the same with a [`Caller`](crate::app::Caller), a [`RequestId`] and a whole
//! body; or an error, before any handler has run. What a handler does is not known here.

use super::{
    Context,
    audit::Trail,
    error::{ApiError, Fault, Logged},
    gate::Gate,
    intake,
    params::Fields,
    upload,
};
use crate::{app::Caller, auth, observe::Observation};
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::Instrument;

/// Stands in every log line, every reply's `X-Request-Id` and the words of errors that are ours.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// What a group of routes asks of a request before its handlers run.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) context: Context,
    pub(super) door: Door,
    /// The largest body of a call that brings something; others bring parameters at most.
    pub(super) max_body: usize,
    pub(super) bodies: Bodies,
    /// Where large bodies wait for their turn, before they are read.
    pub(super) gate: Option<Gate>,
    /// How long until the answer begins; nothing for work that takes what it takes.
    pub(super) answer_within: Option<Duration>,
}

/// How bodies come to the handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    Whole,
    /// Those of files as they come: the handler reads them, within limits of its own.
    Files,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Anyone may come in: health checks, and routes that do not exist.
    Open,
    /// Whoever has a token that exists.
    Token,
}

/// What pages in browsers may read of a reply's head.
const EXPOSED: &str = "X-Request-Id, X-DB-Exception-Code, ETag, Age, Retry-After, X-RateLimit-Limit, \
                       X-RateLimit-Remaining, X-RateLimit-Reset";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A refused body is read on for a while, up to this much: a client that is still sending would see its
/// connection reset instead of the reply.
const DRAINED: usize = 64 << 20;
const DRAINED_WITHIN: Duration = Duration::from_secs(5);

/// What all requests of a door pass first.
#[derive(Clone)]
pub(super) struct Outermost {
    pub(super) context: Context,
    /// How errors are said here.
    pub(super) say: Arc<dyn Fn(ApiError) -> Response + Send + Sync>,
}

/// Outermost: names the request, answers `OPTIONS`, turns a panic into an error, says what happened.
pub(super) async fn observe(State(outermost): State<Outermost>, mut request: Request, next: Next) -> Response {
    let Outermost { context, say } = outermost;
    let started = Instant::now();
    let request_id = RequestId(format!("{:016x}", rand::random::<u64>()).into());
    let method = request.method().clone();
    let path = shown(&context, request.uri());
    let browsers = for_browsers(&path);
    request.extensions_mut().insert(request_id.clone());
    let span = tracing::info_span!("request", request_id = %request_id.0);
    let mut response = if let Some(fault) = too_long(&request, context.settings.max_head) {
        drain(request.headers().contains_key(header::EXPECT), request.into_body()).await;
        say(fault.into())
    } else if browsers && method == Method::OPTIONS {
        preflight()
    } else {
        let run = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span);
        run.await.unwrap_or_else(|_| say(Fault::Internal(format!("{method} {path} panicked")).into()))
    };
    if let Ok(value) = HeaderValue::from_str(&request_id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if browsers {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let exposed = HeaderValue::from_static(EXPOSED);
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    context.sink.observe(Observation::Request {
        request_id: request_id.0.to_string(),
        method: method.to_string(),
        path,
        status: response.status().as_u16(),
        elapsed: started.elapsed(),
        error: response.extensions().get::<Logged>().map(|it| it.0.clone()),
    });
    response
}

/// Per group of routes: the token first, so that strangers cannot make us hold bodies; then the body.
pub(super) async fn admit(State(entry): State<Entry>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut rate = None;
    let path = shown(&entry.context, &parts.uri);
    if entry.door == Door::Token {
        let Some(caller) = caller(&entry.context, &parts) else {
            drain(parts.headers.contains_key(header::EXPECT), body).await;
            Trail::begin(&parts, path).end(&entry.context, StatusCode::FORBIDDEN);
            return ApiError::from(Fault::Forbidden).into_response();
        };
        let limit = caller.access.limits().rps;
        rate = limit.map(|limit| entry.context.rates.take(caller.key, limit, Instant::now()));
        parts.extensions.insert(caller);
    }
    let mut trail = Trail::begin(&parts, path);
    let mut response = match rate {
        Some(rate) if rate.exceeded => {
            drain(parts.headers.contains_key(header::EXPECT), body).await;
            ApiError::from(Fault::TooMany).into_response()
        }
        _ => handle(&entry, parts, body, &mut trail, next).await,
    };
    if entry.door == Door::Token {
        trail.end(&entry.context, response.status());
    }
    if let Some(rate) = rate {
        rate.tell(response.headers_mut());
    }
    response
}

/// The body within its limit, then the handler.
async fn handle(entry: &Entry, parts: Parts, body: Body, trail: &mut Trail, next: Next) -> Response {
    let settings = &entry.context.settings;
    let brings = parts.method == Method::POST || parts.method == Method::PUT;
    let limit = if brings { entry.max_body } else { entry.max_body.min(settings.max_body) };
    let _permit = match &entry.gate {
        Some(gate) if brings => match gate.enter().await {
            Ok(permit) => Some(permit),
            Err(fault) => return ApiError::from(fault).into_response(),
        },
        _ => None,
    };
    if entry.bodies == Bodies::Files && intake::is_file(&parts, settings.max_body) {
        trail.see(&parts, &Bytes::new());
        return next.run(Request::from_parts(parts, body)).await;
    }
    let bytes = match read(&parts.headers, body, limit, settings.client_patience).await {
        Ok(bytes) => bytes,
        Err(fault) => return ApiError::from(fault).into_response(),
    };
    let bytes = match upload::decoded(&parts.headers, bytes, limit).await {
        Ok(bytes) => bytes,
        Err(fault) => return ApiError::from(fault).into_response(),
    };
    trail.see(&parts, &bytes);
    let run = next.run(Request::from_parts(parts, Body::from(bytes)));
    match entry.answer_within {
        None => run.await,
        Some(limit) => match tokio::time::timeout(limit, run).await {
            Ok(response) => response,
            Err(_) => ApiError::from(Fault::Timeout("the request")).into_response(),
        },
    }
}

/// `Authorization: Bearer` wins over `?token=`: some clients send both.
fn caller(context: &Context, parts: &Parts) -> Option<Caller> {
    let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok()).and_then(bearer);
    let token = match bearer {
        Some(token) => token.to_owned(),
        None => Fields::of_query(parts.uri.query()).text("token")?,
    };
    context.app.authenticate(token.trim())
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize, patience: Duration) -> Result<Bytes, Fault> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|it| it > limit) {
        drain(headers.contains_key(header::EXPECT), body).await;
        return Err(Fault::TooLarge { limit });
    }
    let mut body = body;
    let mut res = Vec::with_capacity(declared.unwrap_or_default());
    loop {
        let Ok(frame) = tokio::time::timeout(patience, body.frame()).await else {
            return Err(Fault::Timeout("the body"));
        };
        match frame {
            None => return Ok(Bytes::from(res)),
            Some(Err(error)) => return Err(Fault::BadBody(error.to_string())),
            Some(Ok(frame)) => {
                let Ok(chunk) = frame.into_data() else { continue };
                if res.len() + chunk.len() > limit {
                    drop(res);
                    drain(headers.contains_key(header::EXPECT), body).await;
                    return Err(Fault::TooLarge { limit });
                }
                res.extend_from_slice(&chunk);
            }
        }
    }
}

/// Reads on what is not wanted, unless the client waits for a word before it sends anything (`expected`): then
/// the reply is that word.
pub(super) async fn drain(expected: bool, mut body: Body) {
    if expected {
        return;
    }
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > DRAINED {
                return;
            }
        }
    };
    _ = tokio::time::timeout(DRAINED_WITHIN, reading).await;
}

/// What the log may say of a URL: its path, since the query string may hold a token.
fn shown(context: &Context, uri: &Uri) -> String {
    without_tokens(uri.path(), |it| context.app.authenticate(it).is_some())
}

/// A path without tokens, which can stand where a token's name or id could, or where somebody put one by mistake.
fn without_tokens(path: &str, opens: impl Fn(&str) -> bool) -> String {
    let of_tokens = path.starts_with("/v0/tokens/");
    let shown = |segment| {
        let text = percent_decode_str(segment).decode_utf8_lossy();
        let is_token = text.starts_with("p.ey") || auth::jwt::is_jwt(&text) || (of_tokens && opens(&text));
        if is_token { "…" } else { segment }
    };
    path.split('/').map(shown).collect::<Vec<_>>().join("/")
}

fn too_long(request: &Request, limit: usize) -> Option<Fault> {
    let url = request.uri().path_and_query().map_or(0, |it| it.as_str().len());
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if url > limit {
        return Some(Fault::UrlTooLong { limit });
    }
    (headers > limit).then_some(Fault::HeadersTooLong { limit })
}

/// The routes that pages in browsers call: endpoints, queries and events. No page has a business elsewhere.
fn for_browsers(path: &str) -> bool {
    ["/v0/pipes", "/v0/sql", "/v0/events"].iter().any(|it| path.starts_with(it))
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, Content-Encoding, If-None-Match"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_is_read_in_any_case() {
        assert_eq!(bearer("Bearer p.x"), Some("p.x"));
        assert_eq!(bearer("bearer  p.x").map(str::trim), Some("p.x"));
        assert_eq!(bearer("Basic p.x"), None);
        assert_eq!(bearer("p.x"), None);
    }

    #[test]
    fn no_token_stands_in_a_shown_path() {
        let shown = |path: &str| without_tokens(path, |it| it == "my own");
        assert_eq!(shown("/v0/pipes/p.json"), "/v0/pipes/p.json");
        assert_eq!(shown("/v0/tokens/app/refresh"), "/v0/tokens/app/refresh");
        assert_eq!(shown("/v0/tokens/my%20own/refresh"), "/v0/tokens/…/refresh");
        for token in ["p.eyJ1.abc", "p%2Eey%4A1.abc", "eyJhbGciOi.eyJ3.c2ln"] {
            for path in ["/v0/tokens/", "/v0/tokens//", "//v0/tokens/", "/v0/pipes/", "/"] {
                assert_eq!(shown(&format!("{path}{token}")), format!("{path}…"));
            }
        }
    }

    #[tokio::test]
    async fn a_body_is_taken_up_to_its_limit() {
        let limit = |bytes: usize| async move {
            let body = Body::from(vec![b'x'; bytes]);
            read(&HeaderMap::new(), body, 10, Duration::from_secs(1)).await
        };
        assert_eq!(limit(10).await.unwrap().len(), 10);
        assert_eq!(limit(11).await.unwrap_err(), Fault::TooLarge { limit: 10 });
    }
}
