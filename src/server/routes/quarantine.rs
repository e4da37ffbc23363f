//! `/v1/datasources/{name}/quarantine`: why rows are in it.

use crate::server::{
    error::ApiError,
    extract::{Name, Who},
};
use axum::Json;
use serde_json::{Value, json};

pub(super) async fn show(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    let datasource = who.datasource(&name).filter(|it| who.access.read_quarantine(&it.name).is_ok());
    let datasource = datasource.ok_or_else(|| who.missing("data source", &name))?;
    let reasons = who.workspace.quarantine_reasons(&datasource.name).await?;
    Ok(Json(json!({ "datasource": datasource.name.as_str(), "reasons": reasons })))
}
