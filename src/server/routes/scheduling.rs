//! `/v0/datasources/{name}/scheduling/state`, `/start` and `/stop`: whether a data source reads its topic.

use super::resources::to_create;
use crate::{
    app::Feeding,
    project::Datasource,
    server::{
        error::{ApiError, Fault},
        extract::{Given, Name, Who},
    },
};
use axum::{Json, http::StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn show(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    let datasource = fed(&who, &name)?;
    let feeding = who.workspace.feeding(&datasource.name).await?;
    Ok(Json(json!({ "state": word(feeding) })))
}

pub(super) async fn change(who: Who, Name(name): Name, given: Given) -> Result<Json<Value>, ApiError> {
    fed(&who, &name)?;
    let state = given.fields()?.required("state")?;
    let feeding = match state.as_str() {
        "running" => Feeding::Running,
        "paused" => Feeding::Paused,
        _ => {
            let message = format!("`{state}` is not known: running and paused are");
            return Err(Fault::Bad { field: "state", message }.into());
        }
    };
    set(&who, &name, feeding).await
}

pub(super) async fn start(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    set(&who, &name, Feeding::Running).await
}

pub(super) async fn stop(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    set(&who, &name, Feeding::Paused).await
}

/// What others than Kafka's have: nothing to be scheduled.
pub(super) async fn run(who: Who, Name(name): Name) -> Result<StatusCode, ApiError> {
    fed(&who, &name)?;
    Err(Fault::Unsupported("a data source of Kafka has no runs: it reads all the time".to_owned()).into())
}

async fn set(who: &Who, name: &str, feeding: Feeding) -> Result<Json<Value>, ApiError> {
    let datasource = fed(who, name)?;
    who.workspace.set_feeding(&datasource.name, feeding).await?;
    Ok(Json(json!({ "state": word(feeding) })))
}

/// A data source that reads a topic: nothing else could be paused.
fn fed(who: &Who, name: &str) -> Result<Arc<Datasource>, Fault> {
    let datasource = to_create(who, name)?;
    match datasource.kafka {
        Some(_) => Ok(datasource),
        None => Err(Fault::Unsupported(format!("the data source `{}` has no schedule", datasource.name))),
    }
}

fn word(feeding: Feeding) -> &'static str {
    match feeding {
        Feeding::Running => "running",
        Feeding::Paused => "paused",
    }
}
