//! The door for ClickHouse's clients: its HTTP interface, `/` and `/ping`, on a port of its own.
//!
//! In: requests as ClickHouse takes them; user is any name, the password a token. Out: replies as ClickHouse gives
//! them. What is read goes through the same compiler, limits and records as `/v0/sql`; what that refuses is refused
//! here. Nothing but `/ping` answers without a token.

mod alone;
mod described;
mod error;
mod insert;
mod pack;
mod raw;
mod reply;
mod request;
mod settings;

pub use alone::serve_engine;

use super::{
    Context, answer,
    audit::Trail,
    entry::{self, Outermost, RequestId},
    error::{ApiError, Fault},
    extract::{Came, Who},
    params::Fields,
    read::{self, Asking},
    upload,
};
use crate::{
    app::Realm,
    query::{self, Catalog, Client, Format},
    sql::scan::client,
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use described::Descriptions;
use error::Exception;
use reply::Head;
use request::{Asked, Work};
use std::{sync::Arc, time::Instant};

/// What the door's handlers share.
#[derive(Clone)]
struct Door {
    context: Context,
    /// The engine's, which clients take for the server's.
    version: Arc<str>,
    described: Descriptions,
}

/// As much of an answer is held where a client wants to know its end before its beginning.
const WAITED: usize = 16 << 20;

pub(super) async fn router(context: &Context) -> Router {
    let version: Arc<str> = context.app.engine_version().await.unwrap_or_default().into();
    let door = Door { context: context.clone(), version: version.clone(), described: Descriptions::default() };
    let say = Arc::new(move |error: ApiError| Exception::from(error).reply(&Head::new("", &version)));
    Router::new()
        .route("/ping", get(async || "Ok.\n"))
        .route("/", any(answer))
        .fallback(async |State(door): State<Door>| {
            let exception = Exception::no_handle();
            exception.reply(&Head::new("", &door.version))
        })
        .layer(from_fn_with_state(Outermost { context: context.clone(), say }, entry::observe))
        .with_state(door)
}

async fn answer(State(door): State<Door>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let request_id = parts.extensions.get::<RequestId>().map(|it| it.0.to_string()).unwrap_or_default();
    let fields = Fields::of_query(parts.uri.query());
    // Whatever goes wrong, the client hears it under the name that it gave.
    let head = Head::new(&request::query_id(&fields).unwrap_or(request_id), &door.version);
    let who = match enter(&door, &mut parts, &fields) {
        Ok(who) => who,
        Err(exception) => {
            entry::drain(parts.headers.contains_key(header::EXPECT), body).await;
            Trail::begin(&parts, "/".to_owned()).end(&door.context, StatusCode::FORBIDDEN);
            return exception.reply(&head);
        }
    };
    let limit = who.access.limits().rps;
    let rate = limit.map(|limit| door.context.rates.take(who.key, limit, Instant::now()));
    let trail = Trail::begin(&parts, "/".to_owned());
    let mut response = match rate {
        Some(rate) if rate.exceeded => {
            entry::drain(parts.headers.contains_key(header::EXPECT), body).await;
            Err(Fault::TooMany.into())
        }
        _ => run(&door, &parts, fields, body, &who, &head).await,
    }
    .unwrap_or_else(|exception: Exception| {
        if exception.is_denial() {
            trail.end(&door.context, StatusCode::FORBIDDEN);
        }
        exception.reply(&head)
    });
    if let Some(rate) = rate {
        rate.tell(response.headers_mut());
    }
    response
}

/// Who asks: the password is a token, wherever it stands. There is no other way in.
fn enter(door: &Door, parts: &mut Parts, fields: &Fields) -> Result<Who, Exception> {
    let credentials = request::credentials(&parts.headers, fields);
    let caller = credentials.password.as_deref().and_then(|it| door.context.app.authenticate(it.trim()));
    let caller = caller.ok_or_else(|| Exception::unauthenticated(&credentials))?;
    parts.extensions.insert(caller.clone());
    Ok(caller.into())
}

async fn run(
    door: &Door,
    parts: &Parts,
    fields: Fields,
    body: Body,
    who: &Who,
    head: &Head,
) -> Result<Response, Exception> {
    let context = &door.context;
    if context.settings.clickhouse_admin && raw::is_asked(&parts.headers, &fields) {
        if !who.realm.as_ref().is_some_and(Realm::is_whole) {
            return Err(Fault::Forbidden.into());
        }
        if parts.method != Method::POST {
            return Err(Fault::MethodNotAllowed.into());
        }
        let body = entry::read(&parts.headers, body, raw::MAX_BODY, context.settings.client_patience).await?;
        let body = upload::decoded(&parts.headers, body, raw::MAX_BODY).await?;
        return raw::answer(context.app.engine(), head, &parts.headers, &fields, vec![body]).await;
    }
    let body = taken(context, &parts.headers, body).await?;
    let asked = Asked::read(&parts.headers, fields, body, context.settings.max_insert, &who.access).await?;
    if parts.method != Method::GET && parts.method != Method::POST {
        return Err(Fault::MethodNotAllowed.into());
    }
    let catalog = Catalog::new(who.workspace.name());
    if !asked.database.is_empty() && !catalog.has_database(&asked.database) {
        return Err(Exception::new(error::UNKNOWN_DATABASE, format!("there is no database `{}`", asked.database)));
    }
    match &asked.work {
        Work::Insert { .. } if parts.method == Method::GET => {
            Err(Exception::new(error::READONLY, "rows are inserted by POST"))
        }
        Work::Insert { head: insert, data } => {
            let written = insert::insert(who, &catalog, insert, data.clone(), asked.deduplication_token.clone());
            Ok(head.done(written.await?))
        }
        Work::Read { text, .. } if text.trim().is_empty() => match parts.method {
            Method::GET => Ok("Ok.\n".into_response()),
            _ => Err(Exception::new(62, "Empty query")),
        },
        Work::Read { text, format } => {
            let format = request::format(format.as_deref())?;
            read_rows(door, parts, who, head, &asked, text, format, catalog).await
        }
    }
}

/// Answers a query, or a statement about what there is, which is a query over the catalog.
#[expect(clippy::too_many_arguments, reason = "each is another part of one request")]
async fn read_rows(
    door: &Door,
    parts: &Parts,
    who: &Who,
    head: &Head,
    asked: &Asked,
    text: &str,
    format: Format,
    catalog: Catalog,
) -> Result<Response, Exception> {
    let context = &door.context;
    let statement = client::statement(text);
    let catalog = door.described.complete(catalog, who, text, statement.as_ref()).await;
    let database = if asked.database.is_empty() { catalog.database.clone() } else { asked.database.clone() };
    let shown = match &statement {
        None => None,
        Some(statement) => match catalog.show(statement, &database).map_err(ApiError::from)? {
            Some(text) => Some(text),
            None => return Ok(head.done(0)),
        },
    };
    let token = who.access.token_name().to_owned();
    let user = if token.is_empty() { "token".to_owned() } else { token };
    let constants = [
        ("version", door.version.to_string()),
        ("currentDatabase", database.clone()),
        ("current_database", database.clone()),
        ("database", database),
        ("currentUser", user.clone()),
        ("current_user", user.clone()),
        ("user", user),
        ("hostName", "birdhouse".to_owned()),
        ("displayName", "birdhouse".to_owned()),
    ];
    let client = Client { catalog, parameters: asked.parameters.clone(), constants: constants.into() };
    let came = Came {
        request_id: parts.extensions.get::<RequestId>().cloned().ok_or(Fault::Internal("no id".to_owned()))?,
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        headers: parts.headers.clone(),
    };
    let who = Who { access: who.access.clone().within(&asked.limits), ..who.clone() };
    let call = read::call(&came, &who, &asked.fields);
    let request = query::Request {
        format,
        budgets: context.settings.templates,
        client: Some(Arc::new(client)),
        ..query::Request::sql(shown.unwrap_or_else(|| text.to_owned()))
    };
    let held = if asked.wait { WAITED } else { answer::HELD };
    let asking = Asking { pipe: None, request, call };
    let reading = read::begin(context, &came, &who, asking, held);
    let begun = match tokio::time::timeout(context.settings.answer_within, reading).await {
        Ok(begun) => begun?,
        Err(_) => return Err(Fault::Timeout("the query").into()),
    };
    Ok(head.answer(format, asked.packing, begun))
}

/// The body within its limit, unpacked. Large ones wait for their turn, as files do.
async fn taken(context: &Context, headers: &HeaderMap, body: Body) -> Result<axum::body::Bytes, Exception> {
    let settings = &context.settings;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    let none = declared.is_none() && !headers.contains_key(header::TRANSFER_ENCODING);
    let large = !none && declared.is_none_or(|it| it > settings.max_body);
    let _permit = if large { Some(context.uploads.enter().await?) } else { None };
    let bytes = entry::read(headers, body, settings.max_insert, settings.client_patience).await?;
    Ok(upload::decoded(headers, bytes, settings.max_insert).await?)
}
