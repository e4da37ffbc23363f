//! `/v1/datasources/{name}/quarantine`: why rows are in it, and another try for them.

use crate::server::{
    error::ApiError,
    extract::{Name, Who},
    params::{Body, Fields},
};
use axum::{
    Json,
    body::Bytes,
    http::{HeaderMap, Uri},
};
use serde_json::{Value, json};

pub(super) async fn show(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    let datasource = who.datasource(&name).filter(|it| who.access.read_quarantine(&it.name).is_ok());
    let datasource = datasource.ok_or_else(|| who.missing("data source", &name))?;
    let reasons = who.workspace.quarantine_reasons(&datasource.name).await?;
    Ok(Json(json!({ "datasource": datasource.name.as_str(), "reasons": reasons })))
}

pub(super) async fn replay(
    who: Who,
    Name(name): Name,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let datasource = who.datasource(&name).filter(|it| {
        let readable = who.access.read_quarantine(&it.name).is_ok_and(|it| it.filters().is_empty());
        readable && who.access.may_append(&it.name)
    });
    let datasource = datasource.ok_or_else(|| who.missing("data source", &name))?;
    let fields = Fields::of_query(uri.query()).and(Body::read(&headers, &body)?.fields()?);
    let condition = fields.text("where");
    let condition = condition.as_deref().map(str::trim).filter(|it| !it.is_empty());
    let written = who.workspace.replay_quarantine(&datasource.name, condition).await?;
    Ok(Json(json!({
        "datasource": datasource.name.as_str(),
        "rows": written.rows,
        "quarantined": written.quarantined,
    })))
}
