//! Whether the server is there and its engine answers.

use crate::server::{Context, error::ApiError};
use axum::{Json, extract::State};
use serde_json::{Value, json};

pub(super) async fn health(State(context): State<Context>) -> Result<Json<Value>, ApiError> {
    context.app.ping().await?;
    Ok(Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })))
}
