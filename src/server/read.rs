//! One read from a request to its answer: a place to run, compile and start, the rows out.
//!
//! In: who asks, and what. Out: a response. An answer that its endpoint lets be kept is given
//! again to whoever had it. Used by the routes of endpoints and of `/v0/sql`.

use super::{
    Context,
    answer::{self, Asked, Begun},
    cache,
    error::{ApiError, Fault},
    extract::{Came, Who},
    frame,
    gate::Permit,
    params::Fields,
};
use crate::{
    app::AppError,
    diagnostic::{Place, Source},
    engine::Statistics,
    observe::Call,
    query::{Format, QueryError, Request},
    template::Params,
};
use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(super) struct Asking {
    /// The endpoint's name; nothing for `/v0/sql`.
    pub(super) pipe: Option<String>,
    pub(super) request: Request,
    pub(super) call: Call,
}

/// The longest URL and parameter that are kept of a call.
const MAX_KEPT: usize = 8 << 10;

/// What is kept of a call with these fields. Its token is not.
pub(super) fn call(came: &Came, who: &Who, fields: &Fields) -> Call {
    let path = came.uri.path();
    let url = match without_token(came.uri.query().unwrap_or_default()) {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    };
    let parameters = fields.names().filter(|it| !is_secret(it));
    let parameters = parameters.filter_map(|it| Some((it.to_owned(), fields.text(it)?)));
    let user_agent = came.headers.get(header::USER_AGENT).and_then(|it| it.to_str().ok());
    Call {
        method: came.method.to_string(),
        url: (url.len() <= MAX_KEPT).then_some(url),
        parameters: parameters.filter(|(_, value)| value.len() <= MAX_KEPT).collect(),
        token: who.access.token_id().to_owned(),
        token_name: who.access.token_name().to_owned(),
        user_agent: user_agent.map(str::to_owned),
    }
}

/// Under these names a token comes.
fn is_secret(name: &str) -> bool {
    name == "token" || name == "password"
}

/// A query string as it came, but for every token in it, however that is encoded.
fn without_token(query: &str) -> String {
    let holds_token = |part: &&str| form_urlencoded::parse(part.as_bytes()).any(|(name, _)| is_secret(&name));
    query.split('&').filter(|it| !holds_token(it)).collect::<Vec<_>>().join("&")
}

pub(super) async fn ask(context: &Context, came: &Came, who: &Who, asking: Asking) -> Result<Response, ApiError> {
    let format = asking.request.format;
    let of_endpoint = asking.pipe.is_some();
    let (begun, fresh) = start(context, came, who, asking, answer::HELD).await?;
    let begun = match begun {
        Begun::Whole(pieces, cost) if of_endpoint => Begun::Whole([answer::joined(pieces)].into(), cost),
        begun => begun,
    };
    let tag = match &begun {
        Begun::Whole(pieces, _) if of_endpoint => pieces.front().map(|it| tag(format, it)),
        _ => None,
    };
    let known = matches!(came.method, Method::GET | Method::HEAD)
        && tag.as_ref().is_some_and(|it| knows(&came.headers, it.as_bytes()));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { answer::reply(format, begun) };
    let headers = response.headers_mut();
    headers.extend(tag.map(|it| (header::ETAG, it)));
    if let Some(Fresh { ttl, age }) = fresh {
        let lifetime = HeaderValue::try_from(format!("private, max-age={}", ttl.as_secs()));
        headers.extend(lifetime.ok().map(|it| (header::CACHE_CONTROL, it)));
        headers.extend(age.map(|it| (header::AGE, HeaderValue::from(it.as_secs()))));
        headers.append(header::VARY, HeaderValue::from_static("Authorization"));
    }
    Ok(response)
}

/// What a client may compare an answer by: weak, as what it took is not compared.
fn tag(format: Format, body: &[u8]) -> HeaderValue {
    let said = if format == Format::Json { frame::without_statistics(body) } else { body };
    let digest: [u8; 32] = Sha256::digest(said).into();
    let hex = u128::from_be_bytes(digest.as_chunks().0[0]);
    HeaderValue::try_from(format!("W/\"{hex:032x}\"")).expect("hexadecimal digits make a header")
}

/// Whether the client has an answer of this tag already.
fn knows(headers: &HeaderMap, tag: &[u8]) -> bool {
    let strong = |it: &[u8]| it.strip_prefix(b"W/").unwrap_or(it).to_vec();
    let given = headers.get_all(header::IF_NONE_MATCH);
    let mut given = given.iter().flat_map(|it| it.as_bytes().split(|it| *it == b',')).map(<[u8]>::trim_ascii);
    given.any(|it| it == b"*" || strong(it) == strong(tag))
}

/// For how long an answer may be given again, and how old it is if it was.
#[derive(Debug, Clone, Copy)]
struct Fresh {
    ttl: Duration,
    age: Option<Duration>,
}

/// Runs a read until its answer is whole, or longer than `held` bytes.
pub(super) async fn begin(
    context: &Context,
    came: &Came,
    who: &Who,
    asking: Asking,
    held: usize,
) -> Result<Begun, ApiError> {
    Ok(start(context, came, who, asking, held).await?.0)
}

