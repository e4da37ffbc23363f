//! `/v0/sql`: a query in the caller's own words, over what the token may read.

use crate::{
    name::ResourceName,
    query::{Format, Request, Target},
    server::{
        Context,
        error::{ApiError, Fault},
        extract::{Came, Who},
        params::{Body, Fields},
        read::{self, Asking},
    },
    sql::scan,
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

pub(super) async fn ask(
    State(context): State<Context>,
    came: Came,
    who: Who,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(came.uri.query());
    let mut text = None;
    match Body::read(&came.headers, &body)? {
        Body::Empty => (),
        Body::Fields(more) => fields = fields.and(more),
        Body::Text(sql) => text = Some(sql),
    }
    let text = fields.text("q").or(text).filter(|it| !it.trim().is_empty()).ok_or(Fault::Missing("q"))?;
    let call = read::call(&came, &who, &fields);
    let (text, format) = scan::cut_format(&text);
    let explain = scan::cut_explain(text);
    let text = explain.unwrap_or(text);
    let format = match format {
        None => Format::Json,
        Some(name) => Format::parse(&name).ok_or_else(|| {
            let known = Format::ALL.map(Format::name).join(", ");
            Fault::Bad { field: "q", message: format!("FORMAT {name} is not known; there are {known}") }
        })?,
    };
    let budgets = context.settings.templates;
    let asking = match fields.text("pipeline") {
        Some(pipe) => {
            let pipe = ResourceName::new(&pipe).map_err(|_| read::no_such_endpoint(&who, &pipe))?;
            let params = read::without(fields.template_params(), "pipeline");
            let over = Some(text.to_owned());
            let name = Some(pipe.to_string());
            Asking { pipe: name, request: Request { over, format, budgets, ..Request::pipe(pipe, params) }, call }
        }
        None => {
            let target = Target::Sql(text.to_owned());
            let request = Request { target, params: fields.template_params(), format, budgets, ..Request::sql("") };
            Asking { pipe: None, request, call }
        }
    };
    if explain.is_some() || fields.flag("explain") {
        return Ok(Json(explained(read::explain(&context, &came, &who, asking).await?)).into_response());
    }
    read::ask(&context, &came, &who, asking).await
}

/// A plan in the form of an answer.
pub(super) fn explained(lines: Vec<String>) -> Value {
    let data: Vec<_> = lines.into_iter().map(|it| json!({ "explain": it })).collect();
    json!({
        "meta": [{ "name": "explain", "type": "String" }],
        "rows": data.len(),
        "data": data,
        "statistics": { "elapsed": 0.0, "rows_read": 0, "bytes_read": 0 },
    })
}
