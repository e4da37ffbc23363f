//! One read from a request to its answer: a place to run, compile and start, the rows out.
//!
//! In: who asks, and what. Out: a response. Used by the routes of endpoints and of `/v0/sql`.

use super::{
    Context,
    answer::{self, Asked},
    entry::RequestId,
    error::{ApiError, Fault},
    extract::Who,
};
use crate::{
    app::AppError,
    diagnostic::{Place, Source},
    query::{QueryError, Request},
    template::Params,
};
use axum::response::Response;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Asking {
    /// The endpoint's name; nothing for `/v0/sql`.
    pub(super) pipe: Option<String>,
    pub(super) request: Request,
}

pub(super) async fn ask(
    context: &Context,
    request_id: RequestId,
    who: &Who,
    asking: Asking,
) -> Result<Response, ApiError> {
    let Asking { pipe, request } = asking;
    let started = Instant::now();
    let concurrency = who.access.limits().concurrency;
    let counted = !who.access.is_admin() || concurrency.is_some();
    let share = counted.then(|| context.shares.take(who.key, concurrency)).transpose()?;
    let permit = context.reads.enter().await?;
    let asked = Asked {
        sink: context.sink.clone(),
        request_id,
        pipe,
        started,
        _share: share,
        patience: context.settings.client_patience,
    };
    match who.workspace.query(&who.access, &request).await {
        Ok((rows, query)) => answer::answer(asked, permit, rows, query).await,
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
        QueryError::Denied(_) => None,
    };
    let project = who.workspace.project();
    ApiError::from(error).at(place.and_then(|it| position(&it, &project.sources)))
}

fn position(place: &Place, sources: &[Source]) -> Option<String> {
    let source = sources.iter().find(|it| it.path == place.path)?;
    let at = source.line_column(place.span.start);
    Some(format!("{}, line {}, column {}", place.path, at.line, at.column))
}
