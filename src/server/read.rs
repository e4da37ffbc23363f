//! One read from a request to its answer: a place to run, compile and start, the rows out.
//!
//! In: who asks, and what. Out: a response. Used by the routes of endpoints and of `/v0/sql`.

use super::{
    Context,
    answer::{self, Asked, Begun},
    error::{ApiError, Fault},
    extract::{Came, Who},
    params::Fields,
};
use crate::{
    app::AppError,
    diagnostic::{Place, Source},
    observe::Call,
    query::{QueryError, Request},
    template::Params,
};
use axum::{http::header, response::Response};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Instant};

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
    Ok(answer::reply(format, begin(context, came, who, asking, answer::HELD).await?))
}

/// Runs a read until its answer is whole, or longer than `held` bytes.
pub(super) async fn begin(
    context: &Context,
    came: &Came,
    who: &Who,
    asking: Asking,
    held: usize,
) -> Result<Begun, ApiError> {
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
    let shares = Arc::new(shares);
    let permit = context.reads.enter().await?;
    let mut asked = Asked {
        sink: who.workspace.sink().clone(),
        request_id: came.request_id.clone(),
        pipe,
        call,
        about_calls: false,
        started,
        _shares: Arc::clone(&shares),
        patience: context.settings.client_patience,
    };
    match who.workspace.query(&who.access, &request, Some(shares)).await {
        Ok((rows, query)) => {
            asked.about_calls = query.reads_service();
            answer::begin(asked, permit, rows, query, held).await
        }
        Err(error) => {
            let error = described(who, error);
            answer::refused(&asked, &error);
            Err(error)
        }
    }
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