async fn start(
    context: &Context,
    came: &Came,
    who: &Who,
    asking: Asking,
    held: usize,
) -> Result<(Begun, Option<Fresh>), ApiError> {
    let (mut asked, permit, request) = admitted(context, came, who, asking).await?;
    let compiled = who.workspace.compile(&who.access, &request);
    let query = compiled.map_err(|error| refused(&asked, who, error))?;
    asked.about_calls = query.reads_service();
    // Only endpoints, whose author says how old an answer may be.
    let ttl = query.keeps_for().filter(|_| asked.pipe.is_some()).map(Duration::from_secs);
    let key = ttl.map(|_| cache::Key::of(who.workspace.id(), &who.key, &query));
    if let Some(answer) = key.as_ref().and_then(|it| context.cache.get(it)) {
        let fresh = ttl.map(|ttl| Fresh { ttl, age: Some(answer.age()) });
        return Ok((asked.again(answer.body, answer.rows), fresh));
    }
    let rows = who.workspace.read(&who.access, &query, Some(asked.shares.clone())).await;
    let rows = rows.map_err(|error| refused(&asked, who, error))?;
    let begun = answer::begin(asked, permit, rows, query, held).await?;
    Ok(match (begun, key, ttl) {
        (Begun::Whole(pieces, cost), Some(key), Some(ttl)) => {
            let body = answer::joined(pieces);
            context.cache.put(key, cache::Answer::new(body.clone(), cost.rows, ttl));
            (Begun::Whole([body].into(), cost), Some(Fresh { ttl, age: None }))
        }
        (begun, _, _) => (begun, None),
    })
}

/// How the engine would run a read, a line each: for administrators, as it tells of all rows and of all texts.
pub(super) async fn explain(
    context: &Context,
    came: &Came,
    who: &Who,
    asking: Asking,
) -> Result<Vec<String>, ApiError> {
    who.admin()?;
    let (asked, _permit, request) = admitted(context, came, who, asking).await?;
    let compiled = who.workspace.compile(&who.access, &request);
    let query = compiled.map_err(|error| refused(&asked, who, error))?;
    let lines = who.workspace.explain(&who.access, query, Some(asked.shares.clone())).await;
    let lines = lines.map_err(|error| refused(&asked, who, error))?;
    asked.ended(200, Statistics { result_rows: lines.len() as u64, ..Statistics::default() }, None);
    Ok(lines)
}

/// A read with its places: the token's and the workspace's part of them, and one that is free.
async fn admitted(
    context: &Context,
    came: &Came,
    who: &Who,
    asking: Asking,
) -> Result<(Asked, Permit, Request), ApiError> {
    let Asking { pipe, request, call } = asking;
    let started = Instant::now();
    let concurrency = who.access.limits().concurrency;
    let counted = !who.access.is_admin() || concurrency.is_some();
    let mut shares = Vec::new();
    if counted {
        shares.push(context.shares.take(who.key, concurrency)?);
    }
    if let Some(most) = who.workspace.held_to().concurrency {
        shares.push(context.parts.take(Sha256::digest(who.workspace.id()).into(), Some(most))?);
    }
    let permit = context.reads.enter().await?;
    let asked = Asked {
        sink: who.workspace.sink().clone(),
        request_id: came.request_id.clone(),
        pipe,
        call,
        about_calls: false,
        started,
        shares: Arc::new(shares),
        patience: context.settings.client_patience,
    };
    Ok((asked, permit, request))
}

fn refused(asked: &Asked, who: &Who, error: AppError) -> ApiError {
    let error = described(who, error);
    answer::refused(asked, &error);
    error
}

/// What a caller hears of an endpoint that is not there; without the right to know, the same as for one that
/// is there and closed.
pub(super) fn no_such_endpoint(who: &Who, name: &str) -> Fault {
    if who.access.is_admin() { Fault::NoSuch { what: "endpoint", name: name.to_owned() } } else { Fault::Forbidden }
}

pub(super) fn without(mut params: Params, name: &str) -> Params {
    params.shift_remove(name);
    params
}

/// An error about a text of the project says where in it.
fn described(who: &Who, error: AppError) -> ApiError {
    let AppError::Query(error) = error else { return error.into() };
    let admin = who.access.is_admin();
    let place = match &error {
        // The words of a pipe's author stay alone.
        QueryError::Template { error, .. } if matches!(error.category, "error" | "custom_error") => None,
        QueryError::Template { place, .. } | QueryError::Refused { place, .. } => place.clone(),
        QueryError::NoSuchPipe(name) => return no_such_endpoint(who, name).into(),
        // An administrator may read everything: what is denied to one does not exist.
        QueryError::Denied(name) if admin => {
            return Fault::NoSuchName(name.clone()).into();
        }
        QueryError::Denied(_) | QueryError::NoSuchDatabase(_) => None,
    };
    let project = who.workspace.project();
    ApiError::from(error).at(place.and_then(|it| position(&it, &project.sources)))
}

fn position(place: &Place, sources: &[Source]) -> Option<String> {
    let source = sources.iter().find(|it| it.path == place.path)?;
    let at = source.line_column(place.span.start);
    Some(format!("{}, line {}, column {}", place.path, at.line, at.column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_kept_of_a_query_string() {
        assert_eq!(without_token("a=1&token=p.x&b=%20"), "a=1&b=%20");
        assert_eq!(without_token("%74oken=p.x&token&password=p.x"), "");
        assert_eq!(without_token(""), "");
    }
}
